from typing import Any

import pytest

from letterloom.adaptation.settings import EPOCHS, first_layer, merged, suited_steps
from letterloom.config import RunConfig, build_config
from letterloom.errors import ConfigError


def config(**sections: dict[str, Any]) -> RunConfig:
    return build_config({"training": {"max_steps": 10, "batch_size": 4}, "model": {"context_length": 8}}, sections)


def finetuned(
    base: RunConfig, again: bool = False, optimizer: dict[str, Any] | None = None, **training: Any
) -> RunConfig:
    settings = {"training": {**training, "max_steps": 5}, "optimizer": optimizer or {}}
    return merged(first_layer(base, again, ("text",), 0.0, settings), settings, base)


def test_learning_rates_are_half_of_those_from_scratch_and_not_halved_again() -> None:
    base = config(optimizer={"name": "muon", "learning_rate": 0.02, "muon_learning_rate": 0.04})
    once = finetuned(base)
    assert (once.optimizer.learning_rate, once.optimizer.muon_learning_rate) == (0.01, 0.02)
    assert finetuned(once, again=True).optimizer == once.optimizer


@pytest.mark.parametrize(
    ("optimizer", "rate"),
    [
        ({"name": "adamw", "learning_rate": 1e-4}, 5e-5),
        ({"name": "muon", "learning_rate": 0.02}, 0.01),  # AdamW beside Muon trains the embedding
        ({"name": "sgd", "learning_rate": 0.5}, 0.0005),  # half of what is usual with AdamW
    ],
)
def test_beside_factors_the_embedding_has_the_rate_of_full_finetuning(optimizer: dict[str, Any], rate: float) -> None:
    base = config(optimizer=optimizer, training={"ema_decay": 0.9})
    adapted = finetuned(base, lora_rank=2)
    assert adapted.optimizer.name == "adamw"
    assert (adapted.optimizer.learning_rate, adapted.optimizer.lora_learning_rate) == (rate, 0.01)
    if optimizer["name"] != "sgd":
        assert finetuned(base).optimizer.learning_rate == rate
    assert adapted.training.ema_decay is None
    for again in (True, False):  # as a run of its own, or copied out of it
        after = finetuned(adapted, again)
        assert (after.optimizer.learning_rate, after.training.lora_rank) == (0.0005, None)
        assert finetuned(adapted, again, lora_rank=4).optimizer == adapted.optimizer


def test_an_optimizer_that_is_given_has_half_of_its_own_usual_rate_not_of_another_s() -> None:
    by_muon, by_adamw = (config(optimizer={"name": name, "learning_rate": 0.02}) for name in ("muon", "adamw"))
    for again in (False, True):
        assert finetuned(by_muon, again, {"name": "adamw"}).optimizer.learning_rate == 0.0005
        muon = finetuned(by_adamw, again, {"name": "muon"}).optimizer
        assert (muon.learning_rate, muon.muon_learning_rate) == (0.0075, 0.02)
    assert finetuned(by_muon, optimizer={"name": "muon"}).optimizer == finetuned(by_muon).optimizer
    assert finetuned(by_muon, optimizer={"name": "adamw"}, weight_bits=4).optimizer.learning_rate == 0.0001
    assert finetuned(by_muon, optimizer={"name": "adamw", "learning_rate": 0.3}).optimizer.learning_rate == 0.3
    with pytest.raises(ConfigError, match=r"optimizer\.name = 'adam'"):
        finetuned(by_muon, optimizer={"name": "adam"})


def test_weights_that_only_settle_move_by_a_tenth() -> None:
    base = config(optimizer={"learning_rate": 0.002}, training={"ema_decay": 0.9})
    settled = finetuned(base, weight_bits="4")
    assert settled.optimizer.learning_rate == pytest.approx(0.0002)
    assert settled.training.ema_decay is None
    whole = finetuned(settled, again=True)
    assert whole.optimizer.learning_rate == pytest.approx(0.001)
    assert whole.training.weight_bits is None


def test_it_ends_early_unless_that_is_forbidden() -> None:
    assert finetuned(config()).training.patience == 5
    assert finetuned(config(), patience="none").training.patience is None
    assert finetuned(config(), weight_bits=4).training.patience is None


@pytest.mark.parametrize(
    ("ids", "seconds_per_step", "steps"),
    [
        (33, 0.001, 1_000),  # a short text is read often
        (320_001, 0.001, EPOCHS * 10_000),
        (320_001, 0.1, 1_200),  # two minutes
        (33, 1.0, 120),
    ],
)
def test_the_text_decides_how_long_but_no_longer_than_two_minutes(
    ids: int, seconds_per_step: float, steps: float
) -> None:
    assert suited_steps(config(), ids, seconds_per_step) == pytest.approx(steps, rel=1e-3)


def test_a_share_that_is_given_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="keep one of them"):
        first_layer(config(), False, ("text",), 0.2, {"text": {"replay_share": 0.5}})
