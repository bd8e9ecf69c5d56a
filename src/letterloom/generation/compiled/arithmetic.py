"""The parts of the transformer on one row of numbers each, as Numba compiles them; shapes as in `model/transformer.py`.

What a row becomes depends on nothing but the row. Loops over sums may be reordered into vectors (`reassoc`); NaN and
infinity stay what they are, so that damaged weights are found.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from letterloom.config import NORM_EPS
from letterloom.generation.compiled.intrinsics import COLUMNS, INNER, PAD, PANELS, block_product, float_of_bits

Array = NDArray[np.float32]

EPS = np.float32(NORM_EPS)
RELU, GELU, GELU_TANH, RELU_SQUARED, SWIGLU = range(5)
_FAST = {"reassoc", "nsz", "contract", "arcp"}
_LOG2_E = np.float32(math.log2(math.e))
_POWERS = tuple(np.float32(math.log(2) ** k / math.factorial(k)) for k in range(8))  # of 2^f, by Taylor
_TANH_SCALE = np.float32(2 * math.sqrt(2 / math.pi))
_ERF = tuple(map(np.float32, (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)))
_ERF_SCALE = np.float32(0.3275911)
_ROOT_HALF = np.float32(math.sqrt(0.5))

_block, _column_of_block = block_product(PANELS, COLUMNS), block_product(PANELS, 1)
_panel, _column = block_product(1, COLUMNS), block_product(1, 1)


@njit(error_model="numpy", **INNER)
def product(w: Array, bias: Array, x: Array, y: Array, first: int, last: int, depth: int) -> None:
    """y[:, r] = bias[r] + x[:, :depth] @ w[r, :depth] for the rows r of w's panels first to last."""
    whole = x.shape[0] // COLUMNS * COLUMNS
    blocks = first + (last - first) // PANELS * PANELS
    for p in range(first, blocks, PANELS):
        for m in range(0, whole, COLUMNS):  # these panels of w stay in the nearest caches
            _block(w, bias, x, y, p, m, depth)
        for m in range(whole, x.shape[0]):
            _column_of_block(w, bias, x, y, p, m, depth)
    for p in range(blocks, last):
        for m in range(0, whole, COLUMNS):
            _panel(w, bias, x, y, p, m, depth)
        for m in range(whole, x.shape[0]):
            _column(w, bias, x, y, p, m, depth)


@njit(fastmath=_FAST, error_model="numpy", forceinline=True, **INNER)
def normalise(x: Array, gain: Array, bias: Array, rms: bool, y: Array) -> None:
    """LayerNorm or RMSNorm of x (D,), into y."""
    mean = np.float32(0.0)
    if not rms:
        for i in range(len(x)):
            mean += x[i]
        mean /= np.float32(len(x))
    square = np.float32(0.0)
    for i in range(len(x)):
        square += (x[i] - mean) * (x[i] - mean)
    scale = np.float32(1.0) / np.sqrt(square / np.float32(len(x)) + EPS)
    for i in range(len(x)):
        y[i] = (x[i] - mean) * scale * gain[i] + bias[i]


@njit(fastmath=_FAST, error_model="numpy", forceinline=True, **INNER)
def exponential(x: Array) -> None:
    """The exponential of each x <= 0, in place: 2^n by its bits, times 2^f by a polynomial, for n + f = x / ln 2."""
    for i in range(len(x)):
        z = (np.float32(-87.0) if x[i] < np.float32(-87.0) else x[i]) * _LOG2_E  # NaN stays NaN
        n = np.int32(z - np.float32(0.5))  # the nearest whole number: what is not positive is rounded up
        f = z - np.float32(n)
        value = _POWERS[7]
        value = value * f + _POWERS[6]
        value = value * f + _POWERS[5]
        value = value * f + _POWERS[4]
        value = value * f + _POWERS[3]
        value = value * f + _POWERS[2]
        value = value * f + _POWERS[1]
        x[i] = (value * f + _POWERS[0]) * float_of_bits((n + np.int32(127)) << np.int32(23))


