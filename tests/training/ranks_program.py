"""What test_ranks.py has torchrun start: the command line, job after job, since each start takes seconds.

python ranks_program.py FOLDER, where jobs.json is a list of jobs: `name`, `arguments`, and maybe `act`, which happens
in the fifth step. Every rank writes FOLDER/NAME-RANK.json: what came of it. Where there is a FIFO named FOLDER/ended,
the second rank opens it as the last it does, and the first stays a second longer and writes FOLDER/order.json: whether
the second ended before it.
"""

import atexit
import hashlib
import json
import math
import os
import select
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from letterloom import cli
from letterloom.config import RunConfig
from letterloom.errors import ResourceError
from letterloom.text.batches import batch
from letterloom.training import closing, loop
from letterloom.training.hardware import resolve_hardware
from letterloom.training.learner import Learner

RANK = int(os.environ["RANK"])
STEP = 5

update = Learner.update


def overflow(learner: Learner) -> None:
    """Make one gradient of one rank infinite, once."""
    if RANK == 1:
        weight = next(learner.model.norm.parameters())

        def once(gradient: Tensor) -> Tensor:
            hook.remove()
            return gradient * math.inf

        hook: RemovableHandle = weight.register_hook(once)  # type: ignore[no-untyped-call]


def die(learner: Learner) -> None:
    """End one rank without a word."""
    if RANK == 1:
        os.kill(os.getpid(), signal.SIGKILL)


def exhaust(learner: Learner) -> None:
    """Let one rank run out of memory."""
    if RANK == 1:
        raise MemoryError


def stop(learner: Learner) -> None:
    """Send one rank a signal."""
    if RANK == 1:
        os.kill(os.getpid(), signal.SIGTERM)


def stop_all(learner: Learner) -> None:
    """Send a signal to torchrun, and wait for it to come here."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    dist.barrier()  # nobody sends it before everybody listens
    if RANK == 1:
        os.kill(os.getppid(), signal.SIGTERM)
    os.read(reading, 1)


ACTS: dict[str, Callable[[Learner], None]] = {f.__name__: f for f in (overflow, die, exhaust, stop, stop_all)}


def run(job: dict[str, Any]) -> dict[str, Any]:
    """The job's exit code, the inputs of this rank's batches, and the hash of its last weights."""
    inputs: list[list[list[int]]] = []
    learners: list[Learner] = []

    def recording_batch(*arguments: Any, **settings: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        x, y = batch(*arguments, **settings)
        inputs.append(x.tolist())
        return x, y

    def acting_update(
        self: Learner, x: NDArray[np.int64], y: NDArray[np.int64], step: int, factor: float
    ) -> tuple[float, float]:
        learners[:] = [self]
        if step + 1 == STEP and "act" in job:
            ACTS[job["act"]](self)
        return update(self, x, y, step, factor)

    def unable(config: RunConfig) -> RunConfig:
        raise ResourceError("one rank misses something")

    loop.resolve_hardware = unable if RANK == 1 and job["name"] == "unable" else resolve_hardware  # type: ignore[attr-defined]
    loop.batch = recording_batch  # type: ignore[attr-defined]
    Learner.update = acting_update  # type: ignore[method-assign]
    closing.write_report = lambda path: ()  # type: ignore[attr-defined]  # pictures take a second
    exit_code = cli.main(job["arguments"])
    weights = [p.detach().numpy().tobytes() for learner in learners for p in learner.model.parameters()]
    return {"exit_code": exit_code, "inputs": inputs, "weights": hashlib.sha256(b"".join(weights)).hexdigest()}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    ended = folder / "ended"
    if ended.exists() and RANK == 1:  # registered first, so called last
        atexit.register(lambda: os.close(os.open(ended, os.O_WRONLY)))
    reading = os.open(ended, os.O_RDONLY | os.O_NONBLOCK) if ended.exists() and RANK == 0 else None
    for job in json.loads((folder / "jobs.json").read_text(encoding="utf-8")):
        outcome = run(job)
        (folder / f"{job['name']}-{RANK}.json").write_text(json.dumps(outcome), encoding="utf-8")
    if reading is not None:
        readable, *_ = select.select([reading], [], [], 1.0)
        (folder / "order.json").write_text(json.dumps(bool(readable)), encoding="utf-8")
