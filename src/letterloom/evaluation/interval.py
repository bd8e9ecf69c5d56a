"""A confidence interval for a mean over text, whose characters are not independent of one another."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

BLOCKS = 20  # few, so that each is long: what persists in a text persists for hundreds of characters
SHORTEST_BLOCK = 50  # ids; well over a word
LEAST_EQUIVALENT = 8.0  # independent blocks that a text is taken for; fewer make intervals of short texts useless


def block_bootstrap(nats: NDArray[np.float64], weights: NDArray[np.float64]) -> tuple[float, float] | None:
    """95 % interval of sum(nats) / sum(weights), by resampling stretches of text in place of single ids.

    The ids are cut into 20 consecutive blocks, and whole blocks are drawn with replacement (Kuensch 1989; Lahiri 2003,
    chapter 2, the non-overlapping form), so the dependence within a block stays in. The limits are BCa (Efron 1987),
    which follows what is skewed, and are then moved away from the mean for what resampling does not see (`_widening`):
    that blocks are few, and that neighbouring ones are alike. The draw is seeded: equal data, equal interval.

    Args:
        nats: one value an id, in the order of the text.
        weights: characters begun by each id (1, or 0 for the later bytes of a character).

    Returns:
        (low, high) in nats per character; None for fewer than 1,000 ids, of which there are no 20 blocks.
    """
    parts = parts_of(nats, weights)
    return parts and parts_interval(*parts)


def parts_of(
    nats: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Nats and characters of each of the 20 blocks, as `block_bootstrap` cuts them; None for fewer than 1,000 ids."""
    if len(nats) < BLOCKS * SHORTEST_BLOCK:
        return None
    starts = np.arange(BLOCKS) * len(nats) // BLOCKS
    return np.add.reduceat(nats, starts), np.add.reduceat(weights, starts)


def parts_interval(totals: NDArray[np.float64], sizes: NDArray[np.float64]) -> tuple[float, float]:
    """What `block_bootstrap` gives for a text of which the nats and the characters of its blocks are known."""
    mean = float(totals.sum() / sizes.sum())
    if np.allclose(totals, mean * sizes, rtol=1e-9, atol=1e-9):  # all blocks say the same; BCa would divide 0 by 0
        return mean, mean
    rng = np.random.default_rng(0)
    limits = stats.bootstrap((totals, sizes), _ratio, paired=True, vectorized=True, rng=rng).confidence_interval
    wider = _widening(totals - mean * sizes)
    return mean + wider * float(limits.low - mean), mean + wider * float(limits.high - mean)


def _widening(deviations: NDArray[np.float64]) -> float:
    """How many times as wide as the bootstrap's the interval has to be, from what each block deviates by.

    Blocks whose neighbours correlate by r say as much as (1 - r) / (1 + r) times as many independent ones, and by their
    number Student's t takes the place of the normal (Zwiers and von Storch 1995, section 2). Of few blocks r is found
    too low; the bias of first order is made good (Marriott and Pope 1954).
    """
    found = float(deviations[1:] @ deviations[:-1] / (deviations @ deviations))
    r = max(0.0, found + (1 + 4 * found) / BLOCKS)
    equivalent = max(LEAST_EQUIVALENT, BLOCKS * (1 - r) / (1 + r))
    student = float(stats.t.ppf(0.975, equivalent - 1) / stats.norm.ppf(0.975))
    return student * math.sqrt(BLOCKS / equivalent * BLOCKS / (BLOCKS - 1))


def _ratio(totals: NDArray[np.float64], sizes: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
    """The statistic, along an axis: a ratio of sums, so that a block counts by its characters."""
    ratio: NDArray[np.float64] = totals.sum(axis=axis) / sizes.sum(axis=axis)
    return ratio
