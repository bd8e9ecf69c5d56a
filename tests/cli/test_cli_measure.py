"""`evaluate`, `verify`, `report`, and the two lists."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest

from letterloom import api
from letterloom.evaluation.verification import Comparison
from letterloom.text.corpora import CORPORA


class TestEvaluate:
    def test_json_of_the_runs_own_split_is_what_training_found(self, call: Any, tiny_run: Path) -> None:
        value = json.loads(call("evaluate", tiny_run, "--json").out)
        assert value.pop("text") == "validation split"
        stored = json.loads((tiny_run / "evaluation.json").read_text())["validation"]["blocks"]
        assert stored.pop("parts") == []  # of 503 characters there are no 20 stretches
        assert set(value) == {
            "nats_per_character",
            "bits_per_character",
            "interval",
            "characters",
            "protocol",
            "context_length",
            "seconds",
        }
        assert {**value, "seconds": 0} == {**stored, "seconds": 0}
        assert value["bits_per_character"] == pytest.approx(value["nats_per_character"] / math.log(2))

    @pytest.mark.parametrize("split", ["validation", "training"])
    def test_which_split_it_was_is_told(self, call: Any, tiny_run: Path, split: str) -> None:
        assert f"text                {split} split\n" in call("evaluate", tiny_run, "--split", split).out

    def test_a_text_is_scored_whole(self, call: Any, tiny_run: Path, tiny_text: Path) -> None:
        value = json.loads(call("evaluate", tiny_run, tiny_text, tiny_text, "--json").out)
        assert value["characters"] == 2 * len(tiny_text.read_text(encoding="utf-8"))
        assert value["interval"]["low"] < value["nats_per_character"] < value["interval"]["high"]

    def test_lines_show_the_same_figures(self, call: Any, tiny_run: Path, tiny_text: Path) -> None:
        value = json.loads(call("evaluate", tiny_run, tiny_text, "--protocol", "sliding", "--json").out)
        out = call("evaluate", tiny_run, tiny_text, "--protocol", "sliding").out
        bits = [bound / math.log(2) for bound in value["interval"].values()]
        assert f"nats per character  {value['nats_per_character']:.4f}  (95 %: " in out
        assert f"bits per character  {value['bits_per_character']:.4f}  (95 %: {bits[0]:.4f} to {bits[1]:.4f})" in out
        assert f"{value['characters']:,} characters" in out
        assert "sliding" in out

    def test_a_text_too_short_for_an_interval_has_none(self, call: Any, tiny_run: Path, tmp_path: Path) -> None:
        (tmp_path / "short.txt").write_text("the loom")
        assert json.loads(call("evaluate", tiny_run, tmp_path / "short.txt", "--json").out)["interval"] is None
        assert "95 %" not in call("evaluate", tiny_run, tmp_path / "short.txt").out

    def test_unknown_characters(self, call: Any, tiny_run: Path, tmp_path: Path) -> None:
        (tmp_path / "fish.txt").write_text("the loom \N{FISH}", encoding="utf-8")
        refused = call("evaluate", tiny_run, tmp_path / "fish.txt")
        assert (refused.exit_code, "U+1F41F" in refused.error) == (2, True)
        skipped = call("evaluate", tiny_run, tmp_path / "fish.txt", "--unknown", "skip", "--json")
        assert json.loads(skipped.out)["characters"] == len("the loom ")
        assert "\N{FISH}" in skipped.err  # told, not silent

    @pytest.mark.parametrize("text", ["the loom \N{FISH} again", "the loom weaves"])
    def test_a_changed_text_of_the_run_is_refused(
        self, call: Any, run_copy: Path, tiny_text: Path, tmp_path: Path, text: str
    ) -> None:
        config = (run_copy / "checkpoints" / "last").resolve() / "run.toml"
        assert str(tiny_text) in config.read_text()  # the place is stored whole, so the run may be used from anywhere
        original = tiny_text.read_bytes()
        try:
            tiny_text.write_text(text, encoding="utf-8")
            result = call("evaluate", run_copy)
        finally:
            tiny_text.write_bytes(original)
        assert result.exit_code == 4
        assert json.loads((run_copy / "corpus.json").read_text())["sha256"] in result.error

    def test_a_checkpoint_away_from_its_run_asks_for_a_text(
        self, call: Any, run_copy: Path, tiny_text: Path, tmp_path: Path
    ) -> None:
        (run_copy / "checkpoints" / "last").resolve().rename(tmp_path / "alone")
        refused = call("evaluate", tmp_path / "alone")
        assert (refused.exit_code, "name a text" in refused.error) == (2, True)
        assert call("evaluate", tmp_path / "alone", tiny_text).exit_code == 0

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--protocol", "static"], ["--protocol", "blocks", "sliding"]),
            (["--unknown", "ignore"], ["--unknown", "skip"]),
            (["nowhere.txt"], ["nowhere.txt"]),
            (["nowhere.txt", "--split", "validation"], ["validation split", "another text is named"]),
            (["--json=perhaps"], ["--json"]),
            (["--protokol", "blocks"], ["--protokol", "--protocol"]),
        ],
        ids=lambda value: " ".join(value),
    )
    def test_wrong_input(self, call: Any, tiny_run: Path, arguments: list[str], words: list[str]) -> None:
        result = call("evaluate", tiny_run, *arguments)
        assert result.exit_code == 2
        assert all(word in result.error for word in words), result.error


class TestVerify:
    def test_a_sound_run(self, call: Any, tiny_run: Path) -> None:
        value = json.loads(call("verify", tiny_run, "--json").out)
        assert [item["problem"] for item in value["checkpoints"]] == [None] * len(value["checkpoints"])
        assert value["reference"]["agrees"] is True
        assert value["reference"]["difference"] < 1e-9
        assert 0 < value["reference"]["engine_difference"] < 1e-4  # float32
        assert "agrees" in call("verify", tiny_run).out

    @pytest.mark.parametrize("options", [[], ["--json"]])
    def test_a_damaged_checkpoint_is_named_and_the_others_are_checked(
        self, call: Any, run_copy: Path, options: list[str]
    ) -> None:
        last = (run_copy / "checkpoints" / "last").resolve()
        weights = bytearray((last / "model.safetensors").read_bytes())
        weights[-1] ^= 1
        (last / "model.safetensors").write_bytes(weights)
        result = call("verify", run_copy, *options)
        assert result.exit_code == 4
        assert "model.safetensors is damaged" in result.err
        assert "agrees" in result.out

    @pytest.mark.parametrize(
        ("differences", "at_fault", "told", "largest"),
        [
            ({"cached_difference": 1e-5}, "reference", "the model of", "1.0e-05"),
            ({"engine_difference": 2e-4}, "engine", "the engine that draws text of", "2.0e-04"),
        ],
    )
    def test_what_differs_from_the_reference_is_told(
        self,
        call: Any,
        tiny_run: Path,
        monkeypatch: pytest.MonkeyPatch,
        differences: dict[str, Any],
        at_fault: str,
        told: str,
        largest: str,
    ) -> None:
        sound = Comparison(1e-16, 1e-16, 256, 16, 1e-7)
        monkeypatch.setattr(api.Model, "verify", lambda _: dataclasses.replace(sound, **differences))
        result = call("verify", tiny_run)
        assert result.exit_code == 4
        (line,) = (line for line in result.out.splitlines() if "DISAGREES" in line)
        assert line.startswith(at_fault)
        assert largest in line
        assert told in result.err
        value = json.loads(call("verify", tiny_run, "--json").out)["reference"]
        assert (value["agrees"], value["engine_difference"]) == (False, differences.get("engine_difference", 1e-7))

    def test_a_damaged_checkpoint_by_itself(self, call: Any, run_copy: Path) -> None:
        last = (run_copy / "checkpoints" / "last").resolve()
        (last / "tokenizer.json").write_text("{}")
        result = call("verify", last)
        assert (result.exit_code, "tokenizer.json" in result.error) == (4, True)


def test_report_writes_the_files_again(call: Any, run_copy: Path) -> None:
    names = ["report.html", "report.md", "loss.svg", "loss.png"]
    for name in names:
        (run_copy / name).unlink()
    result = call("report", run_copy)
    assert all((run_copy / name).stat().st_size for name in names)
    assert str(run_copy / "report.html") in result.out
    assert json.loads(call("report", run_copy, "--json").out)["report"] == str(run_copy / "report.html")


def test_report_refuses_a_checkpoint(call: Any, tiny_run: Path) -> None:
    result = call("report", tiny_run / "checkpoints" / "last")
    assert (result.exit_code, "run directory" in result.error) == (2, True)


def test_corpora_are_listed(call: Any) -> None:
    listed = json.loads(call("corpora", "--json").out)["corpora"]
    assert [corpus["name"] for corpus in listed] == list(CORPORA)
    out = call("corpora").out
    assert all(corpus["name"] in out and corpus["licence"] in out for corpus in listed)
    assert all(corpus["url"] in out for corpus in listed if corpus["url"])  # in a pipe no line is folded
