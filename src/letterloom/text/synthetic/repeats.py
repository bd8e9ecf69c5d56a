"""Characters that are surprising once and free when they come again."""

import math
from collections.abc import Iterator

import numpy as np

from letterloom.text.synthetic.process import LETTERS, Floats

_BETWEEN, _END = " ", "\n"


class Copy:
    """Lines of a word twice: letters and length are drawn, uniformly, for the first; the second costs nothing."""

    def __init__(self, symbols: int, shortest: int, longest: int) -> None:
        if shortest > longest:
            raise ValueError(f"shortest is {shortest}, and should be at most longest, {longest}")
        self.letters, self.shortest, self.longest = LETTERS[:symbols], shortest, longest
        self.alphabet = self.letters + _BETWEEN + _END

    @property
    def entropy_rate(self) -> float:
        """What a line costs over its length, each in the mean."""
        lengths, mean = self.longest - self.shortest + 1, (self.shortest + self.longest) / 2
        return (math.log(lengths) + mean * math.log(len(self.letters))) / (2 * mean + 2)

    def characters(self, rng: np.random.Generator) -> Iterator[str]:
        """A text without end."""
        while True:
            length = self.shortest + int(rng.random() * (self.longest - self.shortest + 1))
            word = "".join(self.letters[int(rng.random() * len(self.letters))] for _ in range(length))
            yield from word + _BETWEEN + word + _END

    def nats(self, text: str) -> Floats:
        """Nats of each character, shape (n,)."""
        found = np.full(len(text), np.inf)
        word, certain = "", ""  # of this line: the letters so far; once they are known, the rest
        for i, character in enumerate(text):
            # of the lengths that are still possible, all equally likely, one ends the word here
            ends = 1 / (self.longest - len(word) + 1) if len(word) >= self.shortest else 0.0
            if certain:
                probability = float(character == certain[0])
                word, certain = word if len(certain) > 1 else "", certain[1:]
            elif character == _BETWEEN:
                probability = ends
                certain = word + _END
            else:
                probability = (1 - ends) / len(self.letters) if character in self.letters else 0.0
                word += character
            if not probability:
                break
            found[i] = -math.log(probability)
        return found


class Periodic:
    """A word of random letters again and again: it costs something once, and nothing after that."""

    entropy_rate = 0.0

    def __init__(self, symbols: int, period: int) -> None:
        self.alphabet, self.period = LETTERS[:symbols], period

    def characters(self, rng: np.random.Generator) -> Iterator[str]:
        """A text without end."""
        word = [self.alphabet[int(rng.random() * len(self.alphabet))] for _ in range(self.period)]
        while True:
            yield from word

    def nats(self, text: str) -> Floats:
        """Nats of each character, shape (n,)."""
        found = np.zeros(len(text))
        found[: self.period] = math.log(len(self.alphabet))
        for i in range(self.period, len(text)):
            if text[i] != text[i - self.period]:
                found[i:] = np.inf
                break
        return found
