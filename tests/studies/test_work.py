"""One worker, in this process."""

import errno
import logging
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import pytest
from studying import make_study

from letterloom.config import RunConfig
from letterloom.errors import DataMismatchError, DiskFullError, Interrupted, NonFiniteError
from letterloom.studies import work as working
from letterloom.studies.engines import holding_file
from letterloom.studies.work import work
from letterloom.training.loop import train
from letterloom.training.signals import StopSignals


def test_a_run_after_another_is_what_it_is_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    study = make_study(tmp_path, seeds=2, heads=(1, 2))
    work(study.path)
    told = capfd.readouterr()
    assert set(study.states().values()) == {"done"}
    for run in study.runs():
        alone = train(run.config, tmp_path / run.name).metrics()
        assert [e.get("loss") for e in alone] == [e.get("loss") for e in study.run(run.name).metrics()]
        assert "scoring the whole validation split" in study.log_file(run.name).read_text()
    assert told.out == told.err == ""


def test_a_text_that_has_changed_ends_the_work_before_a_run(tmp_path: Path) -> None:
    study = make_study(tmp_path, seeds=2)
    (tmp_path / "text.txt").write_text("another text " * 400)
    with pytest.raises(DataMismatchError, match=r"text\.txt has changed since the study .* was planned"):
        work(study.path)
    assert set(study.states().values()) == {"to do"}


def test_what_is_told_goes_to_the_log_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, handlers = make_study(tmp_path, seeds=1), list(logging.getLogger("letterloom").handlers)

    def tell(config: RunConfig, out: Path) -> None:
        print("printed", end="")
        print(" in two parts", file=sys.stderr)
        logging.getLogger("letterloom").warning("logged")

    monkeypatch.setattr(working, "train", tell)
    work(study.path)
    assert study.log_file(study.runs()[0].name).read_text() == "printed in two parts\nlogged\n"
    assert logging.getLogger("letterloom").handlers == handlers


@pytest.mark.parametrize(
    ("error", "told", "details"),
    [
        (NonFiniteError("the loss is nan"), "the loss is nan", ""),
        (KeyError("x"), "unexpected KeyError: 'x'; a fault of Letterloom, see the details", "Traceback"),
        (MemoryError(), "out of memory; make the batch, the context or the model smaller, or use fewer workers", "Tr"),
    ],
)
def test_a_run_that_fails_is_recorded_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str, details: str
) -> None:
    study = make_study(tmp_path, seeds=3)
    first, *others = [run.name for run in study.runs()]
    tried = []

    def fail_first(config: RunConfig, out: Path) -> None:
        tried.append(out.name)
        if out.name == first:
            raise error

    monkeypatch.setattr(working, "train", fail_first)
    work(study.path)
    work(study.path)
    assert tried == [first, *others, *others]  # the failed one is not tried again
    failure = study.failure(first)
    assert failure is not None
    assert failure["error"] == told
    assert failure["details"].startswith(details)
    assert bool(failure["details"]) == bool(details)


def test_a_full_disk_is_nobodys_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = make_study(tmp_path, seeds=2)
    with monkeypatch.context() as patch:
        patch.setattr("letterloom.storage._fsync", no_space_for_a_checkpoint)
        with pytest.raises(DiskFullError, match="no space left to write"):
            work(study.path)
    assert list(study.states().values()) == ["to do", "to do"]  # and nobody holds them


def no_space_for_a_checkpoint(file: BinaryIO) -> None:
    if "checkpoints" in file.name:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_run_of_other_settings_in_its_place_is_not_gone_on_with(tmp_path: Path) -> None:
    """Begun by hand, or by a version of which a setting of the same name meant something else."""
    study = make_study(tmp_path, seeds=2)
    first, second = (study.run(run.name) for run in study.runs())
    train(study.runs()[1].config, first.path)
    first.evaluation_file.unlink()  # as if it were half-way
    work(study.path)
    failure = study.failure(first.path.name)
    assert failure is not None
    told = f"{first.path} is a run of other settings (training.seed is 1, not 0); move it away, and it is run again"
    assert failure["error"] == told
    assert not study.is_finished(first.path.name)
    assert study.is_finished(second.path.name)


