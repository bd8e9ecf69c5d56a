"""Every character of a text counted in one pass: how often it occurs, and where first; how long its lines are."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Points = NDArray[np.uint32]  # Unicode code points

PLACES = 3  # of each character that are kept: its first ones
LENGTHS = 1 << 16  # line lengths counted one by one; longer lines count as this less one
_DOCUMENT, _LINE, _COLUMN, _POSITION = range(4)  # of a place, all but the line and column from 0
_PREVIOUS, _CRLF, _LONGEST = range(4, 7)  # of the marks, after the place that was read last; _LONGEST begins a place


@dataclass(frozen=True)
class Place:
    """Where a character stands: document from 0, line and column from 1, position in the whole text from 0."""

    document: int
    line: int
    column: int
    position: int


class Tally:
    """Counts what it is given; documents one after the other, each in pieces."""

    def __init__(self) -> None:
        self.counts = np.zeros(0x110000, dtype=np.int64)  # by code point
        self.line_lengths = np.zeros(LENGTHS, dtype=np.int64)  # lines by their characters, without line ends
        self._places = np.zeros((0x110000, PLACES, 4), dtype=np.int64)  # pages of it that nobody writes take no memory
        self._marks = np.zeros(_LONGEST + 4, dtype=np.int64)
        self._marks[_DOCUMENT] = -1

    def begin(self) -> None:
        """The next document begins."""
        self._marks[_DOCUMENT] += 1
        self._marks[[_LINE, _COLUMN, _PREVIOUS]] = 1, 0, 0

    def add(self, points: Points) -> None:
        """Count the next characters of the document, shape (n,)."""
        _count(points, self.counts, self._places, self.line_lengths, self._marks)

    def end(self) -> None:
        """The document ends; what follows its last newline is a line, if there is anything."""
        if self._marks[_COLUMN]:
            _end_line(self._marks, self.line_lengths, self._marks[_COLUMN])

    def places(self, point: int) -> list[Place]:
        """Where a character occurs first, at most `PLACES` of its places."""
        return [Place(*map(int, row)) for row in self._places[point, : self.counts[point]]]

    @property
    def characters(self) -> int:
        """Characters counted so far."""
        return int(self._marks[_POSITION])

    @property
    def line_ends(self) -> dict[str, int]:
        r"""How often lines end in \n, in \r\n, and how often \r stands alone."""
        crlf = int(self._marks[_CRLF])
        return {"lf": int(self.counts[10]) - crlf, "crlf": crlf, "cr": int(self.counts[13]) - crlf}

    @property
    def longest_line(self) -> tuple[int, int, int]:
        """Characters of the longest line, its document from 0, its line from 1; the first of several."""
        length, document, line = map(int, self._marks[_LONGEST : _LONGEST + 3])
        return length, document, line


@njit(cache=True)
def _end_line(marks: NDArray[np.int64], line_lengths: NDArray[np.int64], length: int) -> None:
    line_lengths[min(length, LENGTHS - 1)] += 1
    if length > marks[_LONGEST]:
        marks[_LONGEST], marks[_LONGEST + 1], marks[_LONGEST + 2] = length, marks[_DOCUMENT], marks[_LINE]


@njit(cache=True)
def _count(
    points: Points, counts: NDArray[Any], places: NDArray[Any], line_lengths: NDArray[Any], marks: NDArray[Any]
) -> None:
    document, column, previous = marks[_DOCUMENT], marks[_COLUMN], marks[_PREVIOUS]
    for i in range(len(points)):
        point = np.int64(points[i])
        column += 1
        count = counts[point]
        counts[point] = count + 1
        if count < PLACES:
            place = places[point, count]
            place[_DOCUMENT], place[_LINE], place[_COLUMN] = document, marks[_LINE], column
            place[_POSITION] = marks[_POSITION] + i
        if point == 10:
            crlf = np.int64(previous == 13)
            marks[_CRLF] += crlf
            _end_line(marks, line_lengths, column - 1 - crlf)
            marks[_LINE] += 1
            column = 0
        previous = point
    marks[_COLUMN], marks[_PREVIOUS] = column, previous
    marks[_POSITION] += len(points)
