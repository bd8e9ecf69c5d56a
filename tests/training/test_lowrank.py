from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from letterloom import accounting
from letterloom.config import RunConfig, build_config
from letterloom.errors import ConfigError
from letterloom.evaluation.verification import verify_against_reference
from letterloom.runs.checkpoint import read_checkpoint, save_checkpoint
from letterloom.text.tokenizers import CharacterTokenizer
from letterloom.training import loop
from letterloom.training.hardware import resolve_hardware
from letterloom.training.learner import Learner
from letterloom.training.lowrank import SCALE, factors, trained

TOKENIZER = CharacterTokenizer("abcdefghijk")
SMALL = {"context_length": 8, "d_model": 8, "n_layers": 2, "n_heads": 2}
RANK = 3
SHAPES: tuple[dict[str, Any], ...] = (
    {},
    {"activation": "swiglu", "bias_qkv": True, "bias_mlp": True},
    {"tied_head": False, "bias_head": True},
)


def config(**sections: dict[str, Any]) -> RunConfig:
    training = {"max_steps": 10, "batch_size": 6, "device": "cpu", "precision": "fp32", "threads": 1}
    base = {"model": SMALL, "training": {**training, "lora_rank": RANK}, "optimizer": {"learning_rate": 0.03}}
    return resolve_hardware(build_config(base, sections))


