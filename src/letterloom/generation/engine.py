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

    def append(self, token: int) -> None:
        """Go on with a given id, the same in every text; there has to be room for it in the context."""

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


def logits_on_the_way(engine: Engine, texts: NDArray[np.int64]) -> NDArray[np.floating]:
    """Texts (B, T), T at most the context -> logits (B, n, V) after the last n ids of each, n about half of T.

    As text is drawn: what comes before is read at once, like a prompt, and the rest id by id.
    """
    return np.stack([_logits_on_the_way(engine, text) for text in texts])


def _logits_on_the_way(engine: Engine, text: NDArray[np.int64]) -> NDArray[np.floating]:
    prompt, rest = np.split(text, [(len(text) + 1) // 2])
    streams = engine.begin(prompt)
    logits = [streams.logits()]  # (1, V) each
    for token in rest:
        streams.append(int(token))
        logits.append(streams.logits())
    return np.concatenate(logits)
