"""The compiled loop: read what is unread, choose the next id, and again. One function, made when it is first called."""

import logging
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from letterloom.generation import sampler
from letterloom.generation.compiled.intrinsics import INNER
from letterloom.generation.compiled.reading import FAILED, LENGTH, READ, Buffers, State, read_window, wait
from letterloom.generation.compiled.weights import Options, Weights
from letterloom.generation.sampler import Settings

log = logging.getLogger("letterloom")


def _made(sources: str) -> Any:
    """The loop, compiled when it is called, or taken from Numba's cache on the disk.

    That cache notices a change of this file and of what a function closes over, but not of the files it calls into:
    so it closes over what stands for them all.
    """

    @njit(nogil=True, error_model="numpy")
    def draw(
        weights: Weights,
        options: Options,
        state: State,
        buffers: Buffers,
        settings: Settings,
        uniforms: NDArray[np.float64],
        new_ids: NDArray[np.int64],
        vocab_size: int,
        rank: int,
        world: int,
        turnstile: NDArray[np.int64],
    ) -> None:
        """Read what is unread of the window, and draw the ids that `uniforms` (n, S) choose, into `new_ids` (n, S)."""
        _ = sources
        ids, marks = state.ids, state.marks
        streams, length, read = len(ids), marks[LENGTH], marks[READ]
        wait(turnstile, world)  # the others have seen the marks too
        for i in range(max(1, len(uniforms))):
            read_window(weights, options, state, buffers, read, length, rank, world, turnstile)
            read = length
            if len(uniforms) == 0:  # logits are all that is asked for
                break
            jumps = length == options.context_length
            if rank == 0:
                for s in range(streams):
                    logits = state.logits[s, :vocab_size].astype(np.float64)
                    if not np.isfinite(logits).all():
                        marks[FAILED] = 1
                        logits[:] = 0.0
                    new_ids[i, s] = choose(distribution(logits, ids[s, :length], settings), uniforms[i, s])
                    ids[s, length] = new_ids[i, s]
                    if jumps:
                        ids[s, : -options.jump] = ids[s, options.jump :].copy()
            length += 1
            if jumps:
                length, read = length - options.jump, 0
            wait(turnstile, world)
        if rank == 0:
            marks[LENGTH], marks[READ] = length, read

    try:
        draw.enable_caching()
    except RuntimeError:
        log.warning(
            "there is no folder that compiled kernels can be kept in, so every command compiles them; "
            "set NUMBA_CACHE_DIR to one that can be written"
        )
    return draw


_sources = [*sorted(Path(__file__).parent.glob("*.py")), Path(sampler.__file__)]
distribution, choose = (
    njit(error_model="numpy", **INNER)(function) for function in (sampler.distribution, sampler.choose)
)
draw = _made(sha256(b"".join(path.read_bytes() for path in _sources)).hexdigest())
