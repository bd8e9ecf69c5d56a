"""Training runs as a user starts them: whole processes of `letterloom train`."""

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from letterloom.runs.directory import RunDirectory
from measurement import LETTERLOOM, seconds, tell


@dataclass(frozen=True)
class Finished:
    """What a run reached, and how long it took."""

    nats: float  # per character of the whole validation split, `blocks`
    steps: int
    training_seconds: float  # the loop alone, its validations and checkpoints included
    process_seconds: float  # from the command to the prompt: imports, final scoring and report as well


def trained(corpus: str, flags: list[str], seed: int) -> Finished:
    """Train in a folder that is removed afterwards."""
    tell(f"letterloom train {corpus} {' '.join(flags)} --seed {seed}")
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory(Path(folder) / "run")
        command = [LETTERLOOM, "train", corpus, *flags, "--seed", str(seed), "--out", str(run.path)]
        ended: list[subprocess.CompletedProcess[str]] = []
        start = partial(subprocess.run, command, capture_output=True, text=True, check=False)
        took = seconds(lambda: ended.append(start()))
        if ended[0].returncode:
            sys.exit(ended[0].stderr)
        steps = [line for line in run.metrics() if line["kind"] == "train"]
        evaluation = run.evaluation()
        assert evaluation
        finished = Finished(
            nats=float(evaluation["validation"]["blocks"]["nats_per_character"]),
            steps=steps[-1]["step"],
            training_seconds=steps[-1]["seconds"],
            process_seconds=took,
        )
    tell(f"  {finished.nats:.4f} nats, {finished.training_seconds:.1f} s, whole {finished.process_seconds:.1f} s")
    return finished
