"""A study, for Python and the command line: run it, go on with it, read what it found.

study = letterloom.run_study("positions")
for comparison in study.report()["comparisons"]:
    print(comparison["arm"], comparison["difference"], comparison["interval"])
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from letterloom.errors import ConfigError, RunError

if TYPE_CHECKING:
    from letterloom.studies.directory import State, StudyDirectory
    from letterloom.studies.supervision import Standing


log = logging.getLogger("letterloom")


@dataclass(frozen=True)
class Study:
    """The folder of a study."""

    path: Path

    @property
    def states(self) -> "dict[str, State]":
        """What has become of each run, by its name."""
        return self.directory.states()

    @property
    def directory(self) -> "StudyDirectory":
        """Its files."""
        from letterloom.studies.directory import StudyDirectory

        return StudyDirectory(self.path)

    def report(self) -> dict[str, Any]:
        """Write the report of what is finished; what it says, in numbers (`docs/studies.md` lists the keys)."""
        from letterloom.studies.report.report import write_report

        return write_report(self.directory)


def run_study(
    name: str | Path,
    out: str | Path | None = None,
    workers: int | None = None,
    engine: str = "processes",
    options: Mapping[str, Any] | None = None,
    retry_failed: bool = False,
    tell: "Callable[[Standing], None] | None" = None,
) -> Study:
    """Run a study, or go on with one; what is finished is not repeated.

    Args:
        name: A shipped study, a TOML file, or the folder of a study that was begun.
        out: The study's folder; by default `studies/NAME`.
        workers: Runs at a time; None: as many as have a core for each thread of a run.
        engine: Where they run: "processes" of this machine, "slurm" or "dask".
        options: Of the engine, such as `{"timeout_min": 60}`.
        retry_failed: Try again the runs that failed before.
        tell: Is told how the study stands, whenever that changes.

    Raises:
        ConfigError, CorpusError: the study, an arm, its text or the engine is at fault; before anything is written.
        DiskFullError: the disk is full; what was finished is safe.
        Interrupted: a signal came; every run is saved.
        RunError: every run failed; the report says so, too.
    """
    from letterloom.accounting import usable_cores
    from letterloom.studies.beginning import begin
    from letterloom.studies.engines import build_engine, require_engine
    from letterloom.studies.supervision import supervise

    if workers is not None and workers < 1:
        raise ConfigError(f"workers = {workers}: should be at least 1")
    require_engine(engine, options or {})
    directory = begin(str(name), None if out is None else Path(out), here=engine == "processes")
    if retry_failed:
        directory.forget_failures()
    if workers is None:
        of_a_search = directory.design().base.get("training", {}).get("threads", 1)
        threads: list[Any] = [run.config.training.threads for run in directory.runs()] or [of_a_search]
        cores = usable_cores()
        workers = max(1, cores // max(cores if number in (None, "none") else int(number) for number in threads))
    with closing(build_engine(engine, directory.path, workers, options or {})) as built:
        supervise(directory, built, workers, tell or _ignore)
    states = directory.states()
    if states and set(states.values()) == {"failed"}:
        failure = directory.failure(next(iter(states))) or {}
        Study(directory.path).report()  # nobody else will write it
        told = f"each of the {len(states)} runs of {directory.path} failed; the first: {failure.get('error')}"
        raise RunError(f"{told}; mend the cause, then try again by `{_retry(directory.path)}`")
    if failed := list(states.values()).count("failed"):
        told = f"{failed} of {len(states)} runs failed; `letterloom study status {directory.path}` says why"
        log.warning("%s, and `%s` tries them again", told, _retry(directory.path))
    return Study(directory.path)


def _retry(folder: Path) -> str:
    return f"letterloom study resume {folder} --retry-failed"


def open_study(name: str | Path) -> Study:
    """The study in a folder, or of that name in `studies`.

    Raises:
        RunError: there is none.
    """
    from letterloom.studies.finding import find_study

    return Study(find_study(str(name)).path)


def _ignore(standing: "Standing") -> None:
    """Tell nobody."""
