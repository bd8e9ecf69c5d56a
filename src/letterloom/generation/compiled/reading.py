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
    keys: Array  # (L, S, H, P(T) / PAD, K, PAD)
    values: Array  # (L, S, H, P(K) / PAD, T, PAD)
    logits: Array  # (S, P(V)): after the last id that was read


class Buffers(NamedTuple):
    """What the threads write for one another, then what each has for itself."""

    qkv: Array  # (M, P(3 D))
    attended: Array  # (M, D)
    hidden: Array  # (M, P(F))
    gate: Array  # (M, P(F))
    projected: Array  # (M, P(D))
    x: Array  # (M, D)
    normed: Array  # (M, D)
    turned: Array  # (1, K): a query or a key
    scores: Array  # (1, P(T))
    mixed: Array  # (1, P(K))
    none: Array  # (max(P(T), P(K)),): stays zero
    exponents: Array  # (P(F),)


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
def _share(panels: int, rank: int, world: int) -> tuple[int, int]:
    """The panels, of so many, that a thread computes."""
    return panels * rank // world, panels * (rank + 1) // world


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
def _attend_heads(
    qkv: Array,
    options: Options,
    cos: Array,
    sin: Array,
    t: int,
    asked: bool,
    first: int,
    last: int,
    keys: Array,
    values: Array,
    buffers: Buffers,
    y: Array,
) -> None:
    """Put keys and values of position t, of heads first to last, in their place; attention, if `asked`, into y (D,).

    `qkv` are the position's projections; earlier positions are in their place already.
    """
    width = options.d_head
    d = options.n_heads * width
    scale = 1 / np.sqrt(width)
    turned, mixed = buffers.turned, buffers.mixed
    for h in range(first, last):
        q = h * width
        k, v = d + q, 2 * d + q
        position_head(qkv[k : k + width], options.unit_heads, cos, sin, turned[0])
        panel, lane = keys[h, t // PAD], t % PAD
        for i in range(width):
            panel[i, lane] = turned[0, i]
        for i in range(0, width, PAD):
            column = values[h, i // PAD, t]
            for j in range(min(PAD, width - i)):
                column[j] = qkv[v + i + j]
        if asked:
            position_head(qkv[q : q + width], options.unit_heads, cos, sin, turned[0])
            attend(turned, keys[h], values[h], t + 1, scale, buffers.none, buffers.scores, mixed)
            for i in range(width):
                y[q + i] = mixed[0, i]


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
        lower, upper = _share(len(weights.qkv[layer]), rank, world)
        product(weights.qkv[layer], weights.qkv_bias[layer], normed, qkv, lower, upper, normed.shape[1])
        wait(turnstile, world)
        if layer == layers - 1:
            begin = unasked  # their keys and values are all that later ones ask of them
        for m in range(n):
            s, t = (first + m) % streams, (first + m) // streams
            _attend_heads(
                qkv[m],
                options,
                weights.cos[t],
                weights.sin[t],
                t,
                m >= begin,
                first_head,
                last_head,
                keys[layer, s],
                values[layer, s],
                buffers,
                attended[m],
            )
        wait(turnstile, world)
        lower, upper = _share(len(weights.out[layer]), rank, world)
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
        lower, upper = _share(len(weights.up[layer]), rank, world)
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
                hidden[m, lower * PAD : upper * PAD],
                gate[m, lower * PAD : upper * PAD],
                options.activation,
                buffers.exponents,
            )
        wait(turnstile, world)
        lower, upper = _share(len(weights.down[layer]), rank, world)
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
    lower, upper = _share(len(weights.head[0]), rank, world)
    product(weights.head[0], weights.head_bias[0], normed[begin:], logits, lower, upper, normed.shape[1])
    if options.soft_cap > 0:
        cap = np.float32(options.soft_cap)
        share = logits[:, lower * PAD : upper * PAD]
        share[:] = cap * np.tanh(share / cap)
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
