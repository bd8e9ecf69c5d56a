"""The sublayers of a block, which find their arrays by name in a dict of parameters.

Shapes and the form of a backward are those of `layers`, except that here the gradients by parameters come in one
dict: a backward returns d_x and {parameter name: gradient}.
"""

from collections.abc import Mapping

import numpy as np

from letterloom.reference import layers
from letterloom.reference.attention import (
    attention,
    attention_backward,
    merge_heads,
    rotary,
    rotary_backward,
    split_heads,
)
from letterloom.reference.layers import Array
from letterloom.reference.options import Options

Parameters = Mapping[str, Array]
Gradients = dict[str, Array]

ACTIVATIONS = {
    "relu": (layers.relu, layers.relu_backward),
    "gelu": (layers.gelu, layers.gelu_backward),
    "gelu_tanh": (layers.gelu_tanh, layers.gelu_tanh_backward),
    "relu_squared": (layers.relu_squared, layers.relu_squared_backward),
}


def linear(p: Parameters, name: str, x: Array) -> Array:
    """(..., I) -> (..., O)."""
    return layers.linear(x, p[f"{name}.weight"], p.get(f"{name}.bias"))


def linear_backward(d_out: Array, p: Parameters, name: str, x: Array) -> tuple[Array, Gradients]:
    """d_out (..., O) -> d_x (..., I)."""
    d_x, d_weight, d_bias = layers.linear_backward(d_out, x, p[f"{name}.weight"])
    return d_x, _of_parameters(p, {f"{name}.weight": d_weight, f"{name}.bias": d_bias})


def norm(p: Parameters, name: str, x: Array, options: Options) -> Array:
    """(..., D) -> (..., D), by the configured normalisation."""
    if options.norm == "rmsnorm":
        return layers.rmsnorm(x, p[f"{name}.weight"])
    return layers.layernorm(x, p[f"{name}.weight"], p.get(f"{name}.bias"))


def norm_backward(d_out: Array, p: Parameters, name: str, x: Array, options: Options) -> tuple[Array, Gradients]:
    """d_out (..., D) -> d_x (..., D)."""
    if options.norm == "rmsnorm":
        d_x, d_weight = layers.rmsnorm_backward(d_out, x, p[f"{name}.weight"])
        return d_x, {f"{name}.weight": d_weight}
    d_x, d_weight, d_bias = layers.layernorm_backward(d_out, x, p[f"{name}.weight"])
    return d_x, _of_parameters(p, {f"{name}.weight": d_weight, f"{name}.bias": d_bias})


def self_attention(p: Parameters, name: str, x: Array, options: Options) -> Array:
    """(B, T, D) -> (B, T, D): project to queries, keys and values, attend in each head, project back."""
    q, k, v = (split_heads(part, options.n_heads) for part in np.split(linear(p, f"{name}.qkv", x), 3, axis=-1))
    mixed = attention(before_scores(q, options), before_scores(k, options), v)  # (B, H, T, K)
    return linear(p, f"{name}.out", merge_heads(mixed))


def self_attention_backward(
    d_out: Array, p: Parameters, name: str, x: Array, options: Options
) -> tuple[Array, Gradients]:
    """d_out (B, T, D) -> d_x (B, T, D)."""
    q, k, v = (split_heads(part, options.n_heads) for part in np.split(linear(p, f"{name}.qkv", x), 3, axis=-1))
    ready_q, ready_k = before_scores(q, options), before_scores(k, options)
    mixed = merge_heads(attention(ready_q, ready_k, v))  # (B, T, D)

    d_mixed, out_gradients = linear_backward(d_out, p, f"{name}.out", mixed)
    d_ready_q, d_ready_k, d_v = attention_backward(split_heads(d_mixed, options.n_heads), ready_q, ready_k, v)
    d_q, d_k = before_scores_backward(d_ready_q, q, options), before_scores_backward(d_ready_k, k, options)
    d_qkv = np.concatenate([merge_heads(d_q), merge_heads(d_k), merge_heads(d_v)], axis=-1)  # (B, T, 3 D)
    d_x, qkv_gradients = linear_backward(d_qkv, p, f"{name}.qkv", x)
    return d_x, out_gradients | qkv_gradients


