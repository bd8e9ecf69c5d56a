import io
import math
import re

import numpy as np
import pytest
from rich.console import Console

from letterloom.evaluation.scoring import END
from letterloom.reporting.surprisal.heat import heat_map, legend
from letterloom.reporting.surprisal.places import (
    Row,
    cut,
    expectations,
    level,
    most_surprising,
    percent,
    spelling,
    visible,
)
from letterloom.text.tokenizers import ByteTokenizer, CharacterTokenizer

LETTERS = CharacterTokenizer("\n abc", end_of_text=True)


def row(line: int, text: str, bits: list[float]) -> Row:
    choices = np.tile([2, 1, 5], (len(text), 1))
    shares = np.tile(np.array([0.9, 0.0951, 0.0004], np.float32), (len(text), 1))
    return Row(line, text, np.array(bits) * math.log(2), choices, shares)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a b\n", "a b⏎"),
        ("\t", "⇥"),
        (END, "■"),
        ("\x1b[31m\x9b", r"\x1b[31m\x9b"),
        ("\u202e\u200b\xa0", r"\u202e\u200b\xa0"),
        ("\udce9", r"\udce9"),
        ("é日🚀", "é日🚀"),
    ],
)
def test_every_character_can_be_seen(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_ids_are_spelled() -> None:
    assert [spelling(i, LETTERS) for i in range(6)] == ["⏎", "␣", "a", "b", "c", "■"]
    assert [spelling(i, ByteTokenizer(end_of_text=True)) for i in (0x61, 0xC3, 256)] == ["a", r"\xc3", "■"]


@pytest.mark.parametrize(("bits", "step"), [(-1e-9, 0), (0.0, 0), (0.99, 0), (1.0, 1), (7.99, 7), (8.0, 8), (30.0, 8)])
def test_the_scale_goes_by_whole_bits(bits: float, step: int) -> None:
    assert level(bits) == step


def test_probabilities_are_rounded_for_a_reader() -> None:
    shares = [1.0, 0.9951, 0.994, 0.1, 0.0994, 0.0031, 0.0009, 0.0]
    told = ["> 99 %", "> 99 %", "99 %", "10 %", "9.9 %", "0.3 %", "< 0.1 %", "< 0.1 %"]
    assert list(map(percent, shares)) == told


def test_the_worst_places_come_first_with_what_was_expected() -> None:
    rows = [row(1, "ab\n", [1, 5, 2]), row(2, "cab", [0, 0.5, 9])]
    worst, second = most_surprising(rows, LETTERS, 2)
    assert (worst.line, worst.column, worst.context) == (2, 3, "ca»b«")
    assert worst.bits == pytest.approx(9)
    assert worst.expected == "a 90 %, ␣ 9.5 %, ■ < 0.1 %"
    assert (second.line, second.column, second.context) == (1, 2, "a»b«⏎")
    assert most_surprising([], LETTERS, 2) == []
    assert len(most_surprising(rows, LETTERS, 100)) == 6


def test_nothing_is_expected_at_the_first_character() -> None:
    first = row(1, "a", [2])
    first.probabilities[:] = 0
    assert expectations(first, 0, LETTERS) == []
    assert most_surprising([first], LETTERS, 1)[0].expected == "nothing yet"


@pytest.mark.parametrize(
    ("characters", "texts"), [(0, []), (2, ["ab"]), (3, ["abc"]), (4, ["abc", "d"]), (9, ["abc", "de"])]
)
def test_rows_are_cut(characters: int, texts: list[str]) -> None:
    rows = [row(1, "abc", [1, 2, 3]), row(2, "de", [4, 5])]
    found = list(cut(rows, characters))
    assert [r.text for r in found] == texts
    assert [len(r.bits) for r in found] == list(map(len, texts))


def test_the_map_colours_by_bits_and_shows_the_mean() -> None:
    out = io.StringIO()
    console = Console(force_terminal=True, color_system="truecolor", width=60, file=out, legacy_windows=False)
    console.print(legend(), heat_map([row(7, "ab\n", [0.5, 8.5, 3.0])]))
    shown = out.getvalue()
    assert "\x1b[37;48;2;143;29;10mb" in shown  # hottest
    assert "\x1b[30;48;2;255;205;138m⏎" in shown
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert "7 4.00 ab⏎" in plain
    assert " 7  8+ " in plain
