from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from letterloom.config import RunConfig, build_config
from letterloom.errors import ConfigError
from letterloom.evaluation.verification import verify_against_reference
from letterloom.runs.checkpoint import read_checkpoint, save_checkpoint
from letterloom.text.tokenizers import CharacterTokenizer
from letterloom.training.hardware import resolve_hardware
from letterloom.training.learner import Learner
from letterloom.training.rounding import ThroughRounding, rounded

TOKENIZER = CharacterTokenizer("abcdefghijk")
SHAPES: tuple[dict[str, Any], ...] = (
    {},
    {"activation": "swiglu", "bias_qkv": True, "token_smear": True, "positions": "rotary"},
    {"tied_head": False, "bias_head": True},
)


def config(**sections: dict[str, Any]) -> RunConfig:
    training = {"max_steps": 10, "batch_size": 6, "device": "cpu", "precision": "fp32", "threads": 1, "weight_bits": 4}
    model = {"context_length": 8, "d_model": 8, "n_layers": 2, "n_heads": 2}
    return resolve_hardware(
        build_config({"model": model, "training": training, "optimizer": {"learning_rate": 0.03}}, sections)
    )


def data(step: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    windows = np.random.default_rng(step).integers(0, TOKENIZER.vocab_size, (6, 9))
    return windows[:, :-1], windows[:, 1:]


def updated(settings: RunConfig) -> Learner:
    learner = Learner(settings, TOKENIZER.vocab_size)
    for step in range(3):
        learner.update(*data(step), step, 1.0)
    return learner


@pytest.mark.parametrize("model", SHAPES)
@pytest.mark.parametrize("bits", [8, 4])
def test_loss_and_gradients_are_those_of_the_rounded_weights(model: dict[str, Any], bits: int) -> None:
    learner = updated(config(model=model))
    plain = rounded(learner.model, bits)
    gradients = []
    for network in (ThroughRounding(learner.model, bits), plain):
        x, y = (torch.from_numpy(ids) for ids in data(3))
        loss = F.cross_entropy(network(x).flatten(0, 1), y.flatten())
        loss.backward()  # type: ignore[no-untyped-call]  # torch's
        gradients.append(loss.detach())
    assert torch.equal(*gradients)
    for name, parameter in plain.named_parameters():
        ours = learner.model.get_parameter(name).grad
        assert ours is not None
        assert parameter.grad is not None
        assert torch.equal(ours, parameter.grad), name


def test_what_moves_are_the_weights_behind(tmp_path: Path) -> None:
    learner = updated(config())
    steps = {
        name: p.detach() - rounded(learner.model, 4).get_parameter(name) for name, p in learner.model.named_parameters()
    }
    assert all((difference != 0).any() == (difference.ndim == 2) for difference in steps.values())


def test_the_best_model_has_few_values_a_group_and_is_the_one_kept() -> None:
    learner = updated(config())
    name = "blocks.0.mlp.up.weight"
    weights = learner.best_model.get_parameter(name)
    assert all(len(row.unique()) <= 16 for row in weights)
    model, others = learner.tensors()
    assert torch.equal(model[name], weights)
    assert torch.equal(others[f"weights/{name}"], learner.model.get_parameter(name))


def test_embedding_and_head_stay_tied() -> None:
    best = updated(config()).best_model
    assert best.head.weight is best.embedding.weight


def test_the_reference_judges_the_rounded_model() -> None:
    learner = updated(config())
    assert verify_against_reference(learner.best_model, learner.config.model, np.arange(32) % 11).agrees


def test_a_learner_restored_from_a_checkpoint_goes_on_bit_for_bit(tmp_path: Path) -> None:
    first = updated(config(model={"dropout": 0.2}))
    weights, optimizer = first.tensors()
    state = {"learner": first.state()}
    save_checkpoint(
        tmp_path / "saved",
        step=3,
        model=weights,
        optimizer=optimizer,
        state=state,
        config=first.config,
        tokenizer=TOKENIZER,
    )
    second = Learner(first.config, TOKENIZER.vocab_size)
    second.load(read_checkpoint(tmp_path / "saved"))
    for step in range(3, 6):
        assert first.update(*data(step), step, 0.5) == second.update(*data(step), step, 0.5)
    assert all(torch.equal(p, second.model.get_parameter(n)) for n, p in first.model.named_parameters())


@pytest.mark.parametrize(
    ("training", "told"),
    [
        ({"weight_bits": 6}, "training.weight_bits = 6: should be 8 or 4"),
        ({"weight_bits": "16"}, "training.weight_bits = '16': should be 8 or 4"),
        ({"lora_rank": 2}, "drop training.lora_rank"),
        ({"ema_decay": 0.9}, "drop training.ema_decay"),
    ],
)
def test_what_does_not_go_with_rounding_is_refused(training: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        config(training=training)
