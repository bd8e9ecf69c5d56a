"""How long training takes to reach a loss, beside nanoGPT's own CPU command (recipe `nanogpt-cpu`).

python benchmarks/time_to_loss.py [--arms NAME ...] [--seeds N] [--json FILE]

Every seed is a round: the yardstick, then each arm, whole processes in turn. Ratios are of one round; their interval
is that of Student's t over the logarithms of the rounds' ratios. Tiny Shakespeare, whole validation split, `blocks`.
"""

import argparse
import json
import math
from dataclasses import asdict
from pathlib import Path
from statistics import mean

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import stats

from processes import Finished, trained

YARDSTICK = ["--recipe", "nanogpt-cpu"]
SECONDS = "--recipe small --minutes none --model.d-model 128 --model.context-length 64 --training.batch-size 16"
ARMS = {  # flags, and the loss (nats per character) that the arm is to reach
    "seconds": ([*SECONDS.split(), "--training.max-steps", "150", "--training.eval-interval", "150"], 1.886),
    "two minutes": (["--minutes", "2"], 1.52),
    "five minutes": (["--minutes", "5"], 1.4697),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="How long training takes to reach a loss.")
    parser.add_argument("--arms", choices=ARMS, nargs="+", default=list(ARMS), help="which of ours to measure")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="rounds, each with a seed of its own")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run's figures there")
    arguments = parser.parse_args()

    runs: dict[str, list[Finished]] = {name: [] for name in ("nanogpt-cpu", *arguments.arms)}
    for seed in range(arguments.seeds):
        runs["nanogpt-cpu"].append(trained("shakespeare", YARDSTICK, seed))
        for name in arguments.arms:
            runs[name].append(trained("shakespeare", ARMS[name][0], seed))
    if arguments.json:
        told = {name: [asdict(finished) for finished in results] for name, results in runs.items()}
        arguments.json.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")

    table = Table("", "nats", "target", "training, s", "process, s", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("yardstick's training / ours", no_wrap=True)
    table.add_column("processes", no_wrap=True)
    for name, results in runs.items():
        target = str(ARMS[name][1]) if name in ARMS else ""
        times = {key: [getattr(r, key) for r in results] for key in ("training_seconds", "process_seconds")}
        yardstick = {key: [getattr(r, key) for r in runs["nanogpt-cpu"]] for key in times}
        ratios = [ratio(yardstick[key], times[key]) if name in ARMS else "" for key in times]
        table.add_row(
            name, interval([r.nats for r in results]), target, *(f"{mean(t):.1f}" for t in times.values()), *ratios
        )
    Console(width=150, highlight=False).print(table)


def interval(values: list[float]) -> str:
    """Mean and its 95 % interval by Student's t."""
    if len(values) == 1:
        return f"{values[0]:.4f}"
    half = stats.t.ppf(0.975, len(values) - 1) * float(stats.sem(values))
    return f"{mean(values):.4f} ({mean(values) - half:.4f} to {mean(values) + half:.4f})"


def ratio(theirs: list[float], ours: list[float]) -> str:
    """Geometric mean of the rounds' ratios, with its 95 % interval."""
    logarithms = np.log(np.array(theirs) / np.array(ours))
    middle = math.exp(logarithms.mean())
    if len(logarithms) == 1:
        return f"{middle:.1f}"
    half = stats.t.ppf(0.975, len(logarithms) - 1) * float(stats.sem(logarithms))
    return f"{middle:.1f} ({math.exp(logarithms.mean() - half):.1f} to {math.exp(logarithms.mean() + half):.1f})"


if __name__ == "__main__":
    main()
