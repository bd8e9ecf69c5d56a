"""Lines that are the sentences of a probabilistic context-free grammar."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from letterloom.text.synthetic.process import LETTERS, Floats, choose, choosers, codes, random_rows

_END = "\n"
# Probabilities of a rule without, with one, and with two nonterminals: 0.8 of them in the mean, so that a sentence has
# 5 letters in the mean, and rarely more than 200: each further one is e^-0.055 times as probable.
GROWTH = (0.3, 0.6, 0.1)
ALIKE = 2  # rules of each form, for each nonterminal
_CELLS = 1_000_000  # of the charts worked on at once


@dataclass(frozen=True)
class Rule:
    """A nonterminal becomes a letter and up to two nonterminals after it, with this probability (Greibach's form)."""

    probability: float
    letter: int
    children: tuple[int, ...]


class Grammar:
    """Sentences that nonterminal 0 becomes, each followed by a newline.

    What a character costs comes from the probability of all sentences that begin with the line so far, which is made
    of inside probabilities (Jelinek and Lafferty 1991, "Computation of the Probability of Initial Substring Generation
    by Stochastic Context-Free Grammars"): all derivations count, of ambiguous grammars too. Greibach's form needs no
    inverse of a matrix of left corners, since each rule writes a letter.
    """

    def __init__(self, rules: Sequence[Sequence[Rule]], symbols: int) -> None:
        """Take the rules of each nonterminal, whose probabilities add up to 1."""
        self.rules, self.letters = rules, LETTERS[:symbols]
        self.alphabet = self.letters + _END
        n = len(rules)
        self._none, self._one, self._two = (np.zeros((symbols, n, *[n] * children)) for children in range(3))
        for parent, options in enumerate(rules):
            for rule in options:
                table = (self._none, self._one, self._two)[len(rule.children)]
                table[rule.letter, parent, *rule.children] += rule.probability

    @classmethod
    def random(cls, rng: np.random.Generator, symbols: int, nonterminals: int) -> "Grammar":
        """Six rules for each nonterminal, whose letters all differ where there are as many letters."""
        forms = [children for children in range(len(GROWTH)) for _ in range(ALIKE)]
        rules = []
        for _ in range(nonterminals):
            shares = random_rows(rng, len(GROWTH), ALIKE) * np.array(GROWTH)[:, None]
            letters = np.argsort(rng.random(symbols), kind="stable")
            rules.append(
                [
                    Rule(
                        float(share),
                        int(letters[i % symbols]),
                        tuple(int(rng.random() * nonterminals) for _ in range(children)),
                    )
                    for i, (share, children) in enumerate(zip(shares.ravel(), forms, strict=True))
                ]
            )
        return cls(rules, symbols)

    @property
    def entropy_rate(self) -> float | None:
        """Entropy of a sentence's derivation over its length (Soule 1974, "Entropies of Probabilistic Grammars").

        A sentence has one derivation if the next letter always tells the rule: the rules of each nonterminal begin
        with different letters (a simple grammar). Else it may have several, and there is no closed form.
        """
        if any(len({rule.letter for rule in rules}) < len(rules) for rules in self.rules):
            return None
        nats = [-sum(rule.probability * math.log(rule.probability) for rule in rules) for rules in self.rules]
        children = self._one.sum(axis=0) + self._two.sum(axis=(0, 3)) + self._two.sum(axis=(0, 2))  # in the mean
        added = np.stack([nats, np.ones(len(nats))], axis=1)  # by each rule: nats, and a letter
        entropy, length = np.linalg.solve(np.eye(len(nats)) - children, added)[0]
        return float(entropy / (length + 1))  # and a newline

    def characters(self, rng: np.random.Generator) -> Iterator[str]:
        """A text without end."""
        thresholds = [choosers(np.array([[rule.probability for rule in rules]]))[0] for rules in self.rules]
        while True:
            stack = [0]
            while stack:
                nonterminal = stack.pop()
                rule = self.rules[nonterminal][choose(thresholds[nonterminal], rng)]
                yield self.letters[rule.letter]
                stack += reversed(rule.children)
            yield _END

    def nats(self, text: str) -> Floats:
        """Nats of each character, shape (n,)."""
        lines = text.split(_END)
        of_line = self._lines_nats(set(lines))
        found = np.concatenate([of_line[line] for line in lines])[: len(text)]  # no newline has ended the last one
        impossible = np.flatnonzero(~np.isfinite(found))
        if len(impossible):
            found[impossible[0] :] = np.inf
        return found

    def _lines_nats(self, lines: Iterable[str]) -> dict[str, Floats]:
        """Nats of the characters of each line and of its newline."""
        by_length: dict[int, list[str]] = defaultdict(list)
        for line in lines:
            by_length[len(line)].append(line)
        found: dict[str, Floats] = {}
        for length, alike in by_length.items():
            together = max(1, _CELLS // (2 * (length + 1) ** 2 * len(self.rules)))
            for i in range(0, len(alike), together):
                some = alike[i : i + together]
                words = codes("".join(some), self.letters).reshape(len(some), length)
                with np.errstate(divide="ignore", invalid="ignore"):  # of what is impossible, and after it
                    nats = -np.diff(np.log(self._probabilities(words)), axis=1)
                found |= zip(some, nats, strict=True)
        return found

    def _probabilities(self, words: NDArray[np.intp]) -> Floats:
        """That lines, shape (B, L), begin with their first 0, 1, ... L letters, and that they end there: (B, L + 2).

        `spans[b, i, A, 0, j]` is the inside probability that A becomes letters i to j - 1, and `spans[b, i, A, 1, j]`
        the probability that A becomes something that begins with them; shape (B, L + 1, N, 2, L + 1).
        """
        (lines, length), n = words.shape, len(self.rules)
        ends = length + 1
        spans = np.zeros((lines, ends, n, 2, ends))
        for i in reversed(range(length)):
            one = spans[:, i + 1].copy()  # what one child after letter i becomes
            one[:, :, 1, i + 1] = 1.0  # no more letters are asked of it
            first, second = spans[:, i + 1, :, 0, i + 2 :], spans[:, i + 2 :].reshape(lines, -1, n * 2 * ends)
            two = (first @ second).reshape(lines, n, n, 2, ends)  # the second begins where the first ends
            two[:, :, :, 1] += one[:, :, None, 1]  # or the first begins with all that is asked
            letter, shape = words[:, i], (lines, n, 2, ends)
            spans[:, i] = (self._one[letter] @ one.reshape(lines, n, -1)).reshape(shape)
            spans[:, i] += (self._two[letter].reshape(lines, n, -1) @ two.reshape(lines, n * n, -1)).reshape(shape)
            spans[:, i, :, :, i + 1] += self._none[letter][..., None]
        whole, begun = spans[:, 0, 0, 0, -1:], spans[:, 0, 0, 1, 1:]
        return np.concatenate([np.ones((lines, 1)), begun, whole], axis=1)
