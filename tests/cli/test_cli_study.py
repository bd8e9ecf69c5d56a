"""`letterloom study`: from a file to a report, and what is told of mistakes."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from letterloom.studies.design import shipped_studies
from letterloom.studies.directory import StudyDirectory
from letterloom.study import run_study

STUDY = """
question = "Does a second head help?"
corpus = ["{text}"]
recipe = "nanogpt-cpu"
seeds = [0, 1]
budget.steps = 4
base.model = {{ context_length = 16, d_model = 16, n_layers = 1, n_heads = 1 }}
base.training = {{ batch_size = 4, eval_interval = 2, device = "cpu" }}
factors.model.n_heads = [1, 2]
"""


@pytest.fixture(scope="module")
def study_file(tiny_text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("study") / "heads.toml"
    file.write_text(STUDY.format(text=tiny_text))
    return file


@pytest.fixture(scope="module")
def study(study_file: Path) -> Path:
    """A finished study."""
    return run_study(study_file, study_file.parent / "heads", workers=1).path


def test_a_study_runs_is_reported_and_is_not_run_again(call: Any, study_file: Path, study: Path) -> None:
    told = json.loads(call("study", "report", study, "--json").out)
    assert told["report"] == str(study / "report.html")
    assert sorted(arm["name"] for arm in told["arms"]) == ["n_heads 1", "n_heads 2"]
    evaluations = {
        run["run"]: json.loads((study / "runs" / run["run"] / "evaluation.json").read_text()) for run in told["runs"]
    }
    for run in told["runs"]:
        assert run["nats"] == evaluations[run["run"]]["validation"]["blocks"]["nats_per_character"]
    again = call("study", "run", study_file, "--out", study)
    assert again.exit_code == 0, again.err
    assert "Does a second head help?" in again.out
    assert "n_heads 2" in again.out
    for run, evaluation in evaluations.items():
        assert json.loads((study / "runs" / run / "evaluation.json").read_text()) == evaluation
    assert call("study", "resume", study).out == again.out


def test_status_tells_of_each_run(call: Any, study: Path) -> None:
    told = json.loads(call("study", "status", study, "--json").out)
    assert [(run["arm"], run["seed"], run["state"]) for run in told["runs"]] == [
        ("n_heads 1", 0, "done"),
        ("n_heads 2", 0, "done"),
        ("n_heads 1", 1, "done"),
        ("n_heads 2", 1, "done"),
    ]
    assert call("study", "status", study).out.splitlines()[1].split() == ["n_heads", "1", "done", "done"]


def test_status_tells_of_a_finished_run_that_is_not_the_planned_one(call: Any, study: Path, tmp_path: Path) -> None:
    folder = StudyDirectory(shutil.copytree(study, tmp_path / "s"))
    run = folder.runs()[0]
    settings = folder.run(run.name).config_file
    settings.write_text(settings.read_text().replace("n_layers = 1", "n_layers = 2"))
    told = "is a run of other settings (model.n_layers is 2, not 1); move it away, and it is run again"
    assert told in call("study", "status", folder.path).out
    failures = json.loads(call("study", "status", folder.path, "--json").out)["failures"]
    assert list(failures) == [run.name] and told in failures[run.name]


def test_status_may_be_asked_while_a_search_adds_arms(
    call: Any, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial is added whenever the state of a run is looked at."""
    folder = StudyDirectory(shutil.copytree(study, tmp_path / "search"))
    trial, look = replace(folder.arms()[0], name="trial 1", seeds=(7,)), StudyDirectory.is_finished

    def add_and_look(self: StudyDirectory, name: str) -> bool:
        self.add_arm(1, trial)
        return look(self, name)

    monkeypatch.setattr(StudyDirectory, "is_finished", add_and_look)
    for format_ in ([], ["--json"]):
        shutil.rmtree(folder.path / "arms", ignore_errors=True)
        result = call("study", "status", folder.path, *format_)
        assert result.exit_code == 0, result.err
        assert "trial" not in result.out
    assert len(folder.arms()) == 3


def test_the_studies_are_listed(call: Any) -> None:
    told = json.loads(call("study", "list", "--json").out)["studies"]
    assert [study["name"] for study in told] == shipped_studies()
    assert "positions" in call("study", "list").out


