"""The model's own properties; that its mathematics is right is for `tests/reference` to say."""

import ast
import inspect
import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from letterloom.config import ModelConfig
from letterloom.model import transformer
from letterloom.model.cache import Cache
from letterloom.model.transformer import CausalAttention, Transformer

V, T = 7, 12
VARIANTS: list[dict[str, Any]] = [
    {"positions": "none"},
    {"positions": "learned", "tied_head": False},
    {"positions": "sinusoidal", "norm_placement": "before_and_after", "activation": "swiglu"},
    {"positions": "rotary", "token_smear": True, "qk_norm": True, "norm": "rmsnorm", "logit_soft_cap": 5.0},
]


def build(variant: dict[str, Any], dtype: torch.dtype = torch.float64) -> Transformer:
    torch.manual_seed(0)
    model = Transformer(ModelConfig(context_length=T, d_model=8, n_layers=2, n_heads=2, **variant), V).to(dtype).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # far from the quiet beginning, so that everything matters
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v["positions"])
def test_no_character_sees_a_later_one(variant: dict[str, Any]) -> None:
    model = build(variant)
    ids = torch.randint(0, V, (1, T))
    logits = model(ids)
    for t in range(T):
        changed = ids.clone()
        changed[0, t] = (changed[0, t] + 1) % V
        differs = (model(changed) - logits).abs().amax(-1)[0] > 1e-9
        assert not differs[:t].any()
        assert differs[t:].any()


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v["positions"])
@given(cuts=st.sets(st.integers(1, T - 1)))
def test_reading_in_any_pieces_with_a_cache_gives_the_same_logits(variant: dict[str, Any], cuts: set[int]) -> None:
    model = build(variant)
    ids = torch.randint(0, V, (3, T), generator=torch.Generator().manual_seed(1))
    cache = Cache(model.config, batch_size=3, dtype=torch.float64)
    borders = [0, *sorted(cuts), T]
    pieces = [model(ids[:, a:b], cache) for a, b in itertools.pairwise(borders)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), model(ids), rtol=0, atol=1e-12)
    assert cache.length == T


def test_more_than_the_context_is_refused() -> None:
    model = build(VARIANTS[0])
    cache = Cache(model.config, 1, dtype=torch.float64)
    model(torch.zeros(1, T, dtype=torch.long), cache)
    with pytest.raises(ValueError, match="13 positions do not fit a context of 12"):
        model(torch.zeros(1, 1, dtype=torch.long), cache)


@given(t=st.integers(1, 6), past=st.integers(0, 6))
def test_causal_attention_is_a_softmax_over_the_past(t: int, past: int) -> None:
    generator = torch.Generator().manual_seed(t + 10 * past)
    q = torch.randn(2, 3, t, 4, dtype=torch.float64, generator=generator)
    k, v = torch.randn(2, 2, 3, t + past, 4, dtype=torch.float64, generator=generator)
    expected = torch.empty_like(q)
    for i in range(t):
        scores = torch.einsum("bhk,bhtk->bht", q[:, :, i], k[:, :, : past + i + 1]) / math.sqrt(4)
        expected[:, :, i] = torch.einsum("bht,bhtk->bhk", scores.softmax(-1), v[:, :, : past + i + 1])
    torch.testing.assert_close(CausalAttention()(q, k, v), expected, rtol=0, atol=1e-12)


def test_a_tied_head_is_the_embedding_and_is_stored_once() -> None:
    model = build({"tied_head": True})
    assert model.head.weight is model.embedding.weight
    assert "head.weight" not in dict(model.named_parameters())


@pytest.mark.parametrize(
    "setting",
    [{"dropout": 0.5}, {"attention_dropout": 0.5}, {"mlp_dropout": 0.5}, {"mlp_dropout": 0.5, "activation": "swiglu"}],
)
def test_dropout_acts_in_training_only(setting: dict[str, Any]) -> None:
    model = build(setting)
    ids = torch.zeros(1, T, dtype=torch.long)
    assert torch.equal(model(ids), model(ids))
    model.train()
    assert not torch.equal(model(ids), model(ids))


@pytest.mark.parametrize(
    ("initialisation", "residual", "tied", "embedding"),
    [
        ("normal", 0.02, False, 0.02),
        ("gpt2", 0.02 / math.sqrt(6), True, 0.02),
        ("zero_projections", 0.0, True, 0.02),  # the head's too, which wants small logits
        ("zero_projections", 0.0, False, 1.0),
    ],
)
def test_the_initialisation_has_the_spread_it_names(
    initialisation: Any, residual: float, tied: bool, embedding: float
) -> None:
    torch.manual_seed(0)
    config = ModelConfig(
        d_model=64, n_layers=3, initialisation=initialisation, tied_head=tied, bias_mlp=True, bias_norm=True
    )
    for name, p in Transformer(config, 100).named_parameters():
        if name.endswith("bias"):
            assert not p.any()
        elif "norm" in name:
            assert (p == 1).all()
        else:
            expected = embedding if name == "embedding.weight" else 0.02
            if name.endswith(("attention.out.weight", "mlp.down.weight")):
                expected = residual
            assert p.std().item() == pytest.approx(expected, rel=0.1)
            assert abs(p.mean().item()) < 0.1 * max(expected, 0.02)


def test_the_soft_cap_bounds_the_logits() -> None:
    capped = build({"logit_soft_cap": 0.5})(torch.randint(0, V, (4, T)))
    assert capped.abs().max() < 0.5


def test_forward_does_not_ask_which_variant_it_is() -> None:
    """A budget of branches in the forwards; a variant belongs in a constructor."""
    tree = ast.parse(inspect.getsource(transformer))
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "forward"]
    branches = sum(isinstance(node, (ast.If, ast.IfExp)) for function in functions for node in ast.walk(function))
    assert branches <= 8
