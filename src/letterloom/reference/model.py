"""The whole model in NumPy: logits, loss, and the gradient by every parameter.

Shapes: B batch, T time, D model width, H heads, K = D / H head width, F MLP width, V vocabulary.

A model is a dict of float64 arrays by name (`options.parameter_shapes` lists them) and the `Options`. Dropout is off.
"""

import numpy as np

from letterloom.reference import layers
from letterloom.reference.blocks import Gradients, Parameters, branch, branch_backward, norm, norm_backward
from letterloom.reference.layers import Array, Ids
from letterloom.reference.options import Options, check_parameters


def forward(p: Parameters, ids: Ids, options: Options) -> Array:
    """Ids (B, T) -> logits (B, T, V) of the character after each.

    Raises:
        ValueError: the parameters are not those the options imply, or T exceeds the context.
    """
    return head(p, residual_stream(p, ids, options)[-1], options)


def loss_and_gradients(p: Parameters, ids: Ids, targets: Ids, options: Options) -> tuple[float, Gradients]:
    """Ids and targets (B, T) -> mean loss in nats, {parameter name: gradient of that loss}.

    Raises:
        ValueError: as `forward`.
    """
    stream = residual_stream(p, ids, options)
    logits = head(p, stream[-1], options)
    d_logits = layers.cross_entropy_backward(logits, targets)
    d_x, gradients = head_backward(d_logits, p, stream[-1], options)
    for name, x in reversed(list(zip(sublayer_names(options), stream, strict=False))):
        d_branch, branch_gradients = branch_backward(d_x, p, name, x, options)
        d_x = d_x + d_branch  # x went on unchanged and into the branch
        gradients |= branch_gradients
    for name, gradient in embed_backward(d_x, p, ids, options).items():
        gradients[name] = gradients.get(name, 0.0) + gradient  # a tied embedding already has the head's
    return layers.cross_entropy(logits, targets), gradients


def residual_stream(p: Parameters, ids: Ids, options: Options) -> list[Array]:
    """Ids (B, T) -> the stream (B, T, D) before the first sublayer and after each: 2 n_layers + 1 arrays."""
    check_parameters(p, options)
    stream = [embed(p, ids, options)]
    for name in sublayer_names(options):
        stream.append(stream[-1] + branch(p, name, stream[-1], options))
    return stream


def sublayer_names(options: Options) -> list[str]:
    """blocks.0.attention, blocks.0.mlp, blocks.1.attention, ..."""
    return [f"blocks.{block}.{kind}" for block in range(options.n_layers) for kind in ("attention", "mlp")]


def embed(p: Parameters, ids: Ids, options: Options) -> Array:
    """Ids (B, T) -> (B, T, D): embedding, smear, and positions where they are added."""
    time = ids.shape[1]
    if time > options.context_length:
        raise ValueError(f"{time} characters do not fit a context of {options.context_length}")
    x = layers.embedding(ids, p["embedding.weight"])
    if options.token_smear:
        x = layers.smear(x, p["smear.weight"])
    if options.positions == "learned":
        x = x + p["position.weight"][:time]
    if options.positions == "sinusoidal":
        x = x + layers.sinusoidal_positions(time, options.d_model)
    return x


def embed_backward(d_out: Array, p: Parameters, ids: Ids, options: Options) -> Gradients:
    """d_out (B, T, D) -> gradients of the embedding, the smear and the learned positions."""
    gradients, d_e = Gradients(), d_out
    if options.positions == "learned":
        gradients["position.weight"] = np.zeros_like(p["position.weight"])  # positions beyond T had no part
        gradients["position.weight"][: ids.shape[1]] = d_out.sum(axis=0)
    if options.token_smear:
        e = layers.embedding(ids, p["embedding.weight"])
        d_e, gradients["smear.weight"] = layers.smear_backward(d_out, e, p["smear.weight"])
    return gradients | {"embedding.weight": layers.embedding_backward(d_e, ids, p["embedding.weight"])}


def head(p: Parameters, x: Array, options: Options) -> Array:
    """(B, T, D) -> logits (B, T, V): final norm, projection, soft cap."""
    weight = p["embedding.weight" if options.tied_head else "head.weight"]
    logits = layers.linear(norm(p, "norm", x, options), weight, p.get("head.bias"))
    return logits if options.logit_soft_cap is None else layers.soft_cap(logits, options.logit_soft_cap)


def head_backward(d_out: Array, p: Parameters, x: Array, options: Options) -> tuple[Array, Gradients]:
    """d_out (B, T, V) -> d_x (B, T, D) and gradients, the tied embedding's share included."""
    name = "embedding.weight" if options.tied_head else "head.weight"
    normed = norm(p, "norm", x, options)
    if options.logit_soft_cap is not None:
        uncapped = layers.linear(normed, p[name], p.get("head.bias"))
        d_out = layers.soft_cap_backward(d_out, uncapped, options.logit_soft_cap)
    d_normed, d_weight, d_bias = layers.linear_backward(d_out, normed, p[name])
    d_x, gradients = norm_backward(d_normed, p, "norm", x, options)
    gradients[name] = d_weight
    if options.bias_head:
        gradients["head.bias"] = d_bias
    return d_x, gradients
