"""Which model it is: the options, and the names and shapes of the parameters they imply.

Shapes: B batch, T time, D model width, H heads, K = D / H head width, F MLP width, V vocabulary.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from letterloom.reference.layers import Array


@dataclass(frozen=True)
class Options:
    """What distinguishes one model from another, by the names of a run's configuration.

    Dropout is not among them: the reference is the model as it is evaluated, with dropout off.
    """

    vocab_size: int  # V
    context_length: int  # the longest T
    d_model: int  # D
    n_layers: int
    n_heads: int  # H, a divisor of D
    d_ff: int | None = None  # F; None: 4 D, for swiglu 8/3 D rounded up to a multiple of 8
    positions: str = "learned"  # none, learned, sinusoidal, rotary
    norm: str = "layernorm"  # layernorm, rmsnorm
    norm_placement: str = "before"  # before, before_and_after
    activation: str = "gelu"  # relu, gelu, gelu_tanh, relu_squared, swiglu
    bias_qkv: bool = False
    bias_attention_out: bool = False
    bias_mlp: bool = False
    bias_norm: bool = False
    bias_head: bool = False
    tied_head: bool = True
    qk_norm: bool = False
    logit_soft_cap: float | None = None
    token_smear: bool = False

    @property
    def d_hidden(self) -> int:
        """F: `d_ff`, or its default."""
        if self.d_ff is not None:
            return self.d_ff
        return 8 * math.ceil(self.d_model / 3) if self.activation == "swiglu" else 4 * self.d_model


def parameter_shapes(options: Options) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every parameter, in the order of the model."""
    d, f, v = options.d_model, options.d_hidden, options.vocab_size
    shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (v, d)}

    def add_linear(name: str, outputs: int, inputs: int, bias: bool) -> None:
        shapes[f"{name}.weight"] = (outputs, inputs)
        if bias:
            shapes[f"{name}.bias"] = (outputs,)

    def add_norm(name: str) -> None:
        shapes[f"{name}.weight"] = (d,)
        if options.bias_norm:
            shapes[f"{name}.bias"] = (d,)

    if options.token_smear:
        shapes["smear.weight"] = (2, d)
    if options.positions == "learned":
        shapes["position.weight"] = (options.context_length, d)
    for block in range(options.n_layers):
        attention, mlp = f"blocks.{block}.attention", f"blocks.{block}.mlp"
        add_norm(f"{attention}_norm")
        add_linear(f"{attention}.qkv", 3 * d, d, options.bias_qkv)
        add_linear(f"{attention}.out", d, d, options.bias_attention_out)
        add_norm(f"{mlp}_norm")
        if options.activation == "swiglu":
            add_linear(f"{mlp}.gate", f, d, options.bias_mlp)
        add_linear(f"{mlp}.up", f, d, options.bias_mlp)
        add_linear(f"{mlp}.down", d, f, options.bias_mlp)
        if options.norm_placement == "before_and_after":
            add_norm(f"{attention}_post_norm")
            add_norm(f"{mlp}_post_norm")
    add_norm("norm")
    if not options.tied_head:
        shapes["head.weight"] = (v, d)
    if options.bias_head:
        shapes["head.bias"] = (v,)
    return shapes


def check_parameters(parameters: Mapping[str, Array], options: Options) -> None:
    """Refuse a set of parameters that is not exactly the one the options imply.

    Raises:
        ValueError: a parameter is missing, has another shape, or does not belong; each is named.
    """
    expected, given = parameter_shapes(options), {name: array.shape for name, array in parameters.items()}
    wrong = sorted(name for name in expected | given if expected.get(name) != given.get(name))
    if wrong:
        raise ValueError("; ".join(f"{name}: shape {given.get(name)}, not {expected.get(name)}" for name in wrong))
