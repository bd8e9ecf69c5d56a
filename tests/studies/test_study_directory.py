"""The folder of a study: what it holds, and what it says of each run."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from studying import enter

from letterloom import storage
from letterloom.errors import DataMismatchError, LockedError, RunError
from letterloom.studies.arms import Arm, build_arm
from letterloom.studies.beginning import begin
from letterloom.studies.directory import StudyDirectory
from letterloom.studies.finding import find_study

STUDY = """# Heads
question = "How many?"   # of them
corpus = ["text.txt"]
recipe = "gpt2-char"
seeds = [0, 1]
budget.steps = 5
factors.model.n_heads = [1, 2]
"""


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(tmp_path, monkeypatch)
    (tmp_path / "heads.toml").write_text(STUDY)


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
    for content in ("{", "[]", "{}", '{"arms": 3}', '{"arms": []}', '{"source": "", "arms": [{}]}'):
        study.plan_file.write_text(content)
        with pytest.raises(DataMismatchError, match=r"plan\.json"):
            study.runs()
    study.plan_file.write_text('{"source": "sedes = 3", "arms": []}')
    with pytest.raises(DataMismatchError, match=r"plan\.json is damaged.*sedes"):
        study.design()


def test_a_kill_between_study_file_and_plan_leaves_the_study_that_was(monkeypatch: pytest.MonkeyPatch) -> None:
    study = begin("heads.toml")
    design, arms = study.design(), study.arms()

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(storage, "write_json", killed)
    Path("heads.toml").write_text(STUDY.replace("[1, 2]", "[1, 4]"))
    with pytest.raises(KeyboardInterrupt):
        begin("heads.toml")
    assert (study.design(), study.arms()) == (design, arms)
    assert (StudyDirectory(study.path).design(), StudyDirectory(study.path).arms()) == (design, arms)


def test_what_a_killed_search_left_half_written_is_no_arm() -> None:
    study = begin("heads.toml")
    arm = build_arm(study.design(), "trial 1", [{"model": {"n_heads": 4}}], (0,))
    study.add_arm(1, arm, params={})
    half = study.path / "arms" / ".tmp-99-00002.json"
    half.write_bytes((study.path / "arms" / "00001.json").read_bytes()[:40])
    assert list(study.added()) == [1]
    assert study.added_arms() == (arm,)
    study.add_arm(2, arm, params={})
    assert not half.exists()


def test_arms_have_their_states_when_more_are_added_meanwhile() -> None:
    study = begin("heads.toml")
    arms = study.arms()
    study.add_arm(1, build_arm(study.design(), "trial 1", [{"model": {"n_heads": 4}}], (0,)))
    assert list(study.states(arms)) == [run.name for run in study.runs(arms)]
    assert len(study.states()) == len(study.states(arms)) + 1


def test_a_plan_is_parsed_once_until_it_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    study = begin("heads.toml")
    study.add_arm(1, build_arm(study.design(), "trial 1", [{"model": {"n_heads": 4}}], (0,)))
    study, parsed, parse = StudyDirectory(study.path), list[str](), Arm.from_json

    def from_json(told: Mapping[str, Any]) -> Arm:
        parsed.append(told["name"])
        return parse(told)

    monkeypatch.setattr(Arm, "from_json", from_json)
    for look in (study.design, study.runs, study.states, study.added) * 2:
        look()
    assert parsed == ["n_heads 1", "n_heads 2", "trial 1"]
    study.write_plan(study.source(), study.arms()[:1])
    assert [arm.name for arm in study.arms()] == ["n_heads 1", "trial 1"]
    assert len(parsed) == 4


def test_looking_at_a_study_writes_nothing() -> None:
    study = begin("heads.toml")
    before = sorted(study.path.iterdir())
    study.states()
    assert sorted(study.path.iterdir()) == before


def test_an_arm_is_stopped_only_while_what_stopped_it_stands() -> None:
    asked = STUDY.replace("[0, 1]", "[0, 1, 2, 3, 4]")
    Path("heads.toml").write_text(f"stop_worse = 0.1\n{asked}")
    study = begin("heads.toml")
    best, worse = study.arms()
    study.record_stopped(worse, best, p=0.01)
    told = {"arm": "n_heads 2", "against": "n_heads 1", "p": 0.01}
    assert study.stopped(worse) == told
    for changed in (
        asked,
        f"stop_worse = 0.2\n{asked}",
        f"stop_worse = 0.1\n{asked}".replace("[1, 2]", "[2, 4]"),
    ):
        Path("heads.toml").write_text(changed)
        assert begin("heads.toml").stopped(worse) is None
        assert "stopped" not in study.states().values()
    Path("heads.toml").write_text(f"stop_worse = 0.1\n{asked}")
    assert begin("heads.toml").stopped(worse) == told


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"details": "..."}'])
def test_a_run_whose_failure_is_damaged_has_failed(content: str) -> None:
    study = begin("heads.toml")
    name = study.runs()[0].name
    study.record_failure(name, "it diverged")
    file = study.path / "failures" / f"{name}.json"
    file.write_text(content)
    assert study.states()[name] == "failed"
    failure = study.failure(name)
    assert failure is not None
    assert failure["error"] == f"why is not known: {file} is damaged"
    study.forget_failures()
    assert study.states()[name] == "to do"
