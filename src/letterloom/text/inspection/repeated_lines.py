"""Lines that a text has more than once, counted in bounded memory; they are compared as text, not by a hash alone.

Where the different lines are more than there is room for, those are kept whose hash ends in so many zeros, and those
that were met often already (distinct sampling: Gibbons 2001, "Distinct sampling for highly-accurate answers to distinct
values queries and event reports"); how many there are in all is then estimated from the former.
"""

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from letterloom.text.inspection.tally import Points

LONGEST = 1 << 20  # characters of a line; a longer one is not compared
SLOTS, ROOM = 1 << 20, 1 << 24  # for different lines, and for all their characters
OFTEN = 4  # times that a line was met, from which it stays where there is no room; twice as many each time
_MULTIPLIER, _MIXER = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
_HALF = np.uint64(32)
_HASH, _START, _LENGTH, _COUNT = range(4)  # of a slot


@dataclass(frozen=True)
class RepeatedLines:
    """What was counted; empty lines, and those of more than `LONGEST` characters, are left out of all."""

    lines: int
    characters: int  # without line ends
    different_lines: int  # estimated where `one_in` is not 1
    different_characters: int  # of the different lines; estimated in the same way
    most: tuple[tuple[str, int], ...]  # the lines whose repetitions take the most characters; how often each occurs
    one_in: int  # of so many different lines one was kept
    not_compared: int  # lines that are too long


class _Table(NamedTuple):
    """Different lines by their hash, with open addressing."""

    slots: NDArray[np.int64]  # (slots, 4): see below; a slot whose count is 0 is free
    text: Points  # all lines, one after the other
    used: NDArray[np.int64]  # slots, and characters of the text

    @classmethod
    def empty(cls, slots: int, room: int) -> Self:
        text = np.empty(room, dtype=np.uint32)  # pages of it that nobody writes take no memory
        return cls(np.zeros((slots, 4), dtype=np.int64), text, np.zeros(2, dtype=np.int64))


