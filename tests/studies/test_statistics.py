"""The statistics of a study, against scipy, hand computation and studies that are simulated."""

import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from letterloom.evaluation.interval import parts_interval
from letterloom.evaluation.seeds import least_shown, pairs_needed
from letterloom.studies.statistics import Analysis, Comparison, analyse

A = {0: 1.50, 1: 1.52, 2: 1.49}
B = {0: 1.40, 1: 1.44, 2: 1.38}
C = {0: 1.51, 1: 1.50, 2: 1.52}


def simulated(nats: NDArray[np.float64]) -> Analysis:
    """A study of (arms, seeds), the first arm the baseline."""
    return analyse({str(arm): dict(enumerate(map(float, row))) for arm, row in enumerate(nats)}, "0")


def test_each_arm_is_held_against_the_baseline_seed_by_seed() -> None:
    found = analyse({"c": C, "a": A, "b": B}, "a")
    assert [comparison.arm for comparison in found.comparisons] == ["c", "b"]
    p_values = []
    for comparison, ours in zip(found.comparisons, (C, B), strict=True):
        judge = stats.ttest_rel(list(ours.values()), list(A.values()))
        limits = judge.confidence_interval(0.95)
        p_values.append(float(judge.pvalue))
        assert (comparison.baseline, comparison.seeds) == ("a", 3)
        assert comparison.difference == pytest.approx(np.mean(list(ours.values())) - np.mean(list(A.values())))
        assert comparison.interval == pytest.approx((limits.low, limits.high))
        assert comparison.p == pytest.approx(p_values[-1])
    larger, smaller = found.comparisons
    assert (smaller.adjusted_p, larger.adjusted_p) == pytest.approx((2 * p_values[1], p_values[0]))
    assert (smaller.shown, larger.shown) == (True, False)


def test_each_arm_is_described_over_its_seeds() -> None:
    found = analyse({"a": A, "b": B}, "a")
    values = list(B.values())
    margin = stats.t.ppf(0.975, 2) * np.std(values, ddof=1) / math.sqrt(3)
    assert found.summaries[1].sd == pytest.approx(np.std(values, ddof=1))
    assert found.summaries[1].interval == pytest.approx((np.mean(values) - margin, np.mean(values) + margin))
    assert found.noise == pytest.approx(math.sqrt((np.var(values, ddof=1) + np.var(list(A.values()), ddof=1)) / 2))


def test_only_seeds_that_both_have_are_compared() -> None:
    found = analyse({"a": A, "b": {1: 1.44, 2: 1.38, 7: 9.0}, "c": {7: 1.0}}, "a")
    (comparison,) = found.comparisons
    assert (comparison.arm, comparison.seeds) == ("b", 2)
    assert comparison.difference == pytest.approx(-0.095)


def test_one_seed_shows_nothing() -> None:
    found = analyse({"a": {0: 1.5}, "b": {0: 1.0}}, "a")
    (comparison,) = found.comparisons
    assert comparison.difference == -0.5
    assert (comparison.interval, comparison.p, comparison.adjusted_p, comparison.seeds_needed) == (None,) * 4
    assert not comparison.shown
    assert (found.summaries[0].sd, found.summaries[0].interval, found.noise, found.least_shown) == (None,) * 4


@pytest.mark.parametrize("step", [0.0, 0.1])
def test_differences_without_noise_are_no_evidence(step: float) -> None:
    """Copies, and arms between which the seed does nothing: 0.1 leaves rounding that is no noise."""
    found = analyse({"a": A, "b": B, "copy": {seed: nats + step for seed, nats in A.items()}}, "a")
    real, copy = found.comparisons
    assert copy.difference == pytest.approx(step)
    assert (copy.interval, copy.p, copy.adjusted_p, copy.seeds_needed, copy.shown) == (None, None, None, None, False)
    assert real.adjusted_p == real.p  # a copy is no test to correct for
    alone = analyse({"a": A, "b": B}, "a")
    assert found.least_shown == alone.least_shown


