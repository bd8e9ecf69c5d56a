"""Parameters, floating-point operations and memory of a model in closed form, before anything is allocated.

D model width, F MLP width, T context, V vocabulary, as in `model/transformer.py`. The tests hold the counts against
the model itself: parameters against `numel`, operations against PyTorch's own counter. `Measured` is what a profile
holds beside them.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

from letterloom.config import ModelConfig, OptimizerConfig, RunConfig

FLOAT32, BFLOAT16, INT64 = 4, 2, 8  # bytes
SHAKESPEARE_VOCABULARY, SHAKESPEARE_TRAINING = 65, 1_003_854  # characters of the text published figures are for
Shape = tuple[int, ...]
_HIDDEN_KEPT = {"relu": 1, "gelu": 2, "gelu_tanh": 2, "relu_squared": 2, "swiglu": 4}  # hidden layers that an MLP keeps


@dataclass(frozen=True)
class Component:
    """A part of the model: what it is called, how its parameters are counted, how often it occurs."""

    name: str
    shapes: tuple[Shape, ...]  # of one copy's tensors
    copies: int = 1

    @property
    def calculation(self) -> str:
        """How the parameters of one copy are counted, such as "64 x 192 + 192"."""
        return " + ".join(" x ".join(map(str, shape)) for shape in self.shapes)

    @property
    def each(self) -> int:
        """Parameters of one copy."""
        return sum(map(prod, self.shapes))

    @property
    def count(self) -> int:
        """Parameters of all copies."""
        return self.each * self.copies


@dataclass(frozen=True)
class Measured:
    """What real training steps took, on random characters here, or in a run by its log."""

    seconds_per_step: float  # median
    steps: int  # that it is the median of
    source: str
    environment: Mapping[str, Any]
    product_flops_per_second: float | None = None  # of a large matrix product, in the same minute
    bytes: Mapping[str, int] = field(default_factory=dict)  # what `training_memory` has, and "peak" and "process"
    disturbance: str | None = None  # what made it slower than it need be, in words


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
    return tuple(Component(name, tuple(shapes), copies) for name, shapes, copies in parts if shapes)


def parameters(config: ModelConfig, vocab_size: int) -> dict[str, int]:
    """Parameters of each component (all its copies), in the order of the model; a tied head's weights count once."""
    return {component.name: component.count for component in components(config, vocab_size)}


def trained(config: ModelConfig, vocab_size: int, rank: int | None) -> tuple[Component, ...]:
    """The parts that are trained: all, or with factors of a rank those, embedding and head (see `training.lowrank`)."""
    parts = components(config, vocab_size)
    if rank is None:
        return parts
    factors = tuple(shape for inputs, outputs in _matrices(config) for shape in ((rank, inputs), (outputs, rank)))
    whole = (part for part in parts if part.name in ("token embedding", "head"))
    return (*whole, Component("factors", factors, config.n_layers))


def forward_flops(config: ModelConfig, vocab_size: int, context: int) -> int:
    """Floating-point operations of one forward pass over a sequence of `context` characters, a multiply-add as two.

    Matrix products only; norms, activations, softmax and biases are left out. Attention is counted
    over all pairs of characters, as is usual, although a causal model needs half of them.
    """
    attention = 2 * context * config.d_model  # scores, and the weighted sum of the values
    return 2 * context * (config.n_layers * (_weights(config) + attention) + config.d_model * vocab_size)


def training_flops(config: ModelConfig, vocab_size: int, context: int, rank: int | None = None) -> int:
    """Operations of a forward and a backward pass over one sequence: the backward pass has each product twice.

    Factors of a rank (LoRA) have three products more, and the matrices beside them, which are frozen, one fewer. The
    optimizer's update is left out: it is small for AdamW, but not for Muon when the batch is small.
    """
    more = 3 * _factors(config, rank) - _weights(config) if rank else 0
    return 3 * forward_flops(config, vocab_size, context) + 2 * context * config.n_layers * more


