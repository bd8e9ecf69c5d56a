from typing import Any

import numpy as np
import pytest

from letterloom.adaptation.context import adapt_context
from letterloom.config import ModelConfig
from letterloom.errors import ConfigError


def model(positions: Any = "learned") -> ModelConfig:
    return ModelConfig(context_length=5, d_model=4, n_heads=2, n_layers=1, positions=positions)


TABLE = np.arange(20, dtype=np.float32).reshape(5, 4) ** 2


def test_a_longer_context_is_stretched_over_the_old_one() -> None:
    adapted, told = adapt_context({"position.weight": TABLE}, model(), 9)
    longer = adapted["position.weight"]
    assert longer.shape == (9, 4)
    assert longer.dtype == np.float32
    np.testing.assert_array_equal(longer[::2], TABLE)  # every second place is an old one
    np.testing.assert_allclose(longer[1::2], (TABLE[1:] + TABLE[:-1]) / 2)
    assert told == "5 learned positions are interpolated"


def test_of_a_shorter_context_the_first_positions_stay() -> None:
    adapted, told = adapt_context({"position.weight": TABLE}, model(), 3, "refuse")
    np.testing.assert_array_equal(adapted["position.weight"], TABLE[:3])
    assert "first 3" in told


def test_positions_may_be_refused() -> None:
    with pytest.raises(ConfigError, match=r"learned 5 positions.*--positions interpolate"):
        adapt_context({"position.weight": TABLE}, model(), 6, "refuse")


@pytest.mark.parametrize("positions", ["rotary", "sinusoidal", "none"])
def test_positions_that_are_computed_go_on(positions: str) -> None:
    given = {"embedding.weight": TABLE}
    adapted, told = adapt_context(given, model(positions), 500, "refuse")
    assert adapted == given
    assert told


def test_the_same_context_changes_nothing() -> None:
    adapted, told = adapt_context({"position.weight": TABLE}, model(), 5, "refuse")
    assert adapted["position.weight"] is TABLE
    assert told == ""