def test_seeds_that_all_give_the_same_have_no_interval() -> None:
    found = analyse({"a": {0: 1.5, 1: 1.5}, "b": {0: 1.4, 1: 1.4}}, "a")
    assert [summary.sd for summary in found.summaries] == [0.0, 0.0]
    assert [summary.interval for summary in found.summaries] == [None, None]
    assert (found.noise, found.least_shown) == (None, None)


def test_the_interval_over_the_text_is_of_the_means_over_seeds() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(90, 110, size=20).astype(float)
    nats = rng.normal(150, 10, size=(2, 3, 20)) + np.array([[[0.0]], [[5.0]]])
    parts: Mapping[str, dict[int, NDArray[np.float64]]] = {
        arm: {seed: np.column_stack([nats[i, seed], sizes]) for seed in range(3)} for i, arm in enumerate("ab")
    }
    (comparison,) = analyse({"a": A, "b": B}, "a", parts).comparisons
    expected = parts_interval((nats[1] - nats[0]).mean(axis=0), sizes)
    assert comparison.text_interval == pytest.approx(expected)
    parts["b"][1][3, 1] += 1
    assert analyse({"a": A, "b": B}, "a", parts).comparisons[0].text_interval is None
    del parts["b"][1]
    assert analyse({"a": A, "b": B}, "a", parts).comparisons[0].text_interval is None


@pytest.mark.parametrize(("arms", "seeds", "shared"), [(4, 3, 0.0), (8, 5, 3.0)])
def test_a_study_of_identical_arms_claims_a_difference_in_at_most_5_percent(
    arms: int, seeds: int, shared: float
) -> None:
    """It is 4.7 to 4.8 %: of 400 studies more than 5 % may be by luck, of 3,000 hardly."""
    rng = np.random.default_rng(1)
    claims = 0
    for _ in range(3_000):
        nats = 1.5 + 0.003 * (rng.normal(size=(arms, seeds)) + shared * rng.normal(size=seeds))
        claims += any(comparison.shown for comparison in simulated(nats).comparisons)
    assert 0.035 <= claims / 3_000 <= 0.05


def test_a_difference_is_found_as_often_as_the_noncentral_t_says() -> None:
    rng, difference, pairs = np.random.default_rng(0), 2.0, 5
    found = [simulated(rng.normal(size=(2, pairs)) + np.array([[0.0], [difference]])) for _ in range(1_000)]
    critical, centre = stats.t.ppf(0.975, pairs - 1), difference / math.sqrt(2) * math.sqrt(pairs)
    power = stats.nct.sf(critical, pairs - 1, centre)
    assert 0.6 < power < 0.8
    assert np.mean([study.comparisons[0].shown for study in found]) == pytest.approx(power, abs=0.04)


@pytest.mark.parametrize(("arms", "seeds"), [(4, 3), (8, 3)])
def test_the_least_difference_is_shown_by_4_of_5_studies_where_no_other_arm_differs(arms: int, seeds: int) -> None:
    """And by more where others do."""
    rng, sd = np.random.default_rng(2), 0.003
    told = [simulated(1.5 + rng.normal(scale=sd, size=(arms, seeds))).least_shown for _ in range(200)]
    noise = math.sqrt(2) * sd  # of a difference
    least = least_shown(seeds, noise, arms - 1)
    assert math.sqrt(np.mean([value**2 for value in told if value])) == pytest.approx(least, rel=0.05)
    for others, lowest, highest in ((0.0, 0.78, 0.84), (least, 0.85, 1.0)):
        nats = rng.normal(scale=noise, size=(1_500, arms, seeds))
        nats[:, 0] = 0.0
        nats[:, 1] += least
        nats[:, 2:] += others
        assert lowest <= np.mean([simulated(study).comparisons[0].shown for study in nats]) <= highest


