"""The profile of a run from whatever is left of its files: what is damaged is named, the rest is told."""

import math
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from letterloom import storage
from letterloom.accounting import Measured
from letterloom.errors import DataMismatchError, LetterloomError
from letterloom.reporting.profile.figures import Profile
from letterloom.runs.directory import RunDirectory, damage
from letterloom.runs.finding import is_checkpoint, is_run

T = TypeVar("T")


def profile_run(path: Path) -> Profile:
    """Profile a run directory, or a checkpoint folder, however damaged.

    Settings and vocabulary are taken from the run, else from its newest whole checkpoint.

    Raises:
        DataMismatchError: no settings are left, so nothing can be told.
    """
    problems: list[str] = []
    run = _run_of(path)
    checkpoints = [path] if is_checkpoint(path) else list(reversed(RunDirectory(path).checkpoints()))
    places = [path, *(folder for folder in checkpoints if _is_whole(folder, problems) and folder != path)]
    config = _first_of(places, "run.toml", RunDirectory.config, problems)
    if config is None:
        raise DataMismatchError(f"nothing can be told of {path}: {'; '.join(problems)}")
    corpus = _read(run.path / "corpus.json", run.corpus, problems) if run else None
    vocab_size = _first_of(places, "tokenizer.json", lambda place: place.tokenizer().vocab_size, problems)
    training_ids = None
    if run and corpus is not None:
        file = run.path / "corpus.json"
        training_ids = _read(file, lambda: int(corpus["split"]["train"]["ids"]), problems)
        if vocab_size is None:
            vocab_size = _read(file, lambda: int(corpus["vocab_size"]), problems)
    logged = _logged(run, problems) if run else []
    about = "a checkpoint, and the log of its run" if is_checkpoint(path) else "a run, as its files tell"
    return Profile(
        name=str(path),
        about="a checkpoint by itself, without the log of its run" if run is None else about,
        config=config,
        vocab_size=vocab_size,
        training_ids=training_ids,
        measured=_measured(run, logged, problems) if run else None,
        trained=logged[-1] if logged else None,
        problems=tuple(problems),
    )


def looks_like_a_run(path: Path) -> bool:
    """Whether a folder is a run or a checkpoint, or what is left of one."""
    left = ("run.toml", "metrics.jsonl", "tokenizer.json", "checkpoints")
    return is_checkpoint(path) or any((path / name).exists() for name in left)


def _run_of(path: Path) -> RunDirectory | None:
    """The run that a path is, or that a checkpoint lies in."""
    if not is_checkpoint(path):
        return RunDirectory(path)
    folder = path.resolve().parent.parent
    return RunDirectory(folder) if is_run(folder) else None


def _is_whole(checkpoint: Path, problems: list[str]) -> bool:
    try:
        storage.verify_folder(checkpoint)
    except LetterloomError as error:
        problems.append(str(error))
        return False
    return True


def _first_of(places: Sequence[Path], name: str, read: Callable[[RunDirectory], T], problems: list[str]) -> T | None:
    """What the file of that name holds in the first place where it can be read; None where it cannot in any."""
    failed: list[str] = []
    for place in places:
        found = _read(place / name, partial(read, RunDirectory(place)), failed)
        if found is not None:
            problems += [f"{problem}; that of {place.name} is used in its place" for problem in failed]
            return found
    problems += failed
    return None


def _logged(run: RunDirectory, problems: list[str]) -> list[tuple[int, float]]:
    """Each logged step and the seconds of the run until then; empty where the log is missing or damaged."""
    if not run.metrics_file.exists():
        problems.append(f"{run.metrics_file} is missing, and with it the time of a step; restore it from a copy")
        return []
    return _read(run.metrics_file, partial(_steps, run), problems) or []


def _steps(run: RunDirectory) -> list[tuple[int, float]]:
    logged = [(int(line["step"]), float(line["seconds"])) for line in run.metrics() if line["kind"] == "train"]
    for earlier, later in pairwise([(0, 0.0), *logged]):
        if later[0] <= earlier[0] or not 0 < later[1] - earlier[1] < math.inf:
            raise damage(run.metrics_file, f"at step {later[0]} its steps or seconds stand still or go backwards")
    return logged


def _measured(run: RunDirectory, logged: Sequence[tuple[int, float]], problems: list[str]) -> Measured | None:
    """The median time of a step, which ignores those into which a validation fell; None where none is logged."""
    environment = _read(run.path / "environment.json", run.environment, problems)
    if not logged:
        return None
    times = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise([(0, 0.0), *logged])]
    source = f"the steps of {run.metrics_file.name}, where and when the run was trained"
    return Measured(statistics.median(times), len(times), source, environment or {})


def _read(file: Path, read: Callable[[], T], problems: list[str]) -> T | None:
    """What `read` makes of a file; where it cannot, None and a line more among the problems."""
    try:
        return read()
    except LetterloomError as error:
        told = str(error)
        problems.append(told if str(file) in told else f"{file}: {told}")
    except (
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        ArithmeticError,
    ) as error:  # intact, and not what a run writes
        problems.append(str(damage(file, error)))
    return None
