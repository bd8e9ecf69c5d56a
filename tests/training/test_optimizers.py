from typing import Any

import pytest
import torch

from letterloom.config import ModelConfig, OptimizerConfig
from letterloom.errors import DataMismatchError
from letterloom.model.transformer import Transformer
from letterloom.training.descent import Optimizer
from letterloom.training.lowrank import add_factors
from letterloom.training.muon import Muon
from letterloom.training.optimizers import (
    build_optimizers,
    load_optimizer_tensors,
    optimizer_tensors,
    set_learning_rate,
)

MODEL = ModelConfig(
    context_length=8,
    d_model=8,
    n_layers=2,
    n_heads=2,
    bias_mlp=True,
    token_smear=True,
    tied_head=False,
    bias_norm=True,
)


def model() -> Transformer:
    torch.manual_seed(0)
    return Transformer(MODEL, 11)


def a_step(model: Transformer, optimizers: list[Optimizer], seed: int) -> None:
    torch.manual_seed(seed)
    model.zero_grad()
    model(torch.randint(0, 11, (2, 8))).square().sum().backward()
    for optimizer in optimizers:
        optimizer.step()


def names_of(model: Transformer, optimizer: Optimizer, **wanted: object) -> set[str]:
    """Names of the parameters in the groups whose settings are as wanted."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = [g for g in optimizer.param_groups if all(g[key] == value for key, value in wanted.items())]
    return {names[p] for group in groups for p in group["params"]}


@pytest.mark.parametrize("name", ["sgd", "adamw", "muon"])
def test_every_parameter_is_owned_exactly_once(name: str) -> None:
    m = model()
    optimizers = build_optimizers(OptimizerConfig(name=name), m)
    owned = [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
    assert len(owned) == len(set(owned)) == len(list(m.parameters()))


def test_muon_owns_the_hidden_matrices_and_nothing_else() -> None:
    m = model()
    muon, adamw = build_optimizers(OptimizerConfig(name="muon"), m)
    assert isinstance(muon, Muon)
    hidden = {
        f"blocks.{i}.{part}.weight" for i in (0, 1) for part in ("attention.qkv", "attention.out", "mlp.up", "mlp.down")
    }
    assert names_of(m, muon) == hidden
    assert {"embedding.weight", "position.weight", "head.weight", "smear.weight"} <= names_of(m, adamw)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_matrices_are_decayed_and_vectors_are_not(name: str) -> None:
    m = model()
    [optimizer] = build_optimizers(OptimizerConfig(name=name, weight_decay=0.3), m)
    decayed = {n for n, p in m.named_parameters() if p.ndim == 2 and n != "smear.weight"}
    assert names_of(m, optimizer, weight_decay=0.3) == decayed
    assert names_of(m, optimizer, weight_decay=0.0) == {n for n, _ in m.named_parameters()} - decayed


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_factors_have_a_rate_of_their_own_and_do_not_decay(name: Any) -> None:
    m = model()
    add_factors(m, 2)
    settings = OptimizerConfig(name=name, learning_rate=0.5, lora_learning_rate=0.125, weight_decay=0.3)
    [optimizer] = build_optimizers(settings, m)
    maps = ("attention.qkv", "attention.out", "mlp.up", "mlp.down")
    factors = {f"blocks.{i}.{part}.{side}" for i in (0, 1) for part in maps for side in "ab"}
    assert names_of(m, optimizer, peak=0.125, weight_decay=0.0) == factors
    assert names_of(m, optimizer, peak=0.5, weight_decay=0.3) == {"embedding.weight", "head.weight"}


def test_the_factor_multiplies_each_peak() -> None:
    optimizers = build_optimizers(OptimizerConfig(name="muon", learning_rate=0.01, muon_learning_rate=0.4), model())
    set_learning_rate(optimizers, 0.5)
    set_learning_rate(optimizers, 0.25)  # from the peak, not from the last rate
    assert [group["lr"] for o in optimizers for group in o.param_groups] == pytest.approx([0.1, 0.1, 0.0025, 0.0025])


@pytest.mark.parametrize(("name", "momentum"), [("sgd", 0.0), ("sgd", 0.9), ("adamw", 0.0), ("muon", 0.0)])
def test_restored_state_gives_the_same_next_step_bit_for_bit(name: str, momentum: float) -> None:
    settings = OptimizerConfig(name=name, momentum=momentum)
    first = model()
    optimizers = build_optimizers(settings, first)
    a_step(first, optimizers, 1)

    second = model()
    second.load_state_dict(first.state_dict())
    restored = build_optimizers(settings, second)
    saved = {key: tensor.clone() for key, tensor in optimizer_tensors(optimizers, first).items()}
    load_optimizer_tensors(restored, second, saved)

    a_step(first, optimizers, 2)
    a_step(second, restored, 2)
    assert all(torch.equal(p, q) for p, q in zip(first.parameters(), second.parameters(), strict=True))


def test_state_of_a_parameter_the_model_lacks_is_refused() -> None:
    m = model()
    with pytest.raises(DataMismatchError, match="nowhere/exp_avg"):
        load_optimizer_tensors(build_optimizers(OptimizerConfig(), m), m, {"nowhere/exp_avg": torch.zeros(1)})
