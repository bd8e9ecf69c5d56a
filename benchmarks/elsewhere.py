"""Whether the default recipe holds on other texts: beside `nanogpt-cpu`'s settings at the same size and time.

python benchmarks/elsewhere.py [--cases NAME ...] [--minutes M] [--seeds N] [--names FILE]

Both models have the same width, depth, heads and context and train for the same minutes, so they differ in what the
recipes say beside: positions, norms, activation, optimizer, schedule, precision.
"""

import argparse
from pathlib import Path
from statistics import mean

from rich.console import Console
from rich.table import Table

from processes import trained

SIZE = ["--model.d-model", "128", "--model.n-layers", "4", "--model.n-heads", "4", "--model.context-length", "128"]
LARGE = ["--model.d-model", "384", "--model.n-layers", "6", "--model.n-heads", "6", "--model.context-length", "256"]
BATCH = ["--training.batch-size", "16"]
CASES = {  # flags of both, and how many times the minutes
    "python-docs": ("python-docs", [*SIZE, *BATCH], 1),
    "names, by lines": ("names", [*SIZE, *BATCH, "--records", "lines"], 1),
    "python-docs, by bytes": ("python-docs", [*SIZE, *BATCH, "--tokenizer", "bytes"], 1),
    "shakespeare, 10 M parameters": ("shakespeare", [*LARGE, *BATCH], 5),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Whether the default recipe holds on other texts.")
    parser.add_argument("--cases", choices=CASES, nargs="+", default=list(CASES))
    parser.add_argument(
        "--minutes", type=float, default=1.0, metavar="M", help="of each run; the large model takes 5 M"
    )
    parser.add_argument("--seeds", type=int, default=3, metavar="N")
    parser.add_argument("--names", type=Path, metavar="FILE", help="in place of the corpus `names`")
    arguments = parser.parse_args()

    table = Table("", "small, nats", "nanogpt-cpu's settings, nats", "difference", box=None, pad_edge=False)
    for case in arguments.cases:
        corpus, flags, times = CASES[case]
        text = str(arguments.names) if corpus == "names" and arguments.names else corpus
        limit = ["--training.max-steps", "none", "--minutes", f"{times * arguments.minutes:g}"]
        pairs = [
            [trained(text, ["--recipe", recipe, *flags, *limit], seed).nats for recipe in ("small", "nanogpt-cpu")]
            for seed in range(arguments.seeds)
        ]
        ours, theirs = zip(*pairs, strict=True)
        differences = [a - b for a, b in pairs]
        spread = f"{mean(differences):+.4f} ({min(differences):+.4f} to {max(differences):+.4f})"
        table.add_row(case, f"{mean(ours):.4f}", f"{mean(theirs):.4f}", spread)
    Console(width=120, highlight=False).print(table)


if __name__ == "__main__":
    main()
