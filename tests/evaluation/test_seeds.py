"""How many seeds show a difference: tables, and experiments that are drawn and tested by scipy."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from letterloom.evaluation.seeds import SEED_NOISE, least_shown, pairs_needed, seeds_needed

FORMS = pytest.mark.parametrize("needed", [seeds_needed, pairs_needed])


def share_found(differences: NDArray[np.float64]) -> float:
    """Of experiments, (experiments, pairs), by the paired t test."""
    return float(np.mean(np.less(stats.ttest_1samp(differences, 0.0, axis=-1).pvalue, 0.05)))


@pytest.mark.parametrize(("effect", "n"), [(0.5, 64), (0.8, 26), (1.0, 17)])
def test_the_number_needed_is_that_of_the_tables(effect: float, n: int) -> None:
    """Cohen 1988, table 2.4.1: two-sided 5 %, power 0.80."""
    assert seeds_needed(effect * 0.003, 0.003) == seeds_needed(-effect * 0.003, 0.003) == n


def test_the_number_needed_by_trying() -> None:
    """0.005 nats by the noise between seeds that was measured."""
    n = seeds_needed(0.005, SEED_NOISE)
    assert n == 6
    draws = np.random.default_rng(0).normal(0, SEED_NOISE, size=(2, 20_000, n))
    draws[1] += 0.005
    assert (stats.ttest_ind(*draws, axis=-1).pvalue < 0.05).mean() >= 0.79
    assert (stats.ttest_ind(*draws[..., 1:], axis=-1).pvalue < 0.05).mean() < 0.80


@pytest.mark.parametrize("effect", [0.5, 1.0, 2.0, 3.5])
def test_the_pairs_needed_by_trying(effect: float) -> None:
    n = pairs_needed(effect, 1.0)
    assert n is not None
    draws = np.random.default_rng(0).normal(effect, 1.0, size=(20_000, n))
    assert share_found(draws) >= 0.79
    assert share_found(draws[:, 1:]) < 0.80


@pytest.mark.parametrize("pairs", [2, 3, 5, 10, 100])
def test_the_least_that_is_shown_by_trying(pairs: int) -> None:
    least = least_shown(pairs, 0.003)
    assert pairs_needed(least * 1.001, 0.003) == pairs
    draws = np.random.default_rng(0).normal(least, 0.003, size=(20_000, pairs))
    assert share_found(draws) == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("pairs", [2, 3, 10])
@pytest.mark.parametrize("comparisons", [3, 100, 10_000])
def test_what_is_shown_among_others_by_trying(pairs: int, comparisons: int) -> None:
    least = least_shown(pairs, 0.003, comparisons)
    assert pairs_needed(least * 1.001, 0.003, comparisons) == pairs
    draws = np.random.default_rng(0).normal(least, 0.003, size=(20_000, pairs))
    found = np.less(stats.ttest_1samp(draws, 0.0, axis=-1).pvalue, 0.05 / comparisons)
    assert np.mean(found) == pytest.approx(0.8, abs=0.01)


@FORMS
@given(st.floats(1e-9, 10), st.floats(0, 1))
def test_any_difference_has_a_number(
    needed: Callable[[float, float], int | None], difference: float, noise: float
) -> None:
    n = needed(difference, noise)
    assert n is not None
    assert n >= 2
    assert (needed(difference / 2, noise) or 0) >= n


@FORMS
def test_no_difference_has_none(needed: Callable[[float, float], int | None]) -> None:
    assert needed(0.0, 0.003) is None
