import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from scipy.signal import lfilter

from letterloom.evaluation.interval import block_bootstrap, parts_interval, parts_of

MEAN = 2.0
STUDENT = stats.t.ppf(0.975, 19)  # of 20 blocks


def autoregressive(rng: np.random.Generator, n: int, correlation: float) -> NDArray[np.float64]:
    """Gaussian values of mean 2 and variance 1 whose neighbours correlate."""
    noise = rng.normal(size=n) * math.sqrt(1 - correlation**2)
    noise[0] = rng.normal()
    return np.asarray(lfilter([1.0], [1.0, -correlation], noise)) + MEAN


def hidden_regimes(rng: np.random.Generator, n: int, persistence: int) -> NDArray[np.float64]:
    """Exponential nats of a text with easy passages and ones twice as hard, of so many characters each in the mean."""
    passages = 2 * n // persistence + 50
    easy = (np.arange(passages) + rng.integers(2)) % 2 == 0
    means = np.repeat(np.where(easy, MEAN * 2 / 3, MEAN * 4 / 3), rng.geometric(1 / persistence, passages))
    return rng.exponential(means[:n])


def test_independent_values_give_the_normal_interval() -> None:
    nats = np.random.default_rng(1).normal(MEAN, 0.5, size=20_000)
    interval = block_bootstrap(nats, np.ones_like(nats))
    assert interval is not None
    margin = STUDENT * nats.std() / math.sqrt(len(nats))
    assert interval[0] == pytest.approx(nats.mean() - margin, abs=0.35 * margin)  # of 20 blocks, 1 sd is 16 %
    assert interval[1] == pytest.approx(nats.mean() + margin, abs=0.35 * margin)


@pytest.mark.parametrize("n", [2_000, 20_000, 111_000])
@pytest.mark.parametrize(
    "draw",
    [
        pytest.param(lambda rng, n: autoregressive(rng, n, correlation=0.99), id="correlated over hundreds"),
        pytest.param(lambda rng, n: hidden_regimes(rng, n, persistence=200), id="regimes of hundreds"),
    ],
)
def test_intervals_hold_the_truth_as_often_as_they_say(
    draw: Callable[[np.random.Generator, int], NDArray[np.float64]], n: int
) -> None:
    covered = 0
    for repetition in range(200):
        low, high = block_bootstrap(draw(np.random.default_rng([n, repetition]), n), np.ones(n)) or (math.nan, math.nan)
        covered += low <= MEAN <= high
    assert 0.92 <= covered / 200 <= 0.98


def test_correlated_values_are_covered_where_the_naive_interval_fails() -> None:
    rng = np.random.default_rng(2)
    covered = naive = 0
    repetitions, n = 150, 10_000
    for _ in range(repetitions):
        nats = autoregressive(rng, n, correlation=0.8)
        interval = block_bootstrap(nats, np.ones(n))
        assert interval is not None
        covered += interval[0] <= MEAN <= interval[1]
        naive += abs(nats.mean() - MEAN) <= 1.96 * nats.std() / math.sqrt(n)
    assert 0.88 <= covered / repetitions <= 0.99
    assert naive / repetitions < 0.65


def test_blocks_count_by_their_characters() -> None:
    """By turns ASCII and 2-byte characters: as wide as the delta method's for a ratio (Cochran 1977, 2.11)."""
    weights = np.tile(np.concatenate([np.ones(500), np.tile([1.0, 0.0], 250)]), 10)
    widths = []
    for seed in range(40):
        nats = weights * np.random.default_rng(seed).gamma(2.0, 1.0, size=10_000)
        low, high = block_bootstrap(nats, weights) or (math.nan, math.nan)
        totals, sizes = nats.reshape(20, 500).sum(axis=1), weights.reshape(20, 500).sum(axis=1)
        ratio = nats.sum() / weights.sum()
        margin = STUDENT * math.sqrt(((totals - ratio * sizes) ** 2).sum() * 20 / 19) / weights.sum()
        assert low < ratio < high
        widths.append((high - low) / (2 * margin))
    assert 1.0 <= np.mean(widths) <= 1.2


def test_equal_data_give_an_equal_interval() -> None:
    nats = np.random.default_rng(4).random(3_000)
    assert block_bootstrap(nats, np.ones(3_000)) == block_bootstrap(nats, np.ones(3_000))


@pytest.mark.parametrize(("n", "given_"), [(2, False), (999, False), (1_000, True), (1_001, True), (12_345, True)])
def test_a_short_text_has_no_interval(n: int, given_: bool) -> None:
    nats = np.random.default_rng(5).random(n)
    assert (block_bootstrap(nats, np.ones(n)) is not None) is given_


@pytest.mark.parametrize("value", [0.0, 1e-300, math.log(65)])
def test_constant_data_have_an_interval_of_no_width(value: float) -> None:
    low, high = block_bootstrap(np.full(5_000, value), np.ones(5_000)) or (math.nan, math.nan)
    assert low == high == pytest.approx(value, rel=1e-12)


@given(
    changed=st.lists(st.tuples(st.integers(0, 4_999), st.floats(0, 1e6)), max_size=5),
    base=st.sampled_from([0.0, 1.0, 4.174387269895637]),
)
@settings(max_examples=50, deadline=None)
def test_nearly_constant_data_neither_crash_nor_warn(changed: list[tuple[int, float]], base: float) -> None:
    nats = np.full(5_000, base)
    for place, value in changed:
        nats[place] = value
    low, high = block_bootstrap(nats, np.ones(5_000)) or (math.nan, math.nan)
    assert math.isfinite(low)
    assert low <= high
    assert low <= nats.mean() * (1 + 1e-9)
    assert high >= nats.mean() * (1 - 1e-9)


def test_blocks_of_a_text_tell_its_interval() -> None:
    rng = np.random.default_rng(3)
    nats, weights = rng.exponential(size=5_003), (rng.random(5_003) < 0.9).astype(float)
    parts = parts_of(nats, weights)
    assert parts is not None
    totals, sizes = parts
    assert (len(totals), sizes.sum()) == (20, weights.sum())
    assert math.isclose(totals.sum(), nats.sum())
    assert totals[3] == nats[750:1000].sum()  # of 20 stretches of 5,003 ids the fourth
    assert parts_interval(totals, sizes) == block_bootstrap(nats, weights)
