"""The figures of an inspection, against Unicode's own tables and sums made another way."""

import json
import statistics
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from letterloom.reporting.inspection.advice import percent, visible
from letterloom.reporting.inspection.drawing import draw_counts, draw_line_lengths
from letterloom.reporting.inspection.figures import KINDS, figures, name_of
from letterloom.reporting.inspection.tables import BEGINNING, beginning, facts, tables
from letterloom.text.inspection.inspect import inspect


def told_of(folder: Path, *texts: str) -> dict[str, Any]:
    files = [folder / f"{number}.txt" for number in range(len(texts))]
    for file, text in zip(files, texts, strict=True):
        file.write_bytes(text.encode())
    return figures(inspect([str(file) for file in files]))


def test_strange_characters_are_those_of_unicodes_categories(tmp_path: Path) -> None:
    every = "".join(map(chr, [*range(1, 0x3000), 0xE000, 0xFEFF, 0xFFFD, 0xFFFE, 0x1F600, 0xE0001, 0x10FFFF]))
    told = told_of(tmp_path, every)
    assert len(told["vocabulary"]) == len(every)
    expected = {c for c in every if unicodedata.category(c) in KINDS and c not in " \t\n\r"} | {"\ufffd"}
    assert {one["character"] for one in told["strange"]} == expected
    assert {one["kind"] for one in told["strange"]} == {*KINDS.values(), "replacement"}
    assert len({name_of(c) for c in every}) == len(every)
    json.dumps(told)


@given(st.lists(st.integers(0, 300), min_size=1, max_size=60))
def test_every_line_is_in_the_histogram(tmp_path_factory: pytest.TempPathFactory, lengths: list[int]) -> None:
    lines = told_of(tmp_path_factory.mktemp("text"), "".join("x" * length + "\n" for length in lengths))["lines"]
    assert (lines["count"], lines["longest_characters"]) == (len(lengths), max(lengths))
    assert lines["median_characters"] in (statistics.median_low(lengths), statistics.median_high(lengths))
    bars = lines["histogram"]
    assert sum(bar["lines"] for bar in bars) == len(lengths)
    for bar in bars[:-1]:
        assert bar["lines"] == sum(bar["from"] <= length <= bar["to"] for length in lengths)


def test_lines_longer_than_any_bar_are_counted(tmp_path: Path) -> None:
    lines = told_of(tmp_path, "short\n" * 200 + "x" * 100_000 + "\n")["lines"]
    assert lines["longest_place"] == "line 201"
    assert lines["histogram"][-1]["to"] < 10
    assert sum(bar["lines"] for bar in lines["histogram"]) == 201


def test_a_text_of_one_character_can_be_told_and_drawn(tmp_path: Path) -> None:
    told = told_of(tmp_path, "a")
    assert told["bits_of_blind_guessing"] == 0
    assert facts(told)["split"] == "too short for one"
    assert "no split" in tables(told)[0].rows[0]
    draw_line_lengths(told)
    draw_counts(told)


def test_rare_characters_are_told_with_their_places(tmp_path: Path) -> None:
    told = told_of(tmp_path, "ab" * 20, "\nab\nzz")
    assert [(one["character"], one["count"]) for one in told["rare"]] == [("\n", 2), ("z", 2)]
    assert told["rare"][1]["places"] == [f"line 3, column {column} of {tmp_path / '1.txt'}" for column in (1, 2)]


@given(st.text(max_size=200))
def test_how_a_passage_begins_is_one_short_line_that_cannot_act(text: str) -> None:
    shown = beginning(text)
    assert len(shown) <= BEGINNING
    assert shown.isprintable() or not text.isprintable()
    assert "\n" not in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize(("character", "shown"), [("a", "a"), (" ", " "), ("\n", r"\n"), ("\u200b", r"\u200b")])
def test_a_character_can_be_seen(character: str, shown: str) -> None:
    assert visible(character) == shown


def test_a_share_of_a_sample_has_its_error() -> None:
    assert percent({"share": 0.15937, "error": 0.0}) == "15.9 %"
    assert percent({"share": 0.0285, "error": 0.0111}) == "2.85 ± 1.1 %"
