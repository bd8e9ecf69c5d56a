"""What quantizing costs and gains: each way beside the fp32 checkpoint it was made from, in one process.

python benchmarks/quantization.py RUN [RUN ...] [--json FILE]

The loss is that of the run's whole validation split, `blocks`; the difference to fp32 is paired, character by
character, with its 95 % interval. Speeds are medians of rounds in which all draw in turn, one text
within its context by one thread. Memory is that of the weights as the kernels hold them. The runs are left as they are.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from letterloom.adaptation.quantization import Measured, difference, measure
from letterloom.runs.checkpoint import load_checkpoint, read_checkpoint, save_quantized
from letterloom.runs.quantized import choose
from measurement import tell

WAYS = ((16, "bf16"), (8, "round"), (8, "search"), (4, "round"), (4, "search"))


def main() -> None:
    parser = argparse.ArgumentParser(description="What quantizing costs and gains.")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run directory, or a checkpoint in one")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    arguments = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {}
    for run in arguments.runs:
        measured = measured_ways(run)
        found[str(run)] = [figures(measured[0], way) for way in measured]
        print_ways(run, found[str(run)])
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def measured_ways(run: Path) -> list[Measured]:
    """The best checkpoint of a run, then each way of quantizing it."""
    checkpoint = load_checkpoint(run)
    with tempfile.TemporaryDirectory() as folder:
        quantized = []
        for bits, method in WAYS:
            place = Path(folder) / f"{method}-{bits}"
            save_quantized(place, checkpoint, choose(bits, method))
            quantized.append(read_checkpoint(place))
        return measure([checkpoint, *quantized], lambda done, total: tell(f"{run}: {done} of {total} done"))


def figures(first: Measured, way: Measured) -> dict[str, Any]:
    """Everything about one way, with what it costs more than the first."""
    cost = difference(first, way)
    return {**way.to_json(), "ratio": first.file_bytes / way.file_bytes, "cost": cost and cost.to_json()["difference"]}


def print_ways(run: Path, ways: list[dict[str, Any]]) -> None:
    """One table."""
    heads = ("method", "bits/weight", "bytes", "times smaller", "nats", "more than fp32", "characters/s", "memory, MB")
    table = Table(str(run), *heads, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for way in ways:
        cost = way["cost"]
        told = "{low:+.5f} to {high:+.5f}".format(**cost["interval"]) if cost and cost["interval"] else "no interval"
        table.add_row(
            way["precision"],
            way["method"] or "",
            f"{way['bits_per_weight']:.2f}",
            f"{way['file_bytes']:,}",
            f"{way['ratio']:.2f}",
            f"{way['nats_per_character']:.4f}" if cost else "",
            f"{cost['nats_per_character']:+.5f} ({told})" if cost else "",
            f"{way['characters_per_second']:,.0f}",
            f"{way['memory_bytes'] / 1e6:.2f}",
        )
    console = Console(markup=False, highlight=False)
    console.width = max(console.width, 160)
    console.print(table)


if __name__ == "__main__":
    main()
