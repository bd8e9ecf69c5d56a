"""Verification finds agreement where there is some, and the mistakes it is there for."""

from typing import Any

import numpy as np
import pytest
import torch

from letterloom.config import ModelConfig
from letterloom.errors import CorpusError, NonFiniteError
from letterloom.evaluation.verification import MAX_CHARACTERS, Comparison, verify_against_reference
from letterloom.model import cache, transformer
from letterloom.model.transformer import Transformer

VOCAB_SIZE = 11
IDS = np.random.default_rng(0).integers(0, VOCAB_SIZE, size=600).astype(np.uint8)

MODELS: dict[str, dict[str, Any]] = {
    "learned": {},
    "sinusoidal": {"positions": "sinusoidal", "norm_placement": "before_and_after", "bias_norm": True},
    "rotary": {
        "positions": "rotary",
        "norm": "rmsnorm",
        "activation": "relu_squared",
        "qk_norm": True,
        "logit_soft_cap": 15.0,
        "token_smear": True,
        "tied_head": False,
    },
}


def build(name: str, **changes: Any) -> tuple[Transformer, ModelConfig]:
    """A float32 model as training leaves it: in training mode, with every weight away from its start."""
    config = ModelConfig.model_validate(
        {"d_model": 12, "n_layers": 2, "n_heads": 2, "context_length": 20, "dropout": 0.5, **MODELS[name], **changes}
    )
    torch.manual_seed(0)
    model = Transformer(config, VOCAB_SIZE)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return model.train(), config


@pytest.mark.parametrize("name", MODELS)
def test_a_sound_model_agrees_to_rounding(name: str) -> None:
    comparison = verify_against_reference(*build(name), IDS)
    assert comparison.agrees
    assert 0 < max(comparison.difference, comparison.cached_difference) < 1e-12
    assert (comparison.characters, comparison.context) == (240, 20)  # 12 texts of 20: at most 256


@pytest.mark.parametrize(
    ("n_ids", "context_length", "characters", "context"),
    [(1, 20, 1, 1), (19, 20, 19, 19), (39, 20, 20, 20), (600, 1, MAX_CHARACTERS, 1), (600, 500, 256, 256)],
)
def test_as_much_text_as_there_is_and_no_more_than_needed(
    n_ids: int, context_length: int, characters: int, context: int
) -> None:
    comparison = verify_against_reference(*build("learned", context_length=context_length), IDS[:n_ids])
    assert comparison.agrees
    assert (comparison.characters, comparison.context) == (characters, context)


def test_model_and_random_numbers_are_left_as_they_were() -> None:
    model, config = build("rotary")
    before = {name: tensor.clone() for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
    random_state = torch.get_rng_state()
    verify_against_reference(model, config, IDS)
    assert model.training
    assert torch.get_default_dtype() == torch.float32
    assert torch.equal(torch.get_rng_state(), random_state)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, before[name])


def test_a_wrong_epsilon_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformer, "NORM_EPS", 1e-6)
    comparison = verify_against_reference(*build("rotary"), IDS)
    assert not comparison.agrees
    assert comparison.difference > 1e-9


def test_a_mistake_of_the_cache_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def swapped(self: cache.Cache, e: torch.Tensor) -> torch.Tensor:
        return sound(self, e).roll(1, dims=1)

    sound = cache.Cache.extend_embeddings
    monkeypatch.setattr(cache.Cache, "extend_embeddings", swapped)
    comparison = verify_against_reference(*build("rotary"), IDS)
    assert comparison.difference < 1e-12  # without the cache all is well
    assert not comparison.agrees


def test_nan_never_agrees() -> None:
    for differences in [(float("nan"), 0.0), (0.0, float("nan"))]:
        assert not Comparison(*differences, characters=1, context=1).agrees


def test_an_empty_text_is_refused() -> None:
    with pytest.raises(CorpusError, match="text is empty"):
        verify_against_reference(*build("learned"), IDS[:0])


def test_a_weight_that_is_not_finite_is_named() -> None:
    model, config = build("learned")
    with torch.no_grad():
        model.get_parameter("blocks.1.mlp.up.weight")[3, 4] = float("inf")
    with pytest.raises(NonFiniteError, match=r"blocks\.1\.mlp\.up\.weight"):
        verify_against_reference(model, config, IDS)
