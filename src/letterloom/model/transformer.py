"""A decoder-only transformer over characters.

Shapes: B batch, T time, D model width, H heads, K = D / H head width, F MLP width, V vocabulary.

Variants are chosen in constructors, so `forward` reads the same for all of them. The names of the
parameters are the file format: what a checkpoint stores is `named_parameters()` and nothing else.
Sources: Vaswani et al. 2017 (attention, sinusoidal positions); Radford et al. 2019 (GPT-2: norm first,
scaled residual initialisation); Su et al. 2021 (rotary positions); Zhang and Sennrich 2019 (RMSNorm);
Shazeer 2020 (SwiGLU); So et al. 2021 (squared ReLU); Henry et al. 2020 (query-key norm); Gemma team 2024
(soft-capped logits).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from letterloom.config import NORM_EPS, POSITION_BASE, ModelConfig
from letterloom.model.cache import Cache, LayerCache


class CausalAttention(nn.Module):
    """Each query (B, H, t, K) attends to the keys (B, H, T, K) up to its own place, the last t of T."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = dropout

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        t, T = q.shape[2], k.shape[2]  # noqa: N806 (T of the legend)
        if t == T:  # no past
            return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)
        if t == 1:  # the newest character sees everything
            return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
        mask = torch.ones(t, T, dtype=torch.bool, device=q.device).tril(T - t)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)


class Smear(nn.Module):
    """Mix the two previous characters' embeddings into each one, by a learned weight a channel."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, config.d_model))  # row 0: one back, row 1: two back

    def forward(self, e: Tensor, cache: Cache | None) -> Tensor:  # (B, T, D)
        with_past = F.pad(e, (0, 0, 2, 0)) if cache is None else cache.extend_embeddings(e)  # (B, 2 + T, D)
        return e + self.weight[0] * with_past[:, 1:-1] + self.weight[1] * with_past[:, :-2]


class NoSmear(nn.Module):
    """In the place of `Smear`: embeddings as they are."""

    def forward(self, e: Tensor, cache: Cache | None) -> Tensor:  # noqa: ARG002 (as `Smear`)
        return e


class LearnedPositions(nn.Module):
    """Add a learned vector for each position."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(config.context_length, config.d_model))

    def forward(self, x: Tensor, start: int) -> Tensor:  # (B, T, D)
        return x + self.weight[start : start + x.shape[1]]


class SinusoidalPositions(nn.Module):
    """Add sines (even channels) and cosines (odd ones) of the position (Vaswani et al. 2017, section 3.5)."""

    table: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        angles = _angles(config.context_length, config.d_model)  # (T, ceil(D / 2))
        table = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, : config.d_model]
        self.register_buffer("table", table.to(torch.get_default_dtype()), persistent=False)

    def forward(self, x: Tensor, start: int) -> Tensor:  # (B, T, D)
        return x + self.table[start : start + x.shape[1]]


class NoPositions(nn.Module):
    """In the place of position embeddings: nothing is added."""

    def forward(self, x: Tensor, start: int) -> Tensor:  # noqa: ARG002 (as the other positions)
        return x


class Rotary(nn.Module):
    """Rotate channel i with channel i + K/2 by an angle that grows with the position (Su et al. 2021, section 3.4)."""

    cos: Tensor
    sin: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        angles = _angles(config.context_length, config.d_head)  # (T, K / 2)
        cos, sin = torch.cat([angles.cos()] * 2, dim=1), torch.cat([-angles.sin(), angles.sin()], dim=1)  # (T, K) each
        self.register_buffer("cos", cos.to(torch.get_default_dtype()), persistent=False)
        self.register_buffer("sin", sin.to(torch.get_default_dtype()), persistent=False)

    def forward(self, x: Tensor, start: int) -> Tensor:  # (B, T, ..., K)
        shape = (x.shape[1], *(1 for _ in x.shape[2:-1]), x.shape[-1])
        cos, sin = (table[start : start + x.shape[1]].view(shape).to(x.dtype) for table in (self.cos, self.sin))
        return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin)


class HeadNorm(nn.Module):
    """Divide each head's query or key by its root mean square; no weights."""

    def forward(self, x: Tensor) -> Tensor:  # (..., K)
        return F.rms_norm(x, x.shape[-1:], eps=NORM_EPS)


class SoftCap(nn.Module):
    """Squash logits smoothly into (-cap, cap)."""

    def __init__(self, cap: float) -> None:
        super().__init__()
        self.cap = cap

    def forward(self, logits: Tensor) -> Tensor:  # (B, T, V)
        return self.cap * torch.tanh(logits / self.cap)


class SquaredReLU(nn.Module):
    """relu(x) squared."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x).square()


class MLP(nn.Module):
    """Two linear layers with a non-linearity between them."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.d_model, config.d_hidden, bias=config.bias_mlp)
        self.activation = {
            "relu": nn.ReLU(),
            "gelu": nn.GELU(),
            "gelu_tanh": nn.GELU(approximate="tanh"),
            "relu_squared": SquaredReLU(),
        }[config.activation]
        self.dropout = nn.Dropout(config.mlp_dropout)
        self.down = nn.Linear(config.d_hidden, config.d_model, bias=config.bias_mlp)

    def forward(self, x: Tensor) -> Tensor:  # (B, T, D)
        return self.down(self.dropout(self.activation(self.up(x))))


