"""A model's parameters, laid out for the kernels: one array of each kind over all layers, padded with zeros."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from letterloom.config import POSITION_BASE, ModelConfig
from letterloom.generation.compiled import arithmetic
from letterloom.generation.compiled.arithmetic import Array
from letterloom.generation.compiled.intrinsics import GROUP_BYTES, PAD
from letterloom.runs.quantized import GROUP, Parameter, QuantizedMatrix, widened

GAP = 256  # floats; LLVM keeps the distance of a vector, times the few that it takes in a turn of the loop
_ACTIVATIONS = {
    "relu": arithmetic.RELU,
    "gelu": arithmetic.GELU,
    "gelu_tanh": arithmetic.GELU_TANH,
    "relu_squared": arithmetic.RELU_SQUARED,
    "swiglu": arithmetic.SWIGLU,
}


class Options(NamedTuple):
    """What a `ModelConfig` chooses, as the kernels ask for it."""

    n_heads: int
    d_head: int
    context_length: int
    jump: int
    activation: int
    rms: bool
    unit_heads: bool
    post_norms: bool
    smear: bool
    soft_cap: float  # 0: none


class Weights(NamedTuple):
    """Float32, C-contiguous, 64-byte aligned. L layers; P(n) is n filled up to a multiple of `PAD`.

    A norm is (2, D): gain and bias. What a model lacks is zeros (an added row, a bias) or empty (a matrix). A matrix
    (R, C) of the products lies in panels, (P(R) / PAD, C, PAD), or int8, as `intrinsics.block_product` reads them.
    """

    embedding: Array  # (V, D)
    smear: Array  # (2, D)
    position: Array  # (T, D): learned or sinusoidal
    cos: Array  # (T, K / 2), or (T, 0)
    sin: Array
    attention_norm: Array  # (L, 2, D)
    qkv: Array  # (L, panels of (3 D, D))
    qkv_bias: Array  # (L, P(3 D))
    out: Array  # (L, panels of (D, D))
    out_bias: Array
    attention_post_norm: Array
    mlp_norm: Array
    up: Array  # (L, panels of (F, D))
    up_bias: Array
    gate: Array  # (L, panels of (F, D)), or none
    gate_bias: Array
    down: Array  # (L, panels of (D, F))
    down_bias: Array
    mlp_post_norm: Array
    norm: Array  # (1, 2, D)
    head: Array  # (1, panels of (V, D))
    head_bias: Array  # (1, P(V))


def options_of(config: ModelConfig, jump: int) -> Options:
    """The choices of a configuration; `jump` is how far a full window moves."""
    return Options(
        n_heads=config.n_heads,
        d_head=config.d_head,
        context_length=config.context_length,
        jump=jump,
        activation=_ACTIVATIONS[config.activation],
        rms=config.norm == "rmsnorm",
        unit_heads=config.qk_norm,
        post_norms=config.norm_placement == "before_and_after",
        smear=config.token_smear,
        soft_cap=config.logit_soft_cap or 0.0,
    )


def parameter_shapes(config: ModelConfig, vocab_size: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the parameters of a `Transformer`, in the file format (`docs/architecture.md`)."""
    d, f = config.d_model, config.d_hidden
    shapes: dict[str, tuple[int, ...]] = {}

    def linear(name: str, rows: int, columns: int, bias: bool, weight: bool = True) -> None:
        shapes.update({f"{name}.weight": (rows, columns)} if weight else {})
        shapes.update({f"{name}.bias": (rows,)} if bias else {})

    def norm(name: str) -> None:
        shapes.update({f"{name}.{kind}": (d,) for kind in ("weight", "bias")[: 1 + config.bias_norm]})

    shapes["embedding.weight"] = (vocab_size, d)
    if config.token_smear:
        shapes["smear.weight"] = (2, d)
    if config.positions == "learned":
        shapes["position.weight"] = (config.context_length, d)
    places = ("attention_norm", "mlp_norm", "attention_post_norm", "mlp_post_norm")
    for block in (f"blocks.{i}" for i in range(config.n_layers)):
        for place in places[: 4 if config.norm_placement == "before_and_after" else 2]:
            norm(f"{block}.{place}")
        linear(f"{block}.attention.qkv", 3 * d, d, config.bias_qkv)
        linear(f"{block}.attention.out", d, d, config.bias_attention_out)
        linear(f"{block}.mlp.up", f, d, config.bias_mlp)
        if config.activation == "swiglu":
            linear(f"{block}.mlp.gate", f, d, config.bias_mlp)
        linear(f"{block}.mlp.down", d, f, config.bias_mlp)
    norm("norm")
    linear("head", vocab_size, d, config.bias_head, weight=not config.tied_head)
    return shapes


