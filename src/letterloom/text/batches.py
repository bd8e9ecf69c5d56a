"""Batches as a function: what a step trains on depends on (seed, step) alone, not on what happened before.

So a resumed run needs no state, evaluation cannot disturb training, and any number of processes share one global batch.
"""

import math
from typing import Any, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from letterloom.errors import ConfigError, CorpusError
from letterloom.text.tokenizers import Ids

_ROUNDS = 6  # of mixing in the permutation of an epoch


def batch(
    ids: Ids,
    *,
    seed: int,
    step: int,
    batch_size: int,
    context_length: int,
    sampling: Literal["random", "epochs"] = "random",
    rank: int = 0,
    world: int = 1,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The share of process `rank` of `world` in the batch of a step: inputs and targets, both (B / world, T).

    "random" draws windows with replacement. "epochs" takes every window once in each epoch, in an order that the seed
    and the epoch decide; a batch may end one epoch and begin the next, so none is cut short. The windows of an epoch
    lie end to end, so that every id but the first is a target; the last one ends with the text and, where T does not
    divide n - 1, repeats some targets of the one before it.

    Raises:
        ConfigError: the batch cannot be shared equally.
        CorpusError: the text is shorter than a window.
    """
    require_length(ids, context_length, "training split")
    if batch_size % world:
        raise ConfigError(f"batch_size {batch_size} is not divisible by the number of processes, {world}")
    share = batch_size // world
    rows = np.arange(rank * share, (rank + 1) * share)
    if sampling == "random":
        uniform = (_hash(seed, step, rows) >> 11) * 2.0**-53  # in [0, 1)
        starts = (uniform * (len(ids) - context_length)).astype(np.int64)
    else:
        windows = _windows(len(ids), context_length)
        epoch, place = divmod(step * batch_size, windows)
        later, places = np.divmod(place + rows, windows)
        chosen = _permute(places, _hash(seed, later.astype(np.uint64) + epoch), windows)
        starts = np.minimum(chosen * context_length, len(ids) - 1 - context_length)
    taken = sliding_window_view(ids, context_length + 1)[starts].astype(np.int64)
    return taken[:, :-1], taken[:, 1:]


def steps_per_epoch(n_ids: int, batch_size: int, context_length: int) -> float:
    """Steps in which every window of `n_ids` ids is seen once; often not a whole number."""
    return _windows(n_ids, context_length) / batch_size


def require_length(ids: Ids, context_length: int, name: str) -> None:
    """Refuse a split that does not fill one window of `context_length` inputs and one more target.

    Raises:
        CorpusError: naming the split (`name`) and both lengths.
    """
    if len(ids) <= context_length:
        raise CorpusError(
            f"the {name} has {len(ids):,} ids, and context_length {context_length:,} needs at least "
            f"{context_length + 1:,}; give more text, or a smaller context_length"
        )


def _windows(n_ids: int, context_length: int) -> int:
    return -(-(n_ids - 1) // context_length)


def _permute(places: NDArray[np.int64], keys: NDArray[np.uint64], n: int) -> NDArray[np.int64]:
    """Where a permutation of range(n) sends each place; each key is a permutation, and nothing is stored.

    A place is a row and a column of a near-square with at least n cells. Each round moves one of the two by a hash of
    the other, which can be undone; what ends outside range(n) goes on until it is inside (generalised Feistel and
    cycle walking: Black and Rogaway 2002, "Ciphers with Arbitrary Finite Domains").
    """
    width = math.isqrt(n - 1) + 1
    height = -(-n // width)
    moved = places.astype(np.uint64)
    outside = np.ones(len(moved), dtype=np.bool_)
    while outside.any():
        row, column, key = moved[outside] // width, moved[outside] % width, keys[outside]
        for i in range(0, _ROUNDS, 2):
            row = (row + _hash(key + i, column) % height) % height
            column = (column + _hash(key + i + 1, row) % width) % width
        moved[outside] = row * width + column
        outside = moved >= n
    return moved.astype(np.int64)


def _hash(*parts: int | NDArray[Any]) -> NDArray[np.uint64]:
    """64 well-mixed bits of some numbers, broadcast: a chain of SplitMix64 (Steele, Lea and Flood 2014)."""
    bits: NDArray[Any] = np.zeros(1, dtype=np.uint64)
    for part in parts:
        bits = bits + np.asarray(part, dtype=np.uint64) + 0x9E3779B97F4A7C15
        bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9
        bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB
        bits ^= bits >> 31
    return bits