class SwiGLU(nn.Module):
    """An MLP whose hidden channels are gated by the SiLU of a second projection."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate = nn.Linear(config.d_model, config.d_hidden, bias=config.bias_mlp)
        self.up = nn.Linear(config.d_model, config.d_hidden, bias=config.bias_mlp)
        self.dropout = nn.Dropout(config.mlp_dropout)
        self.down = nn.Linear(config.d_hidden, config.d_model, bias=config.bias_mlp)

    def forward(self, x: Tensor) -> Tensor:  # (B, T, D)
        return self.down(self.dropout(F.silu(self.gate(x)) * self.up(x)))


class Attention(nn.Module):
    """Causal multi-head self-attention."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.n_heads = config.n_heads
        self.qkv = nn.Linear(config.d_model, 3 * config.d_model, bias=config.bias_qkv)
        self.out = nn.Linear(config.d_model, config.d_model, bias=config.bias_attention_out)
        self.head_norm = HeadNorm() if config.qk_norm else nn.Identity()
        self.attend = CausalAttention(config.attention_dropout)

    def forward(self, x: Tensor, rotary: Rotary | NoPositions, start: int, cache: LayerCache | None) -> Tensor:
        qkv = self.qkv(x).unflatten(-1, (3, self.n_heads, -1))  # (B, T, 3, H, K)
        qk, v = qkv.split((2, 1), dim=2)
        q, k = rotary(self.head_norm(qk), start).unbind(2)  # (B, T, H, K) each
        q, k, v = (part.transpose(1, 2) for part in (q, k, v.squeeze(2)))  # (B, H, T, K) each
        if cache is not None:
            k, v = cache.extend(k, v)  # (B, H, start + T, K) each
        y = self.attend(q, k, v)  # (B, H, T, K)
        return self.out(y.transpose(1, 2).flatten(2))  # (B, T, D)


class Block(nn.Module):
    """Attention, then an MLP, each added to the residual stream."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        after = config.norm_placement == "before_and_after"
        self.attention_norm = norm(config)
        self.attention = Attention(config)
        self.attention_post_norm = norm(config) if after else nn.Identity()
        self.mlp_norm = norm(config)
        self.mlp = SwiGLU(config) if config.activation == "swiglu" else MLP(config)
        self.mlp_post_norm = norm(config) if after else nn.Identity()
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, rotary: Rotary | NoPositions, start: int, cache: LayerCache | None) -> Tensor:
        attended = self.attention(self.attention_norm(x), rotary, start, cache)
        x = x + self.dropout(self.attention_post_norm(attended))
        return x + self.dropout(self.mlp_post_norm(self.mlp(self.mlp_norm(x))))


class Transformer(nn.Module):
    """A character-level language model: ids in, logits of the next id out."""

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.config, self.vocab_size = config, vocab_size
        self.embedding = nn.Embedding(vocab_size, config.d_model)
        self.smear = Smear(config) if config.token_smear else NoSmear()
        tables = {"learned": LearnedPositions, "sinusoidal": SinusoidalPositions}
        self.position = tables[config.positions](config) if config.positions in tables else NoPositions()
        self.rotary = Rotary(config) if config.positions == "rotary" else NoPositions()
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = norm(config)
        self.head = nn.Linear(config.d_model, vocab_size, bias=config.bias_head)
        if config.tied_head:
            self.head.weight = self.embedding.weight
        self.soft_cap = nn.Identity() if config.logit_soft_cap is None else SoftCap(config.logit_soft_cap)
        initialise(self)

    def forward(self, ids: Tensor, cache: Cache | None = None) -> Tensor:
        """Logits (B, T, V) of the character after each of `ids` (B, T); a cache holds what came before them.

        Raises:
            ValueError: past and ids together are longer than the context.
        """
        start = 0 if cache is None else cache.length
        if start + ids.shape[1] > self.config.context_length:
            raise ValueError(f"{start + ids.shape[1]} positions do not fit a context of {self.config.context_length}")
        x = self.smear(self.embedding(ids), cache)  # (B, T, D)
        x = self.dropout(self.position(x, start))
        for block, layer in zip(self.blocks, cache.layers if cache else [None] * len(self.blocks), strict=True):
            x = block(x, self.rotary, start, layer)
        return self.soft_cap(self.head(self.norm(x)))


def norm(config: ModelConfig) -> nn.Module:
    """The configured normalisation over the model width."""
    if config.norm == "rmsnorm":
        return nn.RMSNorm(config.d_model, eps=NORM_EPS)
    return nn.LayerNorm(config.d_model, eps=NORM_EPS, bias=config.bias_norm)


@torch.no_grad()
def initialise(model: Transformer) -> None:
    """Draw every weight from N(0, 0.02), biases zero; residual projections and embedding as the configuration says."""
    config = model.config
    residual_std = {"normal": 0.02, "gpt2": 0.02 / math.sqrt(2 * config.n_layers), "zero_projections": 0.0}
    unit_embedding = config.initialisation == "zero_projections" and not config.tied_head
    for name, parameter in model.named_parameters():
        if name.endswith("bias") or name.startswith("smear"):
            parameter.zero_()
        elif name.endswith(("attention.out.weight", "mlp.down.weight")):
            parameter.normal_(std=residual_std[config.initialisation])
        elif "norm" in name:
            parameter.fill_(1.0)
        elif name == "embedding.weight" and unit_embedding:
            parameter.normal_()  # the scale that the norms bring everything to
        else:
            parameter.normal_(std=0.02)


def _angles(length: int, width: int) -> Tensor:
    """Position times POSITION_BASE^(-2i/width) for each pair of channels i: (length, ceil(width / 2)), float64."""
    frequencies = POSITION_BASE ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    return torch.arange(length, dtype=torch.float64).outer(frequencies)
