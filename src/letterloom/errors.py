"""One exception for each kind of mistake a user can make.

Every message is one line that names the thing, the place and the fix. The command line prints it
without a traceback and ends with the class's `exit_code`; scripts may rely on those numbers.
"""

import difflib
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Self


class LetterloomError(Exception):
    """A mistake the user can mend; the base of every error raised on purpose."""

    exit_code = 2
    shared = False  # whether every process of a training raises it, so that the first can tell it for all


class ConfigError(LetterloomError):
    """A setting is unknown, out of range, or does not fit another one."""


class CorpusError(LetterloomError):
    """A text cannot be read: missing, empty, too short, binary, not UTF-8."""


class UnknownCharacterError(LetterloomError):
    """A character is not in the vocabulary."""


class RunError(LetterloomError):
    """A run or checkpoint is missing, or a run directory is in the way."""


class LockedError(LetterloomError):
    """Another process holds the run directory or the cache entry."""

    exit_code = 3


class DataMismatchError(LetterloomError):
    """Stored data is not what it claims to be: a changed text, a damaged or foreign checkpoint."""

    exit_code = 4


class ResourceError(LetterloomError):
    """Memory, disk space or a device is missing or used up."""

    exit_code = 5


class DiskFullError(ResourceError):
    """There is no space left to write; whatever is tried next would fail too."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Words to put after a name that is unknown: the one that may have been meant, if any comes close."""
    matches = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {matches[0]!r}?" if matches else ""


@contextmanager
def needing(what: str, packages: Iterable[str], remedy: str) -> Iterator[None]:
    """Tell of optional packages that are not installed, of those that are imported within.

    Raises:
        ResourceError: with `what` needs them, and the remedy.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in packages:
            raise
        raise ResourceError(f"{what} needs {package}; {remedy}") from None


def is_out_of_memory(error: BaseException) -> bool:
    """Torch has a class of its own for accelerators, and a RuntimeError with these words for the CPU."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )


class NonFiniteError(LetterloomError):
    """A loss or gradient is NaN or infinite; raised before the update that would spread it."""

    exit_code = 6


class Terminated(KeyboardInterrupt):
    """SIGTERM where no training heeds it: as Ctrl-C, so that nothing half-written stays, but with its own exit code."""


def signal_of(interrupt: KeyboardInterrupt) -> int:
    """The number of the signal that an interrupt stands for."""
    return signal.SIGTERM if isinstance(interrupt, Terminated) else signal.SIGINT


class Interrupted(LetterloomError):
    """A signal ended the work; everything up to the last finished step is saved."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number

    def __reduce__(self) -> tuple[type[Self], tuple[str, int]]:
        return type(self), (str(self), self.exit_code - 128)  # as processes that share an error send it
