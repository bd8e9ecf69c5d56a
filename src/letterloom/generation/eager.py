"""Drawing with PyTorch: on any device, any variant of the model, operation by operation."""

import numpy as np
import torch
from numpy.typing import NDArray

from letterloom.accounting import window_jump
from letterloom.config import ModelConfig
from letterloom.generation.sampler import Sampler, choose
from letterloom.model.cache import Cache
from letterloom.model.inference import predict
from letterloom.model.transformer import Transformer
from letterloom.model.window import window_start


class EagerEngine:
    """An engine (see `generation.engine`) around a `Transformer`, which is asked without dropout and left as found.

    Args:
        model: on any device, in any precision.
        cached: compute each position once (the rule) rather than the whole window for each id (a check on the cache).
    """

    def __init__(self, model: Transformer, cached: bool = True) -> None:
        self.model, self.cached = model, cached

    @property
    def config(self) -> ModelConfig:
        """The model's architecture."""
        return self.model.config

    @property
    def vocab_size(self) -> int:
        """Ids that the model knows."""
        return self.model.vocab_size

    def begin(self, ids: NDArray[np.int64], streams: int = 1) -> "EagerStreams":
        """That many texts, all of which begin with `ids`."""
        window = ids[window_start(len(ids), self.config.context_length) :]
        return EagerStreams(self.model, self.cached, np.tile(window, (streams, 1)))


class EagerStreams:
    """Texts in the middle of being written: the window's ids (S, length), and what the cache holds of them."""

    def __init__(self, model: Transformer, cached: bool, ids: NDArray[np.int64]) -> None:
        self._model, self._cached, self._ids = model, cached, ids
        self._cache: Cache | None = None
        self._logits: NDArray[np.float64] | None = None  # of the id after the window

    def draw(self, sampler: Sampler, uniforms: NDArray[np.float64]) -> NDArray[np.int64]:
        """The next ids, (n, S); see `generation.engine`."""
        new_ids = np.empty(uniforms.shape, dtype=np.int64)
        for chosen, numbers in zip(new_ids, uniforms, strict=True):
            texts = zip(self.logits(), self._ids, numbers, strict=True)
            chosen[:] = [choose(sampler.probabilities(*text), number) for *text, number in texts]
            self._append(chosen)
        return new_ids

    def append(self, token: int) -> None:
        """Go on with a given id; see `generation.engine`."""
        self._append(np.full(len(self._ids), token))

    def logits(self) -> NDArray[np.float64]:
        """Logits (S, V) of the id that comes next."""
        if self._logits is None:
            weight = next(self._model.parameters())
            if self._cached and self._cache is None:
                self._cache = Cache(self._model.config, len(self._ids), dtype=weight.dtype, device=weight.device)
            unread = self._ids if self._cache is None else self._ids[:, self._cache.length :]
            logits = predict(self._model, torch.from_numpy(unread).to(weight.device), self._cache)
            self._logits = logits[:, -1].cpu().double().numpy()
        return self._logits

    def _append(self, chosen: NDArray[np.int64]) -> None:
        self._ids = np.concatenate([self._ids, chosen[:, None]], axis=1)
        self._logits = None
        if self._ids.shape[1] > self._model.config.context_length:  # what is remembered had another beginning
            self._ids, self._cache = self._ids[:, window_jump(self._model.config.context_length) :], None
