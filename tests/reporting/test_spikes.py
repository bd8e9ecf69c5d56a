"""Spikes that were put in are found where they are; noise of any kind is not taken for one."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from letterloom.reporting.curves import Curves
from letterloom.reporting.diagnosis.spikes import Spike, find_spikes

NONE = np.array([])
Noise = Callable[[np.random.Generator, int], NDArray[np.float64]]


def curves_of(losses: NDArray[np.float64], norms: NDArray[np.float64] | None = None) -> Curves:
    steps = np.arange(1, len(losses) + 1, dtype=np.float64)
    return Curves(steps, losses, np.full(len(losses), np.nan) if norms is None else norms, None, NONE, NONE, None)


def clean(n: int = 1500, seed: int = 0, noise: float = 0.05) -> NDArray[np.float64]:
    """A learning curve: a steep fall, a slow one, and normal noise."""
    step = np.arange(n)
    trend = 1.6 + 2.3 * np.exp(-step / 60) + 0.4 * np.exp(-step / 1000)
    return trend + noise * np.random.default_rng(seed).normal(size=n)


def spikes_in(curves: Curves) -> list[Spike]:
    spikes = find_spikes(curves)
    assert isinstance(spikes, list)
    return spikes


@pytest.mark.parametrize(
    "noise",
    [
        lambda rng, n: rng.normal(size=n),
        lambda rng, n: rng.standard_t(4, size=n),
        lambda rng, n: (rng.gamma(8, size=n) - 8) / np.sqrt(8),
        lambda rng, n: rng.normal(size=n) * np.linspace(3, 0.5, n),
    ],
    ids=["normal", "heavy tails", "eight skewed texts a batch", "shrinking"],
)
def test_noise_is_no_spike(noise: Noise) -> None:
    """None in 200 runs of 1,500 steps, so with 95 % confidence fewer than 1.5 % of such runs (the rule of three)."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        assert spikes_in(curves_of(clean(noise=0.0) + 0.08 * noise(rng, 1500))) == []


def test_single_hard_batches_are_no_spikes() -> None:
    losses = clean()
    losses[[400, 700, 702, 1200]] += 2.0
    assert spikes_in(curves_of(losses)) == []


@pytest.mark.parametrize("seed", range(5))
def test_a_spike_is_found_where_it_is(seed: int) -> None:
    losses, norms = clean(seed=seed), np.full(1500, 0.5)
    losses[800:840] += 1.5 * np.exp(-np.arange(40) / 10)  # step 801 is the first
    norms[799] = 40.0  # the update before it
    (spike,) = spikes_in(curves_of(losses, norms))
    assert spike.step == 801
    assert spike.height == pytest.approx(1.5, abs=0.25)
    assert spike.level == pytest.approx(1.6 + 0.4 * np.exp(-0.75), abs=0.05)
    assert spike.recovered_after is not None
    assert 15 <= spike.recovered_after <= 45
    assert spike.gradient_norm == 40.0
    assert spike.usual_gradient_norm == 0.5


def test_each_of_several_is_found_once() -> None:
    losses = clean()
    for start in (500, 560, 1100):
        losses[start : start + 10] += 1.0
    assert [spike.step for spike in spikes_in(curves_of(losses))] == [501, 561, 1101]


def test_a_spike_may_never_recover() -> None:
    losses = clean()
    losses[900:] += 1.0
    (spike,) = spikes_in(curves_of(losses))
    assert (spike.step, spike.recovered_after) == (901, None)


def test_gaps_in_the_log_are_passed_over() -> None:
    losses = clean()
    losses[[300, 301, 803]] = np.nan
    losses[800:820] += 1.0
    (spike,) = spikes_in(curves_of(losses))
    assert spike.step == 801


@pytest.mark.parametrize("n", [0, 1, 201])
def test_a_short_log_is_told(n: int) -> None:
    assert find_spikes(curves_of(clean(n))) == f"it takes 202 logged steps to know what is usual; there are {n}"


@pytest.mark.parametrize("n_last", [1, 2, 3, 4, 6])
def test_an_end_in_a_spike(n_last: int) -> None:
    losses = clean()
    losses[-n_last:] += 2.0
    assert [spike.recovered_after for spike in spikes_in(curves_of(losses))] == ([None] if n_last >= 3 else [])
