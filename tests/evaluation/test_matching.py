import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from letterloom.evaluation.matching import longest_matches

TEXTS = st.text("abc", max_size=40) | st.text("aé日🚀", max_size=30) | st.text("a", max_size=60)


def brute_force(text: str, training: str) -> list[int]:
    """The judge: every stretch that ends with each character, looked for."""
    return [
        max(size for size in range(end + 1) if text[end - size : end] in training) for end in range(1, len(text) + 1)
    ]


def points(text: str) -> "np.ndarray[tuple[int], np.dtype[np.int32]]":
    return np.array([ord(character) for character in text], np.int32)


@given(text=TEXTS, training=TEXTS)
@example(text="", training="a")
@example(text="a", training="")
@example(text="aabab", training="abaab")
def test_agrees_with_looking_for_every_stretch(text: str, training: str) -> None:
    matched, ends = longest_matches(points(text), points(training))
    assert matched.tolist() == brute_force(text, training)
    for end, (size, place) in enumerate(zip(matched.tolist(), ends.tolist(), strict=True), start=1):
        assert training[place - size : place] == text[end - size : end]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint32])
def test_training_text_of_either_width_is_read(dtype: type) -> None:
    matched, _ = longest_matches(points("xabcy"), points("zabcz").astype(dtype))
    assert matched.tolist() == [0, 1, 2, 3, 0]


def test_a_symbol_below_zero_matches_nothing() -> None:
    symbols = points("ab|ab")
    symbols[2] = -1
    assert longest_matches(symbols, points("ab|ab"))[0].tolist() == [1, 2, 0, 1, 2]


def test_one_repeated_character_takes_no_longer_than_others() -> None:
    """Quadratic time would take hours here."""
    text = np.full(300_000, ord("a"), np.int32)
    assert longest_matches(text, text)[0][-1] == 300_000
    assert longest_matches(text, text + 1)[0].max() == 0


def test_a_large_alphabet_takes_no_longer_than_a_small_one() -> None:
    """A walk over the edges of a state would take an hour here."""
    text = np.random.default_rng(0).permutation(300_000).astype(np.int32)
    assert longest_matches(text, text[::-1].copy())[0].max() == 1
