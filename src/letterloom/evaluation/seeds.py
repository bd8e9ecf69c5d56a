"""How many seeds show a difference between two configurations, and how large a difference so many show."""

import math

from scipy import optimize, stats

SEED_NOISE = 0.0027  # nats per character: sd between seeds of a 10.7 M-parameter model of Tiny Shakespeare
POWER = 0.8  # share of experiments in which the difference, where there is one, is found (Cohen 1988)
LEVEL = 0.05  # of a test, or of all tests of a study together
CERTAIN = 3.0  # times the critical t: so far off an effect is always found, and scipy's tails would overflow
LARGEST_T = 1e4  # beyond it, of a t of one degree of freedom only the ratio counts, and scipy's series do not converge
MOST_SEEDS = 10_000  # from which on they are counted in ten thousands


def seeds_needed(difference: float, noise: float) -> int | None:
    """Seeds of each of two configurations that show a difference in 4 of 5 experiments, by a t test at 5 %.

    Args:
        difference: Of their means, nats per character.
        noise: Standard deviation between seeds of one configuration, nats per character.

    Returns:
        At least 2, the smallest number of that power (noncentral t; Cohen 1988, chapter 2); None for no difference.
    """
    return _needed(difference, noise, samples=2, level=LEVEL)


def pairs_needed(difference: float, noise: float, comparisons: int = 1) -> int | None:
    """Seeds that show a difference as often where both configurations have them all, by a paired t test at 5 %.

    Args:
        difference: Of their means, nats per character.
        noise: Standard deviation between seeds of the differences, nats per character.
        comparisons: So many tests share the 5 % (Bonferroni), which is the worst case of Benjamini and Hochberg (1995):
            that of the smallest p, where no other difference is there to be found.

    Returns:
        As `seeds_needed`.
    """
    return _needed(difference, noise, samples=1, level=LEVEL / comparisons)


def least_shown(pairs: int, noise: float, comparisons: int = 1) -> float:
    """The smallest difference that so many pairs (at least 2) show in 4 of 5 experiments; else as `pairs_needed`.

    Returns:
        Nats per character, as `noise`.
    """
    level = LEVEL / comparisons
    largest = CERTAIN * _critical(pairs - 1, level) / math.sqrt(pairs)
    return noise * float(optimize.brentq(lambda effect: _power(effect, pairs, 1, level) - POWER, 0.0, largest))


def _needed(difference: float, noise: float, samples: int, level: float) -> int | None:
    if not difference:
        return None
    effect = abs(difference) / noise if noise else math.inf
    needed = samples * ((stats.norm.isf(level / 2) + stats.norm.ppf(POWER)) / effect) ** 2  # too few, by some
    if needed > MOST_SEEDS:
        return MOST_SEEDS * math.ceil(needed / MOST_SEEDS)
    n = max(2, math.ceil(needed))
    while _power(effect, n, samples, level) < POWER:
        n += 1
    return n


def _power(effect: float, n: int, samples: int, level: float) -> float:
    """How often a t test finds an effect (in units of the noise), by n values of one sample or of each of two.

    Findings of the wrong sign are not counted.
    """
    freedom = samples * (n - 1)
    critical = _critical(freedom, level)
    centre = min(effect * math.sqrt(n / samples), CERTAIN * critical)
    scale = min(1.0, LARGEST_T / critical)
    return float(stats.nct.sf(scale * critical, freedom, scale * centre))


def _critical(freedom: int, level: float) -> float:
    return float(stats.t.isf(level / 2, freedom))