def before_scores(q: Array, options: Options) -> Array:
    """Queries or keys (B, H, T, K) -> (B, H, T, K): q/k norm (Henry et al. 2020), then rotary positions."""
    if options.qk_norm:
        q = layers.rmsnorm(q, np.ones(q.shape[-1]))
    return rotary(q) if options.positions == "rotary" else q


def before_scores_backward(d_out: Array, q: Array, options: Options) -> Array:
    """d_out (B, H, T, K) -> d_q (B, H, T, K)."""
    if options.positions == "rotary":
        d_out = rotary_backward(d_out)
    return layers.rmsnorm_backward(d_out, q, np.ones(q.shape[-1]))[0] if options.qk_norm else d_out


def mlp(p: Parameters, name: str, x: Array, options: Options) -> Array:
    """(B, T, D) -> (B, T, D): up to F channels, a non-linearity, down again; swiglu is Shazeer 2020, section 2."""
    up = linear(p, f"{name}.up", x)  # (B, T, F)
    if options.activation == "swiglu":
        hidden = layers.silu(linear(p, f"{name}.gate", x)) * up
    else:
        activation, _ = ACTIVATIONS[options.activation]
        hidden = activation(up)
    return linear(p, f"{name}.down", hidden)


def mlp_backward(d_out: Array, p: Parameters, name: str, x: Array, options: Options) -> tuple[Array, Gradients]:
    """d_out (B, T, D) -> d_x (B, T, D)."""
    up = linear(p, f"{name}.up", x)  # (B, T, F)
    if options.activation == "swiglu":
        gate = linear(p, f"{name}.gate", x)
        d_hidden, down_gradients = linear_backward(d_out, p, f"{name}.down", layers.silu(gate) * up)
        d_gate, d_up = layers.silu_backward(d_hidden * up, gate), d_hidden * layers.silu(gate)
        d_x_gate, gate_gradients = linear_backward(d_gate, p, f"{name}.gate", x)
        d_x_up, up_gradients = linear_backward(d_up, p, f"{name}.up", x)
        return d_x_gate + d_x_up, down_gradients | gate_gradients | up_gradients
    activation, activation_backward = ACTIVATIONS[options.activation]
    d_hidden, down_gradients = linear_backward(d_out, p, f"{name}.down", activation(up))
    d_x, up_gradients = linear_backward(activation_backward(d_hidden, up), p, f"{name}.up", x)
    return d_x, down_gradients | up_gradients


SUBLAYERS = {"attention": (self_attention, self_attention_backward), "mlp": (mlp, mlp_backward)}


def branch(p: Parameters, name: str, x: Array, options: Options) -> Array:
    """(B, T, D) -> (B, T, D): what the sublayer `name`, say blocks.0.mlp, adds to the residual stream."""
    sublayer, _ = SUBLAYERS[name.split(".")[-1]]
    y = sublayer(p, name, norm(p, f"{name}_norm", x, options), options)
    return norm(p, f"{name}_post_norm", y, options) if options.norm_placement == "before_and_after" else y


def branch_backward(d_out: Array, p: Parameters, name: str, x: Array, options: Options) -> tuple[Array, Gradients]:
    """d_out (B, T, D) -> d_x (B, T, D)."""
    sublayer, sublayer_backward = SUBLAYERS[name.split(".")[-1]]
    normed = norm(p, f"{name}_norm", x, options)
    d_y, post_gradients = d_out, Gradients()
    if options.norm_placement == "before_and_after":
        y = sublayer(p, name, normed, options)
        d_y, post_gradients = norm_backward(d_out, p, f"{name}_post_norm", y, options)
    d_normed, gradients = sublayer_backward(d_y, p, name, normed, options)
    d_x, norm_gradients = norm_backward(d_normed, p, f"{name}_norm", x, options)
    return d_x, post_gradients | gradients | norm_gradients


def _of_parameters(p: Parameters, gradients: Gradients) -> Gradients:
    """Drop the gradients of biases the model does not have."""
    return {name: gradient for name, gradient in gradients.items() if name in p}
