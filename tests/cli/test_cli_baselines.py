"""`letterloom baselines`."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

N_GRAMS = {"uniform", "unigram", "Kneser-Ney", "Kneser-Ney, static"}
COMPRESSORS = {"zlib", "bz2", "xz", "zstd", "brotli", "PPMd", "PPMd, static"}


@pytest.fixture(autouse=True)
def _nothing_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LETTERLOOM_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("arguments", [["--help"], ["{text}", "--json"]], ids=["help", "kept"])
def test_what_is_not_needed_is_not_imported(call: Any, tiny_text: Path, arguments: list[str]) -> None:
    """Help needs no numbers, and what is kept neither a compiler nor torch."""
    call("baselines", tiny_text)
    script = "import sys; from letterloom.cli import main; main(sys.argv[1:]); print(*sys.modules)"
    command = [sys.executable, "-c", script, "baselines", *(a.format(text=tiny_text) for a in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    *_, modules = done.stdout.splitlines()
    heavy = {"torch", "scipy", "matplotlib", "numba"} | ({"numpy"} if arguments == ["--help"] else set())
    assert done.stderr == ""
    assert not heavy & set(modules.split())


def test_the_object_that_scripts_read(call: Any, tiny_text: Path) -> None:
    value = json.loads(call("baselines", tiny_text, "--json").out)
    assert {baseline["name"] for baseline in value["baselines"]} == N_GRAMS | COMPRESSORS
    for baseline in value["baselines"]:
        assert baseline["bits_per_character"] == pytest.approx(baseline["nats_per_character"] / math.log(2))
        assert baseline["seconds"] >= 0
    text = tiny_text.read_text(encoding="utf-8")
    assert value["characters"] == len(text) - int(0.9 * len(text))
    assert value["split"]["train"]["characters"] == int(0.9 * len(text))
    assert (value["text"], value["tokenizer"], value["limit"]) == (str(tiny_text), "characters", None)
    assert value["vocab_size"] == len(set(text))


def test_a_second_call_shows_the_times_of_the_first(call: Any, tiny_text: Path) -> None:
    first, second = call("baselines", tiny_text, "--json"), call("baselines", tiny_text, "--json")
    assert "measuring the baselines, in about" in first.err
    assert second.err == ""
    then, now = json.loads(first.out), json.loads(second.out)
    assert (then.pop("kept"), now.pop("kept")) == (False, True)
    assert then == now
    assert "kept; the seconds are those of that time" in call("baselines", tiny_text).out


def test_the_table_has_the_same_figures_the_best_first(call: Any, tiny_text: Path) -> None:
    value = json.loads(call("baselines", tiny_text, "--json").out)
    rows = call("baselines", tiny_text).out.partition("\nbaseline ")[2].splitlines()[1:]
    assert len(rows) == len(value["baselines"])
    for row, baseline in zip(rows, value["baselines"], strict=True):
        assert row.startswith(f"{baseline['name']} ")
        assert f" {baseline['bits_per_character']:.4f}  {baseline['nats_per_character']:.4f} " in row
        assert baseline["note"] in row


def test_bytes_and_records(call: Any, tiny_text: Path) -> None:
    in_bytes = json.loads(call("baselines", tiny_text, "--tokenizer", "bytes", "--json").out)
    assert (in_bytes["tokenizer"], in_bytes["vocab_size"]) == ("bytes", 256)
    in_records = json.loads(call("baselines", tiny_text, "--records", "lines", "--json").out)
    assert in_records["split"]["validation"]["records"] == 13
    assert (
        in_records["characters"] == in_records["split"]["validation"]["characters"] + 14
    )  # ends, one before the first
    assert "(each end of a record is one)" in call("baselines", tiny_text, "--records", "lines").out


def test_the_limit_of_a_source_that_is_known(call: Any) -> None:
    name = "synthetic:markov,symbols=4,order=1,characters=20000"
    limit = json.loads(call("baselines", name, "--json").out)["limit"]["validation"]
    out = call("baselines", name).out
    assert f"(limit)                         {limit / math.log(2):.4f}  {limit:.4f} " in out
    assert out.index("(limit)") < out.index("\nbz2")


def test_packages_that_are_missing_are_told(call: Any, tiny_text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("zstandard", "brotli", "pyppmd"):
        monkeypatch.setitem(sys.modules, package, None)
    result = call("baselines", tiny_text)
    assert "zstd, brotli, PPMd left out; `pip install 'letterloom[compress]'` brings what they need\n" in result.out
    assert "\nxz " in result.out
    assert "\nPPMd" not in result.out


def test_what_a_folder_leaves_out_is_told(call: Any, tiny_text: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "text.txt").write_bytes(tiny_text.read_bytes())
    (folder / "image").write_bytes(b"\0\1")
    assert "image" in call("baselines", folder).out
    assert any("image" in note for note in json.loads(call("baselines", folder, "--json").out)["notes"])


def test_a_corpus_of_one_repeated_character(call: Any, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a" * 3000)
    out = call("baselines", tmp_path / "a.txt").out
    assert "Kneser-Ney                      0.0000  0.0000 " in out
    assert "-0.0" not in out


def test_a_text_of_two_characters(call: Any, tmp_path: Path) -> None:
    (tmp_path / "ab.txt").write_text("ab")
    out = call("baselines", tmp_path / "ab.txt").out
    assert "uniform                         1.0000  0.6931 " in out
    assert "a byte is 8.00 bits per character" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["CORPUS"]),
        (["nowhere.txt"], ["nowhere.txt"]),
        (["--tokenizer", "words", "shakespeare"], ["--tokenizer", "bytes"]),
        (["shakespeare", "--tokeniser", "bytes"], ["--tokeniser", "--tokenizer"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_wrong_input(call: Any, arguments: list[str], words: list[str]) -> None:
    result = call("baselines", *arguments)
    assert result.exit_code == 2
    assert all(word in result.error for word in words), result.error


def test_a_text_that_cannot_be_split(call: Any, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    assert "leaves 0 to train and 1 to validate" in call("baselines", tmp_path / "a.txt").error
