"""The transformer in compiled form: it reads ids, and leaves keys, values and logits.

Shapes: S streams (texts drawn in lockstep), M rows read at a time, the rest as in `model/transformer.py`. A row is one
id of one stream; every stream has read as far as the others. Several threads may share one call: each computes its
share of every product's rows and of the heads, and waits for the others where it needs theirs.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from letterloom.generation.compiled.arithmetic import SWIGLU, Array, activate, attend, normalise, position_head, product
from letterloom.generation.compiled.intrinsics import INNER, PAD, arrive, arrived, give_way
from letterloom.generation.compiled.weights import Options, Weights

TILE = 32  # rows read at a time: so few that they stay in the nearest caches with 8 rows of a matrix
LENGTH, READ, FAILED = range(3)  # of `State.marks`
ARRIVED, ABANDONED = range(2)  # of the turnstile
_PATIENCE = 2000  # looks at the others before the core is offered to somebody else


class State(NamedTuple):
    """S texts in the middle of being written."""

    ids: NDArray[np.int64]  # (S, T + 1): the window, and the id that does not fit it any more
    marks: NDArray[np.int64]  # ids in the window; how many of them were read; whether a logit was not finite
    keys: Array  # (L, S, H, P(T), P(K))
    values: Array  # (L, S, H, P(K), P(T))
    logits: Array  # (S, P(V)): after the last id that was read


class Buffers(NamedTuple):
    """What the threads write for one another, then what each has for itself."""

    qkv: Array  # (M, P(3 D))
    attended: Array  # (M, P(D))
    hidden: Array  # (M, P(F))
    gate: Array  # (M, P(F))
    projected: Array  # (M, P(D))
    x: Array  # (M, D)
    normed: Array  # (M, P(D))
    query: Array  # (1, P(K))
    scores: Array  # (1, P(T))
    mixed: Array  # (1, P(K))
    none: Array  # (max(P(T), P(K)),): stays zero
    exponents: Array  # (P(F),)
    powers: NDArray[np.int32]  # (max(P(F), P(T)),)


@njit(error_model="numpy", forceinline=True, **INNER)
def wait(turnstile: NDArray[np.int64], world: int) -> None:
    """Go on when all threads have come here."""
    if world == 1:
        return
    goal = (arrive(turnstile) // world + 1) * world
    looks = 0
    while arrived(turnstile) < goal and arrived(turnstile[ABANDONED:]) == 0:
        looks += 1
        if looks > _PATIENCE:
            give_way()


@njit(error_model="numpy", forceinline=True, **INNER)
def _share(length: int, rank: int, world: int) -> tuple[int, int]:
    """The rows of a matrix of `length` (padded) that a thread computes."""
    parts = length // PAD
    return parts * rank // world * PAD, parts * (rank + 1) // world * PAD


@njit(error_model="numpy", forceinline=True, **INNER)
def _embed(embedding: Array, smear: Array, smears: bool, position: Array, ids: NDArray[np.int64], x: Array) -> None:
    """What the blocks are given for the last of `ids`, which are those of the window so far, into x (D,)."""
    t = len(ids) - 1
    for i in range(len(x)):
        x[i] = embedding[ids[t], i] + position[t, i]
    if smears:
        for back in range(min(2, t)):
            for i in range(len(x)):
                x[i] += smear[back, i] * embedding[ids[t - 1 - back], i]


@njit(error_model="numpy", forceinline=True, **INNER)
def _add(x: Array, y: Array, norm: Array, options: Options, normed: Array) -> None:
    """Add y to x (D,), normalised where norms stand after sublayers too; not in place, for all threads read y."""
    if options.post_norms:
        normalise(y, norm[0], norm[1], options.rms, normed)
        y = normed
    for i in range(len(x)):
        x[i] += y[i]


@njit(error_model="numpy", forceinline=True, **INNER)
def _remember(
    qkv: Array, options: Options, cos: Array, sin: Array, t: int, first: int, last: int, keys: Array, values: Array
) -> None:
    """Put the keys and values of heads first to last, from one row of projections, in their place; make queries."""
    width = options.d_head
    d = options.n_heads * width
    for h in range(first, last):
        q, k = h * width, d + h * width
        position_head(qkv[q : q + width], options.unit_heads, cos, sin, qkv[q : q + width])
        position_head(qkv[k : k + width], options.unit_heads, cos, sin, keys[h, t])
        for i in range(width):
            values[h, i, t] = qkv[2 * d + q + i]


@njit(error_model="numpy", forceinline=True, **INNER)
def _attend_heads(
    qkv: Array,
    width: int,
    keys: Array,
    values: Array,
    length: int,
    first: int,
    last: int,
    query: Array,
    none: Array,
    scores: Array,
    powers: NDArray[np.int32],
    mixed: Array,
    y: Array,
) -> None:
    """Attention of one row's queries to the first `length` keys, into heads first to last of y (D,)."""
    scale = 1 / np.sqrt(width)
    for h in range(first, last):
        for i in range(width):
            query[0, i] = qkv[h * width + i]
        attend(query, keys[h], values[h], length, scale, none, scores, powers, mixed)
        for i in range(width):
            y[h * width + i] = mixed[0, i]


