"""Measure speed, memory and sizes on this machine: a table, or JSON. Nothing is asserted; targets stand beside.

python benchmarks/run.py [--only NAME ...] [--quick] [--json FILE|-]
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from checkpoint import measure_checkpoint
from encoding import measure_encoding, measure_memory
from generation import measure_generation
from letterloom.runs.environment import describe_environment
from measurement import Measurement
from startup import measure_startup
from study_report import measure_study_report
from training import measure_training

BENCHMARKS = {
    "startup": measure_startup,
    "training": measure_training,
    "generation": measure_generation,
    "checkpoint": measure_checkpoint,
    "encoding": measure_encoding,
    "memory": measure_memory,
    "studies": measure_study_report,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure speed, memory and sizes on this machine.")
    parser.add_argument("--only", metavar="NAME", choices=BENCHMARKS, nargs="+", help=f"of {', '.join(BENCHMARKS)}")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller texts, not the one of 2 GiB")
    parser.add_argument("--json", metavar="FILE", help="write JSON to FILE, or with - to standard output, not a table")
    arguments = parser.parse_args()

    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    machine = describe_environment(torch.device("cpu")) | {
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "load": os.getloadavg()[0],
        "quick": arguments.quick,
    }
    measurements = [m for name in arguments.only or BENCHMARKS for m in BENCHMARKS[name](arguments.quick)]
    if arguments.json is None:
        print_table(machine, measurements)
        return
    text = json.dumps({"machine": machine, "measurements": [m.to_json() for m in measurements]}, indent=2)
    if arguments.json == "-":
        print(text)
    else:
        Path(arguments.json).write_text(text + "\n", encoding="utf-8")


def print_table(machine: dict[str, Any], measurements: list[Measurement]) -> None:
    """Medians with the range of the rounds, in 80 columns."""
    table = Table("", "median", "range", "target", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for measurement in measurements:
        row = measurement.to_json()
        if measurement.values:
            spread = f"{_figure(row['min'])} to {_figure(row['max'])}" if row["rounds"] > 1 else ""
            table.add_row(row["name"], f"{_figure(row['median'])} {row['unit']}", spread, row["target"])
        else:
            table.add_row(row["name"], row["note"], "", row["target"])
    console = Console(markup=False, highlight=False)
    console.print(
        f"{machine['processor']}, {machine['instructions']}, {machine['cores']} cores; torch {machine['torch']}, "
        f"{machine['threads']} threads; load {machine['load']:.1f} before"
    )
    if machine["quick"]:
        console.print("--quick: fewer rounds and smaller texts, so rougher figures")
    console.print(table)


def _figure(value: float) -> str:
    """Three significant digits, and all that stand before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    main()
