"""Passages that a text has more than once, and those of its validation split that its training split has too.

A passage of n characters counts as a copy where the same n characters begin earlier in the text, and as leaked where
they are validation text and lie in the training text as well; a character counts that lies in such a passage. For each
n of `LENGTHS` the passages of a sample, which of a text of some megabytes is all of it, go into a hash table; then the
whole text is read once with a rolling hash (Karp and Rabin 1987) to find where each of them occurs first. Hashes only
propose: two passages are the same when their characters are. So what is told is exact for the sample, and takes a
bounded time on any text, in memory that does not grow with it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from letterloom.text.inspection.tally import Points

LENGTHS = (50, 100, 200, 400)  # characters of a passage, ascending
SAMPLE = 1 << 20  # characters of each split that are looked up, about; a split that is longer is sampled
STRETCH = 500  # characters of one stretch of a sample
_MARGIN = LENGTHS[-1] - 1  # round a stretch: where passages begin and end that lie in it in part
_BASE, _MIXER, _HALF = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93), np.uint64(32)
_POWERS = np.array([pow(int(_BASE), n, 1 << 64) for n in LENGTHS], dtype=np.uint64)
_LENGTHS = np.array(LENGTHS)
_BLOCK = LENGTHS[0] // 2  # so that one of any blocks side by side lies in a passage of the shortest length
_BLOCK_POWER = np.uint64(pow(int(_BASE), _BLOCK, 1 << 64))


@dataclass(frozen=True)
class Stretch:
    """A part of the text in the sample: its characters from `start` to `stop`, of which `first` to `last` count."""

    start: int
    stop: int
    first: int
    last: int


def choose_sample(cut: int, characters: int, size: int = SAMPLE, seed: int = 0) -> list[Stretch]:
    """Stretches of a text whose first `cut` characters train: all of a split, or one in each of its equal parts."""
    chosen = []
    draw = np.random.default_rng(seed)
    for first, last in ((0, cut), (cut, characters)):
        parts = max(1, size // (STRETCH + 2 * _MARGIN)) if last - first > size else 1
        edges = np.linspace(first, last, parts + 1).astype(np.int64)
        for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            begin = int(draw.integers(low, high - STRETCH + 1)) if parts > 1 else low
            end = begin + STRETCH if parts > 1 else high
            if end > begin:
                chosen.append(Stretch(max(0, begin - _MARGIN), min(characters, end + _MARGIN), begin, end))
    return chosen


class Sample:
    """The characters of some stretches, collected while a text is read."""

    def __init__(self, stretches: list[Stretch]) -> None:
        self.stretches = stretches
        lengths = [stretch.stop - stretch.start for stretch in stretches]
        self.starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)  # of each stretch in `points`
        self.points: Points = np.zeros(self.starts[-1], dtype=np.uint32)
        self._read = self._done = 0  # characters of the text, stretches

    def add(self, points: Points) -> None:
        """Take what belongs to the sample of the text's next characters, shape (n,)."""
        first, last = self._read, self._read + len(points)
        self._read = last
        while self._done < len(self.stretches) and self.stretches[self._done].stop <= first:
            self._done += 1
        for stretch, place in zip(self.stretches[self._done :], self.starts[self._done :], strict=False):
            if stretch.start >= last:
                break
            low, high = max(first, stretch.start), min(last, stretch.stop)
            self.points[place + low - stretch.start : place + high - stretch.start] = points[low - first : high - first]

    @property
    def positions(self) -> NDArray[np.int64]:
        """Where each character of the sample stands in the text."""
        shifts = np.array([stretch.start for stretch in self.stretches]) - self.starts[:-1]
        return np.arange(len(self.points)) + np.repeat(shifts, np.diff(self.starts))

    @property
    def counts(self) -> NDArray[np.bool_]:
        """Which characters of the sample count; the others are margins."""
        marks = np.zeros(len(self.points), dtype=np.bool_)
        for stretch, place in zip(self.stretches, self.starts[:-1], strict=True):
            marks[place + stretch.first - stretch.start : place + stretch.last - stretch.start] = True
        return marks