@given(st.integers(2, 6), st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_what_is_not_shown_needs_more_seeds_than_there_are(arms: int, seeds: int, draw: int) -> None:
    rng = np.random.default_rng(draw)
    study = simulated(rng.normal(size=(arms, seeds)) + rng.normal(scale=3, size=(arms, 1)))
    for comparison in study.comparisons:
        assert comparison.shown or (comparison.seeds_needed or math.inf) > seeds


def test_different_texts_are_no_test() -> None:
    sizes = np.full((20, 2), 100.0)
    parts = {arm: dict.fromkeys(A, sizes) for arm in "abc"}
    texts = {"a": dict.fromkeys(A, "x"), "b": dict.fromkeys(A, "y"), "c": dict.fromkeys(A, "x")}
    found = analyse({"a": A, "b": B, "c": C}, "a", parts, texts)
    apart, other = found.comparisons
    assert apart == Comparison("b", "a", 3, apart.difference, None, None, None, None, False, None, same_text=False)
    assert apart.difference == pytest.approx(-0.0967, abs=1e-4)
    alone = analyse({"a": A, "c": C}, "a", parts)
    assert (other, found.least_shown) == (alone.comparisons[0], alone.least_shown)
    assert analyse({"a": A, "b": B}, "a", parts, {"a": texts["a"], "b": texts["b"]}).least_shown is None


def test_what_is_needed_and_what_is_shown_go_by_the_noise_of_the_differences() -> None:
    study = analyse({"a": A, "c": C}, "a")
    (comparison,) = study.comparisons
    sd = float(np.std([C[seed] - A[seed] for seed in A], ddof=1))

    def power(difference: float, pairs: int) -> float:
        critical, centre = stats.t.ppf(0.975, pairs - 1), abs(difference) / sd * math.sqrt(pairs)
        return float(stats.nct.sf(critical, pairs - 1, centre))

    assert study.paired_noise == pytest.approx(sd)
    assert study.least_shown is not None
    assert power(study.least_shown, 3) == pytest.approx(0.8)
    assert comparison.seeds_needed is not None
    assert power(comparison.difference, comparison.seeds_needed) >= 0.8
    assert power(comparison.difference, comparison.seeds_needed - 1) < 0.8


def test_the_seeds_needed_go_by_the_noise_of_all_arms_at_least() -> None:
    """That of one comparison of three seeds is hardly known: by itself it would say anything from 2 to thousands."""
    rng, needed = np.random.default_rng(0), []
    for _ in range(60):
        nats = rng.normal(size=(7, 3))
        nats[1] += 0.8 - (nats[1] - nats[0]).mean()  # which shows the same difference each time
        needed.append(simulated(nats).comparisons[0].seeds_needed or 0)
    low, high = np.percentile(needed, [10, 90])
    effect, n = 0.8 / math.sqrt(2), np.arange(2, 200)  # in sd of the differences, as it truly is
    power = stats.nct.sf(stats.t.ppf(1 - 0.025 / 6, n - 1), n - 1, effect * np.sqrt(n))
    truth = n[power >= 0.8][0]
    assert 0.5 * truth < low < truth < high < 2 * truth


def test_an_arm_that_varies_more_needs_more_seeds() -> None:
    """As many as its own noise says, which a study of it alone goes by."""
    wild = {0: 1.62, 1: 1.41, 2: 1.60}
    alone, among = analyse({"a": A, "w": wild}, "a"), analyse({"a": A, "w": wild, "b": B, "c": C}, "a")
    assert among.paired_noise is not None and alone.paired_noise is not None
    assert among.paired_noise < 0.7 * alone.paired_noise
    (needed,) = (c.seeds_needed for c in among.comparisons if c.arm == "w")
    sd = float(np.std([wild[seed] - A[seed] for seed in A], ddof=1))
    assert needed == pairs_needed(float(np.mean([wild[seed] - A[seed] for seed in A])), sd, comparisons=3)


def test_the_least_that_is_shown_is_so_of_every_arm() -> None:
    """And not of the one with most seeds alone."""
    many = {seed: 1.5 + 0.01 * (seed % 3) for seed in range(9)}
    found = analyse({"a": many, "b": {s: v + 0.003 * s for s, v in many.items()}, "c": B}, "a")
    differences = [[0.003 * s for s in many], [B[s] - many[s] for s in B]]
    sd = math.sqrt((8 * np.var(differences[0], ddof=1) + 2 * np.var(differences[1], ddof=1)) / 10)
    assert found.least_shown is not None
    centre = found.least_shown / sd * math.sqrt(3)
    assert stats.nct.sf(stats.t.ppf(1 - 0.0125, 2), 2, centre) == pytest.approx(0.8)
