"""The parts of a transformer in NumPy, each forward with its backward beneath it.

Shapes: B batch, T time, D model width, H heads, K = D / H head width, F MLP width, V vocabulary; I and O are the
inputs and outputs of one linear layer, and ... any number of leading axes.

A backward takes the gradient of the loss by its forward's output, `d_out`, and then what the forward took, where it
needs that; it returns the gradients by those, in their order. What it needs of the forward it computes again, so that
every pair can be read, copied and checked alone. Everything is float64.
"""

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ids = NDArray[np.int64]

EPS = 1e-5


# Linear layer ---------------------------------------------------------------------------------------------------------


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """(..., I), weight (O, I), bias (O) -> (..., O)."""
    return x @ weight.T if bias is None else x @ weight.T + bias


def linear_backward(d_out: Array, x: Array, weight: Array) -> tuple[Array, Array, Array]:
    """d_out (..., O) -> d_x (..., I), d_weight (O, I), d_bias (O)."""
    d_rows, rows = d_out.reshape(-1, d_out.shape[-1]), x.reshape(-1, x.shape[-1])
    return d_out @ weight, d_rows.T @ rows, d_rows.sum(axis=0)


# Embedding, and what is added to it -----------------------------------------------------------------------------------


def embedding(ids: Ids, weight: Array) -> Array:
    """Ids (B, T), weight (V, D) -> (B, T, D): for each id its row of the table."""
    return weight[ids]


def embedding_backward(d_out: Array, ids: Ids, weight: Array) -> Array:
    """d_out (B, T, D) -> d_weight (V, D): a row collects from every place its id stood."""
    d_weight = np.zeros_like(weight)
    np.add.at(d_weight, ids, d_out)
    return d_weight


def delayed(x: Array, steps: int) -> Array:
    """(B, T, D) -> (B, T, D): at each time what was there `steps` before, zero where nothing was."""
    out = np.zeros_like(x)
    out[:, steps:] = x[:, :-steps]
    return out


def delayed_backward(d_out: Array, steps: int) -> Array:
    """d_out (B, T, D) -> d_x (B, T, D): the same shift, towards the past."""
    d_x = np.zeros_like(d_out)
    d_x[:, :-steps] = d_out[:, steps:]
    return d_x


def smear(e: Array, weight: Array) -> Array:
    """(B, T, D), weight (2, D) -> (B, T, D): e_t + w_0 e_(t-1) + w_1 e_(t-2), channel by channel."""
    out: Array = e + weight[0] * delayed(e, 1) + weight[1] * delayed(e, 2)
    return out


def smear_backward(d_out: Array, e: Array, weight: Array) -> tuple[Array, Array]:
    """d_out (B, T, D) -> d_e (B, T, D), d_weight (2, D)."""
    d_e = d_out + delayed_backward(weight[0] * d_out, 1) + delayed_backward(weight[1] * d_out, 2)
    d_weight = np.stack([(d_out * delayed(e, steps)).sum(axis=(0, 1)) for steps in (1, 2)])
    return d_e, d_weight


def sinusoidal_positions(length: int, width: int) -> Array:
    """(T, D): channel 2i is sin(t / 10000^(2i/D)), channel 2i + 1 its cosine (Vaswani et al. 2017, section 3.5)."""
    table = np.empty((length, width))
    for channel in range(width):
        angles = np.arange(length) / 10000.0 ** (2 * (channel // 2) / width)
        table[:, channel] = np.sin(angles) if channel % 2 == 0 else np.cos(angles)
    return table


# Normalisation --------------------------------------------------------------------------------------------------------


def layernorm(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """(..., D), weight and bias (D) -> (..., D): mean 0, variance 1, then scaled and shifted (Ba et al. 2016)."""
    centred = x - x.mean(axis=-1, keepdims=True)
    out: Array = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + EPS) * weight
    return out if bias is None else out + bias


def layernorm_backward(d_out: Array, x: Array, weight: Array) -> tuple[Array, Array, Array]:
    """d_out (..., D) -> d_x (..., D), d_weight (D), d_bias (D)."""
    centred = x - x.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + EPS)
    normal, d_normal = centred / deviation, d_out * weight
    along = normal * (d_normal * normal).mean(axis=-1, keepdims=True)  # a longer x changes nothing
    level = d_normal.mean(axis=-1, keepdims=True)  # nor does a raised one
    leading = tuple(range(x.ndim - 1))
    return (d_normal - along - level) / deviation, (d_out * normal).sum(axis=leading), d_out.sum(axis=leading)


def rmsnorm(x: Array, weight: Array) -> Array:
    """(..., D), weight (D) -> (..., D): root mean square 1, then scaled (Zhang and Sennrich 2019)."""
    out: Array = x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + EPS) * weight
    return out


