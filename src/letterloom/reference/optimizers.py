"""SGD and AdamW in NumPy: functions from parameters, gradients and state to new parameters and new state.

The conventions are PyTorch's, whose optimizers these judge. Parameters are dicts {name: float64 array}. Weight decay is
for matrices only; norms, biases and the smear, whose two rows are vectors, are never decayed.
"""

import math
from dataclasses import dataclass

import numpy as np

from letterloom.reference.blocks import Gradients, Parameters
from letterloom.reference.layers import Array


def gradient_norm(gradients: Gradients) -> float:
    """Root of the sum of all squared elements."""
    return math.sqrt(sum(float((gradient**2).sum()) for gradient in gradients.values()))


def clip(gradients: Gradients, largest_norm: float) -> Gradients:
    """Scale all gradients by one factor so that their norm is at most `largest_norm` (Pascanu et al. 2013).

    The 1e-6 is PyTorch's guard against a norm of zero.
    """
    factor = min(1.0, largest_norm / (gradient_norm(gradients) + 1e-6))
    return {name: factor * gradient for name, gradient in gradients.items()}


def decay_of(name: str, parameter: Array, weight_decay: float) -> float:
    """`weight_decay` for a matrix, 0 for a vector."""
    return weight_decay if parameter.ndim == 2 and name != "smear.weight" else 0.0


def sgd_start(p: Parameters) -> dict[str, Array]:
    """The velocities before the first step: zero."""
    return {name: np.zeros_like(parameter) for name, parameter in p.items()}


def sgd_step(
    p: Parameters,
    gradients: Gradients,
    velocities: dict[str, Array],
    *,
    learning_rate: float,
    momentum: float,
    weight_decay: float,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Velocity u = momentum u + g, then p - learning_rate u; returns new parameters and velocities.

    The decay is added to g, so it goes through the momentum: the gradient of weight_decay / 2 |p|^2.
    """
    velocities = {
        name: momentum * velocities[name] + gradients[name] + decay_of(name, parameter, weight_decay) * parameter
        for name, parameter in p.items()
    }
    return {name: p[name] - learning_rate * velocities[name] for name in p}, velocities


@dataclass(frozen=True)
class AdamWState:
    """Running means of each gradient and of its square, and the steps taken."""

    step: int
    first: dict[str, Array]
    second: dict[str, Array]


def adamw_start(p: Parameters) -> AdamWState:
    """The state before the first step: zero."""
    zeros = {name: np.zeros_like(parameter) for name, parameter in p.items()}
    return AdamWState(step=0, first=zeros, second=zeros)


def adamw_step(
    p: Parameters,
    gradients: Gradients,
    state: AdamWState,
    *,
    learning_rate: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
) -> tuple[dict[str, Array], AdamWState]:
    """Adam (Kingma and Ba 2015, algorithm 1) with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2).

    Returns new parameters and state.
    """
    step = state.step + 1
    first = {name: beta1 * state.first[name] + (1 - beta1) * gradients[name] for name in p}
    second = {name: beta2 * state.second[name] + (1 - beta2) * gradients[name] ** 2 for name in p}
    new = {}
    for name, parameter in p.items():
        mean = first[name] / (1 - beta1**step)  # the running means start at zero; this takes that bias out
        mean_square = second[name] / (1 - beta2**step)
        shrunk = (1 - learning_rate * decay_of(name, parameter, weight_decay)) * parameter
        new[name] = shrunk - learning_rate * mean / (mean_square**0.5 + eps)
    return new, AdamWState(step, first, second)
