"""What real training steps take on this machine: time beside that of a large product, and memory by kind."""

import itertools
import os
import resource
import statistics
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from letterloom import accounting
from letterloom.accounting import Measured
from letterloom.config import RunConfig
from letterloom.errors import ResourceError
from letterloom.memory import require_memory
from letterloom.runs.environment import describe_environment
from letterloom.text.batches import batch
from letterloom.training.hardware import AUTOCAST, device_memory, out_of_memory_told
from letterloom.training.kernels import ConvolvedLinear
from letterloom.training.learner import Learner
from letterloom.training.lowrank import trained
from letterloom.training.optimizers import optimizer_tensors

LEAST_STEPS = 2
BUSY = 0.5  # load a core from which on other work is told of
LONGEST_STEP = 20.0  # seconds, and
LARGEST_SHARE = 0.5  # of the device's memory: what measuring may take of a machine that has other work
PRODUCT_SIZE = {"cpu": 1024, "mps": 4096, "cuda": 8192}  # of the square product that counts as the machine's speed


def measure(config: RunConfig, vocab_size: int, seconds: float = 1.5, memory: bool = True) -> Measured:
    """Train a new model for a moment on random ids, at a learning rate of zero, so that nothing can diverge.

    A step is timed as in training, its batch included. Steps and large products take turns, the latter by the library
    and in the precision of the former, so both see the same clock.

    Args:
        config: With device, precision, products and threads decided (see `training.hardware.resolve_hardware`).
        vocab_size: Of the model.
        seconds: Of steps, at least; there are always two.
        memory: Measure memory too, which takes two more steps.

    Raises:
        ResourceError: the model takes more than half of the memory, or a step longer than 20 seconds.
    """
    device = torch.device(config.training.device)
    disturbance = _busy()
    memory_here = device_memory(device)
    sequences, rank = config.training.micro_batch(), config.training.lora_rank
    require_memory(config.model, vocab_size, config.optimizer, sequences, memory_here, rank)
    held = sum(accounting.training_memory(config, vocab_size).values())
    if held > LARGEST_SHARE * memory_here:
        raise ResourceError(
            f"training holds {held / 1e9:,.1f} GB, and measuring takes at most half of the {memory_here / 1e9:,.1f} GB "
            "here"
        )
    flops = config.training.batch_size * accounting.training_flops(
        config.model, vocab_size, config.model.context_length, rank
    )
    with _threads(config.training.threads or 1), out_of_memory_told(config):
        learner = Learner(config, vocab_size)
        step = _steps(learner, vocab_size)
        times, flops_per_second = _times(step, config, seconds, flops)
        return Measured(
            seconds_per_step=statistics.median(times),
            steps=len(times),
            source="steps on random characters, here",
            environment=describe_environment(device),
            product_flops_per_second=flops_per_second,
            bytes=_memory(learner, step) if memory else {},
            disturbance=disturbance,
        )


