"""A study of a few tiny runs, and commands that work at it in processes of their own."""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from letterloom.studies.arms import plan_arms
from letterloom.studies.design import parse_design
from letterloom.studies.directory import StudyDirectory

PATIENCE = 120.0  # seconds until what does not come is given up
STUDY = """
corpus = ["{text}"]
recipe = "gpt2-char"
seeds = {seeds}
budget.steps = {steps}
factors.model.n_heads = {heads}
[base.model]
context_length = 16
d_model = 16
n_layers = 1
dropout = 0.1
[base.training]
batch_size = 4
eval_interval = 1000
checkpoint_interval = {saved}
sample_interval = 1000
sample_characters = 10
device = "cpu"
"""
# supervises until the study is done, by an engine with options
SUPERVISOR = """
import json
import sys
from contextlib import closing
from pathlib import Path
from letterloom.errors import LetterloomError
from letterloom.studies.directory import StudyDirectory
from letterloom.studies.engines import build_engine
from letterloom.studies.supervision import supervise
study, workers, engine, options = StudyDirectory(Path(sys.argv[1])), int(sys.argv[2]), sys.argv[3], sys.argv[4]
if __name__ == "__main__":  # Dask's processes import it once more
    try:
        with closing(build_engine(engine, study.path, workers, json.loads(options))) as built:
            supervise(study, built, workers, lambda standing: None)
    except LetterloomError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    finally:
        assert "torch" not in sys.modules
"""


def enter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go into an empty folder, with a text in it."""
    monkeypatch.setenv("LETTERLOOM_CACHE", str(folder / "cache"))
    monkeypatch.chdir(folder)
    (folder / "text.txt").write_text("To be, or not to be, that is the question.\n" * 50)


def make_study(
    folder: Path, seeds: int = 4, steps: int = 8, heads: Sequence[int] = (2,), saved: int = 4
) -> StudyDirectory:
    """Arms by their heads, each of so many runs of so many steps."""
    draw = random.Random(0)
    text = folder / "text.txt"
    text.write_text("".join(draw.choice("abcdefgh \n") for _ in range(4000)))
    source = STUDY.format(text=text, seeds=list(range(seeds)), steps=steps, heads=list(heads), saved=saved)
    study = StudyDirectory(folder / "study")
    study.write_plan(source, plan_arms(parse_design(source, "study.toml")))
    return study


def start_supervisor(
    study: StudyDirectory, workers: int = 2, engine: str = "processes", options: Mapping[str, Any] | None = None
) -> "subprocess.Popen[str]":
    """Begin to work at the study."""
    command = [sys.executable, "-c", SUPERVISOR, str(study.path), str(workers), engine, json.dumps(options or {})]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def wait_for(there: Callable[[], object]) -> None:
    """Wait until something is there."""
    until = time.monotonic() + PATIENCE
    while not there():
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.02)


def processes_at(study: StudyDirectory) -> list[int]:
    """Ids of the processes, on Linux, that have the study's folder in their command."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().decode()
        except OSError:  # it has ended
            continue
        if str(study.path) in command and int(process.name) != os.getpid():
            found.append(int(process.name))
    return found


def descendants(process: int) -> list[int]:
    """Ids of the processes, on Linux, that a process has started, and those that these have."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended
            continue
        parents.setdefault(parent, []).append(int(stat.parent.name))
    found = parents.get(process, [])
    return [*found, *(later for child in found for later in descendants(child))]


def is_alive(process: int) -> bool:
    """Whether a process of that id, on Linux, has not ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def worker_at(study: StudyDirectory) -> int:
    """The process of a worker that holds a run: it has the worker's name in its command, or is a job of submitit."""
    marks = [file.stem for file in (study.path / "workers").glob("*.json")] + ["submitit.core._submit"]
    commands = {pid: Path(f"/proc/{pid}/cmdline").read_text() for pid in processes_at(study)}
    return next(pid for pid, command in commands.items() if any(mark in command for mark in marks))


def has_checkpoint(study: StudyDirectory) -> bool:
    """Whether some run can go on from one."""
    return any(study.run(run.name).checkpoints() for run in study.runs())


def metrics(study: StudyDirectory) -> dict[str, list[float]]:
    """The losses of each run, by its name."""
    return {
        run.name: [event["loss"] for event in study.run(run.name).metrics() if event["kind"] == "train"]
        for run in study.runs()
    }
