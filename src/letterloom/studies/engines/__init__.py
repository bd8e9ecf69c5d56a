"""Where workers run. Every engine is the same thing: it starts processes that each do `studies.work.work`."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from letterloom.errors import ConfigError, LetterloomError, nearest, needing

ENGINES = ("processes", "slurm", "dask")


@dataclass(frozen=True)
class Ending:
    """How a worker ended: with nothing left to do, unless it raised an error or was killed."""

    error: LetterloomError | None = None
    killed: str = ""  # by what: "signal 9"


class Worker(Protocol):
    """A process that was started, here or elsewhere."""

    def ended(self) -> Ending | None:
        """How it ended; None while it lives, or waits for its turn."""

    def stop(self) -> None:
        """Ask it to save and end."""

    def kill(self) -> None:
        """End it as it stands."""


class Engine(Protocol):
    """Starts workers at one study."""

    def start(self, name: str) -> Worker:
        """Start one; its name is no other's, and tells what it holds (`holding_file`)."""

    def close(self) -> None:
        """Let go of what the workers ran on; they have ended."""


def holding_file(folder: Path, worker: str) -> Path:
    """Where a worker keeps the name of the run it is at; of one that was killed there, it stays."""
    return folder / "workers" / f"{worker}.json"


def build_engine(name: str, folder: Path, workers: int, options: Mapping[str, Any]) -> Engine:
    """The engine of that name, for so many workers at the study in `folder`.

    Raises:
        ConfigError: there is no such engine, or option of it (the nearest is named).
        ResourceError: its package is not installed, or its cluster is not there.
    """
    folder = folder.resolve()
    remedy = "`pip install 'letterloom[cluster]'` brings it, or use processes"
    with needing(f"the engine {name!r}", ("submitit", "dask", "distributed"), remedy):
        if name == "processes":
            from letterloom.studies.engines.processes import Processes

            return Processes(folder, options)
        if name == "slurm":
            from letterloom.studies.engines.slurm import Slurm

            return Slurm(folder, options)
        if name == "dask":
            from letterloom.studies.engines.dask import Dask

            return Dask(folder, options, workers)
    raise ConfigError(f"unknown engine {name!r}{nearest(name, ENGINES)}; the engines are {', '.join(ENGINES)}")


def require_engine(name: str, options: Mapping[str, Any]) -> None:
    """Refuse what `build_engine` would refuse for any study; nothing is left behind, and no cluster is asked.

    Raises:
        ConfigError, ResourceError: as `build_engine`.
    """
    if name == "dask":
        from letterloom.studies.engines.dask import OPTIONS

        require_options(name, options, OPTIONS)
        return
    with TemporaryDirectory() as folder:
        build_engine(name, Path(folder), 1, options).close()


def require_options(engine: str, options: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuse an option that an engine does not have.

    Raises:
        ConfigError: naming it, and the nearest.
    """
    for name in options:
        if name not in known:
            raise ConfigError(f"the engine {engine!r} has no option {name!r}{nearest(name, known)}")
