"""What a study costs over its bare runs, and how best to share two cores: a thread a run, or all threads for one.

python benchmarks/study_overhead.py [--steps N] [--rounds N]

First what the study itself takes, which other work on the machine hardly changes: the supervisor's processor time, as a
share of its workers'; and the time that a worker spends between two trainings, as a share of these. Then, in turn: the
runs of a study as bare processes of `letterloom train`, as many at a time as there are cores; the same study, with as
many workers; the same runs once more, one at a time, each with all cores.
"""

import argparse
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean
from unittest.mock import patch

from rich.console import Console
from rich.table import Table

from letterloom.accounting import usable_cores
from letterloom.config import RunConfig, to_toml
from letterloom.runs.directory import RunDirectory
from letterloom.studies.arms import plan_arms
from letterloom.studies.beginning import begin
from letterloom.studies.design import parse_design
from letterloom.study import run_study
from measurement import LETTERLOOM, seconds, tell
from time_to_loss import interval

STUDY = """
corpus = ["shakespeare"]
recipe = "gpt2-char"
seeds = [0, 1, 2]
budget.steps = {steps}
base.training = {{ eval_interval = {steps}, threads = {threads} }}
factors.model.positions = ["learned", "rotary"]
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="What a study costs over its bare runs.")
    parser.add_argument("--steps", type=int, default=200, metavar="N", help="of each of 6 runs [200]")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="of the times beside bare runs [3]")
    arguments = parser.parse_args()

    cores = usable_cores()
    supervisor, between = _supervisor_share(arguments.steps, cores), _between_share(arguments.steps)
    print(f"supervisor: {supervisor:.2%} of the processor time of its workers")
    print(f"between two trainings: {between:.2%} of the time of these")
    print(f"what the study takes: {supervisor + between:.2%}; 3 % are allowed")
    if not arguments.rounds:
        return
    ways: dict[str, Callable[[Path], None]] = {
        f"bare runs, {cores} at a time": lambda folder: _bare(folder, arguments.steps, cores),
        f"study, {cores} workers of 1 thread": lambda folder: _study(folder, arguments.steps, cores, 1),
        f"study, 1 worker of {cores} threads": lambda folder: _study(folder, arguments.steps, 1, cores),
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    busy: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(arguments.rounds):
        for name, way in ways.items():
            tell(f"{name}, round {round_ + 1} of {arguments.rounds}, load {os.getloadavg()[0]:.1f}")
            with tempfile.TemporaryDirectory() as folder:
                before = _cpu_seconds()
                took[name].append(seconds(lambda way=way, folder=folder: way(Path(folder))))  # type: ignore[misc]  # mypy infers no lambda with defaults
                busy[name].append((_cpu_seconds() - before) / took[name][-1] / cores)
    table = Table("", "seconds", "cores busy", "over bare runs", box=None, pad_edge=False)
    bare = next(iter(took.values()))
    for name, times in took.items():
        ratios = [100 * (ours / theirs - 1) for ours, theirs in zip(times, bare, strict=True)]
        over = "" if times is bare else f"{interval(ratios)} %"
        table.add_row(name, f"{mean(times):.1f}", f"{100 * mean(busy[name]):.0f} %", over)
    Console(width=120, highlight=False).print(table)


def _supervisor_share(steps: int, workers: int) -> float:
    """Processor time of planning and supervising, as a share of that of the workers, their start included."""
    with tempfile.TemporaryDirectory() as folder:
        file = _written(Path(folder), steps, threads=1)
        own, before = resource.getrusage(resource.RUSAGE_SELF), _cpu_seconds()
        run_study(file, Path(folder) / "study", workers)
        after = resource.getrusage(resource.RUSAGE_SELF)
        mine = after.ru_utime + after.ru_stime - own.ru_utime - own.ru_stime
        return mine / (_cpu_seconds() - before)


def _between_share(steps: int) -> float:
    """Time of a worker, in this process, that is in no training, as a share of that which is."""
    from letterloom.studies import work as working  # torch, whose import counts for neither
    from letterloom.training.loop import train

    trained: list[float] = []

    def timed(config: RunConfig, out: Path) -> RunDirectory:
        began = time.perf_counter()
        try:
            return train(config, out)
        finally:
            trained.append(time.perf_counter() - began)

    with tempfile.TemporaryDirectory() as folder, patch.object(working, "train", timed):
        study = begin(str(_written(Path(folder), steps, threads=1)), Path(folder) / "study")
        whole = seconds(lambda: working.work(study.path, "worker"))
    return whole / sum(trained) - 1.0


def _written(folder: Path, steps: int, threads: int) -> Path:
    file = folder / "study.toml"
    file.write_text(STUDY.format(steps=steps, threads=threads), encoding="utf-8")
    return file


def _bare(folder: Path, steps: int, at_a_time: int) -> None:
    """As a script would: a file of settings for each run, and so many processes."""
    commands = []
    for arm in plan_arms(parse_design(STUDY.format(steps=steps, threads=1), "study")):
        for run in arm.runs:
            file = folder / f"{run.name}.toml"
            file.write_text(to_toml(run.config), encoding="utf-8")
            commands.append([LETTERLOOM, "train", "--config", str(file), "--out", str(folder / run.name)])
    with ThreadPoolExecutor(at_a_time) as pool:
        list(pool.map(_run, commands))


def _study(folder: Path, steps: int, workers: int, threads: int) -> None:
    file = _written(folder, steps, threads)
    _run([LETTERLOOM, "study", "run", str(file), "--out", str(folder / "study"), "--workers", str(workers)])


def _run(command: list[str]) -> None:
    subprocess.run(command, capture_output=True, check=True)


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
