"""Weights in fewer bits, as a checkpoint stores them: whole numbers with a scale a group, or bfloat16. NumPy alone.

A matrix (R, D) is cut along its rows into groups of 32, of which the last may be shorter. A weight is a whole number of
8 or 4 bits times the scale of its group (Dettmers and Zettlemoyer 2022, section 3, on small blocks; there is no zero
point). Biases, norms and the smear's rows stay float32. Names in the file, for a matrix NAME:

    NAME.q8     int8 (R, D)
    NAME.q4     uint8 (R, D / 2, rounded up): two a byte, the first in the lower half
    NAME.scale  float16 (R, D / 32, rounded up)
    NAME.b16    uint16 (R, D): the upper half of each float32
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from letterloom.config import ModelConfig
from letterloom.errors import ConfigError, DataMismatchError, NonFiniteError

GROUP = 32
_CLIPS = np.linspace(1.0, 0.6, 17, dtype=np.float32)  # shares of the largest weight that are reached
_LARGEST = float(np.finfo(np.float16).max)
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Quantization:
    """How a checkpoint was quantized; its manifest says it."""

    bits: int
    group: int | None  # weights that share a scale; None: each stands for itself
    method: str


@dataclass(frozen=True)
class QuantizedMatrix:
    """A matrix (R, D) of 8 or 4 bits a weight."""

    codes: NDArray[np.int8]  # (R, D)
    scales: NDArray[np.float16]  # (R, groups)

    @property
    def shape(self) -> tuple[int, ...]:
        """(R, D)."""
        return self.codes.shape

    def widened(self) -> Floats:
        """The weights that are meant; exact in float32, since a code and a scale have 19 digits between them."""
        scales = np.repeat(self.scales.astype(np.float32), GROUP, axis=1)
        return self.codes * scales[:, : self.shape[1]]


Parameter = NDArray[Any] | QuantizedMatrix


def choose(bits: int | None, method: str | None) -> Quantization:
    """What is asked for; the rest is chosen: 8 bits, scales searched, and for 16 bits bfloat16.

    Raises:
        ConfigError: there is no such thing, or bits and method contradict each other.
    """
    if bits not in (None, 8, 4, 16):
        raise ConfigError(f"bits = {bits}: should be 8, 4 or 16")
    if method not in (None, "search", "round", "bf16"):
        raise ConfigError(f"method = {method!r}: should be search, round or bf16")
    bits = bits or (16 if method == "bf16" else 8)
    method = method or ("bf16" if bits == 16 else "search")
    if (bits == 16) != (method == "bf16"):
        raise ConfigError(f"method {method} does not give {bits} bits; bf16 goes with 16, search and round with 8 or 4")
    return Quantization(bits, None if bits == 16 else GROUP, method)


def quantize_matrix(weights: Floats, bits: int, method: str = "search") -> QuantizedMatrix:
    """Round weights (R, D) to whole numbers of 8 or 4 bits, in groups.

    `round` takes the scale that reaches the largest weight of a group, so no weight is off by more than half of it.
    `search` also tries to clip the largest (Banner et al. 2019, section 2, who compute how far), and to spend the code
    of which there is no negative, -8 or -128, on it; the least squared error decides, group by group.
    """
    grouped = _grouped(weights)
    largest = np.take_along_axis(grouped, np.abs(grouped).argmax(-1, keepdims=True), -1)[..., 0]  # with its sign
    top = 2 ** (bits - 1) - 1
    candidates = [np.abs(largest) / top]
    if method == "search":
        candidates = [clip * reach for clip in _CLIPS for reach in (candidates[0], -largest / (top + 1))]
    least = np.full(largest.shape, np.inf, np.float32)
    scales, codes = np.zeros(largest.shape, np.float16), np.zeros(grouped.shape, np.int8)
    for candidate in candidates:
        tried = _half(candidate)
        scale = tried.astype(np.float32)[..., None]
        rounded = np.clip(np.rint(grouped / np.where(scale == 0, 1, scale)), -top - 1, top)
        error = np.square(grouped - rounded * scale).sum(-1)
        better = error < least
        least[better], scales[better], codes[better] = error[better], tried[better], rounded[better]
    return QuantizedMatrix(codes.reshape(len(weights), -1)[:, : weights.shape[1]], scales)


def is_narrowed(name: str, ndim: int) -> bool:
    """Whether a parameter of so many axes is stored in fewer bits: a matrix, but not the smear's rows."""
    return ndim == 2 and name != "smear.weight"