def _busy() -> str | None:
    """A line that says so where other work keeps this machine busy."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load <= BUSY * cores:
        return None
    return f"other work keeps this machine busy (load {load:.1f} on {cores} cores): times may be too long"


def _steps(learner: Learner, vocab_size: int) -> Callable[[], object]:
    """A function that does one training step after another."""
    config = learner.config
    size, length = config.training.batch_size, config.model.context_length
    ids = np.random.default_rng(0).integers(vocab_size, size=16 * length + 1, dtype=np.uint32)
    numbers = itertools.count()

    def step() -> object:
        number = next(numbers)
        x, y = batch(ids, seed=0, step=number, batch_size=size, context_length=length)
        return learner.update(x, y, number, factor=0.0)

    return step


def _times(step: Callable[[], object], config: RunConfig, seconds: float, flops: int) -> tuple[list[float], float]:
    """Seconds of each step, and the speed of a large product (operations a second), which is gone afterwards.

    Raises:
        ResourceError: a step, of so many operations, would take too long, or the first one did.
    """
    device = torch.device(config.training.device)
    product, product_flops = _large_product(config)
    product()  # the first ones take memory and choose kernels
    _require_short(_seconds(product, device) * flops / product_flops)
    first = _seconds(step, device)
    _require_short(0.0 if config.training.compile else first)
    steps: list[float] = []
    products: list[float] = []
    while len(steps) < LEAST_STEPS or sum(steps) < seconds:
        steps.append(_seconds(step, device))
        while not products or sum(products) < min(sum(steps), seconds):
            products.append(_seconds(product, device))
    return steps, product_flops / statistics.median(products)


def _require_short(step_seconds: float) -> None:
    if step_seconds > LONGEST_STEP:
        raise ResourceError(
            f"a step takes {step_seconds:,.0f} s or more, and measuring does steps of up to {LONGEST_STEP:g} s"
        )


def _large_product(config: RunConfig) -> tuple[Callable[[], object], int]:
    """A square matrix product in the precision and by the library of the training, and its operations."""
    training, device = config.training, torch.device(config.training.device)
    size, dtype = PRODUCT_SIZE[device.type], AUTOCAST.get(training.precision, torch.float32)
    kind = ConvolvedLinear if training.products == "convolution" else nn.Linear
    product = kind(size, size, bias=False, device=device, dtype=dtype).requires_grad_(False)
    x = torch.randn(16, size // 16, size, device=device, dtype=dtype)
    return lambda: product(x), 2 * size**3


def _memory(learner: Learner, step: Callable[[], object]) -> dict[str, int]:
    """Bytes by kind, of the tensors themselves; "process" is the most this process ever took."""
    kept = _Kept(learner.model)
    gradients: dict[Tensor, int] = {}
    for parameter in trained(learner.model).values():
        parameter.register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]  # torch's
            lambda p: gradients.update({p: p.grad.nbytes})
        )
    with torch.autograd.graph.saved_tensors_hooks(kept.pack, kept.unpack):
        step()
    weights = sum(parameter.nbytes for parameter in learner.model.parameters())
    found = {
        "weights": weights,
        "gradients": sum(gradients.values()),
        "optimizer state": sum(t.nbytes for t in optimizer_tensors(learner.optimizers, learner.model).values()),
        "activations": kept.most,
        "peak": _peak(learner, step),
        "process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024),
    }
    if learner.average:
        found["averaged weights"] = sum(parameter.nbytes for parameter in learner.average.module.parameters())
    return found


class _Kept:
    """Bytes that autograd keeps for the backward pass, each storage once, the model's own left out."""

    def __init__(self, model: nn.Module) -> None:
        self._own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
        self._storages: dict[int, int] = {}
        self._in_backward = False
        self.most = 0  # of all micro-batches

    def pack(self, tensor: Tensor) -> Tensor:
        if self._in_backward:  # the next micro-batch: what the last one kept is gone
            self._storages.clear()
            self._in_backward = False
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._own:
            self._storages[storage.data_ptr()] = storage.nbytes()
            self.most = max(self.most, sum(self._storages.values()))
        return tensor

    def unpack(self, tensor: Tensor) -> Tensor:
        self._in_backward = True
        return tensor


def _peak(learner: Learner, step: Callable[[], object]) -> int:
    """The most bytes that tensors took at a time in a step."""
    if learner.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(learner.device)
        step()
        return int(torch.cuda.max_memory_allocated(learner.device))
    model = learner.model
    average = learner.average.parameters() if learner.average else ()
    state = optimizer_tensors(learner.optimizers, model).values()
    allocated = _Allocated([*model.parameters(), *model.buffers(), *average, *state])
    with allocated:
        step()
    return allocated.most


class _Allocated(TorchDispatchMode):
    """Bytes of tensors, each storage once: the allocator of a CPU keeps no count. What kernels take inside is not seen.

    It begins with the tensors there are, and follows those that are made while it is on.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's
        self._storages: WeakSet[torch.UntypedStorage] = WeakSet()
        self.now = self.most = 0
        self._take(tensors)

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: tuple[Any, ...] = (), options: dict[str, Any] | None = None
    ) -> Any:
        result = function(*arguments, **(options or {}))
        self._take(leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor))
        return result

    def _take(self, tensors: Iterable[Tensor]) -> None:
        for storage in (tensor.untyped_storage() for tensor in tensors):
            if storage not in self._storages:
                self._storages.add(storage)
                self.now += storage.nbytes()
                weakref.finalize(storage, self._give_back, storage.nbytes())
        self.most = max(self.most, self.now)

    def _give_back(self, count: int) -> None:
        self.now -= count


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    work()
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter() - start


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
