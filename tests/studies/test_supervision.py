"""A supervisor, by workers that are made up, and by real ones that are disturbed."""

import signal
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from studying import has_checkpoint, make_study, metrics, processes_at, start_supervisor, wait_for

from letterloom import storage
from letterloom.errors import DiskFullError, Interrupted, LetterloomError, ResourceError
from letterloom.studies import supervision
from letterloom.studies.directory import StudyDirectory
from letterloom.studies.engines import Ending, holding_file
from letterloom.studies.supervision import Standing, supervise

on_linux = pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are found in /proc, which Linux has")


@dataclass
class Actor:
    """A worker that plays a part, one line each time it is looked at."""

    name: str
    lines: list[Callable[["Actor"], Ending | None]]
    asked: list[str] = field(default_factory=list)

    def ended(self) -> Ending | None:
        return self.lines.pop(0)(self) if self.lines else Ending(error=Interrupted("stopped", 15))

    def stop(self) -> None:
        self.asked.append("stop")
        self.lines = self.lines[:0]

    def kill(self) -> None:
        self.asked.append("kill")


@dataclass
class Stage:
    """An engine whose workers play the parts in turn, and then find nothing to do."""

    parts: list[Sequence[Callable[[Actor], Ending | None]]]
    actors: list[Actor] = field(default_factory=list)

    def start(self, name: str) -> Actor:
        assert len(self.actors) < 20, "workers are started for ever"
        self.actors.append(Actor(name, list(self.parts.pop(0) if self.parts else [lambda _: Ending()])))
        return self.actors[-1]

    def close(self) -> None: ...


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOOK_SECONDS", "TELL_SECONDS", "LOOK_SHARE"):
        monkeypatch.setattr(supervision, name, 1e9 if name == "LOOK_SHARE" else 0.0)


@pytest.fixture
def study(tmp_path: Path) -> StudyDirectory:
    return make_study(tmp_path, seeds=2)


def finish(study: StudyDirectory, *names: str) -> None:
    for name in names:
        storage.write_json(study.run(name).evaluation_file, {})


def hold(study: StudyDirectory, name: str) -> Callable[[Actor], None]:
    return lambda actor: storage.write_json(holding_file(study.path, actor.name), {"run": name})


def die(_: Actor) -> Ending:
    return Ending(killed="signal 9")


def test_a_run_at_which_two_workers_died_has_failed(study: StudyDirectory) -> None:
    first, second = (run.name for run in study.runs())
    told: list[Standing] = []

    def do_the_rest(_: Actor) -> Ending:
        finish(study, second)
        return Ending()

    stage = Stage([[hold(study, first), die], [hold(study, first), die], [do_the_rest]])
    supervise(study, stage, 1, told.append)
    failure = study.failure(first)
    assert failure is not None
    assert failure["error"].startswith("its process was killed twice (signal 9); where memory ran out, make the")
    assert study.states() == {first: "failed", second: "done"}
    assert [standing.message for standing in told if standing.message] == [
        f"the worker at {first} died (signal 9); another one goes on from its last checkpoint",
        f"the run {first} failed: its process was killed twice (signal 9)",
    ]
    assert told[-1].counts == {"failed": 1, "done": 1}


def test_workers_that_die_before_they_begin_are_not_started_for_ever(study: StudyDirectory) -> None:
    with pytest.raises(ResourceError, match=r"3 workers in a row died before they had begun a run \(signal 9\)"):
        supervise(study, Stage([[die]] * 9), 1, lambda _: None)


@pytest.mark.parametrize("error", [DiskFullError("no space left"), LetterloomError("the plan is damaged")])
def test_what_no_worker_can_mend_ends_the_study(study: StudyDirectory, error: LetterloomError) -> None:
    stage = Stage([[lambda _: None, lambda _: Ending(error=error)], [lambda _: None] * 99])
    with pytest.raises(type(error), match=str(error)):
        supervise(study, stage, 2, lambda _: None)
    assert stage.actors[1].asked == ["stop"]


