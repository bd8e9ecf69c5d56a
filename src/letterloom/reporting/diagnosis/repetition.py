"""How much of a passage says again what it said before, and how much people's own passages do."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

STRETCH = 12  # characters; two or three words, which people repeat by chance far less than one or two
SHORTEST_PASSAGE = 150  # characters; below that even a loop has hardly begun
PASSAGES = 100  # that the held-out text must give, none overlapping another; fewer than 99 have no limit for 1 of 100
RARE = 0.01


@dataclass(frozen=True)
class Repetition:
    """Shares of characters that repeat, of samples and of people's passages just as long."""

    samples: float  # the mean of them
    people: float  # the mean of them
    people_at_most: float  # of 100 passages more, 1 is expected beyond it
    passages: int  # of people
    characters: int  # of a passage


def repeated_share(text: str, stretch: int = STRETCH) -> float:
    """The share of characters that lie in a stretch which occurred before in the text; overlapping counts.

    A text that says one thing over and over comes close to 1; one of fewer characters than a stretch has 0.
    """
    seen: set[str] = set()
    covered = np.zeros(len(text), dtype=np.bool_)
    for start in range(len(text) - stretch + 1):
        piece = text[start : start + stretch]
        if piece in seen:
            covered[start : start + stretch] = True
        seen.add(piece)
    return float(covered.mean()) if len(text) else 0.0


def measure_repetition(samples: Sequence[str], held_out: str) -> Repetition | str:
    """Samples against passages of people, all cut to one length; why not, in words, where they are too short.

    The limit is the one that a next passage, drawn like the others, passes with a chance of at most 1 %, however they
    are distributed (Vovk, Gammerman and Shafer 2005, chapter 2): of N the one in place (N + 1) 99 % from below. The
    mean over the samples is held against it, so a single odd sample of many decides nothing.
    """
    long_enough = [sample for sample in samples if len(sample) >= SHORTEST_PASSAGE]
    if not samples:
        return "no sample has been drawn yet"
    if not long_enough:
        return (
            f"it takes a sample of {SHORTEST_PASSAGE} characters, and the longest has {max(map(len, samples))}: raise "
            "--training.sample-characters, unless the texts end by themselves"
        )
    characters = min(min(map(len, long_enough)), len(held_out) // PASSAGES)
    if characters < SHORTEST_PASSAGE:
        least = PASSAGES * SHORTEST_PASSAGE
        return f"it takes {least:,} characters of held-out text to know what people repeat; there are {len(held_out):,}"
    starts = range(0, len(held_out) - characters + 1, characters)
    people = sorted(repeated_share(held_out[start : start + characters]) for start in starts)
    return Repetition(
        samples=float(np.mean([repeated_share(sample[:characters]) for sample in long_enough])),
        people=float(np.mean(people)),
        people_at_most=people[math.ceil((1 - RARE) * (len(people) + 1)) - 1],
        passages=len(people),
        characters=characters,
    )
