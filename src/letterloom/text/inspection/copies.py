"""What the passages of a text tell: how much of it is copied, how much of its validation split, and which passages."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from letterloom.text.inspection.passages import LENGTHS, Passages, Sample, covered

SHOWN = 5  # passages
BEGINNING = 200  # characters of a passage that are kept
_REPEATED = 1  # of LENGTHS: from how many characters on a passage is told as repeated
_LEAKED = 0  # and as leaked


@dataclass(frozen=True)
class Share:
    """A share of characters, and half of its 95 % interval: 0 where all of them were looked up."""

    share: float
    error: float


@dataclass(frozen=True)
class Passage:
    """A passage: how it begins, its characters, where it stands in the text, and what else is known of it."""

    beginning: str
    characters: int
    position: int  # from 0
    times: int = 0  # of a repeated one: how often it occurs
    source: int = 0  # of a leaked one: where the training text has it


@dataclass(frozen=True)
class Copies:
    """Of each of `LENGTHS`, what lies in copied passages at least so long; and the worst of them."""

    copied: tuple[Share, ...]  # of the whole text: passages that begin earlier in it
    leaked: tuple[Share, ...]  # of the validation split: passages that the training split has; none without a split
    repeated_passages: tuple[Passage, ...]
    leaked_passages: tuple[Passage, ...]
    sampled: int | None  # characters that were looked up; None: all


def copies_of(passages: Passages, cut: int, characters: int) -> Copies:
    """Tell what was found of a text of which the first `cut` characters train."""
    sample = passages.sample
    positions, counted = sample.positions, sample.counts
    splits = [(stretch.first >= cut, stretch.last - stretch.first) for stretch in sample.stretches]
    is_validation, sizes = (np.array(values) for values in zip(*splits, strict=True))
    looked_up = np.array([sizes[~is_validation].sum(), sizes[is_validation].sum()])
    copied, leaked = list[Share](), list[Share]()
    repeated: tuple[Passage, ...] = ()
    leaks: tuple[Passage, ...] = ()
    for which, length in enumerate(LENGTHS):
        same, first = passages.first_places(which)
        is_copy = (first >= 0) & (first < positions)
        is_leak = (first >= 0) & (first + length <= cut) & (positions >= cut)
        parts = [_per_stretch(covered(flags, length) & counted, sample) / sizes for flags in (is_copy, is_leak)]
        copied.append(_weighted(parts[0], is_validation, cut, characters))
        if cut:
            leaked.append(_share(parts[1][is_validation]))
        if which == _REPEATED:
            repeated = _repeated(sample, same, is_copy, length)
        if which == _LEAKED:
            leaks = _leaked(sample, is_leak & counted, first, length)
    total = int(looked_up.sum())
    return Copies(tuple(copied), tuple(leaked), repeated, leaks, total if total < characters else None)


def counted_in(passages: Iterable[Passage], pieces: Iterable[bytes]) -> tuple[Passage, ...]:
    """The passages, most repeated first, with their `times` counted in the UTF-8 of the whole text."""
    told = list(passages)
    needles = [one.beginning[: LENGTHS[_REPEATED]].encode() for one in told]
    times, rest = [0] * len(told), b""
    for piece in pieces if told else ():
        for number, needle in enumerate(needles):
            times[number] += (rest[1 - len(needle) :] + piece).count(needle)
        rest = (rest + piece)[-4 * LENGTHS[_REPEATED] :]  # a character has four bytes at most
    found = [replace(one, times=count) for one, count in zip(told, times, strict=True)]
    return tuple(sorted(found, key=lambda one: (1 - one.times) * one.characters))


def _per_stretch(flags: NDArray[np.bool_], sample: Sample) -> NDArray[np.int64]:
    """How many characters of each stretch have a flag."""
    return np.add.reduceat(flags, sample.starts[:-1], dtype=np.int64)


def _share(parts: NDArray[np.float64]) -> Share:
    """The mean of stretches that were drawn; a single one is no sample but all there is."""
    error = 1.96 * float(parts.std(ddof=1)) / math.sqrt(len(parts)) if len(parts) > 1 else 0.0
    return Share(float(parts.mean()), error)


def _weighted(parts: NDArray[np.float64], is_validation: NDArray[np.bool_], cut: int, characters: int) -> Share:
    """The share of the whole text, from those of its splits."""
    share = error = 0.0
    for chosen, size in ((~is_validation, cut), (is_validation, characters - cut)):
        if size:
            of_split = _share(parts[chosen])
            share += of_split.share * size / characters
            error = math.hypot(error, of_split.error * size / characters)
    return Share(share, error)


def _repeated(sample: Sample, same: NDArray[np.int32], is_copy: NDArray[np.bool_], length: int) -> tuple[Passage, ...]:
    """The passages whose repetitions in the sample are longest; beyond it, a passage may be repeated that it has once.

    Neighbouring passages that occur equally often are told as one.
    """
    times = np.bincount(same[sample.counts & (same >= 0)], minlength=len(same))
    is_told = (same == np.arange(len(same))) & ((times > 1) | is_copy)
    begins, sizes = _runs(is_told, sample.positions, times, steps=0)
    characters = sizes + length - 1
    order = np.lexsort((-characters, (1 - times[begins]) * characters))
    return tuple(
        _passage(sample, begins[i], characters[i], times=int(times[begins[i]]))
        for i in _apart(begins, characters, order)
    )


def _leaked(sample: Sample, is_leak: NDArray[np.bool_], first: NDArray[np.int64], length: int) -> tuple[Passage, ...]:
    """The longest passages of the validation split that the training split has."""
    begins, sizes = _runs(is_leak, sample.positions, first, steps=1)
    characters = sizes + length - 1
    order = np.argsort(-characters, kind="stable")
    return tuple(
        _passage(sample, begins[i], characters[i], source=int(first[begins[i]]))
        for i in _apart(begins, characters, order)
    )


def _runs(
    flags: NDArray[np.bool_], positions: NDArray[np.int64], values: NDArray[np.number], steps: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where flags begin that follow one another in the text while a value grows by `steps`, and how many they are."""
    goes_on = np.zeros(len(flags), dtype=np.bool_)
    goes_on[1:] = flags[1:] & flags[:-1] & (np.diff(positions) == 1) & (np.diff(values) == steps)
    begins = np.flatnonzero(flags & ~goes_on)
    ends = np.flatnonzero(flags & ~np.append(goes_on[1:], False))
    return begins, ends - begins + 1


def _apart(begins: NDArray[np.int64], sizes: NDArray[np.int64], order: NDArray[np.int64]) -> list[int]:
    """The first few in some order that do not overlap one another."""
    chosen: list[int] = []
    for i in map(int, order[: 1000 * SHOWN]):
        if all(begins[i] >= begins[j] + sizes[j] or begins[j] >= begins[i] + sizes[i] for j in chosen):
            chosen.append(i)
            if len(chosen) == SHOWN:
                break
    return chosen


def _passage(sample: Sample, begin: int, characters: int, times: int = 0, source: int = 0) -> Passage:
    beginning = str(sample.points[begin : begin + min(characters, BEGINNING)].tobytes(), "utf-32-le")
    return Passage(beginning, int(characters), int(sample.positions[begin]), times, source)
