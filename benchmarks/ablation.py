"""What each idea of the default recipe is worth: the recipe beside itself with one of them taken out.

python benchmarks/ablation.py [--arms NAME ...] [--steps N] [--seeds N] [--workers N]

Tiny Shakespeare, equal steps, one thread a run, so several runs can share a machine and the loss is the same on a busy
one. Differences are of equal seeds, with the 95 % interval of Student's t.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
from statistics import mean

from rich.console import Console
from rich.table import Table

from processes import Finished, trained
from time_to_loss import interval

WITHOUT = {
    "the recipe": [],
    "learned positions, not rotary": ["--model.positions", "learned"],
    "LayerNorm, not RMSNorm": ["--model.norm", "layernorm"],
    "GELU, not squared ReLU": ["--model.activation", "gelu"],
    "no norm of queries and keys": ["--model.qk-norm", "false"],
    "no soft cap": ["--model.logit-soft-cap", "none"],
    "no smear": ["--model.token-smear", "false"],
    "everything from N(0, 0.02)": ["--model.initialisation", "normal"],
    "AdamW at 0.001, not Muon": ["--optimizer.name", "adamw", "--optimizer.learning-rate", "0.001"],
    "AdamW at 0.003, not Muon": ["--optimizer.name", "adamw", "--optimizer.learning-rate", "0.003"],
    "cosine, not linear": ["--optimizer.schedule", "cosine"],
    "fp32, not bf16": ["--training.precision", "fp32"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description="What each idea of the default recipe is worth.")
    parser.add_argument("--arms", choices=WITHOUT, nargs="+", default=list(WITHOUT))
    parser.add_argument("--steps", type=int, default=300, metavar="N")
    parser.add_argument("--seeds", type=int, default=3, metavar="N")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="runs at a time, of one thread each")
    arguments = parser.parse_args()

    arms = ["the recipe", *(arm for arm in arguments.arms if arm != "the recipe")]
    same = ["--recipe", "small", "--minutes", "none", "--training.max-steps", str(arguments.steps)]
    same += ["--training.eval-interval", str(arguments.steps), "--training.threads", "1"]
    with ThreadPoolExecutor(arguments.workers) as pool:  # each thread waits for a process
        running = {
            (arm, seed): pool.submit(trained, "shakespeare", [*same, *WITHOUT[arm]], seed)
            for seed in range(arguments.seeds)
            for arm in arms
        }
        runs: dict[str, list[Finished]] = {
            arm: [running[arm, seed].result() for seed in range(arguments.seeds)] for arm in arms
        }

    table = Table("", "nats per character", "worse than the recipe by", "training, s", box=None, pad_edge=False)
    whole = [run.nats for run in runs["the recipe"]]
    for arm, results in runs.items():
        nats = [run.nats for run in results]
        difference = "" if arm == "the recipe" else interval([a - b for a, b in zip(nats, whole, strict=True)])
        seconds = f"{mean(run.training_seconds for run in results):.0f}"
        table.add_row(arm, interval(nats), difference, seconds)
    Console(width=120, highlight=False).print(table)


if __name__ == "__main__":
    main()
