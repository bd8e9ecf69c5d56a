"""Errors as processes send them to one another."""

import pickle
import signal

import pytest

from letterloom.errors import Interrupted, LetterloomError


@pytest.mark.parametrize(
    "error",
    [
        *(cls("told") for cls in LetterloomError.__subclasses__() if cls is not Interrupted),
        Interrupted("told", signal.SIGTERM),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_copy_is_the_same(error: LetterloomError) -> None:
    copied = pickle.loads(pickle.dumps(error))
    assert (type(copied), str(copied), copied.exit_code) == (type(error), "told", error.exit_code)
