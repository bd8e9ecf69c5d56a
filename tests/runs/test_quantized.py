import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from letterloom.config import ModelConfig
from letterloom.errors import ConfigError, DataMismatchError, NonFiniteError
from letterloom.runs.quantized import (
    GROUP,
    Quantization,
    QuantizedMatrix,
    choose,
    pack,
    quantize,
    quantize_matrix,
    read_quantized,
    unpack,
    widened,
)

TINIEST = float(np.finfo(np.float16).smallest_subnormal)
shapes = st.tuples(st.integers(1, 5), st.integers(1, 3 * GROUP + 1))
matrices = st.tuples(shapes, st.integers(0, 1000), st.sampled_from([1e-30, 1e-9, 1e-6, 1e-3, 1.0, 1e4])).map(
    lambda drawn: (np.random.default_rng(drawn[1]).standard_t(3, size=drawn[0]) * drawn[2]).astype(np.float32)
)
kinds = st.sampled_from([8, 4])


def errors(weights: NDArray[np.float32], matrix: QuantizedMatrix) -> NDArray[np.float64]:
    return matrix.widened().astype(np.float64) - weights


def by_group(values: NDArray[Any]) -> list[NDArray[Any]]:
    """Cut as the file format says: 32 columns each, the last group what is left."""
    return np.split(values, range(GROUP, values.shape[1], GROUP), axis=1)


