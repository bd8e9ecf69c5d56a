"""Loss spikes: batches far above the level of those before, which the next batches confirm."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from letterloom.reporting.curves import Curves
from letterloom.reporting.diagnosis.trend import NOISE

BEFORE = 101  # steps that say what is usual; odd, for a median
HEIGHT = 6.0  # standard deviations of a batch; in normal noise, one step in 10^9
ELEVATED = 4.0  # standard deviations; in normal noise, one step in 30,000
CONFIRMED = 3  # steps elevated in a row; hard batches come one by one, damaged weights make every batch hard
SMALLEST = 0.2  # nats per character; a fifth of what a small model learns in all, and to be seen in the curve
SETTLED = 5  # steps whose median has to be back near the level


@dataclass(frozen=True)
class Spike:
    """A place where training was thrown back."""

    step: int  # the first elevated one
    height: float  # nats per character above the level, at the peak
    level: float  # nats per character, the median of the steps before
    recovered_after: int | None  # steps until the level was reached again; None: never
    gradient_norm: float | None  # the largest of the first steps of it, where it was logged
    usual_gradient_norm: float | None  # the median of the steps before


def find_spikes(curves: Curves) -> list[Spike] | str:
    """The spikes of a run, or why they could not be looked for.

    The level is the median of the 101 steps before, the noise comes from the distances of neighbouring steps, which a
    trend does not touch. A single batch far above is a hard batch: only if the next ones are elevated too, the weights
    are what was thrown back. The first 101 steps, where every loss is far above the next ones, are not examined.
    """
    finite = np.isfinite(curves.losses)
    steps, losses, norms = curves.steps[finite], curves.losses[finite], curves.gradient_norms[finite]
    if len(losses) < 2 * BEFORE:
        return f"it takes {2 * BEFORE} logged steps to know what is usual; there are {len(losses)}"
    level = _trailing_median(losses)
    noise = NOISE * _trailing_median(np.abs(np.diff(losses, prepend=losses[0])))
    high = losses > level + np.maximum(HEIGHT * noise, SMALLEST)
    spikes, free = [], BEFORE
    for peak in np.flatnonzero(high).tolist():
        if peak < free:
            continue
        elevated = losses > level[peak] + ELEVATED * noise[peak]
        start = peak
        while start > free and elevated[start - 1]:
            start -= 1
        if elevated[start : start + CONFIRMED].sum() < CONFIRMED:
            continue
        back = _recovery(losses, start, level[peak] + ELEVATED / 2 * noise[peak])
        stop = len(losses) if back is None else back
        spikes.append(
            Spike(
                step=int(steps[start]),
                height=float(losses[start:stop].max() - level[peak]),
                level=float(level[peak]),
                recovered_after=None if back is None else int(steps[back] - steps[start]),
                gradient_norm=_largest(norms[max(0, start - 1) : start + SETTLED]),
                usual_gradient_norm=_median(norms[max(0, start - BEFORE) : start]),
            )
        )
        free = stop
    return spikes


def _trailing_median(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median of the 101 values before each one; before there are so many, of those around."""
    centred: NDArray[np.float64] = median_filter(values, size=BEFORE, mode="nearest")
    before = np.maximum(np.arange(len(values)) - 1 - BEFORE // 2, BEFORE // 2)
    return centred[before]


def _recovery(losses: NDArray[np.float64], start: int, level: float) -> int | None:
    """The first place after `start` from which the median of five losses is back at the level."""
    if len(losses) < start + 1 + SETTLED:
        return None
    windows = np.lib.stride_tricks.sliding_window_view(losses[start + 1 :], SETTLED)
    back = np.flatnonzero(np.median(windows, axis=1) <= level)
    return int(start + 1 + back[0]) if len(back) else None


def _largest(norms: NDArray[np.float64]) -> float | None:
    finite = norms[np.isfinite(norms)]
    return float(finite.max()) if len(finite) else None


def _median(norms: NDArray[np.float64]) -> float | None:
    finite = norms[np.isfinite(norms)]
    return float(np.median(finite)) if len(finite) else None
