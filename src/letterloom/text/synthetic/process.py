"""What a synthetic source is: a process that draws text without end and knows the cost of each character.

Texts have to be the same for ever and everywhere, so processes draw nothing but `Generator.random()`, and make of it,
by exactly rounded operations in a fixed order alone, whatever they need.
"""

import string
from bisect import bisect_right
from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

LETTERS = string.ascii_lowercase + string.ascii_uppercase
RAREST = 0.01  # weight that every choice has at least, so that none is too rare to be learned

Floats = NDArray[np.float64]


class Process(Protocol):
    """A source of characters; "exact" is to the rounding of doubles."""

    @property
    def entropy_rate(self) -> float | None:
        """Nats per character in the long run, exact; None where there is no closed form."""

    def characters(self, rng: np.random.Generator) -> Iterator[str]:
        """A text, character by character, without end."""

    def nats(self, text: str) -> Floats:
        """-ln p(character | all characters before it), exact, shape (n,); infinite from what cannot be drawn on."""


def random_rows(rng: np.random.Generator, rows: int, columns: int) -> Floats:
    """Probabilities, shape (rows, columns), each row adding up to 1: cubes of uniforms, so that they are uneven."""
    uniforms = rng.random((rows, columns))
    weights = RAREST + uniforms * uniforms * uniforms
    return weights / np.cumsum(weights, axis=1)[:, -1:]  # cumsum adds from left to right; sum does as it likes


def choosers(probabilities: Floats) -> list[list[float]]:
    """What `choose` needs of each row of probabilities."""
    thresholds: list[list[float]] = np.cumsum(probabilities, axis=1)[:, :-1].tolist()
    return thresholds


def choose(thresholds: list[float], rng: np.random.Generator) -> int:
    """A column of a row, drawn by its probabilities."""
    return bisect_right(thresholds, rng.random())


def codes(text: str, alphabet: str) -> NDArray[np.intp]:
    """The place of each character in the alphabet, shape (n,).

    Raises:
        ValueError: a character is not in it.
    """
    place = {character: code for code, character in enumerate(alphabet)}
    try:
        return np.fromiter((place[character] for character in text), dtype=np.intp, count=len(text))
    except KeyError as error:
        raise ValueError(f"the process writes {alphabet!r}, not {error}") from None
