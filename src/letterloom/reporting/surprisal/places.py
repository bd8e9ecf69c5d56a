"""Rows of a scored text, and its most surprising places, as text that shows every character."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from letterloom.evaluation.scoring import END, ScoredText
from letterloom.text.tokenizers import Tokenizer

HOTTEST = 8  # bits: 1 chance in 256; what surprises more is shown alike
CONTEXT = 20  # characters shown before a place, and after it
_SHOWN = {"\n": "⏎", "\t": "⇥", END: "■"}


@dataclass(frozen=True)
class Row:
    """A line of a text, or a record, with what it costs."""

    line: int  # from 1
    text: str
    nats: NDArray[np.float64]  # by character
    choices: NDArray[np.int64]  # by character, likeliest first
    probabilities: NDArray[np.float32]
    note: str = ""

    @property
    def bits(self) -> NDArray[np.float64]:
        """By character."""
        return self.nats / math.log(2)

    @property
    def bits_per_character(self) -> float:
        """The mean over the row."""
        return float(self.bits.mean())

    def part(self, part: slice) -> "Row":
        """Some of its characters."""
        arrays = self.nats[part], self.choices[part], self.probabilities[part]
        return Row(self.line, self.text[part], *arrays, self.note)


@dataclass(frozen=True)
class Place:
    """One character that surprised the model."""

    line: int  # from 1
    column: int  # from 1
    bits: float
    character: str
    expected: str  # what it had rather expected
    context: str  # with the character between » and «


def rows_of(scored: ScoredText, first_line: int = 1, note: str = "") -> list[Row]:
    """The lines of a text; a record is one, and says in which line it stood."""
    return [
        Row(line, scored.text[part], scored.nats[part], scored.choices[part], scored.probabilities[part], note)
        for line, part in enumerate(scored.lines(), start=first_line)
    ]


def cut(rows: Iterable[Row], characters: int) -> Iterator[Row]:
    """The rows up to so many characters, the last one cut short."""
    for row in rows:
        if characters <= 0:
            return
        yield row.part(slice(characters))
        characters -= len(row.text)


def most_surprising(rows: Sequence[Row], tokenizer: Tokenizer, count: int) -> list[Place]:
    """The places that cost most, the worst first."""
    if not rows:
        return []
    bits = np.concatenate([row.bits for row in rows])
    starts = np.cumsum([0, *(len(row.text) for row in rows)])
    places = []
    for i in np.argsort(-bits, kind="stable")[:count]:
        number = int(np.searchsorted(starts, i, side="right")) - 1
        row, column = rows[number], int(i - starts[number])
        before, after = row.text[max(0, column - CONTEXT) : column], row.text[column + 1 : column + 1 + CONTEXT]
        shown = visible(row.text[column])
        context = f"{visible(before)}»{shown}«{visible(after)}"
        expected = ", ".join(f"{character} {share}" for character, share in expectations(row, column, tokenizer))
        places.append(Place(row.line, column + 1, float(bits[i]), shown, expected or "nothing yet", context))
    return places


def expectations(row: Row, column: int, tokenizer: Tokenizer) -> list[tuple[str, str]]:
    """The likeliest characters at a place of a row, with their probabilities; none at the first of a text."""
    pairs = zip(row.choices[column].tolist(), row.probabilities[column].tolist(), strict=True)
    return [(spelling(choice, tokenizer), percent(probability)) for choice, probability in pairs if probability]


def spelling(choice: int, tokenizer: Tokenizer) -> str:
    r"""An id as one sees it: its character; of a byte model the byte, where it is but part of one: \xc3."""
    if choice == tokenizer.end_of_text_id:
        return visible(END)
    data = tokenizer.spellings[choice]
    try:
        return {" ": "␣"}.get(text := data.decode(), visible(text))
    except UnicodeDecodeError:
        return f"\\x{data[0]:02x}"


def visible(text: str) -> str:
    r"""The text with what cannot be seen written out: ⏎ for a newline, ⇥ for a tab, \x1b, \u202e."""
    return "".join(
        _SHOWN.get(c) or (c if c.isprintable() else c.encode("unicode_escape").decode("ascii")) for c in text
    )


def level(bits: float) -> int:
    """The step of the colour scale, in whole bits: 0 to `HOTTEST`."""
    return min(HOTTEST, max(0, int(bits)))


def percent(probability: float) -> str:
    """A probability for a reader: 45 %, 0.3 %, < 0.1 %, > 99 %."""
    if not 0.001 <= probability < 0.995:
        return "< 0.1 %" if probability < 0.5 else "> 99 %"
    return f"{100 * probability:.{0 if probability >= 0.0995 else 1}f} %"
