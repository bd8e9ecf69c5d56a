"""The settings of finetuning: those of the trained run, but for what another text and a good beginning change.

The numbers were measured on models of Tiny Shakespeare, finetuned to names, to English prose and to Greek.
"""

from collections.abc import Mapping
from typing import Any

from letterloom.config import RunConfig, build_config
from letterloom.errors import ConfigError
from letterloom.reporting.profile.figures import planned_steps
from letterloom.text.batches import steps_per_epoch
from letterloom.training.planning.plan import round_down

LEARNING_RATE = 0.5  # of the peak from scratch
ROUNDED_LEARNING_RATE = 0.1  # likewise, of weights that only have to settle on what few bits hold
USUAL = {  # peaks from scratch, where those of the trained run were for another optimizer, or not for all matrices
    "adamw": {"learning_rate": 0.001},
    "muon": {"learning_rate": 0.015, "muon_learning_rate": 0.04},
    "sgd": {"learning_rate": 0.3},
}
WARMUP = 20  # steps
EPOCHS, LEAST_STEPS = 10, 1_000  # the text is read so often, a short one for so many steps,
LONGEST = 120.0  # but for so many seconds at most
ROUNDS, PATIENCE = 20, 5  # validations; as many without a new best end the run
SCORED = 0.015  # characters of a validation for each one trained on: so all of them take a tenth of the time
FEWEST, MOST = 2_000, 20_000
LIMITS = ("max_steps", "max_epochs", "max_minutes")
Layer = dict[str, dict[str, Any]]
_KEPT_TEXT = ("tokenizer", "records", "end_of_text", "train_fraction", "records_seed")
_KEPT_TRAINING = ("seed", "batch_size", "micro_batches", "sampling", "ema_decay")
_CHANGEABLE = {"context_length", "dropout", "attention_dropout", "mlp_dropout"}


def first_layer(
    base: RunConfig, again: bool, corpus: tuple[str, ...], replay: float, settings: Mapping[str, Any]
) -> Layer:
    """What the trained run says of its finetuning; hardware is decided anew.

    Args:
        base: The trained run.
        again: Whether that was finetuned itself, so that its learning rates are those of finetuning.
        corpus: The new text.
        replay: Share of the training ids that is the old text.
        settings: What is given: factors are trained by AdamW, and neither they nor rounded weights are averaged.

    Raises:
        ConfigError: the share is given twice.
    """
    values = base.model_dump()
    text = {name: values["text"][name] for name in _KEPT_TEXT} | {"corpus": corpus}
    if replay:
        if "replay_share" in section(settings, "text"):
            raise ConfigError("--replay and text.replay_share both say how much is replayed; keep one of them")
        earlier = {"replay": base.text.corpus, "replay_records": base.text.records, "replay_share": replay}
        text |= earlier
    optimizer = values["optimizer"] | {
        **_learning_rates(base, again, settings),
        "schedule": "cosine",
        "warmup_steps": WARMUP,
        "final_fraction": 0.1,
    }
    training = {name: values["training"][name] for name in _KEPT_TRAINING}
    if given(settings, "lora_rank", "weight_bits"):
        training["ema_decay"] = None
    training["patience"] = None if given(settings, "weight_bits") else PATIENCE  # rounding makes every loss noisy
    limits: dict[str, Any] = dict.fromkeys(LIMITS) | {"max_steps": LEAST_STEPS}
    return {
        "model": values["model"],
        "text": text,
        "optimizer": optimizer,
        "training": training | limits,
    }


def merged(layer: Layer, settings: Mapping[str, Any], base: RunConfig) -> RunConfig:
    """The settings that are given over a layer.

    Raises:
        ConfigError: one is unknown or out of range, or would make another model of the trained one.
    """
    cleared = {"training": dict.fromkeys(LIMITS)} if given(settings, *LIMITS) else {}
    config = build_config(layer, cleared, settings)
    for name, value in config.model.model_dump().items():
        if value != getattr(base.model, name) and name not in _CHANGEABLE:
            was = getattr(base.model, name)
            raise ConfigError(
                f"model.{name} = {value!r}: the trained model has {was!r}, which finetuning cannot change"
            )
    if config.text.tokenizer != base.text.tokenizer:
        was = base.text.tokenizer
        raise ConfigError(f"text.tokenizer = {config.text.tokenizer!r}: the trained model's ids are {was}; drop it")
    return config


def section(settings: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """What is given of a section; what is no section, `build_config` refuses."""
    values = settings.get(name)
    return values if isinstance(values, Mapping) else {}


def given(settings: Mapping[str, Any], *names: str) -> bool:
    """Whether one of these settings of training is among what is given."""
    training = section(settings, "training")
    return any(training.get(name) not in (None, "none") for name in names)


def suited_steps(config: RunConfig, training_ids: int, seconds_per_step: float) -> float:
    """As many steps as suit the text and two minutes, or the minutes that are given.

    Args:
        config: With `max_minutes`, if they are given; other limits are those of `first_layer`, or nearer ones.
        training_ids: Of the training split, with what is replayed.
        seconds_per_step: As measured.
    """
    training = config.training
    if training.max_minutes:
        return planned_steps(config, training_ids, seconds_per_step) or 1.0
    epoch = steps_per_epoch(training_ids, training.batch_size, config.model.context_length)
    return min(max(EPOCHS * epoch, LEAST_STEPS), LONGEST / seconds_per_step)


def length_layer(config: RunConfig, training_ids: int, planned: float) -> Layer:
    """So many steps (which the limits that are given take the place of), and how often to validate on the way."""
    training, steps = config.training, round_down(planned)
    ids = training.batch_size * config.model.context_length
    length = planned
    if training.interval_unit == "epochs":
        length /= steps_per_epoch(training_ids, training.batch_size, config.model.context_length)
    every = round_down(length / ROUNDS)
    scored = min(max(round_down(SCORED * steps * ids), FEWEST), MOST)
    intervals = {"eval_interval": every, "checkpoint_interval": every, "sample_interval": every * (ROUNDS // 4)}
    return {"training": {"max_steps": steps, "eval_characters": scored, **intervals}}


def _learning_rates(base: RunConfig, again: bool, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The optimizer and its learning rates: a share of the peaks from scratch; factors have a rate of their own."""
    own, factors, had_factors = base.optimizer, given(settings, "lora_rank"), base.training.lora_rank is not None
    name = section(settings, "optimizer").get("name", "adamw" if factors else own.name)
    share = ROUNDED_LEARNING_RATE if given(settings, "weight_bits") else LEARNING_RATE
    same = name == own.name or (factors and (own.name, name) == ("muon", "adamw"))  # which trains what is not factors
    if not same or (had_factors and not factors):
        return {"name": name} | {rate: share * peak for rate, peak in USUAL.get(str(name), {}).items()}
    if again or had_factors:
        share /= ROUNDED_LEARNING_RATE if base.training.weight_bits else LEARNING_RATE
    return {"name": name} | {rate: share * getattr(own, rate) for rate in ("learning_rate", "muon_learning_rate")}
