"""From logits to the next id: a distribution as a function of the settings, and a draw as a function of a number."""

from dataclasses import dataclass
from numbers import Integral
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from letterloom.errors import ConfigError, NonFiniteError

LARGEST = 1000.0  # of temperature and penalty: far past any use, and far from overflow
LARGEST_SEED = 2**32 - 1
LARGEST_TOP_K = 2**31 - 1  # more than any vocabulary has
NOT_FINITE = "the model's logits are not finite: its weights are damaged or have diverged"


@dataclass(frozen=True)
class Sampler:
    """How the next id is chosen; the defaults change nothing.

    Attributes: (in the order in which they apply)
        repetition_penalty: 1 to 1000; logits of ids already in the window are divided by it, negative ones multiplied,
            so that it always discourages (Keskar et al. 2019, CTRL, section 4.1). 1: off.
        temperature: 0 to 1000; logits are divided by it. 0: the likeliest id, always (the lowest of equals).
        top_k: keep the k likeliest ids, exactly k: of equals, the lowest ids (Fan et al. 2018, section 5.1). None: off.
        top_p: above 0 to 1; keep the fewest likeliest ids that together have this probability (Holtzman et al. 2020,
            section 3.1). 1: off.
        min_p: 0 to 1; keep ids at least this times as likely as the likeliest (Nguyen et al. 2024, section 3). 0: off.

    Raises:
        ConfigError: a setting is out of its range.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        _require("temperature", self.temperature, 0 <= self.temperature <= LARGEST, "from 0 (greedy) to 1000")
        if self.top_k is not None:
            whole = isinstance(self.top_k, Integral) and self.top_k >= 1
            _require("top_k", self.top_k, whole, "a whole number of at least 1")
        _require("top_p", self.top_p, 0 < self.top_p <= 1, "above 0, up to 1")
        _require("min_p", self.min_p, 0 <= self.min_p <= 1, "from 0 to 1")
        penalty = self.repetition_penalty
        _require("repetition_penalty", penalty, 1 <= penalty <= LARGEST, "from 1 (off) to 1000")

    def probabilities(self, logits: NDArray[np.float64], history: ArrayLike = ()) -> NDArray[np.float64]:
        """The distribution of the next id, (V,), from logits (V,) and the ids in the window.

        Raises:
            NonFiniteError: a logit is NaN or infinite.
        """
        if not np.isfinite(logits).all():
            raise NonFiniteError(NOT_FINITE)
        with np.errstate(over="ignore", under="ignore"):  # a tiny temperature: exp(-inf), and that is 0
            return distribution(logits, np.asarray(history, dtype=np.int64), self.settings)

    @property
    def settings(self) -> "Settings":
        """What `distribution` takes after the logits and the history."""
        return Settings(
            float(self.repetition_penalty),
            float(self.temperature),
            LARGEST_TOP_K if self.top_k is None else min(int(self.top_k), LARGEST_TOP_K),
            float(self.top_p),
            float(self.min_p),
        )


class Settings(NamedTuple):
    """A `Sampler` as plain numbers, in the order in which they apply."""

    repetition_penalty: float
    temperature: float
    top_k: int
    top_p: float
    min_p: float


def distribution(logits: NDArray[np.float64], history: NDArray[np.int64], settings: Settings) -> NDArray[np.float64]:
    """The arithmetic of `Sampler.probabilities`; it and `choose` are also compiled, in `compiled/drawing.py`."""
    if settings.repetition_penalty != 1:
        logits, seen = logits.copy(), np.zeros(len(logits), dtype=np.bool_)
        for i in history:
            if not seen[i]:  # once, however often an id was seen
                seen[i] = True
                logits[i] *= 1 / settings.repetition_penalty if logits[i] > 0 else settings.repetition_penalty
    likeliest = np.argmax(logits)  # of equals the lowest id
    if settings.temperature == 0:
        p: NDArray[np.float64] = np.zeros_like(logits)
        p[likeliest] = 1.0
        return p
    p = np.exp((logits - logits[likeliest]) / settings.temperature)  # relative to the likeliest
    if settings.top_k < len(p) or settings.top_p < 1:
        order = np.argsort(-logits, kind="mergesort")  # likeliest first, of equals the lowest id
        ranked = p[order]
        ranked[settings.top_k :] = 0.0
        if settings.top_p < 1:
            before = np.cumsum(ranked) - ranked
            ranked[before >= settings.top_p * ranked.sum()] = 0.0
        p[order] = ranked
    p[p < settings.min_p] = 0.0
    p /= p.sum()
    return p


def choose(probabilities: NDArray[np.float64], uniform: float) -> int:
    """The id on which a number in [0, 1) falls when the probabilities are laid end to end (inverse CDF)."""
    cdf = np.cumsum(probabilities)
    largest = np.searchsorted(cdf, cdf[-1])  # where rounding takes the number to the very end
    return int(min(np.searchsorted(cdf, uniform * cdf[-1], side="right"), largest))


def uniforms(seed: int, sample: int = 0) -> np.random.Generator:
    """Whose `random(n)` gives the next n numbers in [0, 1), one for each id to be drawn.

    They are a function of (seed, sample) alone (Philox, Salmon et al. 2011), in whatever pieces they are taken.

    Raises:
        ConfigError: seed or sample is not a whole number from 0 to 2^32 - 1.
    """
    for name, value in (("seed", seed), ("sample", sample)):
        valid = isinstance(value, Integral) and 0 <= value <= LARGEST_SEED
        _require(name, value, valid, "a whole number from 0 to 4294967295")
    return np.random.Generator(np.random.Philox(key=np.array([seed, sample], dtype=np.uint64)))


def _require(name: str, value: object, valid: bool, allowed: str) -> None:
    if not valid:  # NaN compares false to everything, so it ends here too
        raise ConfigError(f"{name} = {value!r}: should be {allowed}")
