"""The profile of a recipe or of a run, found by its name, and measured on this machine where that is wanted."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from letterloom.accounting import SHAKESPEARE_TRAINING, SHAKESPEARE_VOCABULARY
from letterloom.config import build_config
from letterloom.errors import ConfigError, LetterloomError, nearest
from letterloom.recipes import describe_recipe, read_recipe, recipe_names
from letterloom.reporting.profile.figures import Profile
from letterloom.reporting.profile.of_run import looks_like_a_run, profile_run
from letterloom.runs.finding import find_run
from letterloom.text.encoding import open_corpus
from letterloom.training.hardware import resolve_hardware
from letterloom.training.measurement import measure

LARGEST_VOCABULARY = 1_114_112  # all of Unicode
log = logging.getLogger("letterloom")


def profile(
    name: str, corpus: Sequence[str] | None = None, vocab_size: int | None = None, measured: bool | None = None
) -> Profile:
    """Profile a recipe or a run; a recipe goes before a folder of the same name.

    Args:
        name: A recipe, a run directory, a checkpoint folder or `latest`.
        corpus: The text a recipe is to learn: gives the vocabulary, and the length of an epoch.
        vocab_size: The size of a recipe's vocabulary, in place of a text.
        measured: Whether to do a few steps here; by default for a recipe, while a run has a log of its own.

    Raises:
        ConfigError: there is no such recipe or run, or the vocabulary is given twice, or where it is known.
        DataMismatchError: the run is so damaged that nothing can be told.
    """
    if name in recipe_names():
        found = _of_recipe(name, corpus, vocab_size)
        measured = measured is not False
    else:
        path = _existing(name)
        if corpus or vocab_size is not None:
            raise ConfigError(f"{path} has a vocabulary of its own; leave out CORPUS and --vocab-size")
        found = profile_run(path)
    return _measured_here(found) if measured else found


def _of_recipe(name: str, corpus: Sequence[str] | None, vocab_size: int | None) -> Profile:
    config, training_ids, notes = build_config(read_recipe(name)), SHAKESPEARE_TRAINING, []
    if corpus and vocab_size is not None:
        raise ConfigError("the vocabulary is given twice, by CORPUS and by --vocab-size; keep one of them")
    if corpus:
        text = open_corpus(config.text.model_copy(update={"corpus": tuple(corpus)}))
        vocab_size, training_ids = text.tokenizer.vocab_size, len(text.train)
        notes.append(f"vocabulary and training split of {', '.join(corpus)}")
    else:
        if vocab_size is None:
            vocab_size = SHAKESPEARE_VOCABULARY
            notes.append("vocabulary of Tiny Shakespeare, 65 characters; name a CORPUS or --vocab-size for another")
        if config.training.max_epochs:
            notes.append(f"an epoch is the {training_ids:,} training characters of Tiny Shakespeare")
    if not 1 <= vocab_size <= LARGEST_VOCABULARY:
        raise ConfigError(f"vocab-size = {vocab_size}: should be from 1 to {LARGEST_VOCABULARY:,}")
    return Profile(name, describe_recipe(name), config, vocab_size, training_ids, notes=tuple(notes))


def _existing(name: str) -> Path:
    """The run or checkpoint of that name, damaged or not."""
    path = Path(name)
    if path.is_dir() and looks_like_a_run(path):
        return path
    if path.exists() or path.name == "latest":
        return find_run(path)
    known = recipe_names()
    raise ConfigError(
        f"{name!r} is no run or checkpoint, and no recipe{nearest(name, known)}; the recipes are {', '.join(known)}"
    )


def _measured_here(profile: Profile) -> Profile:
    """The profile with a few steps measured on this machine; where they cannot be done, a note says why."""
    if profile.vocab_size is None:
        return profile
    log.warning("measuring a few steps of %s", profile.name)
    try:
        config = resolve_hardware(profile.config)
        measured = measure(config, profile.vocab_size)
    except LetterloomError as error:
        return replace(profile, notes=(*profile.notes, f"not measured: {error}"))
    notes = (*profile.notes, measured.disturbance) if measured.disturbance else profile.notes
    return replace(profile, config=config, measured=measured, notes=notes)
