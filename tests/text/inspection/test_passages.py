"""Copies are found as brute force finds them, in any pieces, of any text; a hash alone is never believed."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from letterloom.text.inspection import passages as module
from letterloom.text.inspection.copies import Copies, copies_of, counted_in
from letterloom.text.inspection.passages import LENGTHS, Passages, Sample, Stretch, choose_sample, covered


def points_of(text: str) -> np.ndarray:
    return np.array([ord(character) for character in text], dtype=np.uint32)


def in_pieces(text: str, size: int) -> Iterator[np.ndarray]:
    points = points_of(text)
    return (points[i : i + size] for i in range(0, len(points), size))


def looked_up(text: str, cut: int, piece: int = 700, size: int = 1 << 20) -> Passages:
    sample = Sample(choose_sample(cut, len(text), size))
    for points in in_pieces(text, piece):
        sample.add(points)
    passages = Passages(sample)
    passages.read(in_pieces(text, piece))
    return passages


def copies(text: str, cut: int, piece: int = 700, size: int = 1 << 20) -> Copies:
    return copies_of(looked_up(text, cut, piece, size), cut, len(text))


def share_in(begins: list[int], length: int, low: int, high: int) -> float:
    inside = {place for begin in begins for place in range(begin, begin + length)}
    return len(inside & set(range(low, high))) / (high - low)


def brute_force(text: str, cut: int, length: int) -> tuple[float, float]:
    """The shares copied and leaked, as Python's own search has them."""
    begins = range(len(text) - length + 1)
    copied = [i for i in begins if text.find(text[i : i + length]) < i]
    leaked = [i for i in begins if i >= cut and text[i : i + length] in text[:cut]]
    return share_in(copied, length, 0, len(text)), share_in(leaked, length, cut, len(text))


@st.composite
def texts_of_parts(draw: st.DrawFn) -> str:
    """Texts in which passages of every length occur several times, whole, cut short, and run together."""
    alphabet = draw(st.sampled_from(["a", "ab", "abcdefghij \n", "aé☃\U0001f600"]))
    size = draw(st.integers(1, 6))
    parts = [
        draw(st.text(alphabet, min_size=length, max_size=length))
        for length in draw(st.lists(st.integers(1, 90), min_size=size, max_size=size))
    ]
    order = draw(st.lists(st.integers(0, size - 1), min_size=2, max_size=24))
    text = "".join(parts[i] * draw(st.integers(1, 4)) for i in order)
    return text if len(text) > 1 else text + "ab"


@given(texts_of_parts(), st.floats(0.05, 0.95), st.integers(1, 900))
def test_shares_are_those_of_brute_force(text: str, fraction: float, piece: int) -> None:
    cut = min(max(1, int(fraction * len(text))), len(text) - 1)
    found = copies(text, cut, piece)
    assert found.sampled is None
    for which, length in enumerate(LENGTHS):
        copied, leaked = brute_force(text, cut, length)
        assert found.copied[which].share == pytest.approx(copied)
        assert found.leaked[which].share == pytest.approx(leaked)
        assert found.copied[which].error == found.leaked[which].error == 0


@given(texts_of_parts(), st.lists(st.floats(0, 1), min_size=2, max_size=6, unique=True), st.integers(1, 900))
def test_every_first_place_is_the_first_in_the_whole_text(text: str, bounds: list[float], piece: int) -> None:
    edges = sorted(round(bound * len(text)) for bound in bounds)
    ranges = [(low, high) for low, high in zip(edges[::2], edges[1::2], strict=False) if low < high] or [(0, 1)]
    sample = Sample([Stretch(low, high, low, high) for low, high in ranges])
    for points in in_pieces(text, piece):
        sample.add(points)
    passages = Passages(sample)
    passages.read(in_pieces(text, piece))
    positions = sample.positions
    assert positions.tolist() == [place for low, high in ranges for place in range(low, high)]
    assert "".join(map(chr, sample.points)) == "".join(text[i] for i in positions)
    ends = [high for low, high in ranges for _ in range(low, high)]
    for which, length in enumerate(LENGTHS):
        _, first = passages.first_places(which)
        whole = [i + length <= end for i, end in zip(positions, ends, strict=True)]
        found = [text.find(text[i : i + length]) if fits else -1 for i, fits in zip(positions, whole, strict=True)]
        assert first.tolist() == found


def planted(characters: int, seed: int = 0) -> str:
    """Random letters, with a passage of 300 that recurs every 2,000 characters or so."""
    draw = np.random.default_rng(seed)
    letters = draw.integers(97, 123, characters)
    for begin in range(0, characters - 300, 2000):
        letters[begin : begin + 300] = letters[:300]
    return "".join(map(chr, letters))


