"""What draws text: an engine holds a model, its streams are texts in the middle of being written."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from letterloom.config import ModelConfig
from letterloom.generation.sampler import Sampler


class Streams(Protocol):
    """S texts drawn in lockstep. Each is what it would be if it were drawn alone, in pieces of any size."""

    def draw(self, sampler: Sampler, uniforms: NDArray[np.float64]) -> NDArray[np.int64]:
        """The next n ids of each text, (n, S), one for each number of `uniforms` (n, S) in [0, 1).

        Raises:
            NonFiniteError: a logit is NaN or infinite.
        """

    def logits(self) -> NDArray[np.floating]:
        """Logits (S, V) of the id that comes next."""


class Engine(Protocol):
    """A model that can write. All engines give the same logits, to 1e-4, and the same text."""

    @property
    def config(self) -> ModelConfig:
        """The model's architecture."""

    @property
    def vocab_size(self) -> int:
        """Ids that the model knows."""

    def begin(self, ids: NDArray[np.int64], streams: int = 1) -> Streams:
        """That many texts, all of which begin with `ids`, at least one; of a long beginning the window is read."""
