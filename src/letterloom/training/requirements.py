"""What has to hold before a run may begin: enough text, memory and disk; checked before anything is written."""

import shutil

import torch

from letterloom import accounting
from letterloom.config import RunConfig
from letterloom.errors import ConfigError, CorpusError, ResourceError
from letterloom.runs.directory import RunDirectory
from letterloom.text.batches import require_length
from letterloom.text.encoding import Corpus, strange_characters
from letterloom.training.ranks import Ranks


def require_all(run: RunDirectory, corpus: Corpus, config: RunConfig, ranks: Ranks) -> None:
    """Check everything that one rank can, for all.

    Raises:
        CorpusError: a split is too short.
        ConfigError: samples are to start with a character that the text does not have.
        ResourceError: the model does not fit the memory, or its checkpoints the disk.
    """
    training, vocab_size = config.training, corpus.tokenizer.vocab_size
    text = ", ".join(config.text.corpus)
    require_length(corpus.train, config.model.context_length, f"training split of {text}")
    if len(corpus.validation) < 2:
        raise CorpusError(
            f"the validation split of {text} is a single id; give more text, or a smaller text.train_fraction"
        )
    for prompt in training.sample_prompts:
        strange = strange_characters(prompt, corpus.tokenizer)
        if strange:
            first = f"{strange[0]!r} (U+{ord(strange[0]):04X})"
            raise ConfigError(
                f"training.sample_prompts: {prompt!r}: {first} does not occur in {text}; start samples with "
                "characters that do"
            )
    sequences = training.micro_batch(ranks.world)
    device = torch.device(training.device)
    on_cuda = device.type == "cuda"
    memory = torch.cuda.mem_get_info(device)[1] if on_cuda else accounting.physical_memory() // ranks.local_world
    accounting.require_memory(config.model, vocab_size, config.optimizer, sequences, memory)
    checkpoint = accounting.state_bytes(config.model, vocab_size, config.optimizer)
    needed = (training.keep_checkpoints + 2) * checkpoint  # the best one, and the next one before an old one goes
    existing = next(folder for folder in (run.path, *run.path.absolute().parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise ResourceError(
            f"{run.path}: {free:,} bytes are free and its checkpoints need about {needed:,}; free some, choose "
            "another --out, or make the model smaller"
        )
