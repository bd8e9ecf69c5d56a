"""From logits to the next id: a distribution as a function of the settings, and a draw as a function of a number."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike, NDArray

from letterloom.errors import ConfigError, NonFiniteError

LARGEST = 1000.0  # of temperature and penalty: far past any use, and far from overflow
LARGEST_SEED = 2**32 - 1


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
            raise NonFiniteError("the model's logits are not finite: its weights are damaged or have diverged")
        logits = self._penalised(logits, history)
        order = np.argsort(-logits, kind="stable")  # likeliest first, of equals the lowest id; no filter changes it
        probabilities = np.zeros_like(logits)
        if self.temperature == 0:
            probabilities[order[0]] = 1.0
            return probabilities
        with np.errstate(over="ignore", under="ignore"):  # a tiny temperature: exp(-inf), and that is 0
            p = np.exp((logits[order] - logits[order[0]]) / self.temperature)  # relative to the likeliest
        if self.top_k is not None:
            p[self.top_k :] = 0.0
        if self.top_p < 1:
            before = np.cumsum(p) - p
            p[before >= self.top_p * p.sum()] = 0.0
        p[p < self.min_p] = 0.0
        probabilities[order] = p / p.sum()
        return probabilities

    def _penalised(self, logits: NDArray[np.float64], history: ArrayLike) -> NDArray[np.float64]:
        if self.repetition_penalty == 1:
            return logits
        seen = np.asarray(history, dtype=np.intp)
        factors = np.where(logits[seen] > 0, 1 / self.repetition_penalty, self.repetition_penalty)
        penalised = logits.copy()
        penalised[seen] = logits[seen] * factors  # once, however often an id was seen
        return penalised


def draw(probabilities: NDArray[np.float64], uniform: float) -> int:
    """The id on which a number in [0, 1) falls when the probabilities are laid end to end (inverse CDF)."""
    cdf = np.cumsum(probabilities)
    largest = np.searchsorted(cdf, cdf[-1])  # where rounding takes the number to the very end
    return int(min(np.searchsorted(cdf, uniform * cdf[-1], side="right"), largest))


def uniforms(seed: int, sample: int = 0) -> Iterator[float]:
    """Numbers in [0, 1), one a generated id: a function of (seed, sample) alone (Philox, Salmon et al. 2011).

    Raises:
        ConfigError: seed or sample is not a whole number from 0 to 2^32 - 1.
    """
    for name, value in (("seed", seed), ("sample", sample)):
        valid = isinstance(value, Integral) and 0 <= value <= LARGEST_SEED
        _require(name, value, valid, "a whole number from 0 to 4294967295")
    generator = np.random.Generator(np.random.Philox(key=np.array([seed, sample], dtype=np.uint64)))
    return (generator.random() for _ in count())


def _require(name: str, value: object, valid: bool, allowed: str) -> None:
    if not valid:  # NaN compares false to everything, so it ends here too
        raise ConfigError(f"{name} = {value!r}: should be {allowed}")