def test_an_arm_that_fails_is_told_and_the_rest_goes_on(call: Any, study_file: Path, tmp_path: Path) -> None:
    source = study_file.read_text().replace("model.n_heads = [1, 2]", "training.device = ['cuda:99', 'cpu']")
    (tmp_path / "devices.toml").write_text(
        source.replace(', device = "cpu"', "").replace("seeds = [0, 1]", "seeds = [0]")
    )
    out = tmp_path / "devices"
    result = call("study", "run", tmp_path / "devices.toml", "--out", out, "--workers", "1")
    assert result.exit_code == 0, result.err
    assert f"1 of 2 runs failed; `letterloom study status {out}` says why" in result.err
    assert f"`letterloom study resume {out} --retry-failed` tries them again" in result.err
    told = json.loads(call("study", "status", out, "--json").out)
    assert [run["state"] for run in told["runs"]] == ["failed", "done"]
    (reason,) = told["failures"].values()
    assert "device cuda:99 is not here" in reason
    assert reason in call("study", "status", out).out
    assert reason in (out / "report.md").read_text()
    assert f"- device cuda:99, seed 0, has no number: {reason}" in unwrapped(result.out)


def unwrapped(printed: str) -> str:
    """Paragraphs as one line each."""
    return printed.replace("\n  ", " ")


def test_a_study_of_which_every_run_fails_ends_with_the_error(call: Any, study_file: Path, tmp_path: Path) -> None:
    (tmp_path / "far.toml").write_text(study_file.read_text().replace('device = "cpu"', 'device = "cuda:99"'))
    result = call("study", "run", tmp_path / "far.toml", "--out", tmp_path / "far", "--workers", "1")
    assert result.exit_code == 2
    last = result.err.splitlines()[-1]
    assert "each of the 4 runs" in last
    assert "device cuda:99 is not here" in last
    assert f"try again by `letterloom study resume {tmp_path / 'far'} --retry-failed`" in last
    assert "None of 4 runs has a number" in (tmp_path / "far" / "report.md").read_text()


def test_what_weakens_the_answer_stands_below_it(call: Any, study: Path, tmp_path: Path) -> None:
    folder = StudyDirectory(shutil.copytree(study, tmp_path / "weak"))
    first, *_, last = folder.runs()
    shutil.copytree(folder.run(first.name).path, folder.path / "runs" / "another")
    folder.run(last.name).evaluation_file.unlink()
    folder.record_failure(last.name, "the loss is nan")
    printed = unwrapped(call("study", "report", folder.path).out)
    answer, *below = printed.split("\n- ")
    assert "No difference shown" in answer
    assert any(line.startswith("n_heads 2 failed by 1 of 2 seeds: the others may flatter it.") for line in below)
    assert any(line.startswith("n_heads 2, seed 1, has no number: the loss is nan") for line in below)
    assert any(line.startswith("1 run in the folder of other settings or another text: left out.") for line in below)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "positons"], ["positons", "did you mean 'positions'"]),
        (["run", "none.toml"], ["none.toml", "check the path"]),
        (["run", "positions", "--workers", "0"], ["workers = 0", "at least 1"]),
        (["run", "positions", "--option", "timeout"], ["--option timeout", "NAME=VALUE"]),
        (["resume", "none"], ["there is no study in none", "letterloom study run"]),
        (["status", "none"], ["there is no study in none"]),
        (["report", "none"], ["there is no study in none"]),
        (["stauts"], ["stauts", "status"]),
    ],
    ids=str,
)
def test_a_mistake_is_one_line(call: Any, arguments: list[str], words: list[str]) -> None:
    result = call("study", *arguments)
    assert result.exit_code == 2
    assert len(result.err.splitlines()) == 1
    assert all(word in result.err for word in words), result.err


def test_an_unknown_engine_is_told_before_anything_runs(call: Any, study_file: Path, tmp_path: Path) -> None:
    result = call("study", "run", study_file, "--out", tmp_path / "new", "--engine", "slrum")
    assert (result.exit_code, "did you mean 'slurm'" in result.err) == (2, True)
    result = call("study", "run", study_file, "--out", tmp_path / "new", "--option", "timeout_min=3")
    assert (result.exit_code, "has no option 'timeout_min'" in result.err) == (2, True)
    assert not (tmp_path / "new").exists()