def test_a_sample_estimates_the_share_and_how_far_off_it_may_be() -> None:
    text = planted(400_000)
    found = copies(text, 300_000, piece=10_000, size=40_000)
    assert found.sampled is not None
    assert found.sampled < 40_000
    for which, length in enumerate(LENGTHS[:3]):
        truth = 0.15 if length <= 300 else 0.0
        assert found.leaked[which].error > 0
        assert abs(found.leaked[which].share - truth) < 1.5 * found.leaked[which].error
        assert abs(found.copied[which].share - truth) < 1.5 * found.copied[which].error


def test_what_was_found_is_left_out_of_the_search_without_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    text = planted(60_000) + planted(20_000, seed=1)
    before = copies(text, 70_000, piece=500, size=9000)
    sifted: list[int] = []
    search, sift = module._search, module._sift

    def sift_told(index: Any, position: int) -> None:
        sift(index, position)
        sifted.append(position)

    monkeypatch.setattr(module, "_search", lambda *arguments: search(*arguments) + 10**9)
    monkeypatch.setattr(module, "_sift", sift_told)
    assert copies(text, 70_000, piece=500, size=9000) == before
    assert len(sifted) > 100


def test_hashes_that_are_alike_are_no_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 31 bits of a hash in the table, and the search as Python, so that every hash can be made the same."""
    text = "".join(map(chr, np.random.default_rng(0).integers(97, 123, 400)))
    for name in ("_build", "_search", "_slot", "_mark", "_is_marked", "_runs", "_same"):
        monkeypatch.setattr(module, name, getattr(module, name).py_func)
    monkeypatch.setattr(module, "_hash", lambda *_: np.uint64(7))
    found = copies(text, 300)
    assert [share.share for share in (*found.copied, *found.leaked)] == [0.0] * 8


def test_the_longest_leaks_are_told_with_their_sources() -> None:
    draw = np.random.default_rng(0)
    letters = "".join(map(chr, draw.integers(97, 123, 5000)))
    text = letters + letters[1000:1130] + "|" + letters[2000:2300] + "|" + letters[40:70]
    found = copies(text, 5000)
    assert [(one.characters, one.position, one.source) for one in found.leaked_passages] == [
        (300, 5131, 2000),
        (130, 5000, 1000),
    ]
    assert found.leaked_passages[0].beginning == letters[2000:2200]
    assert found.leaked[0].share == pytest.approx(430 / 462)


def test_the_most_repeated_passages_are_told_once_each() -> None:
    draw = np.random.default_rng(0)
    letters = "".join(map(chr, draw.integers(97, 123, 20_000)))
    often, once = letters[:150], letters[500:900]
    parts = [letters[2000 + 700 * i : 2700 + 700 * i] + often for i in range(6)]
    found = copies("".join(parts) + once + "|" + once, 3000)
    assert [(one.beginning, one.characters, one.times) for one in found.repeated_passages] == [
        (often, 150, 6),
        (once[:200], 400, 2),
    ]


def test_of_a_sample_repeated_passages_are_counted_in_the_whole_text() -> None:
    text = planted(400_000)
    told = copies(text, 300_000, piece=10_000, size=40_000).repeated_passages
    data = text.encode()
    counted = counted_in(told, (data[i : i + 777] for i in range(0, len(data), 777)))
    assert counted[0].times > 100
    assert [one.times for one in counted] == [text.count(one.beginning[:100]) for one in counted]


@pytest.mark.parametrize("text", ["a" * 5000, "ab" * 3000, "a"])
def test_a_text_that_says_one_thing_only(text: str) -> None:
    cut = int(0.9 * len(text))
    found = copies(text, cut)
    if cut:
        assert [share.share for share in found.leaked] == [1.0] * 4
        assert found.copied[0].share == pytest.approx(1, abs=0.001)
    else:
        assert found.leaked == ()
        assert found.copied[0].share == 0


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(1, 9))
def test_a_character_is_covered_that_lies_in_a_passage(begins: list[bool], length: int) -> None:
    inside = [any(begins[max(0, i - length + 1) : i + 1]) for i in range(len(begins))]
    assert covered(np.array(begins), length).tolist() == inside


@given(st.integers(0, 30_000), st.integers(1, 30_000), st.integers(3000, 9000))
def test_a_sample_is_all_or_one_stretch_in_each_part(cut: int, validation: int, size: int) -> None:
    chosen = choose_sample(cut, cut + validation, size)
    for low, high in ((0, cut), (cut, cut + validation)):
        inside = [one for one in chosen if low <= one.first < high]
        assert all(one.last <= high for one in inside)
        assert all(a.last <= b.first for a, b in pairwise(inside))
        if high - low <= size:
            assert sum(one.last - one.first for one in inside) == high - low
        else:
            assert sum(one.stop - one.start for one in inside) <= size
