"""Hold a model against the NumPy reference: the same weights, the same characters, float64 on both sides."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from letterloom.config import ModelConfig
from letterloom.errors import CorpusError, NonFiniteError
from letterloom.model.cache import Cache
from letterloom.model.transformer import Transformer
from letterloom.reference.model import forward
from letterloom.reference.options import Options
from letterloom.reference.weights import read_weights

THRESHOLD = 1e-9  # rounding stays below 1e-12; a wrong epsilon of 1e-6 in one norm does not
ENGINE_THRESHOLD = 1e-4  # of an engine, which computes in float32
MAX_CHARACTERS = 256


@dataclass(frozen=True)
class Comparison:
    """How far a model is from the reference: the largest difference of logits, as a share of the largest logit."""

    difference: float  # the whole context at once
    cached_difference: float  # one character at a time, through the cache
    characters: int
    context: int  # characters in the longest text compared
    engine_difference: float | None = None  # of the engine that draws text; None: not asked

    @property
    def agrees(self) -> bool:
        """Whether all differences are rounding and nothing else."""
        return self.model_agrees and self.engine_agrees

    @property
    def model_agrees(self) -> bool:
        """Whether the model computes what the reference does, with the cache and without."""
        return self.difference <= THRESHOLD and self.cached_difference <= THRESHOLD  # false for NaN, unlike a max

    @property
    def engine_agrees(self) -> bool:
        """Whether the engine does; true where there is none."""
        return self.engine_difference is None or self.engine_difference <= ENGINE_THRESHOLD


def verify_against_reference(
    model: Transformer,
    config: ModelConfig,
    ids: NDArray[np.integer],
    stored: Mapping[str, NDArray[Any]] | None = None,
    engine_logits: Callable[[NDArray[np.int64]], NDArray[np.floating]] | None = None,
) -> Comparison:
    """Compare the logits of `model` with those of the reference, on the first ids (at most `MAX_CHARACTERS`).

    The ids are read as texts of `context` characters, all at once and again one character at a time through the
    cache. The model itself is left as it is: its weights are copied into a new one in float64, dropout off.

    Args:
        model: in any precision, on any device.
        config: its architecture.
        ids: what is read.
        stored: the arrays of the file that the model is from, as they lie there. The reference reads them itself, so a
            wrong reading of narrower weights is found too. None: it takes the weights that the model has.
        engine_logits: what an engine makes of texts (B, T): logits (B, n, V) after the last n ids of each.

    Raises:
        CorpusError: there are no ids.
        NonFiniteError: a weight is NaN or infinite.
    """
    if len(ids) == 0:
        raise CorpusError("the text is empty: there is no character to compare the model and the reference on")
    context = min(config.context_length, MAX_CHARACTERS, len(ids))
    n_texts = min(len(ids), MAX_CHARACTERS) // context
    texts = np.asarray(ids[: n_texts * context], dtype=np.int64).reshape(n_texts, context)  # (B, T)

    weights = {name: weight.detach().cpu().double() for name, weight in model.named_parameters()}
    for name, weight in weights.items():
        if not weight.isfinite().all():
            raise NonFiniteError(f"{name} holds a weight that is NaN or infinite; use an earlier checkpoint")
    whole, cached = _logits(_in_float64(weights, config, model.vocab_size), config, torch.from_numpy(texts))

    shared = {field.name: getattr(config, field.name) for field in fields(Options) if field.name != "vocab_size"}
    options = Options(vocab_size=model.vocab_size, **shared)
    own = {name: weight.numpy() for name, weight in weights.items()}
    expected = forward(own if stored is None else read_weights(stored, options), texts, options)
    drawn = None if engine_logits is None else engine_logits(texts)
    return Comparison(
        difference=_relative_difference(whole, expected),
        cached_difference=_relative_difference(cached, expected),
        characters=texts.size,
        context=context,
        engine_difference=None if drawn is None else _relative_difference(drawn, expected[:, -drawn.shape[1] :]),
    )


def random_ids(vocab_size: int) -> NDArray[np.int64]:
    """As many ids as are compared, the same every time."""
    return np.random.default_rng(0).integers(vocab_size, size=MAX_CHARACTERS)


@torch.no_grad()
def _logits(model: Transformer, config: ModelConfig, ids: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ids (B, T) -> logits (B, T, V) of all characters at once, and of one character at a time."""
    cache = Cache(config, len(ids), torch.float64)
    steps = [model(ids[:, t : t + 1], cache) for t in range(ids.shape[1])]  # (B, 1, V) each
    return model(ids).numpy(), torch.cat(steps, dim=1).numpy()


def _in_float64(weights: dict[str, Tensor], config: ModelConfig, vocab_size: int) -> Transformer:
    """A float64 model with these weights; built new, since tables once rounded to float32 stay rounded."""
    with _default_dtype(torch.float64), torch.random.fork_rng(devices=[]):  # nobody else's random numbers are used up
        copy = Transformer(config, vocab_size)
    with torch.no_grad():
        for name, parameter in copy.named_parameters():
            parameter.copy_(weights[name])
    return copy.eval()


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _relative_difference(found: NDArray[np.floating], expected: NDArray[np.float64]) -> float:
    """The largest difference over the largest absolute value; the plain difference where all values are 0."""
    largest = float(np.abs(expected).max())
    return float(np.abs(found - expected).max()) / (largest or 1.0)
