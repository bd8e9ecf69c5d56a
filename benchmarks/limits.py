"""How close training comes to what there is to learn: synthetic texts, each beside its own true limit.

python benchmarks/limits.py [--kinds NAME ...] [--seed N]

One thread, one run at a time. Limit: what the same held-out characters cost the process that drew them. The gap is
paired, character by character, and its standard error that of the mean of 100 blocks of text.
"""

import argparse
import math
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import letterloom
from letterloom.evaluation.loss import surprisal
from letterloom.text.encoding import open_corpus
from letterloom.text.synthetic import PREFIX
from letterloom.text.synthetic.sources import open_synthetic
from measurement import tell

KINDS = {  # characters, layers, and steps of 16 x 64 characters, with which each comes within 0.02 nats
    "markov": (200_000, 2, 400),
    "hmm": (200_000, 2, 500),
    "grammar": (500_000, 4, 2500),
    "copy": (200_000, 2, 800),
    "periodic": (200_000, 2, 200),
}
PROTOCOLS = "blocks", "sliding"
BLOCKS = 100


def main() -> None:
    parser = argparse.ArgumentParser(description="Train on synthetic texts; how far above their limits it ends.")
    parser.add_argument("--kinds", choices=KINDS, nargs="+", default=list(KINDS))
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the texts and of the training [1]")
    arguments = parser.parse_args()
    heads = ("source", "entropy rate", "protocol", "model", "limit", "gap", "standard error", "CPU, s")
    table = Table(*heads, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for kind in arguments.kinds:
        for row in rows(kind, arguments.seed):
            table.add_row(*row)
    Console(width=120, highlight=False).print(table)


def rows(kind: str, seed: int) -> list[list[str]]:
    """Train on a text of this kind; one row for each protocol."""
    characters, layers, steps = KINDS[kind]
    source = open_synthetic(f"{PREFIX}{kind},characters={characters},seed={seed}")
    tell(f"{source.name}; layers: {layers}, steps: {steps}")
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        began = time.process_time()  # of one thread, so that other work on the machine does not count
        train(source.name, layers, steps, seed, run)
        took = time.process_time() - began
        model = letterloom.load(run, "cpu")
        network, tokenizer = model.network, model.checkpoint.tokenizer  # read before the folder is gone
        corpus = open_corpus(model.checkpoint.config.text, tokenizer)
    limits = corpus.description["limit"]
    rate = "" if limits["entropy_rate"] is None else f"{limits['entropy_rate']:.4f}"
    found = []
    for protocol in PROTOCOLS:
        nats, _ = surprisal(network, corpus.validation, protocol)
        more = nats - source.nats[-len(nats) :]
        blocks = [block.mean() for block in np.array_split(more, BLOCKS)]
        error = float(np.std(blocks, ddof=1)) / math.sqrt(BLOCKS)
        figures = nats.mean(), limits["validation"], more.mean(), error
        tell(f"  {protocol}: model {figures[0]:.4f}, limit {figures[1]:.4f}, gap {figures[2]:.4f}")
        found.append([kind, rate, protocol, *(f"{figure:.4f}" for figure in figures), f"{took:.0f}"])
    return found


def train(source: str, layers: int, steps: int, seed: int, out: Path) -> None:
    letterloom.train(
        source,
        recipe="small",
        out=out,
        model={"context_length": 64, "d_model": 64, "n_layers": layers, "n_heads": 4},
        training={
            "max_steps": steps,
            "batch_size": 16,
            "eval_interval": steps,
            "seed": seed,
            "device": "cpu",
            "threads": 1,
        },
    )


if __name__ == "__main__":
    main()
