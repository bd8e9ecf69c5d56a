"""What has to hold before a run may begin: enough text, memory and disk; checked before anything is written."""

import logging
import shutil

import torch

from letterloom import accounting
from letterloom.config import RunConfig
from letterloom.errors import ConfigError, CorpusError, DiskFullError
from letterloom.memory import require_memory
from letterloom.reporting.profile.figures import planned_steps
from letterloom.runs.directory import RunDirectory
from letterloom.text.batches import require_length, steps_per_epoch
from letterloom.text.encoding import Corpus, strange_characters
from letterloom.training.hardware import device_memory
from letterloom.training.ranks import Ranks

log = logging.getLogger("letterloom")


def require_all(run: RunDirectory, corpus: Corpus, config: RunConfig, ranks: Ranks) -> None:
    """Check everything that one rank can, for all; tell where intervals are so long that a kill would cost all.

    Raises:
        CorpusError: a split is too short.
        ConfigError: samples are to start with a character that the text does not have.
        ResourceError: the model does not fit the memory.
        DiskFullError: its checkpoints do not fit the disk.
    """
    training, vocab_size = config.training, corpus.tokenizer.vocab_size
    require_texts(corpus, config, config.model.context_length)
    require_prompts(corpus, config)
    sequences = training.micro_batch(ranks.world)
    device = torch.device(training.device)
    sharing = 1 if device.type == "cuda" else ranks.local_world
    memory = device_memory(device) // sharing
    require_memory(config.model, vocab_size, config.optimizer, sequences, memory, training.lora_rank)
    checkpoint = accounting.state_bytes(config.model, vocab_size, config.optimizer, training.lora_rank)
    kept = training.keep_checkpoints + 2  # the best one, and the next one before an old one goes
    needed = (kept + bool(training.lora_rank)) * checkpoint  # and what factors stand beside
    existing = next(folder for folder in (run.path, *run.path.absolute().parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise DiskFullError(
            f"{run.path}: {free:,} bytes are free and its checkpoints need about {needed:,}; free some, choose "
            "another --out, or make the model smaller"
        )
    _tell_long_intervals(config, len(corpus.train))


def require_prompts(corpus: Corpus, config: RunConfig) -> None:
    """Check that samples can begin as they are to.

    Raises:
        ConfigError: one begins with a character that the text does not have.
    """
    for prompt in config.training.sample_prompts:
        strange = strange_characters(prompt, corpus.tokenizer)
        if strange:
            first, text = f"{strange[0]!r} (U+{ord(strange[0]):04X})", ", ".join(config.text.corpus)
            raise ConfigError(
                f"training.sample_prompts: {prompt!r}: {first} does not occur in {text}; start samples with "
                "characters that do"
            )


def require_texts(corpus: Corpus, config: RunConfig, context_length: int) -> None:
    """Check that both splits are long enough.

    Raises:
        CorpusError: the training split does not fill one context, or the validation split has nothing to predict.
    """
    text = ", ".join(config.text.corpus)
    require_length(corpus.train, context_length, f"training split of {text}")
    if len(corpus.validation) < 2:
        raise CorpusError(
            f"the validation split of {text} is a single id; give more text, or a smaller text.train_fraction"
        )


def _tell_long_intervals(config: RunConfig, training_ids: int) -> None:
    """Say so where a run, whose length is known in steps, ends before its first validation (which saves too)."""
    training, steps = config.training, planned_steps(config, training_ids)
    unit, told = 1.0, f"{training.eval_interval:,} {training.interval_unit}"
    if training.interval_unit == "epochs":
        unit = steps_per_epoch(training_ids, training.batch_size, config.model.context_length)
        told += f" ({training.eval_interval * unit:,.0f} steps)"
    if steps is None or training.eval_interval * unit <= steps:
        return
    what = "validated" if training.checkpoint_interval * unit <= steps else "validated or saved"
    log.warning(
        "nothing is %s before the end: training.eval_interval is %s, and the run has %s steps",
        what,
        told,
        f"{steps:,.0f}",
    )
