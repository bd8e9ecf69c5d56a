"""How many seeds show a difference between two configurations, and how large a difference so many show."""

import math

from scipy import optimize, stats

SEED_NOISE = 0.0027  # nats per character: sd between seeds of a 10.7 M-parameter model of Tiny Shakespeare
POWER = 0.8  # share of experiments in which the difference, where there is one, is found (Cohen 1988)
LARGEST_EFFECT = 30.0  # in units of the noise; more takes two seeds as well, and scipy's tails would overflow
MOST_SEEDS = 10_000  # from which on they are counted in ten thousands


def seeds_needed(difference: float, noise: float) -> int | None:
    """Seeds of each of two configurations that show a difference in 4 of 5 experiments, by a t test at 5 %.

    Args:
        difference: Of their means, nats per character.
        noise: Standard deviation between seeds of one configuration, nats per character.

    Returns:
        At least 2, the smallest number of that power (noncentral t; Cohen 1988, chapter 2); None for no difference.
    """
    return _needed(difference, noise, samples=2)


def pairs_needed(difference: float, noise: float) -> int | None:
    """Seeds that show a difference as often where both configurations have them all, by a paired t test at 5 %.

    Args:
        difference: Of their means, nats per character.
        noise: Standard deviation between seeds of the differences, nats per character.

    Returns:
        As `seeds_needed`.
    """
    return _needed(difference, noise, samples=1)


def least_shown(pairs: int, noise: float) -> float:
    """The smallest difference that so many pairs (at least 2) show in 4 of 5 experiments; else as `pairs_needed`.

    Returns:
        Nats per character, as `noise`.
    """
    return noise * float(optimize.brentq(lambda effect: _power(effect, pairs, 1) - POWER, 0.0, LARGEST_EFFECT))


def _needed(difference: float, noise: float, samples: int) -> int | None:
    if not difference:
        return None
    effect = min(abs(difference) / noise, LARGEST_EFFECT) if noise else LARGEST_EFFECT
    needed = samples * ((stats.norm.ppf(0.975) + stats.norm.ppf(POWER)) / effect) ** 2  # too few, by one or two
    if needed > MOST_SEEDS:
        return MOST_SEEDS * math.ceil(needed / MOST_SEEDS)
    n = max(2, math.ceil(needed))
    while _power(effect, n, samples) < POWER:
        n += 1
    return n


def _power(effect: float, n: int, samples: int) -> float:
    """How often a t test at 5 % finds an effect (in units of the noise), by n values of one sample or of each of two.

    Findings of the wrong sign are not counted.
    """
    freedom = samples * (n - 1)
    return float(stats.nct.sf(stats.t.ppf(0.975, freedom), freedom, effect * math.sqrt(n / samples)))