@njit(fastmath=_FAST, error_model="numpy", forceinline=True, **INNER)
def activate(x: Array, gate: Array, kind: int, e: Array) -> None:
    """The MLP's non-linearity in place on its hidden layer x; of SwiGLU also the gate's projection is given.

    GELU takes the error function of Abramowitz and Stegun 1964, 7.1.26, which is within 1.5e-7.
    """
    zero, half, one = np.float32(0.0), np.float32(0.5), np.float32(1.0)
    if kind == RELU:
        for i in range(len(x)):
            x[i] = zero if x[i] < zero else x[i]
    elif kind == RELU_SQUARED:
        for i in range(len(x)):
            x[i] *= zero if x[i] < zero else x[i]
    elif kind == GELU:
        for i in range(len(x)):
            e[i] = -half * x[i] * x[i]
        exponential(e[: len(x)])
        for i in range(len(x)):
            t = one / (one + _ERF_SCALE * abs(x[i]) * _ROOT_HALF)
            tail = t * (_ERF[0] + t * (_ERF[1] + t * (_ERF[2] + t * (_ERF[3] + t * _ERF[4])))) * e[i]  # 1 - erf|x|
            x[i] = half * x[i] * (tail if x[i] < zero else np.float32(2.0) - tail)
    else:  # x times a sigmoid of something
        for i in range(len(x)):
            u = gate[i] if kind == SWIGLU else _TANH_SCALE * (x[i] + np.float32(0.044715) * x[i] * x[i] * x[i])
            e[i] = -abs(u)
        exponential(e[: len(x)])
        for i in range(len(x)):
            u = gate[i] if kind == SWIGLU else x[i]
            sigmoid = (one if u > zero else e[i]) / (one + e[i])
            x[i] *= u * sigmoid if kind == SWIGLU else sigmoid


@njit(fastmath=_FAST, error_model="numpy", forceinline=True, **INNER)
def position_head(x: Array, unit: bool, cos: Array, sin: Array, y: Array) -> None:
    """One head's query or key x (K,), divided by its root mean square (`unit`) and turned by the position, into y.

    `cos` and `sin` are (K / 2,), or empty where positions are not rotary.
    """
    scale = np.float32(1.0)
    if unit:
        square = np.float32(0.0)
        for i in range(len(x)):
            square += x[i] * x[i]
        scale = np.float32(1.0) / np.sqrt(square / np.float32(len(x)) + EPS)
    half = len(cos)
    for i in range(half):
        left, right = x[i] * scale, x[i + half] * scale
        y[i] = left * cos[i] - right * sin[i]
        y[i + half] = left * sin[i] + right * cos[i]
    if half == 0:
        for i in range(len(x)):
            y[i] = x[i] * scale


@njit(fastmath=_FAST | {"nnan"}, forceinline=True, **INNER)
def _largest(x: Array) -> float:
    """The largest of x; something of x where that holds NaN, which stays in x."""
    largest: float = x[0]
    for i in range(len(x)):
        largest = x[i] if x[i] > largest else largest
    return largest


@njit(fastmath=_FAST, error_model="numpy", forceinline=True, **INNER)
def attend(
    q: Array, keys: Array, values: Array, length: int, scale: float, none: Array, scores: Array, y: Array
) -> None:
    """Attention of one query to the first `length` keys, into y.

    q (1, K), keys (P(T) / PAD, K, PAD), scores (1, P(T)), values (P(K) / PAD, T, PAD), y (1, P(K)); `none`, zeros.
    """
    panels = -(-length // PAD)
    product(keys, none, q, scores, 0, panels, q.shape[1])
    row = scores[0, : panels * PAD]
    for t in range(length, len(row)):  # whole vectors; what they hold beyond the length is made 0
        row[t] = row[0]
    largest = _largest(row)
    for t in range(len(row)):
        row[t] = (row[t] - largest) * np.float32(scale)
    exponential(row)
    for t in range(length, len(row)):
        row[t] = np.float32(0.0)
    total = np.float32(0.0)
    for t in range(len(row)):
        total += row[t]
    product(values, none, scores, y, 0, len(values), length)
    for i in range(y.shape[1]):
        y[0, i] /= total