class LineCounter:
    """Counts the lines it is given; documents one after the other, each in pieces."""

    def __init__(self, slots: int = SLOTS, room: int = ROOM) -> None:
        self._table, self._level, self._longest = _Table.empty(slots, room), 0, min(LONGEST, room // 4)
        self._totals = np.zeros(2, dtype=np.int64)  # lines, and their characters
        self._rest: Points = np.empty(0, dtype=np.uint32)  # of the last piece: a line without its end
        self._skipping = False  # a line that is too long, to its end
        self._not_compared = 0

    def add(self, points: Points) -> None:
        """Count the lines that end in the next characters of the document, shape (n,)."""
        points = np.concatenate([self._rest, points])
        stops = np.flatnonzero(points == 10)
        starts = np.concatenate([[0], stops + 1])
        self._rest = points[starts[-1] :]
        if self._skipping and len(stops):
            starts, stops, self._skipping = starts[1:], stops[1:], False
        if len(self._rest) > self._longest or self._skipping:
            self._not_compared += not self._skipping
            self._rest, self._skipping = points[:0], True
        self._count(points, starts[: len(stops)], stops)

    def end(self) -> None:
        """The document ends, and with it its last line."""
        self._count(self._rest, np.array([0]), np.array([len(self._rest)]))
        self._rest, self._skipping = self._rest[:0], False

    def result(self, most: int) -> RepeatedLines:
        """What was counted, with at most so many of the lines."""
        slots, text = self._table.slots, self._table.text
        kept = slots[(slots[:, _COUNT] > 0) & self._passes(slots)]
        repeated = slots[slots[:, _COUNT] > 1]
        repeated = repeated[np.argsort((1 - repeated[:, _COUNT]) * repeated[:, _LENGTH], kind="stable")[:most]]
        lines, characters = map(int, self._totals)
        return RepeatedLines(
            lines=lines,
            characters=characters,
            different_lines=min(len(kept) << self._level, lines),
            different_characters=min(int(kept[:, _LENGTH].sum()) << self._level, characters),
            most=tuple(
                (str(text[start : start + length].tobytes(), "utf-32-le"), int(count))
                for _, start, length, count in repeated
            ),
            one_in=1 << self._level,
            not_compared=self._not_compared,
        )

    def _count(self, points: Points, starts: NDArray[np.int64], stops: NDArray[np.int64]) -> None:
        fit = stops - starts <= self._longest
        self._not_compared += int(np.count_nonzero(~fit))
        starts, stops, done = starts[fit], stops[fit], 0
        while (done := _count(points, starts, stops, done, self._level, self._table, self._totals)) < len(stops):
            self._make_room()

    def _make_room(self) -> None:
        """Forget half of the different lines, and again, until half of the room is free."""
        table = self._table
        slots, room = len(table.slots), len(table.text)
        while 2 * table.used[0] > slots or 2 * table.used[1] > room:
            self._level += 1
            lines = table.slots[table.slots[:, _COUNT] > 0]
            stay = lines[self._passes(lines) | (lines[:, _COUNT] >= OFTEN << self._level)]
            _move(stay, table.text, thinner := _Table.empty(slots, room))
            self._table = table = thinner

    def _passes(self, slots: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether a line is one of those that are kept for its hash."""
        return np.asarray(slots[:, _HASH] & ((1 << self._level) - 1) == 0)


@njit(cache=True)
def _count(
    points: Points,
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    first: int,
    level: int,
    table: _Table,
    totals: NDArray[np.int64],
) -> int:
    """Count the lines points[start:stop] from number `first` on, up to the number returned, for which there is no room.

    A carriage return at the end belongs to the line end.
    """
    for number in range(first, len(stops)):
        line = points[starts[number] : stops[number]]
        if len(line) and line[-1] == 13:
            line = line[:-1]
        if len(line) == 0:
            continue
        value = _hash(line)
        place = _place(value, line, table)
        slot = table.slots[place]
        if slot[_COUNT] == 0 and value & ((1 << level) - 1) == 0:
            start, stop = table.used[1], table.used[1] + len(line)
            if 4 * table.used[0] >= 3 * len(table.slots) or stop > len(table.text):
                return number
            slot[_HASH], slot[_START], slot[_LENGTH], slot[_COUNT] = value, start, len(line), 1
            table.text[start:stop] = line
            table.used[0] += 1
            table.used[1] = stop
        elif slot[_COUNT] > 0:
            slot[_COUNT] += 1
        totals[0] += 1
        totals[1] += len(line)
    return len(stops)


@njit(cache=True)
def _hash(line: Points) -> np.int64:
    """64 bits, as the sum of four hashes, each of every fourth character: a processor computes them side by side."""
    a = b = c = d = np.uint64(len(line))
    whole = len(line) & ~3
    for i in range(0, whole, 4):
        a = (a + np.uint64(line[i])) * _MULTIPLIER
        b = (b + np.uint64(line[i + 1])) * _MULTIPLIER
        c = (c + np.uint64(line[i + 2])) * _MULTIPLIER
        d = (d + np.uint64(line[i + 3])) * _MULTIPLIER
    for i in range(whole, len(line)):
        a = (a + np.uint64(line[i])) * _MULTIPLIER
    value = ((a * _MIXER + b) * _MIXER + c) * _MIXER + d
    value = (value ^ (value >> _HALF)) * _MIXER
    return np.int64(value ^ (value >> _HALF))


@njit(cache=True)
def _place(value: np.int64, line: Points, table: _Table) -> np.int64:
    """Where the slot of a line with this hash is, or the free one that it would get."""
    last = len(table.slots) - 1
    place = (value >> 24) & last  # the lowest bits say which lines are kept
    while table.slots[place, _COUNT] > 0:
        slot = table.slots[place]
        if slot[_HASH] == value and _same(line, table.text[slot[_START] : slot[_START] + slot[_LENGTH]]):
            break
        place = (place + 1) & last
    return place


@njit(cache=True)
def _same(left: Points, right: Points) -> bool:
    if len(left) != len(right):
        return False
    for i in range(len(left)):  # noqa: SIM110 (which Numba would not compile)
        if left[i] != right[i]:
            return False
    return True


@njit(cache=True)
def _move(slots: NDArray[np.int64], text: Points, table: _Table) -> None:
    """Put lines into an empty table that has room for them."""
    for number in range(len(slots)):
        start, length, new_start = slots[number, _START], slots[number, _LENGTH], table.used[1]
        line = text[start : start + length]
        slot = table.slots[_place(slots[number, _HASH], line, table)]
        slot[:] = slots[number]
        slot[_START] = new_start
        table.text[new_start : new_start + length] = line
        table.used[0] += 1
        table.used[1] += length
