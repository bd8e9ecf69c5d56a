"""Causal multi-head attention in NumPy: what a character takes from those before it, and from itself.

Shapes and the form of a backward are those of `layers`.
"""

import math

import numpy as np

from letterloom.reference.layers import Array, softmax, softmax_backward


def attention(q: Array, k: Array, v: Array) -> Array:
    """q, k, v (..., T, K) -> (..., T, K): at each time a mean of the values so far (Vaswani et al. 2017, section 3.2).

    The weight of a value is the softmax of how well its key fits the query.
    """
    return attention_weights(q, k) @ v


def attention_weights(q: Array, k: Array) -> Array:
    """q, k (..., T, K) -> (..., T, T): row t says how much time t takes from each time; rows sum to 1."""
    return softmax(causal_scores(q, k))


def causal_scores(q: Array, k: Array) -> Array:
    """q, k (..., T, K) -> (..., T, T): q_t . k_s / sqrt(K), and -inf where s lies in the future of t."""
    time, head_width = q.shape[-2:]
    scores = q @ k.swapaxes(-1, -2) / math.sqrt(head_width)
    future = np.triu(np.ones((time, time), dtype=bool), 1)
    return np.where(future, -np.inf, scores)


def attention_backward(d_out: Array, q: Array, k: Array, v: Array) -> tuple[Array, Array, Array]:
    """d_out (..., T, K) -> d_q, d_k, d_v (..., T, K)."""
    scores = causal_scores(q, k)
    d_weights = d_out @ v.swapaxes(-1, -2)  # (..., T, T)
    d_scores = softmax_backward(d_weights, scores) / math.sqrt(q.shape[-1])  # zero in the future, as the weights are
    return d_scores @ k, d_scores.swapaxes(-1, -2) @ q, softmax(scores).swapaxes(-1, -2) @ d_out


def split_heads(x: Array, n_heads: int) -> Array:
    """(B, T, D) -> (B, H, T, K): head h has channels h K to (h + 1) K. The backward is `merge_heads`."""
    batch, time, width = x.shape
    return x.reshape(batch, time, n_heads, width // n_heads).transpose(0, 2, 1, 3)


def merge_heads(x: Array) -> Array:
    """(B, H, T, K) -> (B, T, D). The backward is `split_heads`."""
    batch, n_heads, time, head_width = x.shape
    return x.transpose(0, 2, 1, 3).reshape(batch, time, n_heads * head_width)


def rotary(x: Array) -> Array:
    """(..., T, K) -> (..., T, K): the pair (i, i + K/2) turned by t / 10000^(2i/K) (Su et al. 2021, section 3.4).

    A query at t and a key at s, both turned, meet at an angle that depends on t - s alone.
    """
    return turned(x, 1.0)


def rotary_backward(d_out: Array) -> Array:
    """d_out (..., T, K) -> d_x (..., T, K): the same turn, back."""
    return turned(d_out, -1.0)


def turned(x: Array, direction: float) -> Array:
    """(..., T, K) -> (..., T, K): each pair of channels (a, b) is a point in the plane, turned about the origin."""
    time, half = x.shape[-2], x.shape[-1] // 2
    angles = direction * np.arange(time)[:, None] / 10000.0 ** (np.arange(half) / half)  # (T, K/2)
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * np.cos(angles) - b * np.sin(angles), a * np.sin(angles) + b * np.cos(angles)], axis=-1)
