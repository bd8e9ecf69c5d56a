"""The fit of a scaling law, against constants that are known and a search by brute force."""

import json
import math
from itertools import product

import numpy as np
import pytest

from letterloom.studies.scaling import Law, Point, Split, fit_scaling

TRUE = Law(E=0.9, A=30.0, B=200.0, alpha=0.35, beta=0.37)
PARAMETERS = (50_000, 100_000, 200_000, 500_000, 1_000_000)
CHARACTERS = (200_000, 500_000, 1_000_000, 3_000_000)
CONSTANTS = ("E", "A", "B", "alpha", "beta")


def runs(noise: float = 0.0, seeds: int = 2, seed: int = 0) -> list[Point]:
    rng = np.random.default_rng(seed)
    return [
        Point(n, d, TRUE.predict(n, d) * math.exp(rng.normal(0.0, noise)))
        for n, d, _ in product(PARAMETERS, CHARACTERS, range(seeds))
    ]


def test_without_noise_the_constants_are_found_exactly() -> None:
    found = fit_scaling(runs(seeds=1))
    assert found.law is not None
    for name in CONSTANTS:
        assert getattr(found.law, name) == pytest.approx(getattr(TRUE, name), rel=1e-4)
        assert found.interval(name) == pytest.approx((getattr(TRUE, name),) * 2, rel=1e-4)


def test_the_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    held = []
    for seed in range(12):
        found = fit_scaling(runs(noise=0.002, seed=seed))
        for name in CONSTANTS:
            low, high = found.interval(name)
            held.append(low <= getattr(TRUE, name) <= high)
        low, high = found.prediction_interval(2e6, 1e7)
        held.append(low <= TRUE.predict(2e6, 1e7) <= high)
        for (low, high), true in zip(found.split_intervals(3e12), TRUE.best_split(3e12), strict=True):
            held.append(low <= true <= high)
    assert 0.85 <= np.mean(held) <= 1.0


def test_one_failed_run_does_not_move_the_law() -> None:
    """The loss is Huber's."""
    points = runs(noise=0.0005)
    whole = fit_scaling(points).law
    points[7] = points[7]._replace(nats=points[7].nats * 1.5)
    spoilt = fit_scaling(points).law
    assert whole is not None
    assert spoilt is not None
    assert spoilt.beta == pytest.approx(whole.beta, rel=0.05)
    assert spoilt.predict(1e6, 1e7) == pytest.approx(whole.predict(1e6, 1e7), rel=0.01)


@pytest.mark.parametrize("flops", [1e11, 1e13, 1e16])
def test_the_best_split_is_the_lowest_of_all_that_cost_the_same(flops: float) -> None:
    best = TRUE.best_split(flops)
    assert 6 * best.parameters * best.characters == pytest.approx(flops)
    sizes = np.geomspace(1, flops / 6, 100_000)
    losses = TRUE.E + TRUE.A / sizes**TRUE.alpha + TRUE.B / (flops / 6 / sizes) ** TRUE.beta
    assert best.parameters == pytest.approx(sizes[losses.argmin()], rel=1e-3)


def test_a_split_stays_within_one_parameter_and_one_character() -> None:
    assert Law(1.0, 1e-9, 1e9, 0.01, 0.01).best_split(6e6) == pytest.approx((1.0, 1e6))
    assert Law(1.0, 1e9, 1e-9, 0.01, 0.01).best_split(6e6) == pytest.approx((1e6, 1.0))


def test_a_split_among_the_runs_is_told_from_one_beyond_them() -> None:
    found = fit_scaling(runs(seeds=1))
    assert found.is_measured(Split(1e5, 1e6))
    assert not found.is_measured(Split(1e5, 1e7))
    assert not found.is_measured(Split(1e4, 1e6))


@pytest.mark.parametrize(
    ("points", "told"),
    [
        ([], "6 different pairs of parameters and characters, of which 0 were run"),
        (runs(seeds=3)[:15], "6 different pairs of parameters and characters, of which 5 were run"),
        ([p for p in runs() if p.parameters <= 100_000], "3 different numbers of parameters, of which 2 were run"),
        ([p for p in runs() if p.characters == 200_000] * 2, "6 different pairs"),
        ([p._replace(characters=9) for p in runs()], "6 different pairs"),
        ([p for p in runs() if p.characters <= 500_000], "3 different numbers of characters, of which 2 were run"),
    ],
)
def test_what_the_points_do_not_tell_is_not_told(points: list[Point], told: str) -> None:
    found = fit_scaling(points)
    assert found.law is None
    assert told in found.why_not
    assert found.to_json()["law"] is None


@pytest.mark.parametrize(
    ("flat", "told"),
    [("parameters", "do not tell alpha, how the loss falls with parameters"), ("characters", "do not tell beta")],
)
@pytest.mark.parametrize("noise", [0.0, 0.003])
def test_an_exponent_that_the_runs_do_not_tell_is_not_told(flat: str, told: str, noise: float) -> None:
    """Losses that do not depend on the size, or on the length, fit any law that has it fall at once."""
    rng = np.random.default_rng(0)
    points = []
    for point in runs():
        n, d = (1e5, point.characters) if flat == "parameters" else (point.parameters, 1e6)
        points.append(point._replace(nats=TRUE.predict(n, d) * math.exp(rng.normal(0.0, noise))))
    found = fit_scaling(points)
    assert found.law is None
    assert told in found.why_not
    assert found.resampled == ()


def test_its_json_has_the_constants_and_the_runs() -> None:
    found = fit_scaling(runs(noise=0.002))
    told = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert found.law is not None
    assert told["law"]["alpha"] == {"value": found.law.alpha, "interval": list(found.interval("alpha"))}
    assert told["points"][0] == {"parameters": 50_000, "characters": 200_000, "nats": found.points[0].nats}


def test_equal_points_give_equal_intervals() -> None:
    assert fit_scaling(runs(noise=0.002)).to_json() == fit_scaling(runs(noise=0.002)).to_json()