@njit(inline="always")
def _read_rows(
    weights: Weights,
    options: Options,
    state: State,
    buffers: Buffers,
    first: int,
    n: int,
    unasked: int,
    rank: int,
    world: int,
    turnstile: NDArray[np.int64],
) -> None:
    """Read n rows from the row `first` on, of which the first `unasked` need no logits.

    Rows are counted from the beginning of the window: row i is position i // S of stream i % S.
    """
    streams, layers = len(state.ids), len(weights.qkv)
    keys, values = state.keys, state.values
    x, normed, d = buffers.x[:n], buffers.normed[:n], buffers.x.shape[1]
    qkv, hidden, gate = buffers.qkv[:n], buffers.hidden[:n], buffers.gate[:n]
    attended, projected = buffers.attended[:n], buffers.projected[:n]
    first_head, last_head = options.n_heads * rank // world, options.n_heads * (rank + 1) // world
    begin = 0  # the first row that is still needed
    for m in range(n):
        s, t = (first + m) % streams, (first + m) // streams
        _embed(weights.embedding, weights.smear, options.smear, weights.position, state.ids[s, : t + 1], x[m])
    for layer in range(layers):
        norm = weights.attention_norm[layer]
        for m in range(n):
            normalise(x[m], norm[0], norm[1], options.rms, normed[m])
        lower, upper = _share(qkv.shape[1], rank, world)
        product(weights.qkv[layer], weights.qkv_bias[layer], normed, qkv, lower, upper, normed.shape[1])
        wait(turnstile, world)
        for m in range(n):
            s, t = (first + m) % streams, (first + m) // streams
            cos, sin = weights.cos[t], weights.sin[t]
            _remember(qkv[m], options, cos, sin, t, first_head, last_head, keys[layer, s], values[layer, s])
        if layer == layers - 1:
            begin = unasked  # their keys and values are all that later ones ask of them
        for m in range(begin, n):
            s, t = (first + m) % streams, (first + m) // streams
            _attend_heads(
                qkv[m],
                options.d_head,
                keys[layer, s],
                values[layer, s],
                t + 1,
                first_head,
                last_head,
                buffers.query,
                buffers.none,
                buffers.scores,
                buffers.powers,
                buffers.mixed,
                attended[m],
            )
        wait(turnstile, world)
        lower, upper = _share(projected.shape[1], rank, world)
        product(
            weights.out[layer],
            weights.out_bias[layer],
            attended[begin:],
            projected[begin:],
            lower,
            upper,
            attended.shape[1],
        )
        wait(turnstile, world)
        norm = weights.mlp_norm[layer]
        for m in range(begin, n):
            _add(x[m], projected[m, :d], weights.attention_post_norm[layer], options, normed[m, :d])
            normalise(x[m], norm[0], norm[1], options.rms, normed[m])
        lower, upper = _share(hidden.shape[1], rank, world)
        product(
            weights.up[layer], weights.up_bias[layer], normed[begin:], hidden[begin:], lower, upper, normed.shape[1]
        )
        if options.activation == SWIGLU:
            product(
                weights.gate[layer],
                weights.gate_bias[layer],
                normed[begin:],
                gate[begin:],
                lower,
                upper,
                normed.shape[1],
            )
        for m in range(begin, n):
            activate(
                hidden[m, lower:upper], gate[m, lower:upper], options.activation, buffers.exponents, buffers.powers
            )
        wait(turnstile, world)
        lower, upper = _share(projected.shape[1], rank, world)
        product(
            weights.down[layer],
            weights.down_bias[layer],
            hidden[begin:],
            projected[begin:],
            lower,
            upper,
            hidden.shape[1],
        )
        wait(turnstile, world)
        for m in range(begin, n):
            _add(x[m], projected[m, :d], weights.mlp_post_norm[layer], options, normed[m, :d])
    if begin == n:
        return
    for m in range(begin, n):
        normalise(x[m], weights.norm[0, 0], weights.norm[0, 1], options.rms, normed[m])
    s = (first + begin) % streams
    logits = state.logits[s : s + n - begin]
    lower, upper = _share(logits.shape[1], rank, world)
    product(weights.head[0], weights.head_bias[0], normed[begin:], logits, lower, upper, normed.shape[1])
    if options.soft_cap > 0:
        cap = np.float32(options.soft_cap)
        logits[:, lower:upper] = cap * np.tanh(logits[:, lower:upper] / cap)
    wait(turnstile, world)


@njit(inline="always")
def read_window(
    weights: Weights,
    options: Options,
    state: State,
    buffers: Buffers,
    read: int,
    length: int,
    rank: int,
    world: int,
    turnstile: NDArray[np.int64],
) -> None:
    """Read the positions `read` to `length` of the window, in tiles."""
    streams = len(state.ids)
    end = length * streams
    for first in range(read * streams, end, TILE):
        n = min(TILE, end - first)
        unasked = min(n, max(0, end - streams - first))
        _read_rows(weights, options, state, buffers, first, n, unasked, rank, world, turnstile)
