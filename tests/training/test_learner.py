import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from letterloom.config import RunConfig, build_config
from letterloom.errors import NonFiniteError
from letterloom.runs.checkpoint import read_checkpoint, save_checkpoint
from letterloom.text.tokenizers import CharacterTokenizer
from letterloom.training.hardware import resolve_hardware
from letterloom.training.learner import Learner

TOKENIZER = CharacterTokenizer("abcdefghijk")
SMALL = {"context_length": 8, "d_model": 8, "n_layers": 2, "n_heads": 2}


def config(**sections: dict[str, Any]) -> RunConfig:
    base = {
        "model": SMALL,
        "training": {"max_steps": 10, "batch_size": 6, "device": "cpu", "precision": "fp32", "threads": 1},
    }
    return resolve_hardware(build_config(base, sections))


def data(step: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    windows = np.random.default_rng(step).integers(0, TOKENIZER.vocab_size, (6, 9))
    return windows[:, :-1], windows[:, 1:]


def weights(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in learner.model.named_parameters()}


def largest_difference(a: Learner, b: Learner) -> float:
    return max((p - q).abs().max().item() for p, q in zip(a.model.parameters(), b.model.parameters(), strict=True))


def explode(learner: Learner) -> None:
    """Make one gradient infinite in every update from now on."""
    weight = next(learner.model.norm.parameters())
    weight.register_hook(lambda gradient: gradient * math.inf)  # type: ignore[no-untyped-call]


def test_the_loss_before_any_update_is_the_models_own_cross_entropy() -> None:
    learner = Learner(config(), TOKENIZER.vocab_size)
    x, y = data()
    with torch.no_grad():
        log_p = learner.model(torch.from_numpy(x)).log_softmax(-1)
    expected = -log_p.gather(-1, torch.from_numpy(y)[..., None]).mean().item()
    assert learner.update(x, y, 0, 1.0)[0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("parts", [2, 3, 4, 6, 50])
def test_micro_batches_of_any_number_add_up_to_the_whole_batch(parts: int) -> None:
    plain = {"name": "sgd", "learning_rate": 0.5, "gradient_clip": None, "weight_decay": 0.0}
    whole = Learner(config(optimizer=plain), TOKENIZER.vocab_size)
    split = Learner(config(optimizer=plain, training={"micro_batches": parts}), TOKENIZER.vocab_size)
    assert split.update(*data(), 0, 1.0) == pytest.approx(whole.update(*data(), 0, 1.0), rel=1e-5)
    assert largest_difference(whole, split) < 1e-6


def test_dropout_is_a_function_of_seed_step_and_part() -> None:
    settings = config(model={"dropout": 0.3})
    first, again, later = (Learner(settings, TOKENIZER.vocab_size) for _ in range(3))
    loss = first.update(*data(), 3, 1.0)
    torch.manual_seed(99)  # whatever others drew in between
    assert again.update(*data(), 3, 1.0) == loss
    assert later.update(*data(), 4, 1.0) != loss


def test_gradients_are_clipped_to_the_norm_asked_for() -> None:
    plain = {"name": "sgd", "learning_rate": 1.0, "weight_decay": 0.0, "gradient_clip": 0.01}
    learner = Learner(config(optimizer=plain), TOKENIZER.vocab_size)
    before = weights(learner)
    _, norm = learner.update(*data(), 0, 1.0)
    moved = math.sqrt(sum((p - before[n]).square().sum().item() for n, p in learner.model.named_parameters()))
    assert norm > 0.01  # else nothing was clipped
    assert moved == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_stops_before_the_update(poison: float) -> None:
    learner = Learner(config(), TOKENIZER.vocab_size)
    with torch.no_grad():
        learner.model.embedding.weight[3, 2] = poison
    before = weights(learner)
    with pytest.raises(NonFiniteError, match="step 8: loss nan"):
        learner.update(*data(), 7, 1.0)
    assert all(torch.equal(p, before[n]) or n == "embedding.weight" for n, p in learner.model.named_parameters())


def test_a_gradient_that_is_not_finite_stops_before_the_update() -> None:
    learner = Learner(config(), TOKENIZER.vocab_size)
    before = weights(learner)
    explode(learner)
    with pytest.raises(NonFiniteError, match="gradient norm") as told:
        learner.update(*data(), 0, 1.0)
    assert all(torch.equal(p, before[n]) for n, p in learner.model.named_parameters())
    assert "fp32" not in str(told.value)  # which it is


def test_averaged_weights_follow_the_formula() -> None:
    learner = Learner(config(training={"ema_decay": 0.75}), TOKENIZER.vocab_size)
    expected: dict[str, torch.Tensor] = {}
    for step in range(4):
        learner.update(*data(step), step, 1.0)
        now = weights(learner)
        expected = {n: 0.75 * expected[n] + 0.25 * p for n, p in now.items()} if expected else now
    for name, p in learner.best_model.named_parameters():
        torch.testing.assert_close(p.detach(), expected[name], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_is_near_full_precision_and_learns(precision: str) -> None:
    full = Learner(config(), TOKENIZER.vocab_size)
    low = Learner(config(training={"precision": precision}), TOKENIZER.vocab_size)
    assert low.update(*data(), 0, 1.0)[0] == pytest.approx(full.update(*data(), 0, 1.0)[0], rel=0.02)
    first, *_, last = [low.update(*data(), step, 1.0)[0] for step in range(30)]
    assert last < first - 0.01


def test_an_fp16_overflow_lowers_the_scale_and_changes_no_weight() -> None:
    learner = Learner(config(training={"precision": "fp16"}), TOKENIZER.vocab_size)
    explode(learner)
    before, scale = weights(learner), learner.scaler.get_scale()
    learner.update(*data(), 0, 1.0)
    assert all(torch.equal(p, before[n]) for n, p in learner.model.named_parameters())
    assert learner.scaler.get_scale() < scale


def test_a_compiler_that_fails_is_told_and_done_without(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no C++ compiler\nand more")

    monkeypatch.setattr(torch, "compile", lambda model: broken)
    compiled = Learner(config(training={"compile": True}), TOKENIZER.vocab_size)
    assert "no C++ compiler" in caplog.text
    assert compiled.update(*data(), 0, 1.0) == Learner(config(), TOKENIZER.vocab_size).update(*data(), 0, 1.0)


@pytest.mark.parametrize("name", ["sgd", "adamw", "muon"])
@pytest.mark.parametrize("ema_decay", [None, 0.9])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_learner_restored_from_a_checkpoint_goes_on_bit_for_bit(
    tmp_path: Path, name: str, ema_decay: float | None, precision: str
) -> None:
    settings = config(
        model={"dropout": 0.2},
        optimizer={"name": name, "momentum": 0.9},
        training={"ema_decay": ema_decay, "precision": precision},
    )
    first = Learner(settings, TOKENIZER.vocab_size)
    for step in range(3):
        first.update(*data(step), step, 1.0)
    model, optimizer = first.tensors()
    save_checkpoint(
        tmp_path / "step-000003",
        step=3,
        model=model,
        optimizer=optimizer,
        state={"learner": first.state()},
        config=settings,
        tokenizer=TOKENIZER,
    )
    second = Learner(settings, TOKENIZER.vocab_size)
    second.load(read_checkpoint(tmp_path / "step-000003"))
    assert second.state() == first.state()
    for step in range(3, 6):
        assert first.update(*data(step), step, 0.5) == second.update(*data(step), step, 0.5)
    assert largest_difference(first, second) == 0.0
    averages = zip(first.best_model.parameters(), second.best_model.parameters(), strict=True)
    assert all(torch.equal(p, q) for p, q in averages)
