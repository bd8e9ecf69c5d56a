"""How the loss falls with parameters and characters: the law of Hoffmann et al. (2022), fitted, with intervals.

L(N, D) = E + A / N^alpha + B / D^beta in nats per character, N parameters, D characters trained on. A training takes
about 6 N D floating-point operations, where an id is a character.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

LEAST_POINTS = 6  # different ones; the law has five constants
LEAST_SIZES = 3  # different ones of N, and of D: fewer do not tell an exponent from the constant E
RESAMPLES = 200
_HUBER = 1e-3  # of residuals of log L, from where on they count linearly; as the paper has it
_EXPONENTS = (0.01, 3.0)  # looked for
_AT_AN_END = 0.001  # share within which a value lies at an end of these
_STARTS = [(share, exponent) for share in (0.2, 0.5, 0.8) for exponent in (0.2, 0.5, 1.0)]


class Point(NamedTuple):
    """What a run reached."""

    parameters: int
    characters: int  # trained on, repetitions included
    nats: float  # per character


class Split(NamedTuple):
    """How a cost is best divided between a model's size and its training."""

    parameters: float
    characters: float


@dataclass(frozen=True)
class Law:
    """The constants of one fit."""

    E: float
    A: float
    B: float
    alpha: float
    beta: float

    def predict(self, parameters: float, characters: float) -> float:
        """Nats per character."""
        return float(self.E + self.A / parameters**self.alpha + self.B / characters**self.beta)

    def best_split(self, flops: float) -> Split:
        """The lowest loss for so many operations, at 6 N D (Hoffmann et al. 2022, equation 4)."""
        product = math.log(flops / 6)
        ratio = math.log(self.alpha * self.A) - math.log(self.beta * self.B)
        parameters = (ratio + self.beta * product) / (self.alpha + self.beta)
        parameters = min(max(parameters, 0.0), product)  # one at least, and a character
        return Split(math.exp(parameters), math.exp(product - parameters))


@dataclass(frozen=True)
class Scaling:
    """A fit, and those to resampled runs: what other seeds and sizes might have given."""

    points: tuple[Point, ...]
    law: Law | None  # None where the points do not tell it
    why_not: str  # in words, where they do not
    resampled: tuple[Law, ...] = ()

    def interval(self, constant: str) -> tuple[float, float]:
        """95 % of one of the constants."""
        return _percentiles([getattr(law, constant) for law in self.resampled])

    def prediction_interval(self, parameters: float, characters: float) -> tuple[float, float]:
        """95 % of what `Law.predict` gives, nats per character: of the law, not of a single run around it."""
        return _percentiles([law.predict(parameters, characters) for law in self.resampled])

    def split_intervals(self, flops: float) -> tuple[tuple[float, float], tuple[float, float]]:
        """95 % of the parameters and of the characters of `Law.best_split`."""
        parameters, characters = zip(*(law.best_split(flops) for law in self.resampled), strict=True)
        return _percentiles(parameters), _percentiles(characters)

    def is_measured(self, split: Split) -> bool:
        """Whether both lie between the least and the greatest that were run; else the law is only extended to them."""
        sides = zip(split, *((p.parameters, p.characters) for p in self.points), strict=True)
        return all(min(there) <= value <= max(there) for value, *there in sides)

    def to_json(self) -> dict[str, Any]:
        """What report.json has of it."""
        law = self.law and {
            name: {"value": value, "interval": list(self.interval(name))} for name, value in asdict(self.law).items()
        }
        return {"law": law, "why_not": self.why_not, "points": [point._asdict() for point in self.points]}


def fit_scaling(points: Sequence[Point]) -> Scaling:
    """Fit the law by the third approach of Hoffmann et al. (2022, section 3.3): Huber's loss of log L, several starts.

    The intervals are those of 200 fits to the same sizes, with deviations drawn from those that the runs have (residual
    bootstrap, seeded; Davison and Hinkley 1997, section 6.2.3): of seeds, and of the law where it does not hold.

    Returns:
        Without a law where fewer than six different (N, D), or fewer than three different N or D, were run; or where an
        exponent, or both limits of its interval, lie at the ends of what is looked for.
    """
    points = tuple(points)
    if why_not := _why_not(points):
        return Scaling(points, None, why_not)
    values = np.array(points, dtype=np.float64)
    law = _fit(values, [_start(values, *start) for start in _STARTS])
    found = Scaling(points, law, "", tuple(_resampled(values, law)))
    why_not = _at_the_ends(found, law)
    return Scaling(points, None, why_not) if why_not else found


