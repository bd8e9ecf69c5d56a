"""Verification finds agreement where there is some, and the mistakes it is there for."""

import operator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from letterloom.config import ModelConfig
from letterloom.errors import CorpusError, NonFiniteError
from letterloom.evaluation.verification import MAX_CHARACTERS, Comparison, verify_against_reference
from letterloom.model import cache, transformer
from letterloom.model.transformer import Transformer
from letterloom.runs import quantized
from letterloom.runs.quantized import choose, quantize, read_quantized, widened
from letterloom.runs.tensors import load_parameters

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


def stored_as(model: Transformer, bits: int) -> dict[str, NDArray[Any]]:
    """The arrays of a quantized file."""
    return quantize({name: p.detach().numpy() for name, p in model.named_parameters()}, choose(bits, None))


def read_back(model: Transformer, stored: dict[str, NDArray[Any]]) -> None:
    parameters = widened(read_quantized(stored, model.config, Path("model.safetensors")))
    load_parameters(model, {n: torch.from_numpy(p) for n, p in parameters.items()}, Path("model.safetensors"))


@pytest.mark.parametrize("bits", [8, 4, 16])
@pytest.mark.parametrize("name", MODELS)
def test_a_quantized_model_agrees_with_its_file(name: str, bits: int) -> None:
    model, config = build(name, d_model=36)  # groups of 32 and 4; of the hidden layer's 144, four and 16
    before = verify_against_reference(model, config, IDS, stored_as(model, bits))
    assert before.difference > 1e-4  # as it was
    stored = stored_as(model, bits)
    read_back(model, stored)
    assert verify_against_reference(model, config, IDS, stored).difference < 1e-12


@pytest.mark.parametrize(
    ("bits", "name", "wrong"),
    [
        (8, "QuantizedMatrix.widened", lambda right: lambda self: 3 * right(self)[::-1].copy()),
        (8, "QuantizedMatrix.widened", lambda right: lambda self: np.roll(right(self), 1, axis=1)),
        (4, "unpack", lambda right: lambda packed, width: right(packed, width).clip(0)),
        (4, "unpack", lambda right: lambda packed, width: right(packed << 4 | packed >> 4, width)),
    ],
)
def test_a_wrong_reading_of_narrow_weights_is_found(
    monkeypatch: pytest.MonkeyPatch, bits: int, name: str, wrong: Any
) -> None:
    model, config = build("rotary")
    stored = stored_as(model, bits)
    right = operator.attrgetter(name)(quantized)
    monkeypatch.setattr(f"letterloom.runs.quantized.{name}", wrong(right))
    read_back(model, stored)
    assert verify_against_reference(model, config, IDS).agrees  # with itself
    assert not verify_against_reference(model, config, IDS, stored).agrees


def test_an_engine_may_be_off_by_the_rounding_of_float32_and_no_more() -> None:
    model, config = build("learned")

    def off_by(error: float) -> Comparison:
        def logits(texts: NDArray[np.int64]) -> NDArray[np.floating]:
            with torch.no_grad():
                sound = model.eval()(torch.from_numpy(texts))[:, -3:].numpy()
            moved: NDArray[np.floating] = sound + error * np.abs(sound).max()
            return moved

        return verify_against_reference(model, config, IDS, engine_logits=logits)

    assert off_by(0.0).agrees
    assert off_by(3e-5).agrees
    comparison = off_by(3e-3)
    assert (comparison.model_agrees, comparison.engine_agrees, comparison.agrees) == (True, False, False)


def test_nan_never_agrees() -> None:
    nan = float("nan")
    for differences in [(nan, 0.0, 0.0), (0.0, nan, 0.0), (0.0, 0.0, nan)]:
        difference, cached, engine = differences
        assert not Comparison(difference, cached, characters=1, context=1, engine_difference=engine).agrees


def test_an_empty_text_is_refused() -> None:
    with pytest.raises(CorpusError, match="text is empty"):
        verify_against_reference(*build("learned"), IDS[:0])


def test_a_weight_that_is_not_finite_is_named() -> None:
    model, config = build("learned")
    with torch.no_grad():
        model.get_parameter("blocks.1.mlp.up.weight")[3, 4] = float("inf")
    with pytest.raises(NonFiniteError, match=r"blocks\.1\.mlp\.up\.weight"):
        verify_against_reference(model, config, IDS)
