"""Characters that depend on a hidden state, which the text tells of but never shows."""

from collections.abc import Iterator

import numpy as np

from letterloom.text.synthetic.process import LETTERS, Floats, choose, choosers, codes, random_rows

STAYING = 0.8  # probability of no move: states last for some characters, so that the past tells something of them


class HiddenMarkov:
    """A chain of states, each of which draws a letter; the first state is any, with equal probability.

    There is no closed form of its entropy rate, but what a text costs is exact: the forward algorithm carries the
    probability of each state given the text so far (Rabiner 1989, "A Tutorial on Hidden Markov Models", section III A).
    """

    entropy_rate = None

    def __init__(self, transitions: Floats, emissions: Floats) -> None:
        """Take p(next state | state), shape (S, S), and p(letter | state), shape (S, k)."""
        self.transitions, self.emissions = transitions, emissions
        self.alphabet = LETTERS[: emissions.shape[1]]

    @classmethod
    def random(cls, rng: np.random.Generator, symbols: int, states: int) -> "HiddenMarkov":
        """A model with probabilities drawn at random, whose states mostly stay."""
        moves = random_rows(rng, states, states)
        return cls(STAYING * np.eye(states) + (1 - STAYING) * moves, random_rows(rng, states, symbols))

    def characters(self, rng: np.random.Generator) -> Iterator[str]:
        """A text without end."""
        moves, letters = choosers(self.transitions), choosers(self.emissions)
        state = int(rng.random() * len(moves))
        while True:
            yield self.alphabet[choose(letters[state], rng)]
            state = choose(moves[state], rng)

    def nats(self, text: str) -> Floats:
        """Nats of each character, shape (n,)."""
        # p(letter, next state | state), shape (k, S, S)
        steps = list(self.emissions.T[:, :, None] * self.transitions)
        belief = np.full(len(self.transitions), 1 / len(self.transitions))
        probabilities = np.empty(len(text))
        for i, code in enumerate(codes(text, self.alphabet)):
            belief = belief @ steps[code]
            probabilities[i] = probability = belief.sum()
            belief /= probability
        return -np.log(probabilities)
