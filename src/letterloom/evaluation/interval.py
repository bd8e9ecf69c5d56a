"""A confidence interval for a mean over text, whose characters are not independent of one another."""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

MOST_BLOCKS = 100
FEWEST_BLOCKS = 20
SHORTEST_BLOCK = 50  # ids; well over a word, so that what one block says of the next is little


def block_bootstrap(nats: NDArray[np.float64], weights: NDArray[np.float64]) -> tuple[float, float] | None:
    """95 % interval of sum(nats) / sum(weights), by resampling stretches of text in place of single ids.

    The ids are cut into 100 consecutive blocks (fewer where a block would be shorter than 50 ids) and whole blocks
    are drawn with replacement (Kuensch 1989; Lahiri 2003, chapter 2, the non-overlapping form), so the dependence
    within a block stays in. The limits are BCa (Efron 1987). The draw is seeded: equal data, equal interval.

    Args:
        nats: one value an id, in the order of the text.
        weights: characters begun by each id (1, or 0 for the later bytes of a character).

    Returns:
        (low, high) in nats per character; None for fewer than 20 blocks, that is below 1,000 ids.
    """
    n_blocks = min(MOST_BLOCKS, len(nats) // SHORTEST_BLOCK)
    if n_blocks < FEWEST_BLOCKS:
        return None
    starts = np.arange(n_blocks) * len(nats) // n_blocks
    totals, sizes = np.add.reduceat(nats, starts), np.add.reduceat(weights, starts)
    mean = float(totals.sum() / sizes.sum())
    if np.allclose(totals, mean * sizes, rtol=1e-9, atol=1e-9):  # all blocks say the same; BCa would divide 0 by 0
        return mean, mean
    rng = np.random.default_rng(0)
    limits = stats.bootstrap((totals, sizes), _ratio, paired=True, vectorized=True, rng=rng).confidence_interval
    return float(limits.low), float(limits.high)


def _ratio(totals: NDArray[np.float64], sizes: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
    """The statistic, along an axis: a ratio of sums, so that a block counts by its characters."""
    ratio: NDArray[np.float64] = totals.sum(axis=axis) / sizes.sum(axis=axis)
    return ratio
