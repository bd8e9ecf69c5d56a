"""Whole numbers from logits, and bits from whole numbers."""

import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from letterloom.compression.coding import Decoder, Encoder
from letterloom.compression.quantization import TOTAL, quantized
from letterloom.compression.symbols import NOT_ESCAPED
from letterloom.errors import DataMismatchError, NonFiniteError, ResourceError

logits = st.lists(st.floats(-200, 200, width=32), min_size=1, max_size=80)
escapes = st.sampled_from([1, 2, 1 << 10, TOTAL // 2])
Symbols = list[tuple[int, int]]


class TestNumbers:
    @given(values=logits, escape=escapes)
    @example(values=[0.0], escape=TOTAL // 2)
    @example(values=[200.0, -200.0], escape=1)
    def test_they_share_out_the_whole(self, values: list[float], escape: int) -> None:
        counts = quantized(np.array(values, np.float32), escape)
        assert counts.sum() == TOTAL
        assert counts.min() >= 1
        assert (len(counts), counts[-1]) == (len(values) + 1, escape)

    @given(values=logits)
    def test_they_are_the_probabilities(self, values: list[float]) -> None:
        counts = quantized(np.array(values, np.float32), 1)[:-1]
        weights = np.exp(np.array(values, np.float64) - max(values))
        expected = (TOTAL - 1) * weights / weights.sum()
        assert np.abs(counts - expected).max() <= len(values) + 1  # what is taken from the likeliest to give all some

    @given(values=logits)
    def test_so_coding_by_them_costs_hardly_more(self, values: list[float]) -> None:
        p = np.exp(np.array(values, np.float64) - max(values))
        p /= p.sum()
        counts = quantized(np.array(values, np.float32), 1)[:-1]
        divergence = float((p * np.log2(np.maximum(p, 1e-300) * TOTAL / counts)).sum())
        assert divergence < 1e-4  # bits

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
    def test_a_model_that_is_not_finite_is_refused(self, bad: float) -> None:
        with pytest.raises(NonFiniteError, match="not finite"):
            quantized(np.array([0.0, bad], np.float32), 1)


def some_numbers(n: int, vocab_size: int, escape: int = 1) -> list[NDArray[np.int64]]:
    draw = np.random.default_rng(n)
    return [quantized(draw.normal(scale=draw.choice([0.1, 3, 30]), size=vocab_size), escape) for _ in range(n)]


def encoded(symbols: Symbols, numbers: list[NDArray[np.int64]]) -> bytes:
    encoder = Encoder(iter(symbols))
    assert [encoder(counts) for counts in numbers] == [token for token, _ in symbols]
    return encoder.payload()


def drawn(numbers: list[NDArray[np.int64]]) -> Iterator[int]:
    draw = np.random.default_rng(1)
    return (int(draw.choice(len(counts) - 1, p=counts[:-1] / counts[:-1].sum())) for counts in numbers)


class TestBits:
    @pytest.mark.parametrize("vocab_size", [1, 2, 65, 3000])
    def test_a_symbol_costs_the_logarithm_of_its_share(self, vocab_size: int) -> None:
        """Against the sum of the logarithms, the coder's own end apart: two words of 32 bits."""
        numbers = some_numbers(2000, vocab_size)
        symbols = [(token, NOT_ESCAPED) for token in drawn(numbers)]
        payload = encoded(symbols, numbers)
        ideal = sum(-math.log2(counts[token] / TOTAL) for (token, _), counts in zip(symbols, numbers, strict=True))
        assert ideal - 1 <= 8 * len(payload) <= 1.0001 * ideal + 64
        decoder = Decoder(payload, stand_in=0)
        assert [decoder(counts) for counts in numbers] == [token for token, _ in symbols]

    def test_the_numbers_are_taken_exactly(self) -> None:
        """An interval of whole numbers: 24 bits, all of one symbol's interval but its last number, tell them apart."""
        counts = np.array([5, TOTAL - 12, 1, 6])
        for token, first in ((0, 0), (1, 5), (2, TOTAL - 7), (3, TOTAL - 6)):
            word = int.from_bytes(encoded([(token, NOT_ESCAPED)], [counts])[:4], "little")
            share = Fraction(word, 2**32)
            assert Fraction(first, TOTAL) <= share < Fraction(first + int(counts[token]), TOTAL)

    @given(
        choices=st.lists(st.tuples(st.integers(0, 6), st.just(NOT_ESCAPED) | st.integers(0, 0x10FFFF)), max_size=60),
        escape=escapes,
    )
    def test_symbols_come_back(self, choices: Symbols, escape: int) -> None:
        symbols = [(token if point == NOT_ESCAPED else 3, point) for token, point in choices]
        numbers = some_numbers(len(symbols), 7, escape)
        decoder = Decoder(encoded(symbols, numbers), stand_in=3)
        assert [decoder(counts) for counts in numbers] == [token for token, _ in symbols]
        assert decoder.symbols == symbols

    @given(payload=st.binary(max_size=40))
    def test_any_bytes_give_symbols_or_are_refused(self, payload: bytes) -> None:
        numbers = some_numbers(40, 7, TOTAL // 4)
        try:
            decoder = Decoder(payload, stand_in=3)
            for counts in numbers:
                assert 0 <= decoder(counts) < 7
        except DataMismatchError as error:
            assert "damaged" in str(error)


def test_without_the_coder_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "constriction", None)
    with pytest.raises(ResourceError, match=r"pip install 'letterloom\[compress\]'"):
        Encoder(iter(()))
