"""How much of a passage says again what it said before, and how much people's own passages do."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

STRETCH = 12  # characters; two or three words, which people repeat by chance far less than one or two
SHORTEST_PASSAGE = 150  # characters; below that even a loop has hardly begun
INDEPENDENT_PASSAGES = 30  # that the held-out text must give; its 99 % quantile would be a guess from fewer
PASSAGES = 300  # overlapping ones, spread evenly
RARE = 0.99


@dataclass(frozen=True)
class Repetition:
    """Shares of characters that repeat, of samples and of people's passages just as long."""

    samples: float  # the mean of them
    people: float  # the mean of them
    people_at_most: float  # 99 of 100 passages stay below it
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

    The mean over the samples is to be held against a quantile of single passages: so a single odd sample of many
    decides nothing, and the test is stricter than its 1 %.
    """
    long_enough = [sample for sample in samples if len(sample) >= SHORTEST_PASSAGE]
    if not long_enough:
        return f"no sample has {SHORTEST_PASSAGE} characters; raise --training.sample-characters"
    characters = min(min(map(len, long_enough)), len(held_out) // INDEPENDENT_PASSAGES)
    if characters < SHORTEST_PASSAGE:
        least = INDEPENDENT_PASSAGES * SHORTEST_PASSAGE
        return f"it takes {least:,} characters of held-out text to know what people repeat; there are {len(held_out):,}"
    starts = np.linspace(0, len(held_out) - characters, PASSAGES).astype(int)
    people = [repeated_share(held_out[start : start + characters]) for start in starts]
    return Repetition(
        samples=float(np.mean([repeated_share(sample[:characters]) for sample in long_enough])),
        people=float(np.mean(people)),
        people_at_most=float(np.quantile(people, RARE)),
        characters=characters,
    )
