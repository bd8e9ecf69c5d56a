"""What this machine does in a second: with how many threads it is fastest, and what a training step takes."""

import math
import time
from collections.abc import Sequence

import torch

from letterloom import accounting
from letterloom.accounting import Measured
from letterloom.config import RunConfig
from letterloom.model.inference import predict
from letterloom.model.transformer import Transformer
from letterloom.training.hardware import autocast, resolve_hardware
from letterloom.training.kernels import quicken
from letterloom.training.measurement import measure
from letterloom.training.ranks import Ranks

STEP_SECONDS = 0.2  # of steps that are timed, at least two of them
SEVERAL = 4  # threads that may be faster than all cores, where the cores are many and the model small
REPETITIONS = 3
HOPELESS = 2.0  # times as long as with fewer threads: so slow is a first pass that no second one is tried


def fastest_threads(config: RunConfig, vocab_size: int, ranks: Ranks) -> tuple[int | None, list[str]]:
    """Threads, over all processes of this machine, with which a forward pass is fastest, and a line that tells it.

    All cores are not always best: where other work has one of them, each of the hundreds of small parallel regions of a
    step waits for it, and it takes up to thirty times as long. A forward pass has a few of them, and shows that soon.
    """
    if config.training.threads is not None:
        return config.training.threads, []
    cores = accounting.usable_cores()
    resolved = resolve_hardware(config)
    if torch.device(resolved.training.device).type != "cpu":
        return None, []
    model = Transformer(config.model, vocab_size)
    quicken(model, resolved.training)
    ids = torch.zeros(config.training.batch_size // ranks.world, config.model.context_length, dtype=torch.long)
    before, times = torch.get_num_threads(), dict[int, float]()
    try:
        for threads in _candidates(cores, ranks.local_world):
            torch.set_num_threads(threads // ranks.local_world)
            with autocast(resolved):
                times[threads] = _pass_seconds(model, ids, min(times.values(), default=math.inf))
    finally:
        torch.set_num_threads(before)
    best = min(times, key=times.__getitem__)
    slower = [f"{threads} take {seconds / times[best]:.1f} times as long" for threads, seconds in times.items()]
    del slower[list(times).index(best)]
    return best, [f"threads: {best}, since {' and '.join(slower)}"] if slower else []


def measured_step(config: RunConfig, vocab_size: int, ranks: Ranks) -> Measured:
    """A training step of one process's share, on random ids.

    Raises:
        ResourceError: see `training.measurement.measure`.
    """
    resolved = resolve_hardware(config)
    share = {
        "batch_size": config.training.batch_size // ranks.world,
        "threads": max(1, (resolved.training.threads or 1) // ranks.local_world),
    }
    shared = resolved.model_copy(update={"training": resolved.training.model_copy(update=share)})
    return measure(shared, vocab_size, STEP_SECONDS, memory=False)


def _candidates(cores: int, processes: int) -> Sequence[int]:
    """Numbers of threads to try, of all processes together: one each, some, all cores."""
    return sorted({processes, max(processes, min(SEVERAL, cores)), max(processes, cores)})


def _pass_seconds(model: Transformer, ids: torch.Tensor, best: float) -> float:
    """The best time of some passes; of the first one alone, if that is hopeless against the best with fewer threads."""
    times: list[float] = []
    while len(times) <= REPETITIONS and (not times or times[0] < HOPELESS * best):  # the first one warms up
        start = time.perf_counter()
        predict(model, ids)
        times.append(time.perf_counter() - start)
    return min(times)
