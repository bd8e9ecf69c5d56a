"""Records by how much they surprise a model, beside records that it has never seen: outliers come first."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from letterloom.errors import CorpusError
from letterloom.evaluation.loss import POSITIONS_PER_BATCH, Evaluation, require_finite, score_windows, surprisal
from letterloom.model.transformer import Transformer
from letterloom.text.tokenizers import Ids, Tokenizer, Unknown

QUANTILES = (0.5, 0.9, 0.99)
HELD_OUT_AT_MOST = 5_000  # records, spread over all that are held out; they tell 1 in 5,000 from none
SAME = 1e-6  # bits per character: less is a difference of rounding


@dataclass(frozen=True)
class Record:
    """A record and what it costs."""

    line: int  # from 1
    text: str
    characters: int  # scored: its end is one of them
    nats: float
    as_surprising: int  # held-out records that are at least so
    held_out: int  # records that it is held against

    @property
    def held_out_share(self) -> float | None:
        """How likely a record like the held-out ones is at least as surprising: a p-value; None without any of them.

        The record counts as one of them (Phipson and Smyth 2010), so that a rare one is not impossible.
        """
        return (1 + self.as_surprising) / (1 + self.held_out) if self.held_out else None

    @property
    def bits_per_character(self) -> float:
        """Nats / ln 2 / characters."""
        return self.nats / math.log(2) / self.characters

    def to_json(self) -> dict[str, Any]:
        """What `score --records --json` has of it."""
        return {
            "line": self.line,
            "text": self.text,
            "characters": self.characters,
            "nats": self.nats,
            "bits_per_character": self.bits_per_character,
            "as_surprising": self.as_surprising,
            "held_out_share": self.held_out_share,
        }


@dataclass(frozen=True)
class Ranking:
    """Records, the most surprising first, and the held-out ones they are held against."""

    records: tuple[Record, ...]
    held_out: NDArray[np.float64]  # bits per character, ascending
    evaluation: Evaluation  # of all records; records are no stretch of text, so there is no interval

    def quantiles(self) -> dict[str, float]:
        """Bits per character that so many of the held-out records do not exceed; empty without any."""
        if not len(self.held_out):
            return {}
        return {f"{share:g}": float(np.quantile(self.held_out, share)) for share in QUANTILES}

    def to_json(self) -> dict[str, Any]:
        """The sums, what `Evaluation.to_json` tells of all, and what they are held against; not each record."""
        nats = sum(record.nats for record in self.records)
        held_out = {"records": len(self.held_out), "quantiles": self.quantiles()}
        return {"nats": nats, "bits": nats / math.log(2)} | self.evaluation.to_json() | {"held_out": held_out}


def rank_records(
    model: Transformer,
    tokenizer: Tokenizer,
    lines: Sequence[str],
    held_out: Sequence[str],
    protocol: str,
    unknown: Unknown = "error",
) -> Ranking:
    """Score each line as a record by itself, and rank them by bits per character.

    Each is held against the held-out records by a p-value (`Record.held_out_share`): of records like those, one in a
    hundred at most has 1 % or less. What other lines there are makes no difference to it.

    Args:
        model: left as it was found.
        tokenizer: the model's.
        lines: the records; an empty one is passed over.
        held_out: records of the same kind that the model has not seen; of more than 5,000, so many are taken.
        protocol: for records longer than the context; see `surprisal`.
        unknown: what to do with characters outside the vocabulary.

    Raises:
        CorpusError: every line is empty.
        UnknownCharacterError: a character is not in the vocabulary, and `unknown` is "error".
        NonFiniteError: the model gives NaN or infinity.
    """
    began = time.perf_counter()
    kept = [(number, line) for number, line in enumerate(lines, start=1) if line]
    if not kept:
        raise CorpusError("there is no record to score, only empty lines; give a text with something in its lines")
    known = [held_out[i * len(held_out) // n] for n in [min(len(held_out), HELD_OUT_AT_MOST)] for i in range(n)]
    sequences = [record_ids(line, tokenizer, unknown) for line in [*known, *(line for _, line in kept)]]
    nats = _costs(model, sequences, protocol)
    characters = np.array([int(tokenizer.starts(ids[given:]).sum()) for ids, given in sequences])
    bits = nats / math.log(2) / np.maximum(characters, 1)
    expected = np.sort(bits[: len(known)])
    as_surprising = len(known) - np.searchsorted(expected, bits - SAME)
    found = [
        Record(number, line, int(characters[i]), float(nats[i]), int(as_surprising[i]), len(known))
        for i, (number, line) in enumerate(kept, start=len(known))
        if characters[i]
    ]
    if not found:
        raise CorpusError("nothing is left of the records: none of their characters is in the vocabulary")
    total = sum(record.characters for record in found)
    evaluation = Evaluation(
        nats_per_character=sum(record.nats for record in found) / total,
        interval=None,
        characters=total,
        protocol=protocol,
        context_length=model.config.context_length,
        seconds=time.perf_counter() - began,
    )
    return Ranking(tuple(sorted(found, key=lambda record: -record.bits_per_character)), expected, evaluation)


def record_ids(text: str, tokenizer: Tokenizer, unknown: Unknown = "error") -> tuple[Ids, int]:
    """A record between the marks it has in a text, and how many of these ids come before it: 1, or 0 without a mark.

    The mark is the end-of-text, else the newline; a model that has neither begins and ends a record unmarked.
    """
    end = tokenizer.end_of_text_id
    mark = tokenizer.encode("\n", "skip") if end is None else np.array([end])
    return np.concatenate([mark, tokenizer.encode(text, unknown), mark]).astype(np.uint32), len(mark)


def _costs(model: Transformer, sequences: Sequence[tuple[Ids, int]], protocol: str) -> NDArray[np.float64]:
    """Nats of each sequence, its given ids free; those of similar length are scored together."""
    sizes = np.array([len(ids) for ids, _ in sequences])
    nats = np.array([0.0 if given else math.log(model.vocab_size) for _, given in sequences])
    for group in _groups(sizes):
        width = int(sizes[group[-1]])
        if width > model.config.context_length + 1:
            for i in group[sizes[group] > 1]:
                nats[i] += surprisal(model, sequences[i][0], protocol)[0][1:].sum()
        elif width > 1:
            filled = np.zeros((len(group), width), np.int64)  # what stands after a record does not change its cost
            for row, i in enumerate(group):
                filled[row, : sizes[i]] = sequences[i][0]
            _, costs = score_windows(model, filled.ravel(), np.arange(len(group)) * width, width - 1)
            nats[group] += np.where(np.arange(1, width) < sizes[group][:, None], costs, 0.0).sum(axis=1)
    require_finite(nats)
    return nats


def _groups(sizes: NDArray[np.int64]) -> Iterator[NDArray[np.intp]]:
    """Sequences by size, as many at a time as make a batch."""
    by_size = np.argsort(sizes, kind="stable")
    while len(by_size):
        some = sizes[by_size[:POSITIONS_PER_BATCH]]  # no more of them can fit
        fits = np.arange(1, len(some) + 1) * some <= POSITIONS_PER_BATCH
        count = max(1, int(fits.sum()))
        yield by_size[:count]
        by_size = by_size[count:]
