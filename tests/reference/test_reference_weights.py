"""The reference's own reading of narrow weights, against values written by hand and PyTorch's bfloat16."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from letterloom.reference.options import Options, parameter_shapes
from letterloom.reference.weights import bfloat16, four_bits, read_weights, scaled

OPTIONS = Options(vocab_size=3, context_length=2, d_model=2, n_layers=1, n_heads=1, d_ff=34)


def test_each_number_has_the_scale_of_its_32() -> None:
    numbers = np.array([[1] * 32 + [-1] * 32 + [-128]], np.int8)
    weights = scaled(numbers, np.array([[0.5, 0.25, 2.0]], np.float16))
    assert weights.tolist() == [[0.5] * 32 + [-0.25] * 32 + [-256.0]]


def test_no_digit_is_lost() -> None:
    scale = np.float16(1 + 2**-10)
    assert scaled(np.array([[127]], np.int8), np.array([[scale]])) == 127 * (1 + 2**-10)


def test_two_a_byte_the_first_in_the_lower_half() -> None:
    packed = np.array([[0x10, 0x72, 0x0F], [0x98, 0x00, 0xF8]], np.uint8)
    assert four_bits(packed, 5).tolist() == [[0, 1, 2, 7, -1], [-8, -7, 0, 0, -8]]
    assert four_bits(packed, 6).tolist() == [[0, 1, 2, 7, -1, 0], [-8, -7, 0, 0, -8, -1]]


def test_every_finite_bfloat16_is_that_of_torch() -> None:
    stored = np.arange(2**16, dtype=np.uint16)
    expected = torch.from_numpy(stored.view(np.int16)).view(torch.bfloat16).double().numpy()
    finite = np.isfinite(expected)
    assert finite.sum() == 2**16 - 2 * 2**7  # infinities and NaN have the largest exponent
    found = bfloat16(stored[finite])
    assert np.array_equal(found, expected[finite])
    assert np.array_equal(np.signbit(found), np.signbit(expected[finite]))  # of zeros too


def test_each_parameter_is_read_by_how_it_lies_there() -> None:
    shapes = parameter_shapes(OPTIONS)
    stored: dict[str, NDArray[Any]] = {name: np.full(shape, 0.5, np.float32) for name, shape in shapes.items()}
    up, down, embedding = "blocks.0.mlp.up.weight", "blocks.0.mlp.down.weight", "embedding.weight"
    for name in (up, down, embedding):
        del stored[name]
    stored |= {
        f"{up}.q8": np.full((34, 2), -3, np.int8),
        f"{up}.scale": np.full((34, 1), 0.25, np.float16),
        f"{down}.q4": np.full((2, 17), 0x7F, np.uint8),
        f"{down}.scale": np.array([[1, 2], [3, 4]], np.float16),
        f"{embedding}.b16": np.full((3, 2), 0xBF80, np.uint16),
    }
    p = read_weights(stored, OPTIONS)
    assert {name: array.shape for name, array in p.items()} == shapes
    assert all(array.dtype == np.float64 for array in p.values())
    assert (p[up] == -0.75).all()
    assert p[down].tolist() == [[-1.0, 7.0] * 16 + [-2.0, 14.0], [-3.0, 21.0] * 16 + [-4.0, 28.0]]
    assert (p[embedding] == -1.0).all()
    assert all((p[name] == 0.5).all() for name in shapes if name not in (up, down, embedding))


def test_a_missing_array_is_named() -> None:
    with pytest.raises(KeyError, match=r"embedding\.weight"):
        read_weights({}, OPTIONS)
