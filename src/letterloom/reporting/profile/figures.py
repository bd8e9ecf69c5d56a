"""The profile of a model: what it is made of and what it costs, computed, and measured beside that.

`figures` has every number with its unit in its name; `letterloom.reporting.profile.tables` sets them for readers.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from letterloom import __version__, accounting, storage
from letterloom.accounting import SHAKESPEARE_TRAINING, Measured
from letterloom.config import ModelConfig, RunConfig
from letterloom.errors import RunError
from letterloom.generation.defaults import TEMPERATURE
from letterloom.reporting.profile.differences import compare
from letterloom.reporting.profile.outline import draw, outline
from letterloom.reporting.profile.tables import tables

FILES = {"markdown": "profile.md", "page": "profile.html"}


@dataclass(frozen=True)
class Profile:
    """What a profile is made from."""

    name: str
    about: str
    config: RunConfig
    vocab_size: int | None  # None where a damaged run does not tell it
    training_ids: int | None = SHAKESPEARE_TRAINING  # of the training split: an epoch
    measured: Measured | None = None
    trained: tuple[int, float] | None = None  # steps of a run so far, and its seconds with validations and samples
    notes: tuple[str, ...] = ()  # what was chosen
    problems: tuple[str, ...] = ()  # what could not be told, and why


def figures(profile: Profile) -> dict[str, Any]:
    """Every figure of a profile by section, units in the names; None for what cannot be told.

    Memory is that of `accounting.training_memory`; "characters" are ids, so of a byte model bytes.
    """
    config, vocab_size, measured = profile.config, profile.vocab_size, profile.measured
    told: dict[str, Any] = {
        "name": profile.name,
        "about": profile.about,
        "notes": list(profile.notes),
        "problems": list(profile.problems),
        "architecture": draw(outline(config.model, vocab_size)),
        "dimensions": _dimensions(config.model, vocab_size),
        "parameters": None,
        "memory": None,
        "computation": None,
        "training": _training(profile),
        "inference": _inference(config.model),
        "measured": None,
        "comparison": None,
        "settings": config.model_dump(mode="json"),
        "letterloom": __version__,
    }
    if vocab_size is None:
        return told
    told["parameters"] = _parameters(config.model, vocab_size)
    told["memory"] = _memory(config, vocab_size)
    told["computation"] = computation = _computation(config, vocab_size)
    if measured is not None:
        told["measured"] = _measured(measured, config, computation["training_flops_per_step"])
        told["comparison"] = compare(config, vocab_size, measured)
    return told


def planned_steps(config: RunConfig, training_ids: int | None, seconds_per_step: float | None = None) -> float | None:
    """Steps after which a run ends, by the nearest of its limits; None where none can be told in steps.

    A limit in epochs needs the ids of the training split, one in minutes the seconds of a step.
    """
    from letterloom.text.batches import steps_per_epoch  # with NumPy, which a command's help does without

    training = config.training
    limits = [float(training.max_steps)] if training.max_steps else []
    if training.max_epochs and training_ids:
        epoch = steps_per_epoch(training_ids, training.batch_size, config.model.context_length)
        limits.append(training.max_epochs * epoch)
    if training.max_minutes and seconds_per_step:
        limits.append(60 * training.max_minutes / seconds_per_step)
    return min(limits, default=None)


def require_place(folder: Path) -> None:
    """Check that the files of a profile can be written into a folder, before anything is measured for them.

    Raises:
        RunError, ResourceError: they cannot.
    """
    trial = folder / ".trial"
    storage.write_file(trial, "")
    storage.remove_file(trial)
    for taken in (folder / name for name in FILES.values() if (folder / name).is_dir()):
        raise RunError(f"{taken} is a folder where the profile has a file; move it away")


def write_profile(profile: Profile, folder: Path) -> dict[str, Path]:
    """Write profile.md and profile.html; the page stands alone: no script, nothing loaded.

    Raises:
        RunError, ResourceError: the folder cannot be written, or the disk is full.
    """
    from letterloom.reporting.page import render  # with matplotlib, which a list of recipes does without

    told = figures(profile)
    content = told | {"tables": tables(told)}
    files = {kind: folder / name for kind, name in FILES.items()}
    for file in files.values():
        storage.write_file(file, render(f"profile/{file.name}.jinja", content))
    return files


def _dimensions(config: ModelConfig, vocab_size: int | None) -> dict[str, Any]:
    return {
        "vocab_size": vocab_size,
        "d_model": config.d_model,
        "context_length": config.context_length,
        "n_layers": config.n_layers,
        "n_heads": config.n_heads,
        "d_head": config.d_head,
        "d_ff": config.d_hidden,
    }


def _parameters(config: ModelConfig, vocab_size: int) -> dict[str, Any]:
    components = accounting.components(config, vocab_size)
    return {
        "total": sum(component.count for component in components),
        "components": [
            {"name": c.name, "calculation": c.calculation, "each": c.each, "copies": c.copies, "count": c.count}
            for c in components
        ],
    }


def _memory(config: RunConfig, vocab_size: int) -> dict[str, Any]:
    model = config.model
    held = accounting.training_memory(config, vocab_size)
    return _bytes(held) | {
        "training_bytes": sum(held.values()),
        "activations_by_component_bytes": accounting.training_activations(config, vocab_size),
        "activations_of_sequences": config.training.micro_batch(),
        "cache_bytes": accounting.cache_bytes(model),
        "masked_model_bytes": accounting.masked_model_bytes(model, vocab_size),
    }


def _bytes(counts: Mapping[str, int]) -> dict[str, int]:
    """Counts of bytes under names that say so."""
    return {f"{name.replace(' ', '_')}_bytes": count for name, count in counts.items()}


def _computation(config: RunConfig, vocab_size: int) -> dict[str, float]:
    model, length = config.model, config.model.context_length
    sequence = accounting.training_flops(model, vocab_size, length, config.training.lora_rank)
    return {
        "forward_flops_per_character": accounting.forward_flops(model, vocab_size, length) / length,
        "training_flops_per_character": sequence / length,
        "training_flops_per_step": config.training.batch_size * sequence,
    }


def _training(profile: Profile) -> dict[str, Any]:
    config, vocab_size = profile.config, profile.vocab_size
    seconds = profile.measured.seconds_per_step if profile.measured else None
    planned = planned_steps(config, profile.training_ids, seconds)
    steps = None if planned is None else math.ceil(planned)
    return {
        "batch_sequences": config.training.batch_size,
        "batch_characters": config.training.batch_size * config.model.context_length,
        "steps": steps,
        "seconds": None if planned is None or seconds is None else planned * seconds,
        "trained_steps": profile.trained and profile.trained[0],
        "trained_seconds": profile.trained and profile.trained[1],
        "loss": "cross-entropy",
        "loss_of_blind_guessing_nats": None if vocab_size is None else math.log(vocab_size),
    }


def _inference(config: ModelConfig) -> dict[str, Any]:
    return {
        "temperature": TEMPERATURE,
        "window_characters": config.context_length,
        "window_jump_characters": accounting.window_jump(config.context_length),
        "cache_bytes": accounting.cache_bytes(config),
    }


def _measured(measured: Measured, config: RunConfig, flops: float) -> dict[str, Any]:
    speed, peak = flops / measured.seconds_per_step, measured.product_flops_per_second
    return {
        "source": measured.source,
        "steps": measured.steps,
        "seconds_per_step": measured.seconds_per_step,
        "characters_per_second": config.training.batch_size * config.model.context_length / measured.seconds_per_step,
        "flops_per_second": speed,
        "product_flops_per_second": peak,
        "share_of_product_speed": speed / peak if peak else None,
        "memory": _bytes(measured.bytes),
        "environment": dict(measured.environment),
    }
