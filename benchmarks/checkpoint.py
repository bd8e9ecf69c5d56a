"""Time and size of a checkpoint."""

import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np

from letterloom.runs.checkpoint import save_checkpoint
from letterloom.training.learner import Learner
from letterloom.training.position import Position
from measurement import Measurement, seconds, tell
from nanogpt import TOKENIZER, nanogpt_on_cpu


def measure_checkpoint(quick: bool) -> list[Measurement]:
    """Milliseconds in which a checkpoint of `nanogpt-cpu` is on the disk and verified, and its bytes.

    Limit: bytes moved; 12 a parameter (weights, two moments) written, flushed to the disk, read back and hashed twice.
    """
    config = nanogpt_on_cpu()
    learner = Learner(config, TOKENIZER.vocab_size)
    ids = np.zeros((1, config.model.context_length), dtype=np.int64)
    learner.update(ids, ids, step=0, factor=1.0)  # from here on the optimizer has its moments
    rounds = 3 if quick else 20
    times = []
    with tempfile.TemporaryDirectory(prefix="letterloom-bench-") as folder:
        for i in range(rounds):
            tell(f"checkpoint, round {i + 1} of {rounds}")
            path = Path(folder, f"step-{i:06d}")

            def save(step: int = i, path: Path = path) -> None:
                model, optimizer = learner.tensors()
                state = {"position": asdict(Position(step)), "learner": learner.state()}
                save_checkpoint(
                    path, step=step, model=model, optimizer=optimizer, state=state, config=config, tokenizer=TOKENIZER
                )

            times.append(1000 * seconds(save))
        size = sum(file.stat().st_size for file in path.iterdir()) / 1e6
        weights = (path / "model.safetensors").stat().st_size / 1e6
    return [
        Measurement("checkpoint, save", "ms", tuple(times)),
        Measurement("checkpoint, size", "MB", (size,)),
        Measurement("checkpoint, size of the weights", "MB", (weights,)),
    ]
