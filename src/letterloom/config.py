"""Configuration is data: frozen models, validated on construction, nothing derived stored.

A run is described by a `RunConfig`. Recipes (TOML files shipped with the package), `--config FILE`
and flags are layers of one nested dict, merged left to right and validated once at the end.
"""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from letterloom.errors import ConfigError
from letterloom.sections import Section, merge_layers, validate

NO_FACTORS = "training.lora_rank adapts a trained model; use `letterloom finetune RUN CORPUS --lora {}`, or drop it"
NORM_EPS = 1e-5  # of every norm
POSITION_BASE = 10_000.0  # of the wavelengths of sinusoidal and rotary positions


class ModelConfig(Section):
    """The architecture; with the vocabulary size (from the tokenizer) it fixes every shape."""

    context_length: int = Field(64, ge=1, le=1_000_000, description="Characters the model can look back on (T).")
    d_model: int = Field(128, ge=1, le=1_000_000, description="Width of the residual stream (D).")
    n_layers: int = Field(4, ge=1, le=10_000, description="Transformer blocks.")
    n_heads: int = Field(4, ge=1, le=10_000, description="Attention heads (H); must divide d_model.")
    d_ff: int | None = Field(
        None,
        ge=1,
        le=10_000_000,
        description="MLP width; absent: 4 d_model, for swiglu 8/3 d_model rounded up to a multiple of 8.",
    )
    positions: Literal["none", "learned", "sinusoidal", "rotary"] = Field(
        "learned", description="How positions enter the model."
    )
    norm: Literal["layernorm", "rmsnorm"] = Field("layernorm", description="Normalisation.")
    norm_placement: Literal["before", "before_and_after"] = Field(
        "before", description="Normalise the input of each sublayer, or its input and its output."
    )
    activation: Literal["relu", "gelu", "gelu_tanh", "relu_squared", "swiglu"] = Field(
        "gelu", description="Non-linearity of the MLP."
    )
    bias_qkv: bool = Field(False, description="Bias in the query, key and value projections.")
    bias_attention_out: bool = Field(False, description="Bias in the attention output projection.")
    bias_mlp: bool = Field(False, description="Bias in the MLP's projections.")
    bias_norm: bool = Field(False, description="Bias in the LayerNorms (an RMSNorm has none).")
    bias_head: bool = Field(False, description="Bias in the output head.")
    tied_head: bool = Field(True, description="The head shares the embedding's weights.")
    dropout: float = Field(0.0, ge=0.0, lt=1.0, description="Dropout on embeddings and sublayer outputs.")
    attention_dropout: float = Field(0.0, ge=0.0, lt=1.0, description="Dropout on attention weights.")
    mlp_dropout: float = Field(0.0, ge=0.0, lt=1.0, description="Dropout on the MLP's hidden layer.")
    qk_norm: bool = Field(False, description="RMS-normalise queries and keys in each head.")
    logit_soft_cap: float | None = Field(None, gt=0, le=1e6, description="Cap c: logits become c * tanh(logits / c).")
    token_smear: bool = Field(
        False, description="Mix the two previous characters' embeddings in by learned per-channel weights."
    )
    initialisation: Literal["gpt2", "normal", "zero_projections"] = Field(
        "gpt2",
        description="N(0, 0.02) with residual projections scaled by 1/sqrt(2 n_layers); plain N(0, 0.02); "
        "residual projections zero and an untied embedding N(0, 1).",
    )

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.d_model % self.n_heads:
            raise ValueError(f"d_model {self.d_model} is not divisible by n_heads {self.n_heads}")
        if self.positions == "rotary" and self.d_head % 2:
            raise ValueError(f"rotary positions need an even head width; d_model / n_heads is {self.d_head}")
        if self.norm == "rmsnorm" and self.bias_norm:
            raise ValueError("bias_norm is set, but an RMSNorm has no bias; use norm = 'layernorm' or drop bias_norm")
        return self

    @property
    def d_head(self) -> int:
        """Width of one attention head (K)."""
        return self.d_model // self.n_heads

    @property
    def d_hidden(self) -> int:
        """Width of the MLP's hidden layer: `d_ff`, or the default for the activation."""
        if self.d_ff is not None:
            return self.d_ff
        if self.activation == "swiglu":  # three matrices in place of two: 8/3 keeps the parameters equal
            return -(-8 * self.d_model // 3 // 8) * 8
        return 4 * self.d_model


class TextConfig(Section):
    """Which text, how it becomes ids, and how it is split."""

    corpus: tuple[str, ...] = Field(("python-docs",), min_length=1, description="Names, files or folders, in order.")
    tokenizer: Literal["characters", "bytes"] = Field(
        "characters", description="One id a character, or one a UTF-8 byte."
    )
    records: Literal["none", "lines"] = Field("none", description="'lines': each line is a document of its own.")
    end_of_text: bool = Field(False, description="Put an end-of-text id after each document (always on with records).")
    train_fraction: float = Field(
        0.9, gt=0.0, lt=1.0, description="Share of the characters (or records) that trains; the rest validates."
    )
    train_share: float = Field(
        1.0, gt=0.0, le=1.0, description="Share of the training split that is used, from its beginning on."
    )
    records_seed: int = Field(0, ge=0, le=2**32 - 1, description="Seed of the order in which records are split.")
    replay: tuple[str, ...] = Field((), description="Texts of an earlier training, to read again beside this one.")
    replay_records: Literal["none", "lines"] = Field("none", description="As `records`, for what is replayed.")
    replay_share: float = Field(
        0.0, ge=0.0, le=0.9, description="Share of the training ids that is replayed, of the training split there."
    )

    @model_validator(mode="after")
    def _replays(self) -> Self:
        if bool(self.replay) != (self.replay_share > 0.0):
            raise ValueError("replay and replay_share need one another: give both, or neither")
        return self


class OptimizerConfig(Section):
    """The update rule and its schedule."""

    name: Literal["sgd", "adamw", "muon"] = Field(
        "adamw", description="'muon' updates hidden matrices by Muon, the rest by AdamW."
    )
    learning_rate: float = Field(
        1e-3, gt=0.0, le=100.0, description="Peak learning rate (of AdamW, where Muon is used beside it)."
    )
    muon_learning_rate: float = Field(0.02, gt=0.0, le=100.0, description="Peak learning rate of Muon's matrices.")
    lora_learning_rate: float = Field(
        0.01, gt=0.0, le=100.0, description="Peak learning rate of the factors that training.lora_rank trains."
    )
    momentum: float = Field(0.0, ge=0.0, lt=1.0, description="Momentum of SGD.")
    muon_momentum: float = Field(0.95, ge=0.0, lt=1.0, description="Nesterov momentum of Muon.")
    beta1: float = Field(0.9, ge=0.0, lt=1.0, description="AdamW: decay of the first moment.")
    beta2: float = Field(0.99, ge=0.0, lt=1.0, description="AdamW: decay of the second moment.")
    eps: float = Field(1e-8, gt=0.0, le=1.0, description="AdamW: added to the root of the second moment.")
    weight_decay: float = Field(
        0.1,
        ge=0.0,
        le=100.0,
        description="Decay of matrices, decoupled (SGD: added to the gradient); vectors are never decayed.",
    )
    schedule: Literal["constant", "linear", "cosine", "wsd"] = Field(
        "cosine", description="Shape of the decay after the warm-up."
    )
    warmup_steps: int = Field(100, ge=0, le=10**9, description="Steps of linear warm-up.")
    decay_share: float = Field(0.2, gt=0.0, le=1.0, description="wsd: last share of the run in which the rate falls.")
    final_fraction: float = Field(
        0.1, ge=0.0, le=1.0, description="Learning rate at the end, as a fraction of the peak."
    )
    gradient_clip: float | None = Field(
        1.0, gt=0.0, le=1e9, description="Largest global gradient norm; absent: no clipping."
    )


class TrainingConfig(Section):
    """How long, how much at a time, what is measured and kept on the way."""

    seed: int = Field(0, ge=0, le=2**32 - 1, description="Seed of initialisation, batches, dropout and samples.")
    batch_size: int = Field(12, ge=1, le=10**7, description="Sequences a step, over all ranks and micro-batches.")
    micro_batches: int = Field(
        1, ge=1, le=10**6, description="Parts a step's batch is computed in (gradient accumulation)."
    )
    sampling: Literal["random", "epochs"] = Field(
        "random", description="Windows drawn with replacement, or shuffled epochs."
    )
    max_steps: int | None = Field(None, ge=1, le=10**12, description="Stop after this many steps.")
    max_epochs: float | None = Field(
        None, gt=0.0, le=1e9, description="Stop after the training text was seen this many times."
    )
    max_minutes: float | None = Field(
        None, gt=0.0, le=1e7, description="End after this time: that of the whole command, scoring and report included."
    )
    interval_unit: Literal["steps", "epochs"] = Field(
        "steps", description="What the intervals between validations, checkpoints and samples count."
    )
    eval_interval: int = Field(250, ge=1, le=10**12, description="Steps or epochs between validations.")
    eval_characters: int = Field(
        20_000, ge=1, le=10**12, description="Characters of the validation split scored during training."
    )
    final_eval_characters: int | None = Field(
        None, ge=1, le=10**12, description="Characters of each split scored at the end; absent: all that are held out."
    )
    patience: int | None = Field(
        None, ge=1, le=10**9, description="Stop after this many validations without a new best."
    )
    checkpoint_interval: int = Field(250, ge=1, le=10**12, description="Steps or epochs between checkpoints.")
    keep_checkpoints: int = Field(2, ge=2, le=10**6, description="Newest checkpoints kept, beside the best.")
    sample_interval: int = Field(500, ge=1, le=10**12, description="Steps or epochs between samples.")
    sample_characters: int = Field(300, ge=1, le=10**6, description="Length of a sample.")
    sample_prompts: tuple[str, ...] = Field(("",), min_length=1, description="What the samples start with.")
    ema_decay: float | None = Field(
        None, gt=0.0, lt=1.0, description="Decay of averaged weights, which are then the ones evaluated and kept."
    )
    lora_rank: int | None = Field(
        None, ge=1, le=10**6, description="Finetuning: train factors of this rank beside the blocks' matrices (LoRA)."
    )
    weight_bits: int | None = Field(None, description="Train through rounding to 8 or 4 bits; quantizing is free then.")
    precision: Literal["auto", "mixed", "fp32", "bf16", "fp16"] = Field(
        "auto",
        description="Number format of the matrix products; 'mixed' is fp16 with a scaled loss on CUDA, elsewhere bf16.",
    )
    products: Literal["auto", "matmul", "convolution"] = Field(
        "auto",
        description="How a CPU computes fp32 products: by torch.matmul (MKL), or as 1 x 1 convolutions (oneDNN), "
        "which is faster on AMD's AVX-512 processors.",
    )
    compile: bool = Field(False, description="Compile the model; falls back, saying so, where that fails.")
    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto, cpu, mps, cuda or cuda:N.")
    threads: int | None = Field(
        None, ge=1, le=4096, description="CPU threads, over all processes of a machine; absent: one a core."
    )

    @field_validator("weight_bits")
    @classmethod
    def _whole_numbers(cls, bits: int | None) -> int | None:
        if bits not in (None, 8, 4):
            raise ValueError("should be 8 or 4")
        return bits

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.max_steps is None and self.max_epochs is None and self.max_minutes is None:
            raise ValueError("no limit is set: give max_steps, max_epochs or max_minutes")
        return self

    def micro_batch(self, processes: int = 1) -> int:
        """Sequences that go through the model at a time, in each of so many processes; of the largest part."""
        return -(-self.batch_size // (processes * self.micro_batches))


class RunConfig(Section):
    """Everything that defines a run."""

    model: ModelConfig = Field(default_factory=lambda: ModelConfig.model_validate({}))
    text: TextConfig = Field(default_factory=lambda: TextConfig.model_validate({}))
    optimizer: OptimizerConfig = Field(default_factory=lambda: OptimizerConfig.model_validate({}))
    training: TrainingConfig = Field(default_factory=lambda: TrainingConfig(max_steps=2000))

    @model_validator(mode="after")
    def _rounding_fits(self) -> Self:
        for other in ("lora_rank", "ema_decay"):
            if self.training.weight_bits and getattr(self.training, other) is not None:
                raise ValueError(f"training.weight_bits rounds the weights that are trained; drop training.{other}")
        return self

    @model_validator(mode="after")
    def _factors_fit(self) -> Self:
        rank, least = self.training.lora_rank, min(self.model.d_model, self.model.d_hidden)
        if rank is None:
            return self
        if rank > least:
            matrix = "attention.out" if least == self.model.d_model else "mlp.up"
            raise ValueError(f"training.lora_rank {rank} is more than {matrix}.weight has; give at most {least}")
        if self.optimizer.name == "muon":
            raise ValueError("optimizer.name muon moves whole matrices; with training.lora_rank use adamw")
        if self.training.ema_decay is not None:
            raise ValueError("training.ema_decay averages whole matrices; drop it, or training.lora_rank")
        return self

    def settings(self) -> dict[str, Any]:
        """Every setting by its name, such as model.n_layers, its value as JSON has it."""
        sections = self.model_dump(mode="json")
        return {f"{section}.{name}": value for section, values in sections.items() for name, value in values.items()}


def build_config(*layers: Mapping[str, Any]) -> RunConfig:
    """Merge nested dicts, later ones winning, and validate the result.

    Raises:
        ConfigError: a key is unknown (the nearest known one is named) or a value is out of range.
    """
    return validate(RunConfig, merge_layers(*layers))


def build_from_scratch(*layers: Mapping[str, Any]) -> RunConfig:
    """As `build_config`, for a run that begins from random weights.

    Raises:
        ConfigError: as there; or factors are to be trained, beside weights that nobody has trained.
    """
    merged = merge_layers(*layers)
    training = merged.get("training")
    rank = training.get("lora_rank") if isinstance(training, Mapping) else None
    if str(rank).isdecimal():  # before what is wrong with it beside the other settings
        raise ConfigError(NO_FACTORS.format(rank))
    return build_config(merged)


def to_toml(config: RunConfig) -> str:
    """The configuration as TOML, every setting told, absent ones as "none". Round-trips by `build_config`."""
    import tomlkit

    sections = config.model_dump(mode="json")
    told = {s: {k: "none" if v is None else v for k, v in values.items()} for s, values in sections.items()}
    return tomlkit.dumps(told)
