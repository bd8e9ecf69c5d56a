"""Parameters, floating-point operations and memory of a model in closed form, before anything is allocated.

D model width, F MLP width, T context, V vocabulary, as in `model/transformer.py`. The tests hold the counts against
the model itself: parameters against `numel`, operations against PyTorch's own counter.
"""

import os
from dataclasses import dataclass
from math import prod

from letterloom.config import ModelConfig, OptimizerConfig
from letterloom.errors import ResourceError

FLOAT32 = 4  # bytes
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Component:
    """A part of the model: what it is called, how its parameters are counted, how often it occurs."""

    name: str
    calculation: str  # of one copy, such as "64 x 192 + 192"
    each: int  # parameters of one copy
    copies: int = 1

    @property
    def count(self) -> int:
        """Parameters of all copies."""
        return self.each * self.copies


def components(config: ModelConfig, vocab_size: int) -> tuple[Component, ...]:
    """The parts that hold parameters, in the order of the model; the parts of a block occur `n_layers` times."""
    d, f, n, v = config.d_model, config.d_hidden, config.n_layers, vocab_size
    norm: list[Shape] = [(d,), (d,)] if config.bias_norm else [(d,)]
    post_norm = norm if config.norm_placement == "before_and_after" else []
    attention = _linear(d, 3 * d, config.bias_qkv) + _linear(d, d, config.bias_attention_out)
    up = _linear(d, f, config.bias_mlp) * (2 if config.activation == "swiglu" else 1)  # swiglu: gate and up
    head = _linear(d, v, config.bias_head)
    parts: list[tuple[str, list[Shape], int]] = [
        ("token embedding", [(v, d)], 1),
        ("smear", [(2, d)] if config.token_smear else [], 1),
        ("position embedding", [(config.context_length, d)] if config.positions == "learned" else [], 1),
        ("attention norm", norm, n),
        ("attention", attention, n),
        ("attention post norm", post_norm, n),
        ("MLP norm", norm, n),
        ("MLP", up + _linear(f, d, config.bias_mlp), n),
        ("MLP post norm", post_norm, n),
        ("final norm", norm, 1),
        ("head", head[1:] if config.tied_head else head, 1),
    ]
    return tuple(
        Component(name, " + ".join(" x ".join(map(str, shape)) for shape in shapes), sum(map(prod, shapes)), copies)
        for name, shapes, copies in parts
        if shapes
    )


def parameters(config: ModelConfig, vocab_size: int) -> dict[str, int]:
    """Parameters of each component (all its copies), in the order of the model; a tied head's weights count once."""
    return {component.name: component.count for component in components(config, vocab_size)}


def forward_flops(config: ModelConfig, vocab_size: int, context: int) -> int:
    """Floating-point operations of one forward pass over a sequence of `context` characters, a multiply-add as two.

    Matrix products only; norms, activations, softmax and biases are left out. Attention is counted
    over all pairs of characters, as is usual, although a causal model needs half of them.
    """
    attention = 2 * context * config.d_model  # scores, and the weighted sum of the values
    return 2 * context * (config.n_layers * (_weights(config) + attention) + config.d_model * vocab_size)


def training_flops(config: ModelConfig, vocab_size: int, context: int) -> int:
    """Operations of a forward and a backward pass over one sequence: the backward pass has each product twice.

    The optimizer's update is left out: it is small for AdamW, but not for Muon when the batch is small.
    """
    return 3 * forward_flops(config, vocab_size, context)


def training_bytes(config: ModelConfig, vocab_size: int, optimizer: OptimizerConfig) -> int:
    """Bytes of weights, gradients and optimizer state, all in float32; activations are not in it.

    AdamW keeps two values a parameter; SGD one if it has momentum; Muon one for each weight of the blocks' matrices.
    """
    total = sum(parameters(config, vocab_size).values())
    matrices = config.n_layers * _weights(config)
    state = {"adamw": 2 * total, "sgd": total if optimizer.momentum else 0, "muon": 2 * total - matrices}
    return FLOAT32 * (2 * total + state[optimizer.name])


def activation_bytes(config: ModelConfig, vocab_size: int, context: int, value_bytes: int = FLOAT32) -> int:
    """Bytes that a backward pass needs of the forward pass over one sequence, at the least.

    The input of each matrix product, the MLP's hidden layer before its activation, and the log-probabilities. What
    norms and dropout keep, and what the backward pass takes for itself, comes on top.
    """
    d, f = config.d_model, config.d_hidden
    attention = 5 * d  # its input, queries, keys, values, and the output's input
    mlp = d + (4 if config.activation == "swiglu" else 2) * f
    return value_bytes * context * (config.n_layers * (attention + mlp) + d + vocab_size)


def cache_bytes(config: ModelConfig, batch_size: int = 1, value_bytes: int = FLOAT32) -> int:
    """Bytes of the cache with which `batch_size` texts are generated: keys and values, and two embeddings."""
    keys_and_values = 2 * config.n_layers * config.context_length * config.d_model
    return value_bytes * batch_size * (keys_and_values + 2 * config.d_model)


def require_memory(
    config: ModelConfig,
    vocab_size: int,
    optimizer: OptimizerConfig | None = None,
    sequences: int = 1,
    available: int | None = None,
) -> None:
    """Refuse a model that cannot fit in the memory there is, before any of it is taken.

    What passes may still run out: only what is needed at the very least is counted, activations in half precision.

    Args:
        config: The model.
        vocab_size: Of its tokenizer.
        optimizer: What it is to be trained with; None where it is only used: then its weights have to fit.
        sequences: Sequences of a full context trained on at a time (the micro-batch).
        available: Bytes of the device's memory; by default this machine's physical memory.

    Raises:
        ResourceError: with the gigabytes needed and there, and what to reduce.
    """
    counts = parameters(config, vocab_size)
    total, largest = sum(counts.values()), max(counts, key=counts.__getitem__)
    if optimizer is None:
        purpose, state, activations = "using", FLOAT32 * total, 0
    else:
        purpose, state = "training", training_bytes(config, vocab_size, optimizer)
        activations = sequences * activation_bytes(config, vocab_size, config.context_length, value_bytes=2)
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


def _weights(config: ModelConfig) -> int:
    """Weights of one block's matrices: query, key, value and output projection, and the MLP."""
    return 4 * config.d_model**2 + (3 if config.activation == "swiglu" else 2) * config.d_model * config.d_hidden


def _linear(inputs: int, outputs: int, bias: bool) -> list[Shape]:
    return [(inputs, outputs), (outputs,)] if bias else [(inputs, outputs)]


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"
