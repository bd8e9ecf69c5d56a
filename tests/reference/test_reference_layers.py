"""The parts of the reference against closed forms and SciPy."""

import math

import numpy as np
import pytest
import scipy.special
import scipy.stats

from letterloom.reference import layers
from letterloom.reference.attention import attention, attention_weights, merge_heads, rotary, split_heads

RANDOM = np.random.default_rng(5)
X = RANDOM.normal(size=(2, 5, 8))


def test_activations_are_the_functions_they_are_named_after() -> None:
    x = np.linspace(-40, 40, 801)
    np.testing.assert_allclose(layers.gelu(x), x * scipy.stats.norm.cdf(x), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(layers.silu(x), x * scipy.special.expit(x), rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(layers.relu(x), [max(v, 0.0) for v in x])
    np.testing.assert_array_equal(layers.relu_squared(x), [max(v, 0.0) ** 2 for v in x])
    assert 1e-4 < np.abs(layers.gelu_tanh(x) - layers.gelu(x)).max() < 1e-3  # close, and not the same


def test_softmax_neither_overflows_nor_loses_what_is_certain() -> None:
    p = layers.softmax(np.array([[1e4, 1e4, -1e4, -np.inf]]))
    np.testing.assert_array_equal(p, [[0.5, 0.5, 0.0, 0.0]])
    np.testing.assert_allclose(layers.softmax(X), scipy.special.softmax(X, axis=-1), rtol=1e-13)


def test_cross_entropy_of_known_predictions() -> None:
    targets = np.array([[3, 0]])
    assert layers.cross_entropy(np.zeros((1, 2, 65)), targets) == pytest.approx(math.log(65))
    probabilities = np.array([[[0.1, 0.2, 0.3, 0.4], [0.25, 0.25, 0.25, 0.25]]])
    assert layers.cross_entropy(np.log(probabilities), targets) == pytest.approx(-(math.log(0.4) + math.log(0.25)) / 2)
    certain = np.where(np.arange(4) == targets[..., None], 1e5, -1e5)  # would overflow if exponentiated as it is
    assert layers.cross_entropy(certain, targets) == 0.0
    assert layers.cross_entropy(-certain, targets) == pytest.approx(2e5 + math.log(3))


def test_norms_set_mean_and_root_mean_square() -> None:
    ones, shift = np.ones(8), np.full(8, 0.5)
    large = 1e3 * X  # so that eps does not show
    out = layers.layernorm(large, ones, shift) - shift
    np.testing.assert_allclose(out.mean(axis=-1), 0, atol=1e-12)
    np.testing.assert_allclose(out.std(axis=-1), 1, rtol=1e-9)
    np.testing.assert_allclose((layers.rmsnorm(large, ones) ** 2).mean(axis=-1), 1, rtol=1e-9)
    flat = np.full((1, 8), 2.0)
    np.testing.assert_array_equal(layers.layernorm(flat, ones), 0 * flat)  # eps keeps 0 / 0 away
    np.testing.assert_allclose(layers.rmsnorm(flat, 3 * ones), 3 * 2 / math.sqrt(4 + 1e-5), rtol=1e-15)


def test_smear_adds_the_two_characters_before() -> None:
    weight = np.array([[10.0], [100.0]])
    e = np.array([[[1.0], [2.0], [3.0], [4.0]]])
    np.testing.assert_array_equal(layers.smear(e, weight)[0, :, 0], [1, 12, 123, 234])
    np.testing.assert_array_equal(layers.smear(e[:, :1], weight), e[:, :1])


def test_sinusoidal_positions_of_an_odd_width() -> None:
    table = layers.sinusoidal_positions(9, 5)
    np.testing.assert_array_equal(table[0], [0, 1, 0, 1, 0])
    expected = [math.sin(8), math.cos(8), math.sin(8 / 10000**0.4), math.cos(8 / 10000**0.4), math.sin(8 / 10000**0.8)]
    np.testing.assert_allclose(table[8], expected, rtol=1e-14)


def test_soft_cap_is_the_identity_for_small_logits_and_a_limit_for_large_ones() -> None:
    np.testing.assert_allclose(layers.soft_cap(1e-4 * X, 10.0), 1e-4 * X, rtol=1e-8)
    np.testing.assert_array_equal(layers.soft_cap(np.array([1e9, -1e9]), 10.0), [10, -10])


def test_attention_written_out_as_a_loop() -> None:
    q, k, v = RANDOM.normal(size=(3, 5, 4))
    for t in range(5):
        scores = [math.exp(sum(q[t] * k[s]) / math.sqrt(4)) for s in range(t + 1)]
        expected = sum(score / sum(scores) * v[s] for s, score in enumerate(scores))
        np.testing.assert_allclose(attention(q, k, v)[t], expected, rtol=1e-13)


def test_attention_weights_are_exactly_zero_in_the_future() -> None:
    weights = attention_weights(X, 100 * X)
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-14)
    np.testing.assert_array_equal(weights[:, *np.triu_indices(5, 1)], 0)


def test_queries_that_prefer_nothing_take_the_mean_of_the_past() -> None:
    running_mean = X.cumsum(axis=1) / np.arange(1, 6)[:, None]
    np.testing.assert_allclose(attention(0 * X, X, X), running_mean, rtol=1e-13)


def test_heads_are_consecutive_slices_of_channels() -> None:
    heads = split_heads(X, 4)
    for head in range(4):
        np.testing.assert_array_equal(heads[:, head], X[..., 2 * head : 2 * head + 2])
    np.testing.assert_array_equal(merge_heads(heads), X)


def test_rotary_turns_the_pairs_of_both_halves() -> None:
    x = np.tile([1.0, 1.0, 0.0, 0.0], (6, 1))  # both pairs point along their first axis
    t = np.arange(6)
    expected = np.stack([np.cos(t), np.cos(t / 100), np.sin(t), np.sin(t / 100)], axis=-1)  # 10000^(2/4) is 100
    np.testing.assert_allclose(rotary(x), expected, rtol=1e-13, atol=1e-15)


def test_rotary_scores_depend_on_the_distance_alone() -> None:
    q, k = RANDOM.normal(size=(2, 8))
    scores = rotary(np.tile(q, (12, 1))) @ rotary(np.tile(k, (12, 1))).T
    np.testing.assert_allclose(scores[1:, 1:], scores[:-1, :-1], rtol=1e-12)
    assert scores[3, 0] != pytest.approx(scores[0, 3])
    assert scores[0, 0] == pytest.approx(q @ k)