def lay_out(parameters: Mapping[str, Parameter], config: ModelConfig, vocab_size: int) -> Weights:
    """Parameters of the names and shapes of `parameter_shapes`, as the kernels read them."""
    context, d, f = config.context_length, config.d_model, config.d_hidden
    tables = ("embedding.weight", "position.weight")  # read a row at a time, as floats
    floats = widened({n: p for n, p in parameters.items() if n in tables or not isinstance(p, QuantizedMatrix)})
    quantized = isinstance(parameters["blocks.0.mlp.up.weight"], QuantizedMatrix)

    def zeros_with(found: NDArray[np.floating] | None, *shape: int) -> Array:
        return aligned(shape) if found is None else _padded(found, shape)

    def matrices(names: Sequence[str], rows: int, columns: int) -> NDArray[Any]:
        in_panels = _panels_of_codes if quantized else _panels_of_floats
        return in_panels([parameters[name] for name in names], padded(rows) // PAD, columns)

    def of_layers(name: str, rows: int, columns: int) -> NDArray[Any]:
        return matrices([f"blocks.{i}.{name}.weight" for i in range(config.n_layers)], rows, columns)

    def biases_of_layers(name: str, length: int) -> Array:
        whole = aligned((config.n_layers, padded(length)))
        for i, part in enumerate(whole):
            part[:length] = floats.get(f"blocks.{i}.{name}.bias", 0.0)
        return whole

    def norms(*names: str) -> Array:
        whole = aligned((len(names), 2, d))
        for part, name in zip(whole, names, strict=True):
            for row, kind in zip(part, ("weight", "bias"), strict=True):
                row[:] = floats.get(f"{name}.{kind}", 0.0)
        return whole

    def norms_of_layers(name: str) -> Array:
        return norms(*(f"blocks.{i}.{name}" for i in range(config.n_layers)))

    gated = config.activation == "swiglu"
    cos, sin = _rotary(config) if config.positions == "rotary" else (aligned((context, 0)), aligned((context, 0)))
    position = _sinusoids(config) if config.positions == "sinusoidal" else floats.get("position.weight")
    return Weights(
        embedding=_padded(floats["embedding.weight"], (vocab_size, d)),
        smear=zeros_with(floats.get("smear.weight"), 2, d),
        position=zeros_with(position, context, d),
        cos=cos,
        sin=sin,
        attention_norm=norms_of_layers("attention_norm"),
        qkv=of_layers("attention.qkv", 3 * d, d),
        qkv_bias=biases_of_layers("attention.qkv", 3 * d),
        out=of_layers("attention.out", d, d),
        out_bias=biases_of_layers("attention.out", d),
        attention_post_norm=norms_of_layers("attention_post_norm"),
        mlp_norm=norms_of_layers("mlp_norm"),
        up=of_layers("mlp.up", f, d),
        up_bias=biases_of_layers("mlp.up", f),
        gate=of_layers("mlp.gate", f, d) if gated else matrices([], f, d),
        gate_bias=biases_of_layers("mlp.gate", f) if gated else aligned((0, padded(f))),
        down=of_layers("mlp.down", d, padded(f)),
        down_bias=biases_of_layers("mlp.down", d),
        mlp_post_norm=norms_of_layers("mlp_post_norm"),
        norm=norms("norm"),
        head=matrices(["embedding.weight" if config.tied_head else "head.weight"], vocab_size, d),
        head_bias=zeros_with(floats.get("head.bias"), padded(vocab_size))[None],
    )


def padded(length: int) -> int:
    """The length filled up to a multiple of `PAD`."""
    return -(-length // PAD) * PAD


def aligned(shape: tuple[int, ...]) -> Array:
    """Float32 zeros that begin where a cache line does: a vector that lies in two of them is read half as fast.

    Nothing else lies in the `GAP` before them. A loop that writes so close behind what it reads does without vectors,
    lest they overlap, and rounds otherwise: the last digits would depend on where arrays happen to lie.
    """
    size = math.prod(shape)
    raw = np.zeros(GAP + size + PAD, np.float32)
    offset = GAP + -raw.ctypes.data % 64 // raw.itemsize
    return raw[offset : offset + size].reshape(shape)


def _padded(array: NDArray[np.floating], shape: tuple[int, ...]) -> Array:
    whole = aligned(shape)
    whole[tuple(map(slice, array.shape))] = array
    return whole


def _panels_of_floats(matrices: Sequence[Any], panels: int, columns: int) -> Array:
    whole = aligned((len(matrices), panels, columns, PAD))
    for part, matrix in zip(whole, matrices, strict=True):
        part[:, : matrix.shape[1]] = _in_panels(matrix, panels)
    return whole


def _panels_of_codes(matrices: Sequence[Any], panels: int, columns: int) -> NDArray[np.int8]:
    groups = -(-columns // GROUP)
    whole = aligned((len(matrices), panels, groups, GROUP_BYTES // 4)).view(np.int8)
    for part, matrix in zip(whole, matrices, strict=True):
        part[:, : matrix.scales.shape[1], : 4 * PAD].view(np.float32)[:] = _in_panels(matrix.scales, panels)
        codes = np.zeros((panels, groups * GROUP, PAD), np.int8)
        codes[:, : matrix.shape[1]] = _in_panels(matrix.codes, panels)
        part[..., 4 * PAD :] = codes.reshape(panels, groups, -1)
    return whole


def _in_panels(matrix: NDArray[Any], panels: int) -> NDArray[Any]:
    """(R, C) as (panels, C, PAD), filled up with rows of zeros."""
    whole = np.zeros((panels * PAD, matrix.shape[1]), matrix.dtype)
    whole[: len(matrix)] = matrix
    return whole.reshape(panels, PAD, -1).swapaxes(1, 2)


def _sinusoids(config: ModelConfig) -> Array:
    """Sines in even channels, cosines in odd ones, (T, D)."""
    angles = _angles(config.context_length, config.d_model)
    table = np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(config.context_length, -1)
    return _padded(table[:, : config.d_model], (config.context_length, config.d_model))


def _rotary(config: ModelConfig) -> tuple[Array, Array]:
    angles = _angles(config.context_length, config.d_head)
    return _padded(np.cos(angles), angles.shape), _padded(np.sin(angles), angles.shape)


def _angles(length: int, width: int) -> NDArray[np.float64]:
    frequencies = POSITION_BASE ** (-np.arange(0, width, 2) / width)
    return np.outer(np.arange(length), frequencies)
