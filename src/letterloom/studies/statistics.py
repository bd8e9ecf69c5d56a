"""What the runs of a study show: each arm over its seeds, and against the baseline, with a correction for many arms.

All numbers are nats per character.
"""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from letterloom.evaluation.interval import parts_interval
from letterloom.evaluation.seeds import LEVEL, least_shown, pairs_needed

_ROUNDING = 1e-12  # nats: what varies by less is the same number, and would seem to be known without any doubt

Interval = tuple[float, float]
Parts = Mapping[str, Mapping[int, NDArray[np.float64]]]
Texts = Mapping[str, Mapping[int, Hashable]]


@dataclass(frozen=True)
class Summary:
    """An arm over its seeds."""

    arm: str
    nats: Mapping[int, float]  # by seed
    mean: float
    sd: float | None  # between seeds; None of one
    interval: Interval | None  # 95 % of the mean, Student's t over seeds; None of one, and where all give the same


@dataclass(frozen=True)
class Comparison:
    """An arm less the baseline, seed by seed; below 0, the arm is the better one."""

    arm: str
    baseline: str
    seeds: int  # that both have
    difference: float
    interval: Interval | None  # 95 %, paired t over seeds, not corrected for other arms; None as that of a `Summary`
    text_interval: Interval | None  # 95 %, over parts of the text, of these very models
    p: float | None  # of the paired t test; None where there is no interval
    adjusted_p: float | None  # for all comparisons of the study, and for earlier looks at it
    shown: bool  # whether the study may claim a difference
    seeds_needed: int | None  # about: that show it in 4 of 5 studies if the true difference is this one; None as `p`
    same_text: bool = True  # False where the two were scored on different texts: then there is a difference, no more


@dataclass(frozen=True)
class Analysis:
    """All arms of a study."""

    summaries: tuple[Summary, ...]
    comparisons: tuple[Comparison, ...]  # of every arm that has a seed in common with the baseline
    noise: float | None  # sd between seeds of one arm, pooled; None where no arm has several that differ
    paired_noise: float | None  # sd between seeds of a difference, pooled; None without a test
    least_shown: float | None  # smallest difference that 4 of 5 such studies show of an arm with that noise; else None


def analyse(
    nats: Mapping[str, Mapping[int, float]],
    baseline: str,
    parts: Parts | None = None,
    texts: Texts | None = None,
    earlier_looks: int = 0,
) -> Analysis:
    """Hold every arm against the baseline.

    A paired t test over the seeds that both have; each comparison by the variance of its own differences, since arms
    may vary differently (a high learning rate does). The p values are adjusted for their number by Benjamini and
    Hochberg (1995), and a difference is shown where the adjusted one is at most 5 %. So a study of identical arms
    claims a difference in at most 5 % of cases. Runs that are all the same, or all differ by the same, have no p value:
    either they are copies, or the seed does nothing, and chance tells nothing about them.

    Whoever adds seeds until a difference shows would find one at last. So with each earlier look every p value counts
    twice as much: together all looks claim a difference of identical arms in at most 5 (1 + 1/2 + 1/4 + ...) = 10 %.

    `seeds_needed` and `least_shown` are of a comparison in the worst case of that adjustment, at 5 % by their number:
    where other arms differ as well, less is enough. Both take the noise of the differences, pooled over the arms, since
    that of a few seeds by themselves is hardly known; the former its own where that is greater, since an arm may vary
    more (one of k arms seems to by at most sqrt(k)), the latter the seeds of the comparison that has least.

    Args:
        nats: Of each arm, by seed.
        baseline: One of the arms.
        parts: Of each arm, by seed, (20, 2): nats and characters of consecutive stretches of the scored text. Where all
            runs of a comparison have the same stretches, it has a `text_interval`: a block bootstrap of the difference
            of the means over seeds.
        texts: Of each arm, by seed: what tells the text that was scored from others. A comparison of different ones is
            no test, and shows nothing. None: all are of the same.
        earlier_looks: How often these arms were compared before by other seeds.
    """
    pairs = {arm: _paired(ours, nats[baseline]) for arm, ours in nats.items() if arm != baseline}
    pairs = {arm: differences for arm, differences in pairs.items() if differences}
    apart = {arm for arm, found in pairs.items() if texts and not _same([texts[arm], texts[baseline]], found)}
    tested = [found for arm, found in pairs.items() if arm not in apart and _moments(found)[1]]
    noise, weight = _pooled(tested), 2**earlier_looks
    comparisons = [
        _compare(arm, baseline, differences, parts or {}, arm not in apart, noise, weight * len(tested))
        for arm, differences in pairs.items()
    ]
    return Analysis(
        summaries=tuple(_summarise(arm, ours) for arm, ours in nats.items()),
        comparisons=_adjusted(comparisons, weight),
        noise=_pooled(list(nats.values())),
        paired_noise=noise,
        least_shown=noise and least_shown(min(map(len, tested)), noise, weight * len(tested)),
    )


