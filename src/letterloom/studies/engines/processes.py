"""Workers as processes of this machine, each in a process group of its own, so that Ctrl-C reaches the supervisor only.

They are plain commands, and not `multiprocessing`, which would import the user's main module once more in each, and
starts none from the daemons that Dask runs tasks in. Each reads from a pipe whose other end its parent holds: when the
parent ends, in whatever way, the kernel closes the pipe, and the worker stops by itself.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from letterloom import errors
from letterloom.errors import LetterloomError
from letterloom.studies.engines import Ending, require_options

ORPHAN_SECONDS = 30  # that a worker without a parent has to save and end


@dataclass(frozen=True)
class Processes:
    """Starts workers at the study in a folder.

    Args:
        folder: Of this machine.
        options: None are known.

    Raises:
        ConfigError: an option is given.
    """

    folder: Path
    options: Mapping[str, Any]

    def __post_init__(self) -> None:
        require_options("processes", self.options, ())

    def start(self, name: str) -> "ProcessWorker":
        """See `Engine`."""
        return ProcessWorker(self.folder, name)

    def close(self) -> None:
        """Nothing is left."""


class ProcessWorker:
    """A worker at the study in `folder`, as a child of this process."""

    def __init__(self, folder: Path, name: str) -> None:
        command = [sys.executable, "-P", "-m", __name__, str(folder), name]  # -P: no module of the current folder
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0)
        self._ending: Ending | None = None

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    def ended(self) -> Ending | None:
        """See `Worker`."""
        if self._ending is None and self._process.poll() is not None:
            answer, _ = self._process.communicate()
            code = self._process.returncode
            if code == 0:
                self._ending = Ending(error=_error(json.loads(answer)))
            else:
                self._ending = Ending(killed=f"signal {-code}" if code < 0 else f"exit code {code}")
        return self._ending

    def stop(self) -> None:
        """See `Worker`."""
        self._process.terminate()

    def kill(self) -> None:
        """See `Worker`."""
        self._process.kill()


def _main(folder: str, name: str) -> None:
    """Work, and answer on standard output with the error that ended it, if one did."""
    answer = os.dup(1)
    os.dup2(2, 1)  # whatever else is printed is no answer
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from letterloom.studies.work import work  # torch: seconds, in which the parent may end

    error = None
    try:
        work(Path(folder), name)
    except LetterloomError as raised:
        error = raised
    told = error and {"kind": type(error).__name__, "arguments": error.__reduce__()[1]}
    with suppress(BrokenPipeError):  # nobody is there any more to be told
        os.write(answer, json.dumps(told).encode())


def _error(told: dict[str, Any] | None) -> LetterloomError | None:
    """The error that a worker told of."""
    if told is None:
        return None
    kind: type[LetterloomError] = getattr(errors, told["kind"])
    return kind(*told["arguments"])


def _end_with_parent() -> None:
    """Wait until the parent has ended, and end then."""
    os.read(0, 1)
    end_orphan()


def end_orphan() -> None:
    """Ask this process, whose supervisor is gone, to save and end, and see to it that it does."""
    signal.alarm(ORPHAN_SECONDS)  # nobody handles it, so that it ends even a process that hangs
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    _main(*sys.argv[1:])
