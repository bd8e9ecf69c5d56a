"""`report` of one run and of several."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def two_runs(run_copy: Path, tmp_path: Path) -> list[Path]:
    """A trained run, and a copy of it that says it had another seed."""
    other = shutil.copytree(run_copy, tmp_path / "other", symlinks=True)
    settings = (other / "run.toml").read_text(encoding="utf-8")
    (other / "run.toml").write_text(settings.replace("seed = 0\nbatch", "seed = 1\nbatch"), encoding="utf-8")
    return [run_copy, other]


def test_one_run_tells_its_diagnosis(call: Any, run_copy: Path) -> None:
    value = json.loads(call("report", run_copy, "--json").out)
    assert value["report"] == str(run_copy / "report.html")
    assert {finding["failure"] for finding in value["diagnosis"]} == {
        "divergence",
        "loss spikes",
        "undertraining",
        "overfitting",
        "memorised text",
        "repetition",
        "copied text",
    }
    for finding in value["diagnosis"]:
        assert set(finding) == {"failure", "verdict", "reason", "evidence", "remedy"}


def test_what_was_found_is_printed_with_what_to_do(call: Any, run_copy: Path) -> None:
    metrics = run_copy / "metrics.jsonl"
    first, *others = metrics.read_text(encoding="utf-8").splitlines()
    lost = json.dumps(json.loads(first) | {"bits_per_character": math.nan})
    metrics.write_text("".join(f"{line}\n" for line in (lost, *others)), encoding="utf-8")
    result = call("report", run_copy)
    assert "divergence: 1 of the logged losses are not finite. Take smaller steps" in result.out
    assert str(run_copy / "report.html") in result.out


def test_several_runs_go_to_a_new_folder_that_is_told(call: Any, two_runs: list[Path]) -> None:
    result = call("report", *two_runs)
    (folder,) = two_runs[0].parent.glob("comparison-*")
    assert str(folder / "report.html") in result.out
    bits = json.loads((two_runs[0] / "evaluation.json").read_text())["validation"]["blocks"]["bits_per_character"]
    assert result.out.count(f"{bits:.4f}") == 2
    assert (folder / "report.html").stat().st_size


def test_the_table_is_printed_as_json(call: Any, two_runs: list[Path], tmp_path: Path) -> None:
    value = json.loads(call("report", *two_runs, "--out", tmp_path / "both", "--json").out)
    assert value["report"] == str(tmp_path / "both" / "report.html")
    assert [row["run"] for row in value["runs"]] == ["run", "other"]
    assert [row["seed"] for row in value["runs"]] == [0, 1]
    assert [arm["runs"] for arm in value["arms"]] == [2]
    stored = json.loads((two_runs[0] / "evaluation.json").read_text())["validation"]["blocks"]
    assert value["runs"][0]["held_out"]["bits_per_character"] == pytest.approx(stored["bits_per_character"])


def test_runs_on_other_texts_are_refused(call: Any, two_runs: list[Path], tmp_path: Path) -> None:
    corpus = json.loads((two_runs[1] / "corpus.json").read_text(encoding="utf-8"))
    (two_runs[1] / "corpus.json").write_text(json.dumps(corpus | {"sha256": "0" * 64}), encoding="utf-8")
    result = call("report", *two_runs, "--out", tmp_path / "both")
    assert (result.exit_code, "the text (SHA-256" in result.error) == (4, True)
    assert not (tmp_path / "both").exists()


def test_wrong_input(call: Any, two_runs: list[Path], tmp_path: Path) -> None:
    one = two_runs[0]
    for arguments, words in (
        ([one, one], "is the same run as"),
        ([one, "--out", tmp_path / "x"], "the report of one run lies in the run"),
        ([one, tmp_path / "nowhere"], "there is no run at"),
        ([one, two_runs[1], "--out", one], "is a run, whose own report lies there"),
        ([one, one / "checkpoints" / "last"], "is a checkpoint"),
    ):
        result = call("report", *arguments)
        assert (result.exit_code, words in result.error) == (2, True), result.error