def _paired(ours: Mapping[int, float], theirs: Mapping[int, float]) -> dict[int, float]:
    return {seed: ours[seed] - theirs[seed] for seed in sorted(set(ours) & set(theirs))}


def _summarise(arm: str, nats: Mapping[int, float]) -> Summary:
    mean, sd = _moments(nats)
    return Summary(arm, nats, mean, sd, _interval(mean, sd, len(nats)))


def _same(texts: Sequence[Mapping[int, Hashable]], seeds: Iterable[int]) -> bool:
    return len({by_seed[seed] for by_seed in texts for seed in seeds}) == 1


def _compare(
    arm: str,
    baseline: str,
    differences: Mapping[int, float],
    parts: Parts,
    same_text: bool,
    noise: float | None,
    tests: int,
) -> Comparison:
    """One comparison of so many that are tested, its p value not adjusted yet."""
    mean, sd = _moments(differences)
    if not same_text:
        sd, parts = None, {}
    n = len(differences)
    return Comparison(
        arm=arm,
        baseline=baseline,
        seeds=n,
        difference=mean,
        interval=_interval(mean, sd, n),
        text_interval=_text_interval([parts.get(side, {}) for side in (arm, baseline)], list(differences)),
        p=float(2 * stats.t.sf(abs(mean) / sd * math.sqrt(n), n - 1)) if sd else None,
        adjusted_p=None,
        shown=False,
        seeds_needed=pairs_needed(mean, max(sd, noise), tests) if sd and noise else None,
        same_text=same_text,
    )


def _adjusted(comparisons: Sequence[Comparison], weight: int) -> tuple[Comparison, ...]:
    tested = {c.arm: c.p for c in comparisons if c.p is not None}
    together = np.minimum(1.0, weight * stats.false_discovery_control(list(tested.values())))
    adjusted = dict(zip(tested, together.tolist(), strict=True))
    return tuple(_judged(c, adjusted[c.arm]) if c.arm in adjusted else c for c in comparisons)


def _judged(comparison: Comparison, p: float) -> Comparison:
    """The comparison by its adjusted p value; where it shows nothing, more seeds are needed than it has."""
    needed = comparison.seeds_needed
    if needed is not None and p > LEVEL:
        needed = max(needed, comparison.seeds + 1)
    return replace(comparison, adjusted_p=p, shown=p <= LEVEL, seeds_needed=needed)


def _moments(values: Mapping[int, float]) -> tuple[float, float | None]:
    """Mean, and standard deviation where there are several."""
    listed = list(values.values())
    if len(listed) == 1:
        return listed[0], None
    sd = float(np.std(listed, ddof=1))
    return float(np.mean(listed)), sd if sd > _ROUNDING else 0.0


def _interval(mean: float, sd: float | None, n: int) -> Interval | None:
    if not sd:
        return None
    margin = float(stats.t.ppf(0.975, n - 1)) * sd / math.sqrt(n)
    return mean - margin, mean + margin


def _pooled(samples: Sequence[Mapping[int, float]]) -> float | None:
    """The standard deviation that samples have in common, each with a mean of its own; copies tell nothing about it."""
    varying = [(len(sample) - 1, sd) for sample in samples if (sd := _moments(sample)[1])]
    return math.sqrt(np.average([sd**2 for _, sd in varying], weights=[n for n, _ in varying])) if varying else None


def _text_interval(sides: Sequence[Mapping[int, NDArray[np.float64]]], seeds: Sequence[int]) -> Interval | None:
    """Of the means over these seeds; None unless every run has the same stretches."""
    if not all(seed in side for side in sides for seed in seeds):
        return None
    ours, theirs = ([np.asarray(side[seed]) for seed in seeds] for side in sides)
    sizes = ours[0][:, 1]
    if not all(np.array_equal(run[:, 1], sizes) for run in (*ours, *theirs)):
        return None
    return parts_interval(np.mean(ours, axis=0)[:, 0] - np.mean(theirs, axis=0)[:, 0], sizes)