class TestRounding:
    @given(weights=matrices, bits=kinds)
    def test_no_weight_is_off_by_more_than_half_a_step(self, weights: NDArray[np.float32], bits: int) -> None:
        matrix = quantize_matrix(weights, bits, "round")
        steps = np.repeat(matrix.scales.astype(np.float64), GROUP, axis=1)[:, : weights.shape[1]]
        assert (np.abs(errors(weights, matrix)) <= steps / 2 * (1 + 1e-6)).all()

    @given(weights=matrices, bits=kinds)
    def test_a_step_is_no_larger_than_the_largest_weight_of_its_group_asks_for(
        self, weights: NDArray[np.float32], bits: int
    ) -> None:
        matrix = quantize_matrix(weights, bits, "round")
        assert matrix.scales.shape == (len(weights), -(-weights.shape[1] // GROUP))
        for group, scales in zip(by_group(weights), matrix.scales.T, strict=True):
            asked = np.abs(group.astype(np.float64)).max(axis=1) / (2 ** (bits - 1) - 1)
            assert (scales <= np.maximum(asked * (1 + 2**-10), asked + TINIEST)).all()

    @given(weights=matrices, bits=kinds)
    def test_a_search_is_never_worse(self, weights: NDArray[np.float32], bits: int) -> None:
        searched, rounded = (quantize_matrix(weights, bits, method) for method in ("search", "round"))
        for ours, theirs in zip(by_group(errors(weights, searched)), by_group(errors(weights, rounded)), strict=True):
            assert (np.square(ours).sum(1) <= np.square(theirs).sum(1) * (1 + 1e-4) + 1e-40).all()

    @given(weights=matrices, bits=kinds, again=st.sampled_from(["search", "round"]))
    def test_what_was_rounded_stays_what_it_is(self, weights: NDArray[np.float32], bits: int, again: str) -> None:
        once = quantize_matrix(weights, bits, "round").widened()
        assert np.array_equal(quantize_matrix(once, bits, again).widened(), once)

    def test_a_search_is_better_where_one_weight_stands_out(self) -> None:
        weights = np.random.default_rng(0).normal(size=(50, 4 * GROUP)).astype(np.float32)
        squares = {m: np.square(errors(weights, quantize_matrix(weights, 4, m))).mean() for m in ("search", "round")}
        assert squares["search"] < 0.85 * squares["round"]

    @pytest.mark.parametrize("bits", [8, 4])
    def test_a_search_uses_the_code_that_has_no_negative(self, bits: int) -> None:
        weights = np.zeros((2, GROUP), np.float32)
        weights[:, 0], weights[:, 1] = (-1.0, 1.0), (0.5, -0.5)
        matrix = quantize_matrix(weights, bits, "search")
        assert matrix.codes[:, 0].tolist() == [-(2 ** (bits - 1))] * 2
        assert (matrix.widened() == weights).all()  # eighths, or 128ths

    @given(weights=matrices, bits=kinds, method=st.sampled_from(["search", "round"]))
    def test_codes_have_as_many_bits(self, weights: NDArray[np.float32], bits: int, method: str) -> None:
        codes = quantize_matrix(weights, bits, method).codes
        assert codes.dtype == np.int8
        assert codes.shape == weights.shape
        assert -(2 ** (bits - 1)) <= codes.min() <= codes.max() < 2 ** (bits - 1)

    @pytest.mark.parametrize("method", ["search", "round"])
    @pytest.mark.parametrize("bits", [8, 4])
    def test_a_group_of_zeros_stays_zeros(self, bits: int, method: str) -> None:
        weights = np.ones((3, 2 * GROUP + 1), np.float32)
        weights[1, GROUP:] = 0.0
        back = quantize_matrix(weights, bits, method).widened()
        assert (back[1, GROUP:] == 0.0).all()
        assert np.allclose(back[0], 1.0, rtol=0.01)

    @pytest.mark.parametrize("method", ["search", "round"])
    def test_groups_do_not_know_of_one_another(self, method: str) -> None:
        weights = np.random.default_rng(1).normal(size=(4, 3 * GROUP)).astype(np.float32)
        before = quantize_matrix(weights, 4, method).widened()
        weights[:, GROUP : 2 * GROUP] *= 1000
        after = quantize_matrix(weights, 4, method).widened()
        assert np.array_equal(np.delete(before, np.s_[GROUP : 2 * GROUP], 1), np.delete(after, np.s_[32:64], 1))

    @given(weights=matrices, bits=kinds)
    def test_what_is_meant_is_exact_in_float32(self, weights: NDArray[np.float32], bits: int) -> None:
        matrix = quantize_matrix(weights, bits)
        scales = np.repeat(matrix.scales.astype(np.float64), GROUP, axis=1)[:, : weights.shape[1]]
        assert (matrix.widened().astype(np.float64) == matrix.codes * scales).all()


@given(codes=arrays(np.int8, shapes, elements=st.integers(-8, 7)))
def test_two_codes_a_byte_come_back(codes: NDArray[np.int8]) -> None:
    packed = pack(codes)
    assert packed.shape == (len(codes), (codes.shape[1] + 1) // 2)
    assert (unpack(packed, codes.shape[1]) == codes).all()


def test_the_first_code_is_in_the_lower_half() -> None:
    assert pack(np.array([[1, -1, -8]], np.int8)).tolist() == [[0xF1, 0x08]]


CONFIG = ModelConfig(d_model=7, n_heads=1, context_length=3, d_ff=33, n_layers=1)


def model_parameters() -> dict[str, NDArray[np.float32]]:
    draw = np.random.default_rng(2)
    shapes = {
        "embedding.weight": (5, 7),
        "smear.weight": (2, 7),
        "blocks.0.mlp.up.weight": (33, 7),
        "blocks.0.mlp.up.bias": (33,),
        "blocks.0.mlp.down.weight": (7, 33),
        "norm.weight": (7,),
    }
    return {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


class TestFile:
    @pytest.mark.parametrize("bits", [8, 4, 16])
    def test_names_and_kinds(self, bits: int) -> None:
        stored = quantize(model_parameters(), choose(bits, None))
        found = {name: (str(array.dtype), array.shape) for name, array in stored.items()}
        vectors = {"smear.weight": (2, 7), "blocks.0.mlp.up.bias": (33,), "norm.weight": (7,)}
        matrices = {"embedding.weight": (5, 7), "blocks.0.mlp.up.weight": (33, 7), "blocks.0.mlp.down.weight": (7, 33)}
        expected: dict[str, tuple[str, tuple[int, ...]]] = {name: ("float32", s) for name, s in vectors.items()}
        for name, (rows, width) in matrices.items():
            if bits == 16:
                expected[f"{name}.b16"] = ("uint16", (rows, width))
                continue
            expected[f"{name}.scale"] = ("float16", (rows, 2 if width == 33 else 1))
            expected[f"{name}.q{bits}"] = ("int8", (rows, width)) if bits == 8 else ("uint8", (rows, width // 2 + 1))
        assert found == expected

    @pytest.mark.parametrize("bits", [8, 4])
    def test_every_matrix_comes_back_as_it_was_quantized(self, bits: int) -> None:
        parameters, how = model_parameters(), choose(bits, "search")
        back = widened(read_quantized(quantize(parameters, how), CONFIG, Path("model")))
        assert back.keys() == parameters.keys()
        for name, weights in parameters.items():
            vector = weights.ndim == 1 or "smear" in name
            expected = weights if vector else quantize_matrix(weights, bits, "search").widened()
            assert back[name].dtype == np.float32
            assert np.array_equal(back[name], expected)

    @given(weights=arrays(np.float32, shapes, elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
    def test_bfloat16_is_that_of_torch(self, weights: NDArray[np.float32]) -> None:
        expected = torch.from_numpy(weights).bfloat16().float().numpy()
        stored = quantize({"embedding.weight": weights}, choose(16, None))
        (back,) = widened(read_quantized(stored, CONFIG, Path("model"))).values()
        assert np.array_equal(back, expected)

    def test_codes_without_their_scales_are_told(self) -> None:
        for change in ("gone", "short"):
            stored = quantize(model_parameters(), choose(4, None))
            scales = stored.pop("embedding.weight.scale")
            if change == "short":
                stored["embedding.weight.scale"] = scales[1:]
            with pytest.raises(DataMismatchError, match=r"model is damaged: embedding\.weight\.q4"):
                read_quantized(stored, CONFIG, Path("model"))

    @pytest.mark.parametrize("bits", [8, 4, 16])
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_what_is_not_finite_is_told(self, bits: int, value: float) -> None:
        parameters = model_parameters()
        parameters["blocks.0.mlp.up.weight"][3, 4] = value
        with pytest.raises(NonFiniteError, match=r"blocks\.0\.mlp\.up\.weight"):
            quantize(parameters, choose(bits, None))

    def test_what_is_too_large_for_the_scales_is_told(self) -> None:
        parameters = model_parameters()
        parameters["embedding.weight"][0, 0] = 1e6
        with pytest.raises(ConfigError, match=r"embedding\.weight.*bf16"):
            quantize(parameters, choose(4, None))
        assert quantize(parameters, choose(16, None))


class TestChoice:
    def test_what_is_not_said_is_chosen(self) -> None:
        asked: dict[Any, Any] = {
            (None, None): (8, GROUP, "search"),
            (4, None): (4, GROUP, "search"),
            (8, "round"): (8, GROUP, "round"),
        }
        asked |= {(16, None): (16, None, "bf16"), (None, "bf16"): (16, None, "bf16"), (16, "bf16"): (16, None, "bf16")}
        for (bits, method), expected in asked.items():
            assert dataclasses.astuple(choose(bits, method)) == expected

    @pytest.mark.parametrize(
        ("bits", "method", "told"),
        [
            (3, None, "bits = 3: should be 8, 4 or 16"),
            (0, None, "bits = 0"),
            (8, "gptq", "method = 'gptq': should be"),
            (4, "bf16", "bf16 does not give 4 bits"),
            (16, "search", "search does not give 16 bits"),
        ],
    )
    def test_anything_else_is_refused(self, bits: int, method: str | None, told: str) -> None:
        with pytest.raises(ConfigError, match=told):
            choose(bits, method)

    def test_a_manifest_says_it(self) -> None:
        how = choose(4, "round")
        assert Quantization(**dataclasses.asdict(how)) == how