class _Index(NamedTuple):
    """Every different passage of the sample under its hash, for each of the lengths."""

    points: Points  # the sample's
    prefix: NDArray[np.uint64]  # (len(points) + 1,): hashes of the beginnings of the sample
    ends: NDArray[np.int64]  # of the stretches in the sample
    slots: NDArray[np.int64]  # (lengths, slots): bits of the hash, and where the passage begins; -1: the slot is free
    same: NDArray[np.int32]  # (lengths, len(points)): where the sample has that passage first, -1: it ends before
    found: NDArray[
        np.int64
    ]  # (lengths, len(points)): where the text has it first, of those that are the first in `same`
    sieve: NDArray[np.uint64]  # two bits for each block of characters that may begin, or lie in, a passage in the table


class Passages:
    """Where the passages of a sample occur first in the text that is read."""

    def __init__(self, sample: Sample) -> None:
        size = max(64, len(sample.points))
        slots = 1 << (4 * size // 3).bit_length()
        self.sample = sample
        self._index = _Index(
            points=sample.points,
            prefix=_prefix(sample.points),
            ends=sample.starts[1:],
            slots=np.full((len(LENGTHS), slots), -1, dtype=np.int64),
            same=np.full((len(LENGTHS), len(sample.points)), -1, dtype=np.int32),
            found=np.tile(sample.positions, (len(LENGTHS), 1)),
            sieve=np.zeros(slots * 16 // 64, dtype=np.uint64),
        )
        _build(self._index)

    def read(self, pieces: Iterable[Points]) -> None:
        """Look for the sample's passages in the whole text."""
        known = np.array([(stretch.start, stretch.stop - LENGTHS[-1] + 1) for stretch in self.sample.stretches])
        position, work = 0, 0
        for piece, is_last in _overlapping(pieces, LENGTHS[-1] - 1):
            starts = len(piece) if is_last else len(piece) - LENGTHS[-1] + 1
            work += _search(piece, _prefix(piece), starts, position, known, self._index)
            position += starts
            if work > self._index.slots.size:  # more lookups than it takes to leave out what has been found
                _sift(self._index, position)
                work = 0

    def first_places(self, which: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Of each passage of length `LENGTHS[which]`, by the place in the sample where it begins.

        Returns:
            The first place in the sample that has the same passage, and the first in the text; -1 where the sample
            has not so many characters any more.
        """
        same = self._index.same[which]
        return same, np.where(same >= 0, self._index.found[which][same], -1)


def covered(begins: NDArray[np.bool_], length: int) -> NDArray[np.bool_]:
    """The characters that lie in a passage of some length, given where such passages begin."""
    places = np.arange(len(begins))
    last = np.maximum.accumulate(np.where(begins, places, -length))
    return np.asarray(places - last < length)


def _overlapping(pieces: Iterable[Points], overlap: int) -> Iterator[tuple[Points, bool]]:
    """The pieces, each after the last characters of those before it, and whether it is the last one."""
    waiting: Points = np.empty(0, dtype=np.uint32)
    for piece in pieces:
        joined = np.concatenate([waiting, piece])
        if len(joined) > overlap:
            yield joined, False
            waiting = joined[len(joined) - overlap :]
        else:
            waiting = joined
    yield waiting, True


@njit(cache=True)
def _prefix(points: Points) -> NDArray[np.uint64]:
    """(n + 1,): the hash of the first i characters, from which that of any passage follows."""
    prefix = np.zeros(len(points) + 1, dtype=np.uint64)
    value = np.uint64(0)
    for i in range(len(points)):
        value = value * _BASE + np.uint64(points[i]) + np.uint64(1)
        prefix[i + 1] = value
    return prefix


@njit(cache=True)
def _hash(prefix: NDArray[np.uint64], start: int, length: int, power: np.uint64) -> np.uint64:
    value = prefix[start + length] - prefix[start] * power
    value = (value ^ (value >> _HALF)) * _MIXER
    return np.uint64(value ^ (value >> _HALF))


@njit(cache=True)
def _same(left: Points, left_start: int, right: Points, right_start: int, length: int) -> bool:
    for i in range(length):  # noqa: SIM110 (which Numba would not compile)
        if left[left_start + i] != right[right_start + i]:
            return False
    return True


@njit(cache=True)
def _slot(slots: NDArray[np.int64], value: np.uint64) -> np.int64:
    """The slot of the passage with this hash, or the free one that it would get."""
    tag, last = np.int64(value >> np.uint64(33)), len(slots) - 1
    slot = np.int64(value & np.uint64(last))
    while slots[slot] >= 0 and slots[slot] >> 32 != tag:
        slot = (slot + 1) & last
    return slot


@njit(cache=True)
def _mark(sieve: NDArray[np.uint64], value: np.uint64) -> None:
    for bit in (value, value >> _HALF):
        sieve[np.int64(bit >> np.uint64(6)) & (len(sieve) - 1)] |= np.uint64(1) << (bit & np.uint64(63))


@njit(cache=True)
def _is_marked(sieve: NDArray[np.uint64], value: np.uint64) -> bool:
    for bit in (value, value >> _HALF):
        if sieve[np.int64(bit >> np.uint64(6)) & (len(sieve) - 1)] >> (bit & np.uint64(63)) & np.uint64(1) == 0:
            return False
    return True


@njit(cache=True)
def _build(index: _Index) -> None:
    begin = 0
    for end in index.ends:
        for which in range(len(_LENGTHS)):
            length, power, slots = _LENGTHS[which], _POWERS[which], index.slots[which]
            for place in range(begin, end - length + 1):
                value = _hash(index.prefix, place, length, power)
                slot = _slot(slots, value)
                if slots[slot] < 0:
                    slots[slot] = np.int64(value >> np.uint64(33)) << 32 | place
                first = slots[slot] & 0x7FFFFFFF
                if first != place and not _same(index.points, place, index.points, first, length):
                    first = place  # hashes that are alike: it is not looked for in the text
                index.same[which, place] = first
        for place in range(begin, end - _BLOCK + 1):
            _mark(index.sieve, _hash(index.prefix, place, _BLOCK, _BLOCK_POWER))
        begin = end


@njit(cache=True)
def _search(
    points: Points, prefix: NDArray[np.uint64], starts: int, position: int, known: NDArray[np.int64], index: _Index
) -> int:
    """Note which passages of the sample begin at the first `starts` characters; how many were looked up in the table.

    `position` is that of points[0] in the text; passages that begin in the ranges `known` are in the table already.
    """
    runs = _runs(prefix, index.sieve)
    work, stretch = 0, 0
    for block in range(len(runs)):
        if runs[block] == 0:
            continue
        begin = _BLOCK * block
        while stretch < len(known) and known[stretch, 1] <= position + begin:
            stretch += 1
        for start in range(begin, min(begin + _BLOCK, starts)):
            if stretch < len(known) and known[stretch, 0] <= position + start < known[stretch, 1]:
                continue
            for which in range(len(_LENGTHS)):
                length, slots = _LENGTHS[which], index.slots[which]
                if runs[block] < length // _BLOCK - 1 or start + length > len(points):
                    break
                work += 1
                entry = slots[_slot(slots, _hash(prefix, start, length, _POWERS[which]))]
                if entry < 0:  # so the sample has no longer one either
                    break
                place = entry & 0x7FFFFFFF
                if position + start < index.found[which, place] and _same(points, start, index.points, place, length):
                    index.found[which, place] = position + start
    return work


@njit(cache=True)
def _runs(prefix: NDArray[np.uint64], sieve: NDArray[np.uint64]) -> NDArray[np.int64]:
    """How many blocks in a row, from each on, may be in the sample: those that begin at 24, 49, ... if `_BLOCK` is 25.

    A passage of n characters holds at least n / 25 - 1 of them, the first at most 24 characters after its beginning.
    """
    runs = np.zeros(max(0, len(prefix) - _BLOCK) // _BLOCK, dtype=np.int64)
    for block in range(len(runs) - 1, -1, -1):
        if _is_marked(sieve, _hash(prefix, _BLOCK * (block + 1) - 1, _BLOCK, _BLOCK_POWER)):
            runs[block] = 1 if block + 1 == len(runs) else runs[block + 1] + 1
    return runs


@njit(cache=True)
def _sift(index: _Index, position: int) -> None:
    """Leave in the sieve only what lies in passages that may still be found before their own place in the text."""
    index.sieve[:] = 0
    missing = np.zeros(len(index.points), dtype=np.bool_)
    for which in range(len(_LENGTHS)):
        for place in range(len(index.points)):
            missing[place] |= index.same[which, place] == place and index.found[which, place] >= position
    until = 0
    for place in range(len(index.points) - _BLOCK):
        if missing[place]:
            until = place + _BLOCK
        if place < until:
            _mark(index.sieve, _hash(index.prefix, place, _BLOCK, _BLOCK_POWER))
