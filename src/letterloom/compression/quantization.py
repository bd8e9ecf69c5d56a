"""A model's probabilities as whole numbers, so that both sides of a coder take exactly the same."""

import numpy as np
from numpy.typing import NDArray

from letterloom.errors import NonFiniteError
from letterloom.generation.sampler import NOT_FINITE

BITS = 24
TOTAL = 1 << BITS  # what the symbols share; the range coder's own precision, so that it has nothing to round
Counts = NDArray[np.int64]


def quantized(logits: NDArray[np.floating], escape: int) -> Counts:
    """Whole numbers in proportion to exp(logits) (V,), and `escape` for one symbol more: (V + 1,), `TOTAL` in all.

    Each is at least 1, so that whatever comes can be coded; the likeliest takes what rounding leaves.

    Raises:
        NonFiniteError: a logit is NaN or infinite.
    """
    if not np.isfinite(logits).all():
        raise NonFiniteError(NOT_FINITE)
    weights = np.exp(logits.astype(np.float64) - logits.max())
    counts = np.empty(len(logits) + 1, dtype=np.int64)
    counts[:-1] = weights * ((TOTAL - escape - len(logits)) / weights.sum())  # rounded down
    counts[:-1] += 1
    counts[-1] = escape
    counts[np.argmax(weights)] += TOTAL - counts.sum()
    return counts
