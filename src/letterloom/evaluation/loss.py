"""How surprised a model is by a text: nats per id, and per character with an interval."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from letterloom.errors import ConfigError, CorpusError, DataMismatchError, NonFiniteError
from letterloom.evaluation.interval import parts_interval, parts_of
from letterloom.model.inference import predict
from letterloom.model.transformer import Transformer
from letterloom.model.window import stride_of
from letterloom.text.tokenizers import Tokenizer

POSITIONS_PER_BATCH = 4096  # measured: larger batches are no faster on a CPU, and their logits leave its cache


@dataclass(frozen=True)
class Evaluation:
    """What a model costs a text, and how that was measured. Numbers of different protocols are not comparable.

    `limit` is what the same characters cost the process that drew them, which knows its probabilities and all that came
    before, where that is known (synthetic sources); in the mean no model is below it. What a model has to pay more than
    that is in both protocols what it did not learn; in `blocks`, where each window starts cold, it is also what the
    forgotten past would have told, of which `sliding` has little.
    """

    nats_per_character: float
    interval: tuple[float, float] | None  # 95 %, nats per character; see `parts_of` for when it is absent
    characters: int
    protocol: str
    context_length: int
    seconds: float
    limit: float | None = None  # nats per character
    learning_rate: float | None = None  # of protocol `dynamic`, see `evaluation.dynamic`
    parts: tuple[tuple[float, int], ...] = ()  # nats and characters of consecutive stretches, where there are intervals

    @property
    def bits_per_character(self) -> float:
        """Nats per character / ln 2."""
        return self.nats_per_character / math.log(2)

    def to_json(self) -> dict[str, Any]:
        """What `evaluate --json` prints; scripts rely on these keys."""
        return {
            "nats_per_character": self.nats_per_character,
            "bits_per_character": self.bits_per_character,
            "interval": self.interval and dict(zip(("low", "high"), self.interval, strict=True)),
            "characters": self.characters,
            "protocol": self.protocol,
            "context_length": self.context_length,
            "seconds": self.seconds,
            **({} if self.learning_rate is None else {"learning_rate": self.learning_rate}),
            **({} if self.limit is None else {"limit": self.limit, "gap": self.nats_per_character - self.limit}),
        }


def evaluate(
    model: Transformer,
    tokenizer: Tokenizer,
    ids: NDArray[np.integer],
    protocol: str = "blocks",
    max_characters: int | None = None,
) -> Evaluation:
    """Measure a model on a text, per character: an id that continues a character (UTF-8) adds nats but no character.

    Args:
        model: left as it was found; no random number is drawn.
        tokenizer: the one that made `ids`; an end-of-text counts as a character.
        ids: the text, (n,), at least 2.
        protocol: see `surprisal`.
        max_characters: score whole windows spread evenly over the text, about this many ids in all; absent: everything.

    Raises:
        ConfigError, CorpusError, NonFiniteError: see `surprisal`.
        DataMismatchError: the tokenizer is not the model's.
    """
    began = time.perf_counter()
    require_own(tokenizer, model)
    max_windows = None
    if max_characters is not None:
        if max_characters < 1:
            raise ConfigError(f"max_characters = {max_characters}: should be at least 1")
        max_windows = max(1, max_characters // stride_of(protocol, model.config.context_length))
    nats, positions = surprisal(model, ids, protocol, max_windows)
    return summary(nats, ids[positions], tokenizer, protocol, model.config.context_length, began)


def summary(
    nats: NDArray[np.float64],
    ids: NDArray[np.integer],
    tokenizer: Tokenizer,
    protocol: str,
    context_length: int,
    began: float,
) -> Evaluation:
    """What scored ids (n,) and their nats (n,) come to; `began` is the `time.perf_counter` at the start.

    Raises:
        CorpusError: no character begins in the ids.
    """
    begins_character = tokenizer.starts(ids).astype(np.float64)
    characters = int(begins_character.sum())
    if not characters:
        raise CorpusError(f"no character begins in the {len(ids)} ids scored; give a text of at least 2 characters")
    parts = parts_of(nats, begins_character)
    interval = parts and parts_interval(*parts)
    return Evaluation(
        nats_per_character=float(nats.sum()) / characters,
        interval=interval and (max(0.0, interval[0]), interval[1]),  # a loss is never negative
        characters=characters,
        protocol=protocol,
        context_length=context_length,
        seconds=time.perf_counter() - began,
        parts=tuple((float(nats), int(size)) for nats, size in zip(*parts, strict=True)) if parts else (),
    )


def surprisal(
    model: Transformer,
    ids: NDArray[np.integer],
    protocol: str,
    max_windows: int | None = None,
    watch: Callable[[NDArray[np.intp], Tensor], None] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """-ln p(id | what the model sees before it), each id scored once.

    `blocks`: consecutive windows of `context_length`, each starting cold, the last one shorter. `sliding`: windows a
    quarter of the context apart, of which the newest quarter is scored, so at least 3/4 of the
    context lies before every id but the first ones. The first id of the text has nothing before it and is charged
    ln V, as if drawn uniformly.

    Args:
        model: left as it was found; no random number is drawn.
        ids: the text, (n,), at least 2.
        protocol: "blocks" or "sliding".
        max_windows: score only this many windows, spread evenly from the first one on; absent: all.
        watch: is shown the positions (N,) of the next ids scored, and the logits (N, V) they are scored by.

    Returns:
        Nats per scored id, and the position of each in `ids`, ascending; n of both unless `max_windows` cuts.

    Raises:
        ConfigError: the protocol is unknown, or `max_windows` is below 1.
        CorpusError: the text has fewer than 2 ids.
        NonFiniteError: the model gives NaN or infinity.
    """
    context = model.config.context_length
    stride = stride_of(protocol, context)
    require_scorable(ids)
    if max_windows is not None and max_windows < 1:
        raise ConfigError(f"max_windows = {max_windows}: should be at least 1")

    n_windows = 1 + max(0, -(-(len(ids) - 1 - context) // stride))
    n_chosen = n_windows if max_windows is None else min(max_windows, n_windows)
    chosen = np.arange(n_chosen) * n_windows // n_chosen
    nats, positions = [np.array([math.log(model.vocab_size)])], [np.array([0])]
    for windows in _batches(chosen, n_windows - 1, max(1, POSITIONS_PER_BATCH // context)):
        starts = windows * stride
        logits, window_nats = score_windows(model, ids, starts, min(context, len(ids) - 1 - int(starts[-1])))
        targets = np.arange(1, window_nats.shape[1] + 1)  # relative to the start of the window
        scored = targets > np.where(windows == 0, 0, context - stride)[:, None]  # the rest was scored a window ago
        nats.append(window_nats[scored])
        positions.append((starts[:, None] + targets)[scored])
        if watch:
            watch(positions[-1], logits[torch.from_numpy(scored).to(logits.device)])
    result = np.concatenate(nats)
    require_finite(result)
    return result, np.concatenate(positions)


def require_finite(nats: NDArray[np.float64]) -> None:
    """Refuse scores that no sound model gives.

    Raises:
        NonFiniteError: one is NaN or infinite.
    """
    if not np.isfinite(nats).all():
        raise NonFiniteError("the model's loss on this text is not finite: its weights are damaged or have diverged")


def require_own(tokenizer: Tokenizer, model: Transformer) -> None:
    """Refuse a tokenizer that is not the model's.

    Raises:
        DataMismatchError: they do not have equally many ids.
    """
    if tokenizer.vocab_size != model.vocab_size:
        raise DataMismatchError(
            f"the tokenizer has {tokenizer.vocab_size} ids, the model {model.vocab_size}; use the model's own tokenizer"
        )


def require_scorable(ids: NDArray[np.integer]) -> None:
    """Refuse a text that has nothing to predict.

    Raises:
        CorpusError: the text has fewer than 2 ids.
    """
    if len(ids) < 2:
        raise CorpusError(f"a text of {len(ids)} ids cannot be evaluated: give one of at least 2 characters")


def _batches(chosen: NDArray[np.intp], last: int, size: int) -> Iterator[NDArray[np.intp]]:
    """Chosen windows, some at a time; the last window of the text, which may be shorter, by itself."""
    whole = chosen[chosen < last]
    for i in range(0, len(whole), size):
        yield whole[i : i + size]
    if chosen[-1] == last:
        yield chosen[-1:]


def score_windows(
    model: Transformer, ids: NDArray[np.integer], starts: NDArray[np.intp], length: int
) -> tuple[Tensor, NDArray[np.float64]]:
    """The logits (B, length, V) for the `length` ids after each start, and the nats of these ids, (B, length)."""
    windows = ids[starts[:, None] + np.arange(length + 1)].astype(np.int64)  # (B, length + 1)
    text = torch.from_numpy(windows).to(next(model.parameters()).device)
    logits = predict(model, text[:, :-1]).float()
    nats = F.cross_entropy(logits.transpose(1, 2), text[:, 1:], reduction="none")  # (B, length)
    return logits, nats.cpu().numpy().astype(np.float64)