def rmsnorm_backward(d_out: Array, x: Array, weight: Array) -> tuple[Array, Array]:
    """d_out (..., D) -> d_x (..., D), d_weight (D)."""
    root = np.sqrt((x**2).mean(axis=-1, keepdims=True) + EPS)
    normal, d_normal = x / root, d_out * weight
    along = normal * (d_normal * normal).mean(axis=-1, keepdims=True)
    return (d_normal - along) / root, (d_out * normal).sum(axis=tuple(range(x.ndim - 1)))


# Activations: any shape in, the same out ------------------------------------------------------------------------------


def relu(x: Array) -> Array:
    """max(x, 0)."""
    return np.maximum(x, 0)


def relu_backward(d_out: Array, x: Array) -> Array:
    """The slope is 1 above zero, 0 elsewhere."""
    return d_out * (x > 0)


def relu_squared(x: Array) -> Array:
    """max(x, 0)^2 (So et al. 2021)."""
    return relu(x) ** 2


def relu_squared_backward(d_out: Array, x: Array) -> Array:
    """The slope is 2 max(x, 0)."""
    return d_out * 2 * relu(x)


def normal_cdf(x: Array) -> Array:
    """Probability that a standard normal variable is below x."""
    erf = np.vectorize(math.erf, otypes=[np.float64])  # NumPy has none of its own
    probability: Array = 0.5 * (1 + erf(x / math.sqrt(2)))
    return probability


def gelu(x: Array) -> Array:
    """Exact GELU: x Phi(x), Phi being `normal_cdf` (Hendrycks and Gimpel 2016)."""
    return x * normal_cdf(x)


def gelu_backward(d_out: Array, x: Array) -> Array:
    """The slope is Phi(x) + x phi(x), phi being the normal density."""
    return d_out * (normal_cdf(x) + x * np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi))


def gelu_tanh(x: Array) -> Array:
    """GELU with Phi(x) approximated by (1 + tanh u) / 2, u = sqrt(2 / pi) (x + 0.044715 x^3) (ibid., section 2)."""
    tanh: Array = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
    return 0.5 * x * (1 + tanh)


def gelu_tanh_backward(d_out: Array, x: Array) -> Array:
    """The slope is (1 + tanh u) / 2 + x / 2 (1 - tanh^2 u) du/dx."""
    tanh: Array = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
    inner_slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x**2)
    return d_out * (0.5 * (1 + tanh) + 0.5 * x * (1 - tanh**2) * inner_slope)


def silu(x: Array) -> Array:
    """SiLU: x sigmoid(x) (Hendrycks and Gimpel 2016, section 2)."""
    return x * sigmoid(x)


def silu_backward(d_out: Array, x: Array) -> Array:
    """The slope is s (1 + x (1 - s)), s being sigmoid(x)."""
    return d_out * sigmoid(x) * (1 + x * (1 - sigmoid(x)))


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), in a form that cannot overflow."""
    out: Array = 0.5 * (1 + np.tanh(x / 2))
    return out


# From scores to probabilities and the loss ----------------------------------------------------------------------------


def softmax(x: Array) -> Array:
    """(..., V) -> (..., V): each row positive with sum 1; -inf becomes exactly 0."""
    exponentials: Array = np.exp(x - x.max(axis=-1, keepdims=True))  # the largest is exp(0): no overflow
    probabilities: Array = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return probabilities


def softmax_backward(d_out: Array, x: Array) -> Array:
    """d_out (..., V) -> d_x (..., V)."""
    p = softmax(x)
    d_x: Array = p * (d_out - (p * d_out).sum(axis=-1, keepdims=True))
    return d_x


def soft_cap(logits: Array, cap: float) -> Array:
    """Any shape: c tanh(logits / c) lies within (-c, c) (Gemma 2, 2024, section 2)."""
    out: Array = cap * np.tanh(logits / cap)
    return out


def soft_cap_backward(d_out: Array, logits: Array, cap: float) -> Array:
    """The slope is 1 - tanh^2(logits / c)."""
    slope: Array = 1 - np.tanh(logits / cap) ** 2
    return d_out * slope


def cross_entropy(logits: Array, targets: Ids) -> float:
    """Logits (B, T, V), targets (B, T) -> mean of -ln p(target), in nats."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))  # (B, T, V)
    return float(-np.take_along_axis(log_p, targets[..., None], axis=-1).mean())


def cross_entropy_backward(logits: Array, targets: Ids) -> Array:
    """-> d_logits (B, T, V): what the model predicts less what came, shared out over the B T predictions."""
    came = np.eye(logits.shape[-1])[targets]  # (B, T, V), one-hot
    return (softmax(logits) - came) / targets.size