def optimizer_bytes(config: ModelConfig, vocab_size: int, optimizer: OptimizerConfig, rank: int | None = None) -> int:
    """Bytes of an optimizer's state, in float32, of what is `trained`.

    AdamW keeps two values a parameter, and for each tensor the number of its steps; SGD keeps one a parameter if it
    has momentum; Muon one for each weight of the blocks' matrices, and leaves the rest to AdamW.
    """
    parts = trained(config, vocab_size, rank)
    total, tensors = sum(part.count for part in parts), sum(part.copies * len(part.shapes) for part in parts)
    state = {
        "adamw": 2 * total + tensors,
        "sgd": total if optimizer.momentum else 0,
        "muon": 2 * total + tensors - config.n_layers * (_weights(config) + len(_matrices(config))),
    }
    return FLOAT32 * state[optimizer.name]


def state_bytes(config: ModelConfig, vocab_size: int, optimizer: OptimizerConfig, rank: int | None = None) -> int:
    """Bytes of weights, gradients and optimizer state, all in float32; no checkpoint has more tensors than that."""
    return sum(_state(config, vocab_size, optimizer, rank).values())


def training_memory(config: RunConfig, vocab_size: int) -> dict[str, int]:
    """Bytes of each thing that training holds at a time; a run without averaged weights has none in it.

    All is float32 but the activations, which are those of one process; see `training_activations`.
    """
    state = _state(config.model, vocab_size, config.optimizer, config.training.lora_rank)
    return {
        **state,
        **({"averaged weights": state["weights"]} if config.training.ema_decay else {}),
        "activations": sum(training_activations(config, vocab_size).values()),
    }


def training_activations(config: RunConfig, vocab_size: int) -> dict[str, int]:
    """`activations` of a micro-batch in one process: in bf16 if that is the precision on a CPU, else in float32."""
    training = config.training
    bf16 = training.precision == "bf16" and training.device == "cpu"
    return activations(config.model, vocab_size, training.micro_batch(), bf16, training.lora_rank)


def activations(
    config: ModelConfig, vocab_size: int, sequences: int = 1, bf16: bool = False, rank: int | None = None
) -> dict[str, int]:
    """Bytes that autograd keeps of a forward pass for the backward pass, by component (all its copies).

    It is exact for full contexts on a CPU as `training.kernels` has them computed, not compiled; views of the
    parameters are not counted. Each product keeps its input, most functions their input or their result, dropout a
    factor for each value. With `bf16`, what products take and give has 2 bytes, and so have the copies of their weights
    that are kept; the embeddings, the residual stream and its norms have 4.
    """
    d, n, v, t = config.d_model, config.n_layers, vocab_size, config.context_length
    short = BFLOAT16 if bf16 else FLOAT32
    is_rms, after = config.norm == "rmsnorm", config.norm_placement == "before_and_after"
    norm = FLOAT32 * (d + 1 if is_rms else d + 2)  # result and scale; or input, mean and scale
    post_norm = short * (d + 1) if is_rms else short * d + 2 * FLOAT32
    dropout = (FLOAT32 if is_rms and after else short) * d if config.dropout else 0  # a norm's weights are float32
    inputs = 2 if bf16 and config.activation == "swiglu" else 1  # each of two products converts its own
    hidden = _HIDDEN_KEPT[config.activation]
    if config.mlp_dropout:
        hidden += 2 if config.activation == "relu" else 1  # only relu's result was also the input of the product
    kept = {  # for each character
        "token embedding": INT64 + (FLOAT32 * d if config.dropout else 0),
        "smear": FLOAT32 * d if config.token_smear and not rank else 0,  # for its gradient alone
        "attention norm": n * norm,
        "attention": n * (short * (d + _heads_kept(config, sequences, bf16) + d) + dropout),
        "attention post norm": n * post_norm if after else 0,
        "MLP norm": n * norm,
        "MLP": n * (short * (inputs * d + hidden * config.d_hidden) + dropout),
        "MLP post norm": n * post_norm if after else 0,
        "factors": n * short * len(_matrices(config)) * (rank or 0),  # what A makes, for B
        "final norm": norm,
        "head": short * (d + (v if config.logit_soft_cap is not None else 0)),
        "loss": FLOAT32 * v + INT64,
    }
    total = {name: sequences * t * count for name, count in kept.items() if count}
    if "smear" in total:
        total["smear"] += FLOAT32 * sequences * 2 * d  # the two characters before the first
    if bf16:
        total["weights in bf16"] = BFLOAT16 * (n * (_weights(config) + _factors(config, rank)) + d * v)
        if config.positions == "rotary":
            total["attention"] += BFLOAT16 * n * 2 * t * config.d_head  # cosines and sines
    total["loss"] += FLOAT32  # the number of targets
    return total