def data(step: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    windows = np.random.default_rng(step).integers(0, TOKENIZER.vocab_size, (6, 9))
    return windows[:, :-1], windows[:, 1:]


def parameters(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def updated(settings: RunConfig, steps: int = 3) -> tuple[Learner, dict[str, torch.Tensor]]:
    """A learner after some steps, and the parameters that it began with."""
    learner = Learner(settings, TOKENIZER.vocab_size)
    before = parameters(learner.model)
    for step in range(steps):
        learner.update(*data(step), step, 1.0)
    return learner, before


def save(learner: Learner, folder: Path, model: dict[str, torch.Tensor] | None = None) -> None:
    weights, optimizer = learner.tensors()
    save_checkpoint(
        folder,
        step=3,
        model=weights if model is None else model,
        optimizer=optimizer,
        state={"learner": learner.state()},
        config=learner.config,
        tokenizer=TOKENIZER,
    )


def test_before_the_first_step_it_is_the_model_it_adapts() -> None:
    adapted = Learner(config(), TOKENIZER.vocab_size)
    plain = Learner(config(training={"lora_rank": None}), TOKENIZER.vocab_size)
    adapted.begin(parameters(plain.model), Path("base"))
    ids = torch.from_numpy(data()[0])
    with torch.no_grad():
        assert torch.equal(adapted.model(ids), plain.model(ids))
    assert parameters(adapted.best_model).keys() == parameters(plain.model).keys()
    assert all(torch.equal(p, plain.model.get_parameter(n)) for n, p in adapted.best_model.named_parameters())


@pytest.mark.parametrize("model", SHAPES)
def test_only_factors_embedding_and_head_change(model: dict[str, Any]) -> None:
    learner, before = updated(config(model=model))
    for name, parameter in learner.model.named_parameters():
        moves = name.endswith((".a", ".b")) or name.startswith(("embedding.", "head."))
        assert torch.equal(parameter, before[name]) != moves, name


@pytest.mark.parametrize("model", SHAPES)
@pytest.mark.parametrize("products", ["matmul", "convolution"])
def test_merged_it_computes_the_same(model: dict[str, Any], products: str) -> None:
    learner, _ = updated(config(model=model, training={"products": products}))
    ids = torch.from_numpy(np.concatenate([data(step)[0] for step in range(8)]))  # so many that oneDNN takes them
    with torch.no_grad():
        torch.testing.assert_close(learner.best_model(ids), learner.model(ids), rtol=0, atol=1e-6)


def test_embedding_and_head_stay_tied() -> None:
    learner, before = updated(config())
    for model in (learner.model, learner.best_model):
        assert model.head.weight is model.embedding.weight
    assert not torch.equal(learner.best_model.embedding.weight, before["embedding.weight"])


def test_the_reference_judges_the_merged_model() -> None:
    learner, _ = updated(config())
    assert verify_against_reference(learner.best_model, learner.config.model, np.arange(32) % 11).agrees


def test_its_logits_and_gradients_are_those_of_peft() -> None:
    peft = pytest.importorskip("peft", reason="peft is not installed")
    learner, _ = updated(config())
    plain = Learner(config(training={"lora_rank": None}), TOKENIZER.vocab_size).model
    frozen = {n: p for n, p in learner.model.named_parameters() if not n.endswith((".a", ".b"))}
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            parameter.copy_(frozen[name])
    settings = peft.LoraConfig(r=RANK, lora_alpha=SCALE * RANK, target_modules=["qkv", "out", "up", "down"])
    peft.inject_adapter_in_model(settings, plain.blocks)
    theirs = {name: p for name, p in plain.named_parameters() if "lora_" in name}
    names = {name: name.replace("lora_A.default.weight", "a").replace("lora_B.default.weight", "b") for name in theirs}
    ours = {name: learner.model.get_parameter(names[name]) for name in theirs}
    with torch.no_grad():
        for name, parameter in theirs.items():
            parameter.copy_(ours[name])
    ids = torch.from_numpy(data()[0])
    logits, expected = learner.model(ids), plain(ids)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-6)
    for side in (logits, expected):
        side.log_softmax(-1)[..., 0].sum().backward()
    assert len(theirs) == len(factors(learner.model))
    for name in theirs:
        torch.testing.assert_close(ours[name].grad, theirs[name].grad, rtol=1e-4, atol=1e-6)


def test_a_learner_restored_from_a_checkpoint_goes_on_bit_for_bit(tmp_path: Path) -> None:
    first, before = updated(config(model={"dropout": 0.2}))
    save(first, tmp_path / "checkpoints" / "step-000003")
    save(first, tmp_path / "base", {n: p for n, p in before.items() if not n.endswith((".a", ".b"))})
    second = Learner(first.config, TOKENIZER.vocab_size)
    torch.nn.init.zeros_(second.model.get_parameter("norm.weight"))
    second.load(read_checkpoint(tmp_path / "checkpoints" / "step-000003"))
    for step in range(3, 6):
        assert first.update(*data(step), step, 0.5) == second.update(*data(step), step, 0.5)
    assert all(torch.equal(p, second.model.get_parameter(n)) for n, p in first.model.named_parameters())


def test_a_checkpoint_holds_the_plain_model_and_no_state_of_what_is_frozen() -> None:
    learner, _ = updated(config())
    plain = Learner(config(training={"lora_rank": None}), TOKENIZER.vocab_size)
    model, others = learner.tensors()
    assert model.keys() == plain.tensors()[0].keys()
    assert {name.removeprefix("weights/").split("/")[0] for name in others} == {
        "embedding.weight",
        *factors(learner.model),
    }


def test_what_is_trained_is_counted() -> None:
    learner = Learner(config(), TOKENIZER.vocab_size)
    counted = sum(p.numel() for p in trained(learner.model).values())
    assert counted == sum(part.count for part in accounting.trained(learner.config.model, TOKENIZER.vocab_size, RANK))
    sides = 8 + 24 + 8 + 8 + 8 + 32 + 32 + 8  # of qkv, out, up and down
    assert counted == 11 * 8 + 2 * RANK * sides


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"training": {"lora_rank": 9}}, r"training.lora_rank 9 is more than attention.out.weight has; give at most 8"),
        ({"model": {"d_ff": 2}}, r"training.lora_rank 3 is more than mlp.up.weight has; give at most 2"),
        ({"optimizer": {"name": "muon"}}, r"with training.lora_rank use adamw"),
        ({"training": {"ema_decay": 0.9}}, r"training.ema_decay averages whole matrices"),
    ],
)
def test_what_does_not_go_with_factors_is_refused(sections: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        config(**sections)


def test_there_is_nothing_to_adapt_without_a_trained_model(tmp_path: Path, tiny_text: Path) -> None:
    with pytest.raises(ConfigError, match="letterloom finetune RUN CORPUS --lora 3"):
        loop.train(config(text={"corpus": (str(tiny_text),)}), tmp_path / "run")
    assert not (tmp_path / "run").exists()
