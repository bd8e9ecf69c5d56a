"""The architecture of a model as a tree of its modules, under the names that a checkpoint has for them."""

from dataclasses import dataclass

from letterloom.config import ModelConfig

ACTIVATIONS = {
    "relu": "ReLU",
    "gelu": "GELU",
    "gelu_tanh": "GELU by its tanh approximation",
    "relu_squared": "ReLU, squared",
    "swiglu": "SiLU of the gate, times the other",
}


@dataclass(frozen=True)
class Module:
    """A part of the model, what it does, and its own parts; a part without parameters has its name in parentheses."""

    name: str
    about: str
    parts: tuple["Module", ...] = ()


def outline(config: ModelConfig, vocab_size: int | None) -> Module:
    """The modules of a model in the order of its data."""
    d, t = config.d_model, config.context_length
    positions = {
        "learned": [Module("position", f"adds a learned vector of {d} for each of {t} positions")],
        "sinusoidal": [Module("(position)", f"adds sines and cosines of the position, {d} wide")],
    }.get(config.positions, [])
    blocks = "blocks.0" if config.n_layers == 1 else f"blocks.0 to blocks.{config.n_layers - 1}"
    tied = ", the embedding's own weights" if config.tied_head else ""
    cap = config.logit_soft_cap
    return Module(
        "transformer",
        "decoder-only: predicts each character from those before it",
        (
            Module("embedding", f"a vector of {d} for each of the {vocab_size} in the vocabulary"),
            *([Module("smear", "mixes in the two characters before, channel by channel")] * config.token_smear),
            *positions,
            *_dropout(config.dropout),
            Module(blocks, f"{config.n_layers} alike, one after the other", _block(config)),
            Module("norm", _norm(config)),
            Module("head", f"{d} -> {vocab_size}, {_bias(config.bias_head)}{tied}: the logits"),
            *([] if cap is None else [Module("(soft cap)", f"{cap:g} tanh(logits / {cap:g})")]),
        ),
    )


def draw(module: Module) -> list[str]:
    """The tree as lines: names on the left, what they do beside them."""
    lines = _lines(module, "", "")
    width = max(len(name) for name, _ in lines)
    return [f"{name:{width}}  {about}" for name, about in lines]


def _lines(module: Module, first: str, rest: str) -> list[tuple[str, str]]:
    """Name and meaning of a module and its parts; `first` goes before its own line, `rest` before those below it."""
    lines = [(first + module.name, module.about)]
    for part in module.parts:
        last = part is module.parts[-1]
        lines += _lines(part, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "))
    return lines


def _block(config: ModelConfig) -> tuple[Module, ...]:
    after = config.norm_placement == "before_and_after"
    return (
        Module("attention_norm", _norm(config)),
        Module("attention", "each character looks at itself and those before it", _attention(config)),
        *([Module("attention_post_norm", _norm(config))] * after),
        *_dropout(config.dropout),
        Module("(+)", "added to what the block was given"),
        Module("mlp_norm", _norm(config)),
        Module(
            "mlp", f"{config.d_model} -> {config.d_hidden} -> {config.d_model}, each character by itself", _mlp(config)
        ),
        *([Module("mlp_post_norm", _norm(config))] * after),
        *_dropout(config.dropout),
        Module("(+)", "added to what came before the norm"),
    )


def _attention(config: ModelConfig) -> tuple[Module, ...]:
    d, h, k = config.d_model, config.n_heads, config.d_head
    share = config.attention_dropout
    dropout = f", dropout {share:g} on its weights" if share else ""
    heads = "1 head" if h == 1 else f"{h} heads"
    return (
        Module("qkv", f"{d} -> {3 * d}, {_bias(config.bias_qkv)}: queries, keys and values"),
        *([Module("(head norm)", "queries and keys over their root mean square")] * config.qk_norm),
        *([Module("(rotary)", "turns queries and keys by their position")] * (config.positions == "rotary")),
        Module("(heads)", f"{heads} of width {k}, causal softmax of products over sqrt({k}){dropout}"),
        Module("out", f"{d} -> {d}, {_bias(config.bias_attention_out)}"),
    )


def _mlp(config: ModelConfig) -> tuple[Module, ...]:
    d, f, bias = config.d_model, config.d_hidden, _bias(config.bias_mlp)
    return (
        *([Module("gate", f"{d} -> {f}, {bias}")] * (config.activation == "swiglu")),
        Module("up", f"{d} -> {f}, {bias}"),
        Module("(activation)", ACTIVATIONS[config.activation]),
        *_dropout(config.mlp_dropout),
        Module("down", f"{f} -> {d}, {bias}"),
    )


def _norm(config: ModelConfig) -> str:
    return "RMSNorm" if config.norm == "rmsnorm" else f"LayerNorm, {_bias(config.bias_norm)}"


def _dropout(share: float) -> list[Module]:
    return [Module("(dropout)", f"{share:g}")] if share else []


def _bias(present: bool) -> str:
    return "with bias" if present else "no bias"
