"""Processes that train one model together, as `torchrun` starts them; one process alone is the plain case.

Each computes the gradients of its share of a batch, and `DistributedDataParallel` averages them during the backward
pass (Li et al. 2020, "PyTorch Distributed", section 3.2), so that all make the same update. Rank 0 alone writes,
prints, evaluates and samples, while the others wait. Whatever steers the training is agreed on, so that no two ranks
can go different ways.
"""

import atexit
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from datetime import timedelta
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from letterloom.errors import LetterloomError, ResourceError
from letterloom.training.launch import rank_of_environment

# For rank 0 to encode or evaluate; a process that dies is noticed at once all the same.
LONGEST_WAIT = timedelta(days=1)
T = TypeVar("T")
log = logging.getLogger("letterloom")


class Ranks:
    """One process alone, which has nobody to wait for or to agree with."""

    rank = 0
    world = 1  # processes
    local_rank = 0
    local_world = 1  # processes on this machine

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes and prints."""
        return self.rank == 0

    def alike(self) -> AbstractContextManager[None]:
        """A block that ends alike for all: what one raises, all raise. There may be no other exchange inside it."""
        return nullcontext()

    def first(self, call: Callable[[], T]) -> T:
        """What `call` returns or raises in rank 0, while the others wait."""
        return call()

    @contextmanager
    def first_in(self, context: AbstractContextManager[T]) -> Iterator[T | None]:
        """Be in `context` in rank 0, which gets what it yields; the others get None."""
        with ExitStack() as stack:
            with self.alike():
                value = stack.enter_context(context) if self.is_first else None
            yield value

    def mean(self, number: float) -> float:
        """The mean of every rank's number."""
        return number

    def largest(self, *numbers: float) -> Sequence[float]:
        """Of each number the largest that a rank has, all in one exchange."""
        return numbers

    def replicated(self, model: nn.Module) -> nn.Module:
        """The model with its gradients averaged over the ranks."""
        return model

    def averaging(self, model: nn.Module, now: bool) -> AbstractContextManager[None]:  # noqa: ARG002
        """A forward and backward pass of what `replicated` gave; its gradients wait for a later one unless `now`."""
        return nullcontext()


ALONE = Ranks()


class SeveralRanks(Ranks):
    """The processes of one `torchrun`: they talk by gloo, and average gradients on CUDA by NCCL."""

    def __init__(self) -> None:
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        self.rank, self.world, self.local_rank, self.local_world = (int(os.environ[name]) for name in names)
        if not dist.is_initialized():  # once for the life of a process: its neighbours cannot be found a second time
            on_cuda = torch.cuda.is_available() and dist.is_nccl_available()
            dist.init_process_group("cpu:gloo,cuda:nccl" if on_cuda else "gloo", timeout=LONGEST_WAIT)
            atexit.register(_part)

    @contextmanager
    def alike(self) -> Iterator[None]:
        """See `Ranks`: of several errors, that of the lowest rank is raised."""
        own: LetterloomError | None = None
        try:
            yield
        except LetterloomError as error:
            own = error
        errors: list[LetterloomError | None] = [None] * self.world
        dist.all_gather_object(errors, own)
        raised = next(filter(None, errors), None)
        if raised is not None:
            raised.shared = True
            raise raised

    def first(self, call: Callable[[], T]) -> T:
        """See `Ranks`: the others get a copy."""
        values: list[T | None] = [None]
        with self.alike():
            if self.is_first:
                values[0] = call()
        dist.broadcast_object_list(values)
        return cast(T, values[0])

    def mean(self, number: float) -> float:
        """See `Ranks`."""
        return _reduced((number,), dist.ReduceOp.SUM)[0] / self.world

    def largest(self, *numbers: float) -> Sequence[float]:
        """See `Ranks`."""
        return _reduced(numbers, dist.ReduceOp.MAX)

    def replicated(self, model: nn.Module) -> nn.Module:
        """See `Ranks`; the weights of rank 0 are those of all."""
        return DistributedDataParallel(model, forward_sync_buffers=False)

    def averaging(self, model: nn.Module, now: bool) -> AbstractContextManager[None]:
        """See `Ranks`."""
        return nullcontext() if now else cast(DistributedDataParallel, model).no_sync()


@contextmanager
def joined() -> Iterator[Ranks]:
    """The processes that `torchrun` started with this one; else this one alone.

    Raises:
        ResourceError: another process died, or cannot be reached.
    """
    if rank_of_environment() is None:
        yield ALONE
        return
    atexit.unregister(_wait_for_the_first)
    level = log.level
    try:
        ranks = SeveralRanks()
        if not ranks.is_first:
            log.setLevel(logging.ERROR)  # rank 0 gives the warnings
        yield ranks
    except LetterloomError as error:
        if error.shared:
            atexit.register(_wait_for_the_first)
        raise
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):  # which has no exception of its own
            raise
        reason = " ".join(str(error).split())
        raise ResourceError(
            f"another process of this training has failed, was killed or cannot be reached ({reason}); start it again, "
            "with `letterloom resume` if a checkpoint was saved"
        ) from None
    finally:
        log.setLevel(level)


def _wait_for_the_first() -> None:
    """Let rank 0 tell an error before any process ends, since `torchrun` ends all when one ends."""
    with suppress(RuntimeError):  # another one is gone already
        _reduced((0.0,), dist.ReduceOp.MAX)


def _part() -> None:
    """Leave the others; a thread of gloo that lets go of a tensor after Python has ended would abort the process."""
    dist.destroy_process_group()
    time.sleep(0.1)  # there is nothing to wait for: github.com/pytorch/pytorch/pull/179291


def _reduced(numbers: Sequence[float], operation: dist.ReduceOp.RedOpType) -> list[float]:
    values = torch.tensor(numbers, dtype=torch.float64)
    dist.all_reduce(values, operation)
    return values.tolist()
