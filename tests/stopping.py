"""A training that is stopped."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from letterloom.errors import Interrupted
from letterloom.training.learner import Learner


@contextmanager
def stopped_in(step: int) -> Iterator[None]:
    """Within, Ctrl-C comes while that step (the first is 0) is done, and ends the training after it."""
    update = Learner.update

    def interrupted(self: Learner, x: Any, y: Any, at: int, factor: float) -> tuple[float, float]:
        if at == step:
            signal.raise_signal(signal.SIGINT)
        return update(self, x, y, at, factor)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(Learner, "update", interrupted)
        yield
