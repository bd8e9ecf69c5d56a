"""Where a curve ends and which way it goes."""

import math

import numpy as np
from numpy.typing import NDArray

from letterloom.reporting.curves import Curves, running_mean

DRIVEN_AWAY = 1.5  # times the loss of blind guessing: initial weights cost a few percent more than that, not half
NOISE = 1.4826 / math.sqrt(2)  # standard deviation of normal noise, over the median distance of two neighbours
WELL_BEFORE = 0.8  # share of the run: a best validation after that is the end of training, give or take its noise
WORSE = 0.02  # nats: a validation on part of the text wavers by half of that


def finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values that are numbers."""
    return values[np.isfinite(values)]


def final_level(curves: Curves) -> float:
    """Nats per character of the training batches at the end: the median of the last twentieth; NaN without any."""
    losses = finite(curves.losses)
    return float(np.median(losses[-max(1, len(losses) // 20) :])) if len(losses) else math.nan


def batch_noise(losses: NDArray[np.float64]) -> float:
    """Nats per character, one standard deviation of a batch; by the distances of neighbours, as a trend is no noise."""
    return NOISE * float(np.median(np.abs(np.diff(losses))))


def fall_per_doubling(curves: Curves) -> float:
    """Nats per character by which the training loss falls a doubling of the steps, by regression on its last half."""
    half = np.isfinite(curves.losses) & (curves.steps >= curves.steps[-1] / 2)
    slope, _ = np.polyfit(np.log2(curves.steps[half]), curves.losses[half], 1)
    return float(-slope)


def rise(curves: Curves) -> float:
    """Nats per character by which the last validation is above the best; 0 without any."""
    return float(finite(curves.validation_losses)[-1]) - curves.best[1] if curves.best else 0.0


def fall_since_best(curves: Curves) -> float:
    """Nats per character by which the training loss fell after the best validation; 0 without any."""
    if curves.best is None or not len(curves.losses):
        return 0.0
    level = running_mean(curves.losses, max(1, len(curves.losses) // 20))
    return float(np.interp(curves.best[0], curves.steps, level)) - final_level(curves)


def turned(curves: Curves) -> bool:
    """Whether held-out text got dearer while training text still got cheaper."""
    if curves.best is None or not len(curves.steps) or curves.best[0] > WELL_BEFORE * curves.steps[-1]:
        return False
    return rise(curves) >= WORSE and fall_since_best(curves) > 0
