import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import stats
from scipy.special import softmax

from letterloom.errors import ConfigError, NonFiniteError
from letterloom.generation.sampler import Sampler, choose, uniforms

LOGITS = np.array([0.3, -1.2, 2.0, 0.3, -4.0, 1.1, 0.0, 1.1])
some_logits = hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats(-50, 50, width=16))
samplers = st.builds(
    Sampler,
    temperature=st.floats(0, 1000),
    top_k=st.none() | st.integers(1, 50),
    top_p=st.floats(0, 1, exclude_min=True),
    min_p=st.floats(0, 1),
    repetition_penalty=st.floats(1, 1000),
)


@pytest.mark.parametrize(
    "sampler",
    [
        Sampler(),
        Sampler(temperature=0.5),
        Sampler(temperature=2.0, top_k=3),
        Sampler(top_p=0.7),
        Sampler(min_p=0.3),
        Sampler(repetition_penalty=1.5),
    ],
    ids=repr,
)
def test_draws_follow_the_distribution(sampler: Sampler) -> None:
    p = sampler.probabilities(LOGITS, [2, 5])
    drawn = np.bincount([choose(p, u) for u in uniforms(seed=11).random(20_000)], minlength=len(p))
    possible = p > 0
    assert drawn[~possible].sum() == 0
    assert stats.chisquare(drawn[possible], 20_000 * p[possible]).pvalue > 1e-3


def test_defaults_are_the_softmax() -> None:
    np.testing.assert_allclose(Sampler().probabilities(LOGITS), softmax(LOGITS), rtol=1e-12)


@pytest.mark.parametrize("temperature", [0.1, 0.8, 1.7, 1000.0])
def test_temperature_divides_the_logits(temperature: float) -> None:
    p = Sampler(temperature=temperature).probabilities(LOGITS)
    np.testing.assert_allclose(p, softmax(LOGITS / temperature), rtol=1e-12)


@pytest.mark.parametrize("temperature", [0.0, 5e-324, 1e-300])
def test_no_temperature_takes_the_likeliest(temperature: float) -> None:
    assert Sampler(temperature=temperature).probabilities(LOGITS).tolist() == np.eye(8)[2].tolist()


def test_greedy_takes_the_lowest_of_equals() -> None:
    assert Sampler(temperature=0).probabilities(np.array([1.0, 3.0, 3.0])).tolist() == [0, 1, 0]


@given(logits=some_logits, k=st.integers(1, 50))
def test_top_k_keeps_exactly_k_of_the_likeliest(logits: NDArray[np.float64], k: int) -> None:
    kept = Sampler(top_k=k).probabilities(logits) > 0
    assert kept.sum() == min(k, len(logits))
    assert logits[kept].min() >= logits[~kept].max(initial=-math.inf)


def test_top_k_breaks_ties_by_the_lowest_id() -> None:
    assert np.flatnonzero(Sampler(top_k=3).probabilities(np.tile([0.0, 1.0], 200))).tolist() == [1, 3, 5]
    assert np.flatnonzero(Sampler(top_k=3).probabilities(LOGITS)).tolist() == [2, 5, 7]
    assert np.flatnonzero(Sampler(top_k=4).probabilities(LOGITS)).tolist() == [0, 2, 5, 7]


@given(logits=some_logits, top_p=st.floats(0.01, 0.999))
def test_top_p_keeps_the_smallest_set_that_reaches_it(logits: NDArray[np.float64], top_p: float) -> None:
    p = softmax(logits)
    kept = Sampler(top_p=top_p).probabilities(logits) > 0
    largest_first = np.sort(p)[::-1]
    sums = [math.fsum(largest_first[:k]) for k in range(len(p) + 1)]
    fewest = next((k for k, total in enumerate(sums) if total >= top_p + 1e-12), len(p))
    fewest_in_reals = next((k for k, total in enumerate(sums) if total >= top_p - 1e-12), len(p))
    assert fewest_in_reals <= kept.sum() <= fewest  # the same but where a sum meets top_p to the last bits
    assert p[kept].min() >= p[~kept].max(initial=0.0)


@given(logits=some_logits, min_p=st.floats(0.001, 1))
def test_min_p_is_relative_to_the_likeliest(logits: NDArray[np.float64], min_p: float) -> None:
    p = softmax(logits)
    kept = Sampler(min_p=min_p).probabilities(logits) > 0
    assert (p[kept] >= min_p * p.max() * (1 - 1e-9)).all()
    assert (p[~kept] <= min_p * p.max() * (1 + 1e-9)).all()