def test_what_others_hold_is_waited_for_and_taken_over(study: StudyDirectory) -> None:
    first, second = (run.name for run in study.runs())
    finish(study, first)
    elsewhere = []

    def tell(standing: Standing) -> None:
        elsewhere.append(standing.elsewhere)
        if len(elsewhere) == 3:
            other.close()

    def take_over(_: Actor) -> Ending:
        finish(study, second)
        return Ending()

    stage = Stage([[take_over]])
    with ExitStack() as other:
        other.enter_context(study.claimed(second))
        supervise(study, stage, 2, tell)
    assert elsewhere[:3] == [1, 1, 1]
    assert elsewhere[-1] == 0
    assert len(stage.actors) == 1
    assert study.is_finished(second)


def test_a_run_that_is_trained_by_hand_is_waited_for(study: StudyDirectory) -> None:
    names = [run.name for run in study.runs()]
    finish(study, names[0])
    storage.write_file(study.run(names[1]).config_file, "")
    elsewhere: list[int] = []

    def tell(standing: Standing) -> None:
        elsewhere.append(standing.elsewhere)
        if len(elsewhere) == 3:
            finish(study, names[1])

    stage = Stage([])
    with study.run(names[1]).locked():
        supervise(study, stage, 2, tell)
    assert elsewhere[:3] == [1, 1, 1]
    assert stage.actors == []


def test_no_more_workers_than_runs(study: StudyDirectory) -> None:
    names = [run.name for run in study.runs()]
    stage = Stage([[lambda _: None, lambda _: None, lambda _: finish(study, *names), lambda _: Ending()]] * 2)
    supervise(study, stage, 5, lambda _: None)
    assert len(stage.actors) == 2


def test_a_search_is_asked_again_when_something_is_done(tmp_path: Path) -> None:
    study = make_study(tmp_path, seeds=2)
    arm = study.arms()[0]
    first, second = (run.name for run in arm.runs)
    study.write_plan(f'design = "search"\n{study.study_file.read_text()}', ())

    def find_one(_: Actor) -> Ending:
        study.add_arm(0, arm)
        finish(study, first)
        return Ending()

    stage = Stage([[find_one], [lambda _: Ending()], [lambda _: finish(study, second), lambda _: Ending()]])
    supervise(study, stage, 2, lambda _: None)
    assert set(study.states().values()) == {"done"}
    assert len(stage.actors) <= 5


def test_a_search_is_asked_again_when_its_last_trial_fails(tmp_path: Path) -> None:
    """By a worker that begins after that: one which had found nothing before may be seen to have ended only then."""
    study = make_study(tmp_path, seeds=1)
    arm, (run,) = study.arms()[0], study.runs()
    study.write_plan(f'design = "search"\n{study.source().replace("seeds = [0]", "seeds = [0, 1]")}', ())
    study.add_arm(0, arm)

    def confirm(_: Actor) -> Ending:
        study.add_arm(1, replace(arm, seeds=(1,)))
        finish(study, *(run.name for run in study.runs() if run.seed == 1))
        return Ending()

    stage = Stage([[lambda _: study.record_failure(run.name, "it diverged"), lambda _: Ending()], [confirm]])
    supervise(study, stage, 1, lambda _: None)
    assert sorted(study.states().values()) == ["done", "failed"]


def test_a_signal_stops_the_workers_and_a_second_one_kills_them(study: StudyDirectory) -> None:
    first, second = (run.name for run in study.runs())

    class Deaf(Actor):
        def stop(self) -> None:
            self.asked.append("stop")
            if len(self.asked) == 1:
                hold(study, second)(self)  # the signal came during the last save of the run before
            else:
                signal.raise_signal(signal.SIGINT)

        def kill(self) -> None:
            super().kill()
            self.lines = []

        def ended(self) -> Ending | None:
            return None if self.lines else Ending(killed="signal 9")

    class Hall(Stage):
        def start(self, name: str) -> Actor:
            self.actors.append(Deaf(name, [lambda _: None]))
            hold(study, first)(self.actors[-1])
            return self.actors[-1]

    stage = Hall([])
    told = f"stopped by SIGTERM with 0 of 2 runs done; go on with `letterloom study resume {study.path}`"
    with pytest.raises(Interrupted, match=told) as interrupted:
        supervise(study, stage, 1, lambda _: signal.raise_signal(signal.SIGTERM))
    assert interrupted.value.exit_code == 128 + signal.SIGTERM
    assert stage.actors[0].asked == ["stop", "stop", "kill"]


