"""Whether a model fits the memory there is, before any of it is taken."""

import os

from letterloom.accounting import FLOAT32, least_activation_bytes, parameters, state_bytes
from letterloom.config import ModelConfig, OptimizerConfig
from letterloom.errors import ResourceError


def require_memory(
    config: ModelConfig,
    vocab_size: int,
    optimizer: OptimizerConfig | None = None,
    sequences: int = 1,
    available: int | None = None,
    rank: int | None = None,
) -> None:
    """Refuse a model that cannot fit in the memory there is, before any of it is taken.

    What passes may still run out: only what is needed at the very least is counted, activations in half precision.

    Args:
        config: The model.
        vocab_size: Of its tokenizer.
        optimizer: What it is to be trained with; None where it is only used: then its weights have to fit.
        sequences: Sequences of a full context trained on at a time (the micro-batch).
        available: Bytes of the device's memory; by default this machine's physical memory.
        rank: Of the factors that are trained in the place of matrices (LoRA), if they are.

    Raises:
        ResourceError: with the gigabytes needed and there, and what to reduce.
    """
    counts = parameters(config, vocab_size)
    total, largest = sum(counts.values()), max(counts, key=counts.__getitem__)
    if optimizer is None:
        purpose, state, activations = "using", FLOAT32 * total, 0
    else:
        purpose, state = "training", state_bytes(config, vocab_size, optimizer, rank)
        activations = least_activation_bytes(config, vocab_size, sequences)
    there = physical_memory() if available is None else available
    if state + activations <= there:
        return
    if activations > state:
        remedy = "batch_size or context_length, or raise micro_batches"
    else:
        remedy = f"d_model, n_layers or what makes its largest component, the {largest}"
    raise ResourceError(
        f"{purpose} a model of {total:,} parameters takes at least {_gigabytes(state + activations)} of memory "
        f"({_gigabytes(activations)} of it activations) and there are {_gigabytes(there)}; reduce {remedy}"
    )


def physical_memory() -> int:
    """Bytes of memory this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"
