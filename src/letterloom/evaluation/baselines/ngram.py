"""N-gram models of ids: the frequency of each, and modified Kneser-Ney, interpolated.

With c(hw) the count of id w after the context h, and h' the context without its oldest id (Chen and Goodman 1998,
section 3),

    p(w|h) = (c(hw) - D(c(hw))) / c(h) + gamma(h) p(w|h'),    c(h) gamma(h) = D(1) N1(h) + D(2) N2(h) + D(3) N3+(h),

where Nj(h) is how many ids were counted j times after h, and D(c) the discount of a count c: one value for 1, for 2,
and for 3 or more. The longest n-grams are counted as often as they occur; of a shorter one is counted after how many
different ids it occurs, since it is asked where a longer one says little (Kneser and Ney 1995). Below order 1 all ids
are equally likely.

Counts are taken along the text, so an adaptive model differs from a static one only in when it stops counting: never,
or at the end of the training text. Discounts are estimated on the training text alone.
"""

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from letterloom.text.tokenizers import Ids

HIGHEST_ORDER = 10  # that is tried; of a megabyte of prose, 7 is best
HELD_OUT = 10  # a tenth of the training text, its end, judges the orders

Nats = NDArray[np.float64]
Marks = NDArray[np.bool_]


class Grams(NamedTuple):
    """The n-gram that ends at each id of a text, and its context, as numbers, (n,); and how many there are of both."""

    gram: NDArray[np.int32]
    context: NDArray[np.int32]
    n_grams: int
    n_contexts: int


def unigram(train: Ids, validation: Ids, vocab_size: int) -> Nats:
    """Nats of each validation id by its frequency in training, one added for each id of the vocabulary (Laplace)."""
    counts = np.bincount(train, minlength=vocab_size) + 1
    return np.asarray(np.log(counts.sum() / counts[validation]))


def best_order(train: Ids, vocab_size: int) -> int:
    """The order that does best on the end of the training text, adapting to it, after what comes before."""
    cut = len(train) - -(-len(train) // HELD_OUT)
    if not cut:
        return 1
    models = kneser_ney(train[:cut], train[cut:], vocab_size, adaptive=True)
    return 1 + int(np.argmin([nats.mean() for nats in islice(models, HIGHEST_ORDER)]))


def kneser_ney(train: Ids, validation: Ids, vocab_size: int, adaptive: bool) -> Iterator[Nats]:
    """Nats of each validation id, (n,), by the model of order 1, then by that of order 2, and so on without end.

    Args:
        train: At least one id; what comes before the validation text, whose first contexts reach into it.
        validation: What is scored.
        vocab_size: V; after every context the probabilities of all V ids sum to 1.
        adaptive: Count each validation id too, once it is scored.
    """
    ids, start = np.concatenate([train, validation]), len(train)
    counted = np.arange(len(ids)) < (len(ids) if adaptive else start)
    lower = np.full(len(validation), 1 / vocab_size)  # p(w|h')
    shorter: Grams | None = None
    for grams in _orders(ids, vocab_size):
        share, gamma, new = interpolation(*grams, counted, start)
        if shorter:  # one of them is counted wherever it is the end of an n-gram that is new
            shorter_share, shorter_gamma, _ = interpolation(*shorter, new, start)
            lower = shorter_share + shorter_gamma * lower
        probability = np.minimum(share + gamma * lower, 1.0)  # a rounding error more would be less than 0 nats
        yield 0.0 - np.log(probability)  # of certainty 0, where a mere minus would give -0
        shorter = grams


def _orders(ids: Ids, vocab_size: int) -> Iterator[Grams]:
    """The n-grams of a text by order: 1, 2, and so on. Before its first id stands what is nowhere else."""
    context, n_contexts = np.zeros(len(ids), dtype=np.int32), 1
    while True:
        different, gram = np.unique(context * np.int64(vocab_size) + ids, return_inverse=True)
        grams = Grams(gram.astype(np.int32), context, len(different), n_contexts)
        yield grams
        context = np.concatenate([np.array([len(different)], dtype=np.int32), grams.gram[:-1]])
        n_contexts = len(different) + 1


@njit(cache=True)
def interpolation(
    gram: NDArray[np.int32],
    context: NDArray[np.int32],
    n_grams: int,
    n_contexts: int,
    counted: Marks,
    start: int,
) -> tuple[Nats, Nats, Marks]:
    """What one order says of the ids from `start` on, from what is counted before each.

    Returns:
        (c(hw) - D(c(hw))) / c(h) and gamma(h), (n - start,), which are 0 and 1 after an unknown context; and marks of
        the n-grams that are counted for the first time, (n,).
    """
    counts, totals = np.zeros(n_grams, dtype=np.int32), np.zeros(n_contexts, dtype=np.int32)  # c(hw), c(h)
    kinds = np.zeros((n_contexts, 4), dtype=np.int32)  # N1(h), N2(h), N3+(h) in columns 1 to 3
    share, gamma = np.zeros(len(gram) - start), np.ones(len(gram) - start)
    new = np.zeros(len(gram), dtype=np.bool_)
    d = discounts(counts)
    for i in range(len(gram)):
        if i == start:
            d = discounts(counts)
        hw, h = gram[i], context[i]
        c = counts[hw]
        if i >= start and totals[h]:
            share[i - start] = (c - d[min(c, 3)]) / totals[h]
            gamma[i - start] = (d[1] * kinds[h, 1] + d[2] * kinds[h, 2] + d[3] * kinds[h, 3]) / totals[h]
        if counted[i]:
            new[i] = c == 0
            counts[hw] += 1
            totals[h] += 1
            kinds[h, min(c, 3)] -= 1
            kinds[h, min(c + 1, 3)] += 1
    return share, gamma, new


@njit(cache=True)
def discounts(counts: NDArray[np.int32]) -> Nats:
    """D(0) = 0, D(1), D(2) and D(3) for 3 or more, from how many n-grams were counted 1, 2, 3 and 4 times.

    Chen and Goodman 1998, section 3. Where there are too few of these to tell, or a discount would not lie above 0, as
    with single letters, which follow no such law: 0.5, 1 and 1.5, to which KenLM's lmplz falls back.
    """
    n = np.zeros(5)
    for c in counts:
        if 1 <= c <= 4:
            n[c] += 1
    if n[1] and n[2] and n[3]:
        y = n[1] / (n[1] + 2 * n[2])
        d = np.array([0, 1 - 2 * y * n[2] / n[1], 2 - 3 * y * n[3] / n[2], 3 - 4 * y * n[4] / n[3]])
        if d[1:].min() > 0:
            return d
    return np.array([0, 0.5, 1, 1.5])
