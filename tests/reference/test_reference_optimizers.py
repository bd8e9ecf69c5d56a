"""The reference's optimizers against closed forms."""

import math

import numpy as np
import pytest

from letterloom.reference.optimizers import adamw_start, adamw_step, clip, gradient_norm, sgd_start, sgd_step

WEIGHTS = {"embedding.weight": np.array([[1.0, -2.0]]), "norm.weight": np.array([3.0]), "smear.weight": np.ones((2, 1))}
GRADIENTS = {
    "embedding.weight": np.array([[0.5, -4.0]]),
    "norm.weight": np.array([1.0]),
    "smear.weight": np.zeros((2, 1)),
}


def test_momentum_sums_a_constant_gradient_geometrically() -> None:
    weights, velocities = WEIGHTS, sgd_start(WEIGHTS)
    for _ in range(3):
        weights, velocities = sgd_step(
            weights, GRADIENTS, velocities, learning_rate=0.1, momentum=0.5, weight_decay=0.0
        )
    travelled = 0.1 * (1 + 1.5 + 1.75)
    for name in WEIGHTS:
        np.testing.assert_allclose(weights[name], WEIGHTS[name] - travelled * GRADIENTS[name], rtol=1e-14)


def test_the_first_step_of_adam_is_the_learning_rate_whatever_the_gradient() -> None:
    weights, state = adamw_step(
        WEIGHTS,
        {name: 1e3 * gradient for name, gradient in GRADIENTS.items()},
        adamw_start(WEIGHTS),
        learning_rate=0.1,
        beta1=0.9,
        beta2=0.99,
        eps=1e-12,
        weight_decay=0.0,
    )
    assert state.step == 1
    for name in WEIGHTS:
        np.testing.assert_allclose(weights[name], WEIGHTS[name] - 0.1 * np.sign(GRADIENTS[name]), rtol=1e-12)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_decay_shrinks_matrices_and_leaves_vectors(name: str) -> None:
    still = {parameter: np.zeros_like(weight) for parameter, weight in WEIGHTS.items()}
    if name == "sgd":
        weights, _ = sgd_step(WEIGHTS, still, sgd_start(WEIGHTS), learning_rate=0.1, momentum=0.9, weight_decay=0.5)
    else:
        weights, _ = adamw_step(
            WEIGHTS,
            still,
            adamw_start(WEIGHTS),
            learning_rate=0.1,
            beta1=0.9,
            beta2=0.99,
            eps=1e-8,
            weight_decay=0.5,
        )
    np.testing.assert_allclose(weights["embedding.weight"], 0.95 * WEIGHTS["embedding.weight"], rtol=1e-14)
    np.testing.assert_array_equal(weights["norm.weight"], WEIGHTS["norm.weight"])
    np.testing.assert_array_equal(weights["smear.weight"], WEIGHTS["smear.weight"])


def test_clipping_keeps_the_direction_and_never_lengthens() -> None:
    norm = math.sqrt(0.25 + 16 + 1)
    assert gradient_norm(GRADIENTS) == pytest.approx(norm)
    assert clip(GRADIENTS, 100.0).keys() == GRADIENTS.keys()
    for name in GRADIENTS:
        np.testing.assert_array_equal(clip(GRADIENTS, 100.0)[name], GRADIENTS[name])
        np.testing.assert_allclose(clip(GRADIENTS, 2.0)[name], 2.0 / norm * GRADIENTS[name], rtol=1e-6)


def test_no_step_changes_what_it_was_given() -> None:
    before = {name: weight.copy() for name, weight in WEIGHTS.items()}
    start = adamw_start(WEIGHTS)
    adamw_step(WEIGHTS, GRADIENTS, start, learning_rate=1.0, beta1=0.9, beta2=0.9, eps=1e-8, weight_decay=1.0)
    sgd_step(WEIGHTS, GRADIENTS, sgd_start(WEIGHTS), learning_rate=1.0, momentum=0.9, weight_decay=1.0)
    for name in WEIGHTS:
        np.testing.assert_array_equal(WEIGHTS[name], before[name])
        np.testing.assert_array_equal(start.first[name], 0)
