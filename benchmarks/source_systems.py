"""What the recipes of the source systems reached: a table of finished runs, and their curves in a few lines each.

python benchmarks/source_systems.py RUN ... [--curves FOLDER]

Runs that differ in the seed alone are one row. Beside the whole splits (protocol `blocks`), the validation split is
scored as the documents did it: the mean of 200 batches drawn at random, of the run's own size.
"""

import argparse
import csv
import math
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table

import letterloom
from letterloom import accounting
from letterloom.model.inference import predict
from letterloom.runs.directory import RunDirectory
from letterloom.text.batches import batch
from letterloom.text.encoding import open_corpus

BATCHES = 200  # as in the documents


def main() -> None:
    parser = argparse.ArgumentParser(description="What the recipes of the source systems reached.")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--curves", type=Path, metavar="FOLDER", help="write each run's curve there, as CSV")
    arguments = parser.parse_args()

    arms = defaultdict(list)
    for path in arguments.runs:
        run = RunDirectory(path)
        config = run.config()
        unseeded = config.model_copy(update={"training": config.training.model_copy(update={"seed": 0})})
        arms[unseeded.model_dump_json()].append(run)
        if arguments.curves:
            write_curve(run, arguments.curves / f"{path.name}.csv")

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    heads = ("runs", "parameters", "steps", "minutes", "validation", "training", "validation, 200 batches")
    for head in heads:
        table.add_column(head, justify="left" if head == "runs" else "right", no_wrap=True)
    for runs in arms.values():
        config, vocab_size = runs[0].config(), runs[0].tokenizer().vocab_size
        last = [run.metrics()[-1] for run in runs]
        seconds = [max(line["seconds"] for line in run.metrics() if line["kind"] == "train") for run in runs]
        table.add_row(
            ", ".join(run.path.name for run in runs),
            f"{sum(accounting.parameters(config.model, vocab_size).values()):,}",
            f"{last[0]['step']:,}",
            f"{mean(seconds) / 60:.1f}",
            spread([final(run, "validation") for run in runs]),
            spread([final(run, "training") for run in runs]),
            spread([by_random_batches(run) for run in runs]),
        )
    console = Console(highlight=False)
    console.width = max(console.width, 160)
    console.print(table)


def spread(values: list[float]) -> str:
    """Mean, and standard deviation over the seeds; nats per character."""
    return f"{mean(values):.4f}" + (f" (sd {stdev(values):.4f})" if len(values) > 1 else "")


def final(run: RunDirectory, split: str) -> float:
    """Nats per character of a split, as the run measured it at its end."""
    evaluation = run.evaluation()
    assert evaluation, f"{run.path} is not finished"
    return float(evaluation[split]["blocks"]["nats_per_character"])


def by_random_batches(run: RunDirectory) -> float:
    """Nats per character of the validation split: the mean over batches of windows drawn with replacement."""
    config, model = run.config(), letterloom.load(run.path, device="cpu")
    length, size = config.model.context_length, config.training.batch_size
    ids = open_corpus(config.text, run.tokenizer(), expected=run.corpus()).validation
    losses = []
    for step in range(BATCHES):
        x, y = batch(ids, seed=0, step=step, batch_size=size, context_length=length)
        logits = predict(model.network, torch.from_numpy(x))
        losses.append(F.cross_entropy(logits.flatten(0, 1), torch.from_numpy(y).flatten()).item())
    return mean(losses)


def write_curve(run: RunDirectory, file: Path) -> None:
    """A line for each validation: its loss, and the mean loss of the batches since the one before."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["step", "characters", "seconds", "training_bpc", "validation_bpc"])
        bits: list[float] = []
        for line in run.metrics():
            if line["kind"] == "train":
                bits.append(line["bits_per_character"])
                latest = line
            else:
                seen = [latest["step"], latest["characters"], round(latest["seconds"], 1)]
                training = float(np.mean(bits)) if bits else math.nan
                writer.writerow([*seen, f"{training:.4f}", f"{line['bits_per_character']:.4f}"])
                bits = []


if __name__ == "__main__":
    main()