def test_what_others_hold_is_passed_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, done = make_study(tmp_path, seeds=3), []
    claimed, locked, free = (run.name for run in study.runs())

    def do(config: RunConfig, out: Path) -> None:
        with study.run(out.name).locked():
            done.append(out.name)

    monkeypatch.setattr(working, "train", do)
    with study.claimed(claimed), study.run(locked).locked():
        work(study.path)
    assert done == [free]
    assert study.failure(locked) is None


def test_what_another_has_finished_since_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = make_study(tmp_path, seeds=1)
    looked = []

    def finished_meanwhile(*_: Any) -> bool:
        looked.append(study.is_claimed(study.runs()[0].name))
        return len(looked) > 1

    monkeypatch.setattr(type(study), "is_finished", finished_meanwhile)
    monkeypatch.setattr(working, "train", lambda *_: pytest.fail("done again"))
    work(study.path)
    assert looked == [False, True]


def test_a_plan_may_change_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, done = make_study(tmp_path, seeds=1, heads=(1, 2)), []

    def do(config: RunConfig, out: Path) -> None:
        done.append(config.model.n_heads)
        make_study(tmp_path, seeds=1, heads=(1, 4))

    monkeypatch.setattr(working, "train", do)
    work(study.path)
    assert done == [1, 4]


def test_a_stopped_arm_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, done = make_study(tmp_path, seeds=5, heads=(1, 2)), []
    study.write_plan(f"stop_worse = 0.1\n{study.study_file.read_text()}", study.arms())

    def do(config: RunConfig, out: Path) -> None:
        done.append((config.model.n_heads, config.training.seed))

    def stop_worse(_: Any) -> None:
        if len(done) == 2:
            study.record_stopped(study.arms()[0])

    monkeypatch.setattr(working, "train", do)
    monkeypatch.setitem(sys.modules, "letterloom.studies.stopping", SimpleNamespace(stop_worse=stop_worse))
    work(study.path)
    assert done == [(1, 0), *((2, seed) for seed in range(5))]


def test_a_search_goes_on_while_it_finds_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, done = make_study(tmp_path, seeds=2, heads=(1, 2, 4)), []
    more = list(study.arms()[1:])
    study.write_plan(f'design = "search"\n{study.study_file.read_text()}', study.arms()[:1])

    def extend(_: Any) -> bool:
        if not more:
            return False
        study.add_arm(len(more), more.pop(0))
        return True

    monkeypatch.setattr(working, "train", lambda config, out: done.append(config.model.n_heads))
    monkeypatch.setitem(sys.modules, "letterloom.studies.search", SimpleNamespace(extend=extend))
    work(study.path)
    assert done == [1, 1, 2, 2, 4, 4]


def test_sigterm_ends_it_between_two_trainings_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, before = make_study(tmp_path, seeds=1), signal.getsignal(signal.SIGTERM)
    held: list[str] = []

    def opening_the_text(config: RunConfig, out: Path) -> None:
        held.append(holding_file(study.path, "one").read_text())
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(working, "train", opening_the_text)
    with pytest.raises(Interrupted):
        work(study.path, "one")
    assert study.runs()[0].name in held[0]
    assert not holding_file(study.path, "one").exists()
    assert set(study.states().values()) == {"to do"}
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_during_the_last_save_of_a_run_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, done = make_study(tmp_path, seeds=2), []

    def train_to_the_end(config: RunConfig, out: Path) -> None:
        done.append(out.name)
        with StopSignals():
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(working, "train", train_to_the_end)
    with pytest.raises(Interrupted):
        work(study.path)
    assert len(done) == 1
