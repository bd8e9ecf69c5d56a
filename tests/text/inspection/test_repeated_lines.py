"""Repeated lines are counted as Python's own counter counts them, and estimated where there is no room for all."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from letterloom.text.inspection import repeated_lines as module
from letterloom.text.inspection.repeated_lines import LineCounter, RepeatedLines


def count(text: str, piece: int = 100, most: int = 100, **sizes: int) -> RepeatedLines:
    counter = LineCounter(**sizes)
    for i in range(0, len(text), piece):
        counter.add(np.array([ord(character) for character in text[i : i + piece]], dtype=np.uint32))
    counter.end()
    return counter.result(most)


@given(st.text(st.sampled_from("ab\r\n☃"), max_size=120), st.integers(1, 50))
def test_counts_are_those_of_a_counter(text: str, piece: int) -> None:
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    if text and not text.endswith("\n"):
        lines[-1] = text.split("\n")[-1].removesuffix("\r")
    expected = Counter(line for line in lines if line)
    found = count(text, piece, slots=64, room=4096)
    assert found.one_in == 1
    assert found.lines == expected.total()
    assert found.different_lines == len(expected)
    assert found.characters == sum(len(line) * times for line, times in expected.items())
    assert found.different_characters == sum(map(len, expected))
    assert dict(found.most) == {line: times for line, times in expected.items() if times > 1}


def test_the_lines_told_are_those_whose_repetitions_take_most() -> None:
    text = "a\n" * 30 + "a longer line\n" * 4 + "once, and the longest of them all\n"
    assert count(text, most=1, slots=64, room=4096).most == (("a longer line", 4),)


def test_where_there_is_no_room_for_all_their_number_is_estimated() -> None:
    numbers = np.random.default_rng(0).integers(0, 40_000, 60_000)
    lines = [f"line {number}" for number in numbers]
    found = count("\n".join(lines), piece=50_000, slots=1 << 13, room=1 << 17)
    assert found.one_in > 1
    assert found.lines == len(lines)
    assert found.different_lines == pytest.approx(len(set(lines)), rel=0.1)
    assert found.different_characters == pytest.approx(sum(map(len, set(lines))), rel=0.1)
    exact = Counter(lines)
    assert all(times <= exact[line] for line, times in found.most)


def test_a_line_that_is_met_often_stays_when_room_is_made() -> None:
    lines = [line for number in range(40_000) for line in (f"line {number}", f"chorus {number % 3}")]
    found = count("\n".join(lines), piece=50_000, most=3, slots=1 << 12, room=1 << 16)
    assert found.one_in > 4
    assert sorted(found.most) == [("chorus 0", 13_334), ("chorus 1", 13_333), ("chorus 2", 13_333)]


def test_lines_with_one_hash_stay_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """The counting as Python, with a hash that is the same for all."""
    for name in ("_count", "_place", "_same"):
        monkeypatch.setattr(module, name, getattr(module, name).py_func)
    monkeypatch.setattr(module, "_hash", lambda line: 7)
    found = count("one\ntwo\none\n", slots=64, room=4096)
    assert (found.lines, found.different_lines, found.most) == (3, 2, (("one", 2),))


@pytest.mark.parametrize("piece", [1000, 4096, 100_000])
def test_a_line_that_is_too_long_is_told_and_left_out(piece: int) -> None:
    text = "short\n" + "x" * 9000 + "\nshort\n" + "y" * 9000
    found = count(text, piece, slots=64, room=8192)
    assert (found.lines, found.different_lines, found.not_compared) == (2, 1, 2)