def least_activation_bytes(config: ModelConfig, vocab_size: int, sequences: int) -> int:
    """What no precision and no kernel does without: inputs of products, hidden layers, log-probabilities, in 2 bytes.

    What norms and dropout keep, and what the backward pass takes for itself, comes on top.
    """
    d = config.d_model
    block = 6 * d + _HIDDEN_KEPT[config.activation] * config.d_hidden  # both inputs, queries, keys, values, attended
    return 2 * sequences * config.context_length * (config.n_layers * block + d + vocab_size)


def masked_model_bytes(config: ModelConfig, vocab_size: int) -> int:
    """Bytes of a float32 model whose every head also holds a T x T mask of floats, as lectures on GPTs write it.

    Their "model size" counts those masks. This package's models have none.
    """
    masks = config.n_layers * config.n_heads * config.context_length**2
    return FLOAT32 * (sum(parameters(config, vocab_size).values()) + masks)


def cache_bytes(config: ModelConfig, batch_size: int = 1, value_bytes: int = FLOAT32) -> int:
    """Bytes of the cache with which `batch_size` texts are generated: keys and values, and two embeddings."""
    keys_and_values = 2 * config.n_layers * config.context_length * config.d_model
    return value_bytes * batch_size * (keys_and_values + 2 * config.d_model)


def window_jump(context_length: int) -> int:
    """How far the window of a text being generated moves when it is full: half of the context, at least 1 position."""
    return max(1, context_length // 2)


def usable_cores() -> int:
    """CPU cores that this process may use: fewer than there are where a batch system or a container gives it some."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _heads_kept(config: ModelConfig, sequences: int, bf16: bool) -> int:
    """Values that attention keeps for each character between its two projections, of which the first makes 3 D."""
    d, h = config.d_model, config.n_heads
    norms = 2 * d + 2 * h if config.qk_norm else 0  # result and scale
    turned = 2 * d if config.positions == "rotary" else 0
    if not (config.attention_dropout or bf16):  # PyTorch's fused kernel for CPUs, which knows no dropout
        return norms + turned + 3 * d + h  # and the log-sums of the softmax
    apart = sequences > 1 and h > 1  # then products copy their inputs head by head, and the projection can go
    queries_and_keys = 2 * d if apart or not bf16 else turned  # PyTorch's own are scaled first
    weights = 3 if config.attention_dropout else 1  # softmax, its dropout, and their product
    return norms + queries_and_keys + (d if apart else 3 * d) + weights * h * config.context_length


def _state(config: ModelConfig, vocab_size: int, optimizer: OptimizerConfig, rank: int | None) -> dict[str, int]:
    """What `state_bytes` sums up; factors are weights, too."""
    weights = sum(parameters(config, vocab_size).values()) + config.n_layers * _factors(config, rank)
    return {
        "weights": FLOAT32 * weights,
        "gradients": FLOAT32 * sum(part.count for part in trained(config, vocab_size, rank)),
        "optimizer state": optimizer_bytes(config, vocab_size, optimizer, rank),
    }


def _matrices(config: ModelConfig) -> list[Shape]:
    """Inputs and outputs of one block's matrices: query, key and value, output projection, and the MLP."""
    d, f = config.d_model, config.d_hidden
    return [(d, 3 * d), (d, d), *[(d, f)] * (2 if config.activation == "swiglu" else 1), (f, d)]


def _weights(config: ModelConfig) -> int:
    """Weights of one block's matrices."""
    return sum(map(prod, _matrices(config)))


def _factors(config: ModelConfig, rank: int | None) -> int:
    """Weights of the factors of a rank beside one block's matrices (LoRA), if there are any."""
    return (rank or 0) * sum(map(sum, _matrices(config)))


def _linear(inputs: int, outputs: int, bias: bool) -> list[Shape]:
    return [(inputs, outputs), (outputs,)] if bias else [(inputs, outputs)]