def _at_the_ends(found: Scaling, law: Law) -> str:
    """Which exponent is only as good as the range it was looked for in, as the end of a sentence; nothing if none."""
    low, high = (end * margin for end, margin in zip(_EXPONENTS, (1 + _AT_AN_END, 1 - _AT_AN_END), strict=True))
    for name, unit in (("alpha", "parameters"), ("beta", "characters")):
        value, (least, most) = getattr(law, name), found.interval(name)
        if not low < value < high or (least <= low and most >= high):
            ends = f"{_EXPONENTS[0]:g} to {_EXPONENTS[1]:g}"
            return f"these runs do not tell {name}, how the loss falls with {unit}: it may be anything in {ends}"
    return ""


def _why_not(points: Sequence[Point]) -> str:
    """Why the points do not tell the law, as the end of a sentence; nothing, where they do."""
    for unit, least, there in (
        ("pairs of parameters and characters", LEAST_POINTS, {(p.parameters, p.characters) for p in points}),
        ("numbers of parameters", LEAST_SIZES, {p.parameters for p in points}),
        ("numbers of characters", LEAST_SIZES, {p.characters for p in points}),
    ):
        if len(there) < least:
            return f"it takes {least} different {unit}, of which {len(there)} were run"
    return ""


def _fit(values: NDArray[np.float64], starts: Sequence[Law]) -> Law:
    """The law closest to points, (points, 3); from each of the starts, which guards against a local minimum."""
    log_sizes, log_nats = np.log(values[:, :2]), np.log(values[:, 2])
    centre = log_sizes.mean(axis=0)  # about which each constant is nearly independent of its exponent
    steps = log_sizes - centre

    def terms(x: NDArray[np.float64]) -> NDArray[np.float64]:
        """E, A / N^alpha and B / D^beta of each point, (3, points), from the five that `_constants` gives."""
        logs = [np.full(len(steps), x[0]), x[1] - x[3] * steps[:, 0], x[2] - x[4] * steps[:, 1]]
        values: NDArray[np.float64] = np.exp(logs)
        return values

    def residuals(x: NDArray[np.float64]) -> NDArray[np.float64]:
        deviations: NDArray[np.float64] = np.log(terms(x).sum(axis=0)) - log_nats
        return deviations

    def jacobian(x: NDArray[np.float64]) -> NDArray[np.float64]:
        shares = terms(x) / terms(x).sum(axis=0)
        return np.stack([*shares, -steps[:, 0] * shares[1], -steps[:, 1] * shares[2]], axis=1)

    largest = log_nats.max() + 1.0
    bounds = ([largest - 20.0] * 3 + [_EXPONENTS[0]] * 2, [largest] * 3 + [_EXPONENTS[1]] * 2)
    tries = [
        optimize.least_squares(
            residuals, np.clip(_constants(law, centre), *bounds), jacobian, bounds, loss="huber", f_scale=_HUBER
        )
        for law in starts
    ]
    e, a, b, alpha, beta = map(float, min(tries, key=lambda found: found.cost).x)
    return Law(math.exp(e), math.exp(a + alpha * centre[0]), math.exp(b + beta * centre[1]), alpha, beta)


def _constants(law: Law, centre: NDArray[np.float64]) -> list[float]:
    """What `_fit` looks for: log E, log A / N^alpha and log B / D^beta at the centre, alpha, beta."""
    a, b = math.log(law.A) - law.alpha * centre[0], math.log(law.B) - law.beta * centre[1]
    return [math.log(law.E), a, b, law.alpha, law.beta]


def _start(values: NDArray[np.float64], share: float, exponent: float) -> Law:
    """A law in which E is a share of the lowest loss, and model and training cost as much as each other."""
    lowest, mean = values[:, 2].min(), values[:, 2].mean()
    a, b = (mean - share * lowest) / 2 * np.exp(exponent * np.log(values[:, :2]).mean(axis=0))
    return Law(float(share * lowest), float(a), float(b), exponent, exponent)


def _resampled(values: NDArray[np.float64], law: Law) -> Iterator[Law]:
    rng = np.random.default_rng(0)
    fitted = np.array([law.predict(*sizes) for sizes in values[:, :2]])
    deviations = np.log(values[:, 2] / fitted) * math.sqrt(len(values) / (len(values) - 5))  # which the fit has shrunk
    for _ in range(RESAMPLES):
        nats = fitted * np.exp(rng.choice(deviations, size=len(values)))
        yield _fit(np.column_stack([values[:, :2], nats]), [law])


def _percentiles(values: Sequence[float]) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
