"""The weights that the arrays of a checkpoint's file stand for, read by its format and nothing else.

A matrix NAME (R, D) lies there as it is, or in fewer bits:

- `NAME.q8`, int8 (R, D), or `NAME.q4`, uint8 (R, D / 2, rounded up): two a byte, the first in the lower half, in two's
  complement. Each number is multiplied by its scale in `NAME.scale`, float16 (R, D / 32, rounded up), one for each 32
  of a row.
- `NAME.b16`, uint16 (R, D): bfloat16, from the top a bit of sign, 8 of exponent, 7 of fraction.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from letterloom.reference.layers import Array
from letterloom.reference.options import Options, parameter_shapes

GROUP = 32
Stored = NDArray[np.generic]  # of whatever numbers the format says


def read_weights(stored: Mapping[str, Stored], options: Options) -> dict[str, Array]:
    """Arrays by their names in the file -> the parameters by name.

    Raises:
        KeyError: an array is missing.
    """
    p = {}
    for name, shape in parameter_shapes(options).items():
        if f"{name}.q8" in stored:
            p[name] = scaled(stored[f"{name}.q8"], stored[f"{name}.scale"])
        elif f"{name}.q4" in stored:
            p[name] = scaled(four_bits(stored[f"{name}.q4"], shape[1]), stored[f"{name}.scale"])
        elif f"{name}.b16" in stored:
            p[name] = bfloat16(stored[f"{name}.b16"])
        else:
            p[name] = stored[name].astype(np.float64)
    return p


def scaled(numbers: Stored, scales: Stored) -> Array:
    """Whole numbers (R, D), scales (R, D / 32, rounded up) -> (R, D)."""
    weights = np.empty(numbers.shape)
    for i in range(numbers.shape[1]):
        weights[:, i] = numbers[:, i].astype(np.float64) * scales[:, i // GROUP].astype(np.float64)
    return weights


def four_bits(packed: Stored, width: int) -> NDArray[np.int64]:
    """(R, D / 2, rounded up) -> whole numbers from -8 to 7, (R, D)."""
    numbers = np.empty((len(packed), width), dtype=np.int64)
    for i in range(width):
        byte = packed[:, i // 2].astype(np.int64)
        half = byte % 16 if i % 2 == 0 else byte // 16
        numbers[:, i] = np.where(half < 8, half, half - 16)
    return numbers


def bfloat16(stored: Stored) -> Array:
    """(R, D) -> (R, D); no weight is infinite or NaN."""
    bits = stored.astype(np.int64)
    sign, exponent, fraction = bits // 2**15, bits // 2**7 % 2**8, bits % 2**7
    size = np.where(exponent == 0, np.ldexp(fraction / 2**7, -126), np.ldexp(1 + fraction / 2**7, exponent - 127))
    return np.where(sign == 1, -size, size)
