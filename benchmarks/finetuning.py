"""What factors save in memory and time: steps of full finetuning and of LoRA, each in a fresh process, in turn.

python benchmarks/finetuning.py [--recipe NAME ...] [--batch N] [--rank N] [--steps N] [--rounds N] [--threads N]

Memory is the peak of the process less what that was when everything was imported; within are weights, gradients,
optimizer state, activations, and at the end what a checkpoint holds (of factors the merged model). Which ids are read
makes no difference, nor do the weights. Limit: activations, which full finetuning and factors both keep.
"""

import argparse
import itertools
import json
import resource
import statistics
import subprocess
import sys

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from letterloom.accounting import parameters, trained
from letterloom.config import RunConfig, build_config
from letterloom.recipes import read_recipe
from letterloom.text.batches import batch
from letterloom.training.hardware import resolve_hardware
from letterloom.training.learner import Learner
from measurement import seconds, tell

VOCABULARY = 65  # Tiny Shakespeare's
UNIT = 1 if sys.platform == "darwin" else 1024  # bytes, of what the kernel tells


def main() -> None:
    parser = argparse.ArgumentParser(description="Memory and time of full finetuning and of LoRA.")
    parser.add_argument("--recipe", nargs="+", default=["gpt2-char", "execution-flow"], metavar="NAME")
    parser.add_argument("--batch", type=int, default=8, metavar="N", help="sequences a step")
    parser.add_argument("--rank", type=int, default=8, metavar="N", help="of the factors")
    parser.add_argument("--steps", type=int, default=12, metavar="N", help="in a process; the first is not timed")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="processes of each kind")
    parser.add_argument("--threads", type=int, default=1, metavar="N")
    parser.add_argument("--child", metavar="JSON", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measured(build_config(json.loads(arguments.child)), arguments.steps)))
        return
    table = Table("recipe", "", "trained", "peak, MiB", "ms a step", box=None, padding=(0, 2, 0, 0))
    for recipe in arguments.recipe:
        kinds = {"full": None, f"rank {arguments.rank}": arguments.rank}
        configs = {name: settings(recipe, arguments.batch, arguments.threads, rank) for name, rank in kinds.items()}
        found: dict[str, list[dict[str, float]]] = {name: [] for name in kinds}
        for i in range(arguments.rounds):
            tell(f"{recipe}, round {i + 1} of {arguments.rounds}")
            for name, config in configs.items():
                found[name].append(in_a_process(config, arguments.steps))
        for name, config in configs.items():
            table.add_row(recipe, name, share(config), told(found[name], "mib"), told(found[name], "ms"))
    Console(markup=False, highlight=False, width=120).print(table)


def settings(recipe: str, sequences: int, threads: int, rank: int | None) -> RunConfig:
    """A recipe as it is finetuned: by AdamW in fp32."""
    training = {"batch_size": sequences, "threads": threads, "device": "cpu", "precision": "fp32", "lora_rank": rank}
    return build_config(read_recipe(recipe), {"training": training, "optimizer": {"name": "adamw"}})


def in_a_process(config: RunConfig, steps: int) -> dict[str, float]:
    """What `measured` gives, in a process of its own."""
    command = [sys.executable, __file__, "--child", json.dumps(config.model_dump(mode="json")), "--steps", str(steps)]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def measured(config: RunConfig, steps: int) -> dict[str, float]:
    """Milliseconds of a step, the median, and by how many MiB the peak of this process rose."""
    config = resolve_hardware(config)
    torch.set_num_threads(config.training.threads or 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    learner = Learner(config, VOCABULARY)
    length = config.model.context_length
    ids = np.random.default_rng(0).integers(VOCABULARY, size=1_000_000, dtype=np.uint8)
    numbers = itertools.count()

    def step() -> None:
        number = next(numbers)
        x, y = batch(ids, seed=0, step=number, batch_size=config.training.batch_size, context_length=length)
        learner.update(x, y, number, factor=1.0)

    times = [seconds(step) for _ in range(steps)]
    learner.tensors()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"ms": 1000 * statistics.median(times[1:]), "mib": (peak - before) * UNIT / 2**20}


def share(config: RunConfig) -> str:
    """How many parameters are trained, and of how many."""
    total = sum(parameters(config.model, VOCABULARY).values())
    rank = config.training.lora_rank
    count = total if rank is None else sum(part.count for part in trained(config.model, VOCABULARY, rank))
    return f"{count:,} of {total:,} ({count / total:.2%})"


def told(rounds: list[dict[str, float]], key: str) -> str:
    """The median, and the extremes."""
    values = [one[key] for one in rounds]
    return f"{statistics.median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f})"


if __name__ == "__main__":
    main()