def test_filters_keep_proportions() -> None:
    p = Sampler(top_k=4, top_p=0.95, min_p=0.01).probabilities(LOGITS)
    kept = p > 0
    np.testing.assert_allclose(p[kept] / p[kept][0], softmax(LOGITS)[kept] / softmax(LOGITS)[kept][0])


def test_repetition_penalty_discourages_what_was_seen_once_however_often_it_was_seen() -> None:
    p = Sampler(repetition_penalty=2.0).probabilities(LOGITS, [2, 1, 1, 1])
    penalised = LOGITS.copy()
    penalised[2], penalised[1] = 1.0, -2.4
    np.testing.assert_allclose(p, softmax(penalised), rtol=1e-12)


@given(sampler=samplers, logits=some_logits, data=st.data())
def test_any_settings_give_a_distribution(sampler: Sampler, logits: NDArray[np.float64], data: st.DataObject) -> None:
    before = logits.copy()
    history = data.draw(st.lists(st.integers(0, len(logits) - 1)))
    p = sampler.probabilities(logits, history)
    assert p.shape == logits.shape
    assert p.min() >= 0
    assert p.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_array_equal(logits, before)


@given(
    weights=hnp.arrays(np.float64, st.integers(1, 30), elements=st.floats(0, 1)).filter(lambda w: w.sum() > 0),
    uniform=st.floats(0, 1, exclude_max=True) | st.just(1 - 2**-53),
)
def test_only_possible_ids_are_drawn(weights: NDArray[np.float64], uniform: float) -> None:
    assert weights[choose(weights / weights.sum(), uniform)] > 0


def test_choosing_is_the_inverse_of_the_cumulative_distribution() -> None:
    p = np.array([0.0, 0.25, 0.0, 0.5, 0.25, 0.0])
    assert [choose(p, u) for u in (0.0, 0.249, 0.25, 0.749, 0.75, 1 - 2**-53)] == [1, 1, 3, 3, 4, 4]


def test_uniforms_are_a_function_of_seed_and_sample() -> None:
    pairs = [(0, 0), (0, 1), (1, 0), (1, 1), (2**32 - 1, 0), (0, 2**32 - 1)]
    drawn = {pair: tuple(uniforms(*pair).random(5)) for pair in pairs}
    assert len(set(drawn.values())) == len(pairs)
    state = torch.get_rng_state()
    assert drawn == {pair: tuple(uniforms(*pair).random(5)) for pair in reversed(pairs)}
    assert torch.equal(state, torch.get_rng_state())


def test_uniforms_are_the_same_in_any_pieces() -> None:
    whole, pieces = uniforms(3, 4).random(100), uniforms(3, 4)
    assert np.array_equal(np.concatenate([pieces.random(n) for n in (1, 8, 0, 64, 27)]), whole)


def test_uniforms_are_uniform_along_and_across_samples() -> None:
    along = uniforms(3).random(5_000)
    across = [uniforms(3, sample).random() for sample in range(5_000)]
    for values in (along, across):
        assert stats.kstest(values, "uniform").pvalue > 1e-3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -0.1}, r"temperature = -0\.1: should be from 0 \(greedy\) to 1000"),
        ({"temperature": math.nan}, "temperature = nan"),
        ({"temperature": math.inf}, "temperature = inf"),
        ({"top_k": 0}, "top_k = 0: should be a whole number of at least 1"),
        ({"top_k": 2.5}, r"top_k = 2\.5"),
        ({"top_p": 0.0}, r"top_p = 0\.0: should be above 0, up to 1"),
        ({"top_p": 1.01}, r"top_p = 1\.01"),
        ({"top_p": math.nan}, "top_p = nan"),
        ({"min_p": -1.0}, r"min_p = -1\.0: should be from 0 to 1"),
        ({"min_p": math.nan}, "min_p = nan"),
        ({"repetition_penalty": 0.9}, r"repetition_penalty = 0\.9: should be from 1 \(off\) to 1000"),
        ({"repetition_penalty": math.nan}, "repetition_penalty = nan"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Sampler(**settings)


@pytest.mark.parametrize(("seed", "sample"), [(-1, 0), (2**32, 0), (0, -1), (0, 2**32), (1.5, 0)])
def test_seeds_out_of_range_are_refused(seed: Any, sample: Any) -> None:
    with pytest.raises(ConfigError, match="should be a whole number from 0 to 4294967295"):
        uniforms(seed, sample)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(NonFiniteError, match="not finite"):
        Sampler().probabilities(np.array([0.0, value]))
