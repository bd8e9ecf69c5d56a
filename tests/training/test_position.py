from dataclasses import replace
from pathlib import Path

import pytest

from letterloom.config import TrainingConfig
from letterloom.errors import DataMismatchError
from letterloom.runs.checkpoint import load_checkpoint
from letterloom.training.position import Position


def test_progress_is_that_of_the_nearest_limit() -> None:
    limits = TrainingConfig(max_steps=200, max_epochs=4.0, max_minutes=2.0)
    assert Position(step=50, seconds=30.0).progress(limits, steps_per_epoch=25.0) == pytest.approx(0.5)  # epochs
    assert Position(step=50, seconds=90.0).progress(limits, steps_per_epoch=25.0) == pytest.approx(0.75)  # minutes
    assert Position(step=150, seconds=0.0).progress(limits, steps_per_epoch=1e9) == pytest.approx(0.75)  # steps
    assert Position().progress(limits, steps_per_epoch=25.0) == 0.0


def test_what_is_reserved_is_not_for_training() -> None:
    limits = TrainingConfig(max_minutes=2.0)
    assert Position(step=9, seconds=30.0, reserved=20.0).progress(limits, 25.0) == pytest.approx(0.3)
    assert Position(step=9, seconds=100.0, reserved=20.0).progress(limits, 25.0) == pytest.approx(1.0)
    assert Position(step=1, seconds=0.1, reserved=500.0).progress(limits, 25.0) >= 1.0  # resumed with fewer minutes


def test_patience_counts_validations_since_the_best() -> None:
    limits = TrainingConfig(max_steps=1, patience=2)
    position = Position()
    found = []
    for position.step, nats in enumerate([3.0, 2.0, 2.0, 2.5, 1.0], start=1):
        best = position.validated(nats)
        found.append((best, position.out_of_patience(limits)))
    assert found == [(True, False), (True, False), (False, False), (False, True), (True, False)]
    assert (position.best_step, position.best_nats) == (5, 1.0)


def test_a_checkpoint_of_another_version_is_refused_by_name(tiny_run: Path) -> None:
    checkpoint = load_checkpoint(tiny_run)
    assert Position.restored(checkpoint).step == checkpoint.step
    for state in ({}, {"position": {"step": 1, "warp": 9}}):
        with pytest.raises(DataMismatchError, match=r"state\.json is of another version"):
            Position.restored(replace(checkpoint, state=state))