def quantize(parameters: Mapping[str, NDArray[Any]], how: Quantization) -> dict[str, NDArray[Any]]:
    """Parameters by name, as the arrays of a file.

    Raises:
        NonFiniteError: a weight is NaN or infinite.
        ConfigError: a weight is too large for the scales.
    """
    stored: dict[str, NDArray[Any]] = {}
    for name, weights in parameters.items():
        if not np.isfinite(weights).all():
            raise NonFiniteError(f"{name} holds a weight that is NaN or infinite; use an earlier checkpoint")
        if not is_narrowed(name, weights.ndim):
            stored[name] = weights
        elif how.bits == 16:
            stored[f"{name}.b16"] = _to_bfloat16(weights)
        elif np.abs(weights).max() > _LARGEST:
            raise ConfigError(f"{name} holds weights beyond {_LARGEST:,.0f}, too large for scales in half; take bf16")
        else:
            matrix = quantize_matrix(weights, how.bits, how.method)
            stored[f"{name}.q{how.bits}"] = matrix.codes if how.bits == 8 else pack(matrix.codes)
            stored[f"{name}.scale"] = matrix.scales
    return {name: np.ascontiguousarray(array) for name, array in stored.items()}


def read_quantized(stored: Mapping[str, NDArray[Any]], config: ModelConfig, source: Path) -> dict[str, Parameter]:
    """The parameters that the arrays of a file stand for, by name; 4 bits are unpacked to a byte each.

    Raises:
        DataMismatchError: the arrays do not belong together; `source` is named.
    """
    parameters: dict[str, Parameter] = {}
    for key, array in stored.items():
        name, _, kind = key.rpartition(".")
        if kind in ("q8", "q4"):
            width = config.d_hidden if name.endswith("mlp.down.weight") else config.d_model
            codes, scales = array if kind == "q8" else unpack(array, width), stored.get(f"{name}.scale")
            if scales is None or scales.shape != (len(codes), -(-width // GROUP)):
                raise DataMismatchError(f"{source} is damaged: {key} and its scales do not fit; use a copy")
            parameters[name] = QuantizedMatrix(codes, scales)
        elif kind == "b16":
            parameters[name] = (array.astype(np.uint32) << 16).view(np.float32)
        elif kind != "scale":
            parameters[key] = array.copy()  # one that may be written to, as the others
    return parameters


def widened(parameters: Mapping[str, Parameter]) -> dict[str, NDArray[Any]]:
    """Every parameter as an array of floats."""
    return {name: p.widened() if isinstance(p, QuantizedMatrix) else p for name, p in parameters.items()}


def pack(codes: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Codes of 4 bits (R, D), two a byte: (R, D / 2, rounded up)."""
    nibbles = np.zeros((len(codes), codes.shape[1] + codes.shape[1] % 2), np.uint8)
    nibbles[:, : codes.shape[1]] = codes.view(np.uint8) & 15
    packed: NDArray[np.uint8] = nibbles[:, ::2] | nibbles[:, 1::2] << 4
    return packed


def unpack(packed: NDArray[np.uint8], width: int) -> NDArray[np.int8]:
    """What `pack` was given, (R, width)."""
    nibbles = np.stack([packed & 15, packed >> 4], axis=-1).reshape(len(packed), -1)[:, :width].astype(np.int8)
    return (nibbles ^ 8) - np.int8(8)  # the sign is the uppermost of 4 bits


def _grouped(weights: Floats) -> Floats:
    """(R, D) as (R, groups, 32), the last one filled up with zeros."""
    rows, width = weights.shape
    groups = -(-width // GROUP)
    whole = np.zeros((rows, groups * GROUP), np.float32)
    whole[:, :width] = weights
    return whole.reshape(rows, groups, GROUP)


def _half(scales: Floats) -> NDArray[np.float16]:
    """Scales as float16, never nearer to 0 than they are: the largest weight stays within reach, the tiniest not 0."""
    half = scales.astype(np.float16)
    further = np.nextafter(half, np.copysign(np.inf, scales).astype(np.float16))
    return np.where(np.abs(half) < np.abs(scales), further, half)


def _to_bfloat16(weights: Floats) -> NDArray[np.uint16]:
    """The upper halves of float32, to the nearest, of two as near to the even one."""
    bits = np.ascontiguousarray(weights, np.float32).view(np.uint32)
    return ((bits + (0x7FFF + (bits >> 16 & 1))) >> 16).astype(np.uint16)