def standings(study: StudyDirectory, held: str) -> list[Standing]:
    """What is told while somebody else is at a run, which ends when it was looked at."""
    told: list[Standing] = []

    def tell(standing: Standing) -> None:
        told.append(standing)
        finish(study, held)

    with study.claimed(held):
        supervise(study, Stage([]), 1, tell)
    return told


def test_the_time_left_is_told(study: StudyDirectory) -> None:
    first, second = (run.name for run in study.runs())
    done, under_way = study.run(first), study.run(second)
    storage.write_file(
        done.metrics_file, '{"kind": "train", "seconds": 40.0, "progress": 1.0}\n{"kind": "validation"}\n'
    )
    finish(study, first)
    storage.write_file(under_way.metrics_file, '{"kind": "train", "seconds": 1.0, "progress": 0.25}\n{"kind": "trai')
    told = standings(study, second)
    assert told[0].progress == {second: 0.25}
    assert told[0].seconds_left == pytest.approx(30.0, abs=1.0)  # a quarter less than the other took
    assert told[-1].seconds_left == 0.0


@pytest.mark.parametrize("line", ["{}", "[]", "3", '{"kind": "train"}', '{"kind": "train", "seconds": 1.0}'])
def test_a_damaged_log_tells_no_progress(study: StudyDirectory, line: str) -> None:
    first, second = (run.name for run in study.runs())
    for name in (first, second):
        storage.write_file(study.run(name).metrics_file, f"{line}\n")
    finish(study, first)
    told = standings(study, second)
    assert (told[0].progress, told[0].seconds_left) == ({second: 0.0}, None)


@on_linux
def test_a_killed_supervisor_leaves_nobody_behind_and_loses_nothing(tmp_path: Path) -> None:
    study = make_study(tmp_path, seeds=3, steps=150, saved=25)
    done: dict[str, int] = {}
    for moment in (lambda: has_checkpoint(study), lambda: "done" in study.states().values()):
        supervisor = start_supervisor(study)
        wait_for(moment)
        supervisor.kill()
        _, told = supervisor.communicate()  # until its workers, who share its standard error, have ended
        assert told == ""
        wait_for(lambda: processes_at(study) == [])
        done = {name: written(study, name) for name, state in study.states().items() if state == "done"}
    last = start_supervisor(study)
    _, told = last.communicate()
    assert (last.returncode, told) == (0, "")
    assert set(study.states().values()) == {"done"}
    assert done == {name: written(study, name) for name in done}
    assert {len(losses) for losses in metrics(study).values()} == {150}


def written(study: StudyDirectory, name: str) -> int:
    """When the final numbers of a run were written."""
    return study.run(name).evaluation_file.stat().st_mtime_ns


@on_linux
def test_ctrl_c_ends_everybody_and_keeps_what_was_done(tmp_path: Path) -> None:
    study = make_study(tmp_path, seeds=2, steps=10**6, saved=10**6)
    supervisor = start_supervisor(study)
    runs = [study.run(run.name) for run in study.runs()]
    wait_for(lambda: all(run.metrics_file.exists() and run.metrics_file.stat().st_size for run in runs))
    supervisor.send_signal(signal.SIGINT)
    _, told = supervisor.communicate()
    assert supervisor.returncode == 130
    assert told == f"stopped by SIGINT with 0 of 2 runs done; go on with `letterloom study resume {study.path}`\n"
    assert processes_at(study) == []
    assert [len(run.checkpoints()) for run in runs] == [1, 1]  # saved because they were asked to end
    assert set(study.states().values()) == {"to do"}


@on_linux
def test_two_supervisors_share_a_study(tmp_path: Path) -> None:
    study = make_study(tmp_path, seeds=3)
    both = [start_supervisor(study, workers=1) for _ in range(2)]
    assert [supervisor.communicate()[1] for supervisor in both] == ["", ""]
    assert [supervisor.returncode for supervisor in both] == [0, 0]
    assert set(study.states().values()) == {"done"}
    for run in study.runs():
        told = study.log_file(run.name).read_text()
        assert told.count("training in") + told.count("continuing at") == 1
