"""Characters that depend on the last few alone, or on none."""

import math
from collections.abc import Iterator

import numpy as np

from letterloom.text.synthetic.process import LETTERS, Floats, choose, choosers, codes, random_rows

MOST_CONTEXTS = 20_000
_ROUNDS, _SETTLED = 100_000, 1e-14  # of the power iteration; total change at which it ends


class Uniform:
    """Every character is one of k letters, all equally likely."""

    def __init__(self, symbols: int) -> None:
        self.alphabet = LETTERS[:symbols]

    @property
    def entropy_rate(self) -> float:
        """Ln k."""
        return math.log(len(self.alphabet))

    def characters(self, rng: np.random.Generator) -> Iterator[str]:
        """A text without end."""
        while True:
            yield self.alphabet[int(rng.random() * len(self.alphabet))]

    def nats(self, text: str) -> Floats:
        """Ln k for each character, shape (n,)."""
        return np.full(len(codes(text, self.alphabet)), self.entropy_rate)


class Markov:
    """A character depends on the `order` ones before it; the first `order` are drawn like those of `Uniform`."""

    def __init__(self, transitions: Floats) -> None:
        """Take p(next letter | context), shape (k ** order, k); a context is its letters' places, read in base k."""
        contexts, symbols = transitions.shape
        self.transitions, self.alphabet = transitions, LETTERS[:symbols]
        self.order = round(math.log(contexts, symbols))

    @classmethod
    def random(cls, rng: np.random.Generator, symbols: int, order: int) -> "Markov":
        """A chain with probabilities drawn at random."""
        if symbols**order > MOST_CONTEXTS:
            raise ValueError(f"symbols ** order is {symbols**order:,}, and should be at most {MOST_CONTEXTS:,}")
        return cls(random_rows(rng, symbols**order, symbols))

    @property
    def entropy_rate(self) -> float:
        """The entropy of each context's row, weighted by how often it comes (Shannon 1948, section 7)."""
        return float(self._stationary() @ -np.sum(self.transitions * np.log(self.transitions), axis=1))

    def characters(self, rng: np.random.Generator) -> Iterator[str]:
        """A text without end."""
        contexts, symbols = self.transitions.shape
        thresholds = choosers(self.transitions)
        context = 0
        for _ in range(self.order):
            code = int(rng.random() * symbols)
            context = context * symbols + code
            yield self.alphabet[code]
        while True:
            code = choose(thresholds[context], rng)
            context = (context * symbols + code) % contexts
            yield self.alphabet[code]

    def nats(self, text: str) -> Floats:
        """Nats of each character, shape (n,)."""
        symbols, drawn = len(self.alphabet), codes(text, self.alphabet)
        n = max(0, len(drawn) - self.order)  # characters with a whole context
        contexts = sum(drawn[i : i + n] * symbols ** (self.order - 1 - i) for i in range(self.order))
        first = np.full(len(drawn) - n, math.log(symbols))
        return np.concatenate([first, -np.log(self.transitions[contexts, drawn[len(drawn) - n :]])])

    def _stationary(self) -> Floats:
        """How often each context comes in the long run, shape (k ** order,): what one step leaves as it is."""
        contexts, symbols = self.transitions.shape
        share = np.full(contexts, 1 / contexts)
        for _ in range(_ROUNDS):
            joint = share[:, None] * self.transitions  # of a context and the letter after it
            later: Floats = joint.reshape(symbols, contexts).sum(axis=0)  # the oldest letter is forgotten
            if np.abs(later - share).sum() < _SETTLED:
                return later
            share = later
        raise ArithmeticError("the chain does not settle")
