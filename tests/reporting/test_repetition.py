"""Repetition is counted right, is found in loops, and is not found in what people wrote."""

import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from letterloom.reporting.diagnosis.repetition import Repetition, measure_repetition, repeated_share

FOLDER = Path(os.environ.get("LETTERLOOM_CORPORA", Path(__file__).parents[2].parent / "shared" / "corpora"))
SHAKESPEARE = FOLDER / "tinyshakespeare.txt"


@given(st.text(alphabet="ab", max_size=40), st.integers(1, 6))
def test_a_character_repeats_if_a_stretch_round_it_was_there_before(text: str, stretch: int) -> None:
    starts = [i for i in range(len(text) - stretch + 1) if text.find(text[i : i + stretch]) < i]
    covered = {j for i in starts for j in range(i, i + stretch)}
    assert repeated_share(text, stretch) == pytest.approx(len(covered) / len(text) if text else 0)


def test_a_loop_repeats_all_but_its_first_round() -> None:
    assert repeated_share("and then it was over. " * 10) == pytest.approx(0.9)


def random_text(length: int, seed: int) -> str:
    return "".join(random.Random(seed).choices("abcdefghij ", k=length))


def test_loops_lie_beyond_people() -> None:
    measured = measure_repetition([random_text(100, 1) + "over and over " * 15], random_text(40_000, 2))
    assert isinstance(measured, Repetition)
    assert measured.samples == pytest.approx((15 * 14 - 14) / 310)
    assert measured.people_at_most < 0.01
    assert measured.characters == 310


def test_passages_are_as_long_as_the_shortest_sample_and_the_held_out_text_allow() -> None:
    held_out = random_text(20_000, 0)
    for lengths, expected in (((190, 180, 20), 180), ((500,), 200), ((150,), 150)):
        measured = measure_repetition([random_text(n, n) for n in lengths], held_out)
        assert isinstance(measured, Repetition)
        assert measured.characters == expected
        assert measured.passages == 20_000 // expected  # none overlaps another


@pytest.mark.parametrize(("passages", "beyond"), [(100, 0), (199, 1), (399, 3)])
def test_the_limit_leaves_one_of_a_hundred_beyond(passages: int, beyond: int) -> None:
    """With it, the next one would be at most (beyond + 1) of (passages + 1), whatever they are."""
    said = [random_text(150 - i, i) + "r" * i for i in range(20, 130)]
    held_out = "".join(random.Random(0).choices(said, k=passages))
    measured = measure_repetition(["x" * 150], held_out)
    assert isinstance(measured, Repetition)
    shares = [repeated_share(held_out[i : i + 150]) for i in range(0, len(held_out), 150)]
    assert sum(share > measured.people_at_most for share in shares) <= beyond
    assert sum(share >= measured.people_at_most for share in shares) > beyond


@pytest.mark.parametrize(
    ("samples", "held_out", "told"),
    [
        ([149, 20], 20_000, "a sample of 150 characters, and the longest has 149"),
        ([300], 14_999, "it takes 15,000 characters of held-out text"),
        ([], 0, "no sample has been drawn yet"),
    ],
)
def test_what_is_too_short_is_told(samples: list[int], held_out: int, told: str) -> None:
    measured = measure_repetition([random_text(n, 0) for n in samples], random_text(held_out, 1))
    assert isinstance(measured, str)
    assert told in measured


@pytest.mark.skipif(not SHAKESPEARE.exists(), reason=f"{SHAKESPEARE} is not here")
@pytest.mark.parametrize("kept", [20_000, 100_000])
def test_passages_of_a_play_are_rarely_beyond_people(kept: int) -> None:
    """In 10 places of the play where the text may be held out, 100 passages each of elsewhere: about 1 of 100."""
    text, draw, beyond = SHAKESPEARE.read_text(encoding="utf-8"), random.Random(0), []
    for place in range(0, 1_000_000, 100_000):
        measured = measure_repetition(["x" * 300], text[place : place + kept])
        assert isinstance(measured, Repetition)
        elsewhere = text[:place] + text[place + kept :]
        starts = [draw.randrange(len(elsewhere) - measured.characters) for _ in range(100)]
        shares = [repeated_share(elsewhere[start : start + measured.characters]) for start in starts]
        beyond.append(sum(share > measured.people_at_most for share in shares))
    assert sum(beyond) <= 20
    assert max(beyond) <= 6
