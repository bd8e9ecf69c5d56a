import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from letterloom.config import OptimizerConfig
from letterloom.training.schedules import learning_rate_factor

SCHEDULES = st.sampled_from(["constant", "linear", "cosine", "wsd"])


def config(**settings: object) -> OptimizerConfig:
    return OptimizerConfig.model_validate({"warmup_steps": 0, "final_fraction": 0.1, **settings})


@pytest.mark.parametrize(
    ("schedule", "quarter", "half", "end"),
    [
        ("constant", 1.0, 1.0, 1.0),
        ("linear", 0.1 + 0.9 * 0.75, 0.1 + 0.9 * 0.5, 0.1),
        ("cosine", 0.1 + 0.9 * (0.5 + 0.5 * math.cos(math.pi / 4)), 0.1 + 0.9 * 0.5, 0.1),
        ("wsd", 1.0, 1.0, 0.1),
    ],
)
def test_each_schedule_passes_through_its_known_points(schedule: str, quarter: float, half: float, end: float) -> None:
    settings = config(schedule=schedule, decay_share=0.2)
    found = [learning_rate_factor(settings, 10, progress) for progress in (0.0, 0.25, 0.5, 1.0)]
    assert found == pytest.approx([1.0, quarter, half, end])


def test_wsd_falls_only_in_its_last_share() -> None:
    settings = config(schedule="wsd", decay_share=0.2, final_fraction=0.0)
    assert learning_rate_factor(settings, 0, 0.8) == pytest.approx(1.0)
    assert learning_rate_factor(settings, 0, 0.9) == pytest.approx(0.5)


def test_the_warm_up_rises_linearly_and_never_starts_at_zero() -> None:
    settings = config(schedule="constant", warmup_steps=4)
    assert [learning_rate_factor(settings, step, 0.0) for step in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1])


@given(SCHEDULES, st.integers(0, 200), st.integers(0, 300), st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 1))
def test_the_factor_stays_between_zero_and_one_and_never_rises_after_the_warm_up(
    schedule: str, warmup: int, step: int, progress: float, final: float, share: float
) -> None:
    settings = config(schedule=schedule, warmup_steps=warmup, final_fraction=final, decay_share=share)
    factor = learning_rate_factor(settings, step, progress)
    assert 0.0 <= factor <= 1.0
    assert learning_rate_factor(settings, warmup, 1.0) <= learning_rate_factor(settings, warmup, progress) + 1e-12
