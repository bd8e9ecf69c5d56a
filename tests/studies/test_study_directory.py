"""The folder of a study: what it holds, and what it says of each run."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from letterloom import storage
from letterloom.errors import DataMismatchError, LockedError, RunError
from letterloom.studies.arms import build_arm
from letterloom.studies.beginning import begin
from letterloom.studies.directory import StudyDirectory, find_study

STUDY = """# Heads
question = "How many?"   # of them
corpus = ["text.txt"]
recipe = "gpt2-char"
seeds = [0, 1]
budget.steps = 5
factors.model.n_heads = [1, 2]
"""


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("LETTERLOOM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("To be, or not to be, that is the question.\n" * 50)
    (tmp_path / "heads.toml").write_text(STUDY)
    yield


def finish(study: StudyDirectory, name: str) -> None:
    """What `is_finished` looks at."""
    storage.write_json(study.run(name).evaluation_file, {})


def test_the_first_seed_of_all_arms_comes_first() -> None:
    study = begin("heads.toml")
    assert study.path == Path("studies/heads")
    assert [(run.arm, run.seed) for run in study.runs()] == [
        ("n_heads 1", 0),
        ("n_heads 2", 0),
        ("n_heads 1", 1),
        ("n_heads 2", 1),
    ]
    assert find_study("heads").path == find_study("studies/heads").path == study.path


def test_a_study_is_found_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = StudyDirectory(begin("heads.toml").path.absolute())
    runs = study.runs()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert Path(study.design().corpus[0]) == tmp_path / "text.txt"
    assert study.runs() == runs
    assert "# of them" in study.study_file.read_text()


def test_each_run_has_a_state() -> None:
    study = begin("heads.toml")
    done, failed, running, waiting = (run.name for run in study.runs())
    finish(study, done)
    study.record_failure(failed, "it diverged", "traceback")
    with study.claimed(running), pytest.raises(LockedError), study.claimed(running):
        pass
    with study.claimed(running):
        assert study.states() == {done: "done", failed: "failed", running: "running", waiting: "to do"}
    assert study.states()[running] == "to do"
    assert study.failure(failed) == {"error": "it diverged", "details": "traceback"}
    study.forget_failures()
    assert study.states()[failed] == "to do"
    second = study.arms()[1]
    study.record_stopped(second, p=0.01)
    assert study.stopped(second) == {"arm": "n_heads 2", "p": 0.01}
    assert [study.states()[run.name] for run in second.runs] == ["stopped", "stopped"]
    assert study.states()[done] == "done"


def test_a_changed_study_keeps_what_it_still_asks_for(caplog: pytest.LogCaptureFixture) -> None:
    study = begin("heads.toml")
    kept, dropped = study.runs()[0].name, study.runs()[1].name
    for name in (kept, dropped):
        finish(study, name)
        storage.write_file(study.run(name).config_file, "")
    Path("heads.toml").write_text(STUDY.replace("[1, 2]", "[1, 4]"))
    begin("heads.toml")
    assert "2 of its runs are new, 2 are asked for no more, 1 finished ones are kept" in caplog.text
    assert study.strangers() == [dropped]
    assert study.states()[kept] == "done"
    caplog.clear()
    begin("heads.toml")
    assert not caplog.text


def test_a_search_for_other_things_begins_anew() -> None:
    search = STUDY.replace("factors.model", "design = 'search'\ntrials = 2\nfactors.model")
    Path("heads.toml").write_text(search)
    study = begin("heads.toml")
    study.add_arm(1, build_arm(study.design(), "trial 1", [{"model": {"n_heads": 2}}], (0,)), params={})
    Path("heads.toml").write_text(search.replace("trials = 2", "trials = 9"))
    begin("heads.toml")
    assert list(study.added()) == [1]
    Path("heads.toml").write_text(search.replace("[1, 2]", "[1, 4]"))
    begin("heads.toml")
    assert not study.added()


def test_what_is_in_the_way_is_left_alone() -> None:
    Path("full").mkdir()
    Path("full/mine.txt").write_text("mine")
    with pytest.raises(RunError, match="holds something else than a study"):
        begin("heads.toml", Path("full"))
    with pytest.raises(RunError, match="there is no study in heads or studies/heads"):
        find_study("heads")
    begin("heads.toml")
    with pytest.raises(RunError, match="did you mean 'heads'"):
        find_study("haeds")


def test_damage_is_named() -> None:
    study = begin("heads.toml")
    plan = json.loads(study.plan_file.read_text())
    plan["arms"][0]["config"]["model"]["n_heads"] = 8
    study.plan_file.write_text(json.dumps(plan))
    with pytest.raises(DataMismatchError, match="the runs of arm 'n_heads 1' are not named by their settings"):
        study.runs()
    for content in ("{", "[]", "{}", '{"arms": 3}', '{"arms": [{}]}'):
        study.plan_file.write_text(content)
        with pytest.raises(DataMismatchError, match=r"plan\.json"):
            study.runs()
    study.study_file.write_text("sedes = 3")
    with pytest.raises(DataMismatchError, match=r"study\.toml is damaged.*sedes"):
        study.design()
