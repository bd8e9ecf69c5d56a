"""What each character of a text costs a model, and what the model expected in its place."""

import logging
import math
import time
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from letterloom.errors import CorpusError
from letterloom.evaluation.loss import Evaluation, summary, surprisal
from letterloom.model.transformer import Transformer
from letterloom.text.encoding import strange_characters
from letterloom.text.tokenizers import Ids, Tokenizer, Unknown, unknown_character

CHOICES = 5  # likeliest ids that are kept of each place
END = "\x03"  # ASCII's "end of text", as a character in the place of an end-of-text, which has no spelling
log = logging.getLogger("letterloom")


@dataclass(frozen=True)
class ScoredText:
    """A text, character by character; of a byte model the bytes of a character are one.

    Where the model expected nothing, at the very first character of a text, all probabilities are 0.
    """

    text: str  # n characters, `END` for each end-of-text
    nats: NDArray[np.float64]  # (n,)
    choices: NDArray[np.int64]  # (n, k): likeliest ids there, first the likeliest; of a character's first byte
    probabilities: NDArray[np.float32]  # (n, k): theirs
    evaluation: Evaluation  # of the whole

    def lines(self) -> list[slice]:
        """The lines, each with the newline or end-of-text that ends it."""
        ends = [i + 1 for i, character in enumerate(self.text) if character in ("\n", END)]
        if not ends or ends[-1] < len(self.text):
            ends.append(len(self.text))
        return [slice(first, last) for first, last in pairwise([0, *ends])]

    def to_json(self) -> dict[str, Any]:
        """The sums, and what `Evaluation.to_json` tells of the whole."""
        nats = float(self.nats.sum())
        return {"nats": nats, "bits": nats / math.log(2)} | self.evaluation.to_json()


def score_text(model: Transformer, tokenizer: Tokenizer, ids: Ids, protocol: str, given: int = 0) -> ScoredText:
    """Score a text, character by character, as `evaluate` does: the sums are the same.

    Args:
        model: left as it was found.
        tokenizer: the one that made `ids`.
        ids: the text, (n,), whole characters.
        protocol: see `surprisal`.
        given: ids at the beginning, each a character, that are context and not scored.

    Raises:
        CorpusError, ConfigError, NonFiniteError: see `surprisal`.
    """
    began = time.perf_counter()
    count = min(CHOICES, model.vocab_size)
    choices = np.zeros((len(ids), count), np.int64)
    probabilities = np.zeros((len(ids), count), np.float32)

    def watch(positions: NDArray[np.intp], logits: Tensor) -> None:
        likeliest = torch.topk(logits.softmax(-1), count)
        choices[positions], probabilities[positions] = likeliest.indices.cpu(), likeliest.values.cpu()

    nats, _ = surprisal(model, ids, protocol, watch=watch)
    starts = np.flatnonzero(tokenizer.starts(ids))
    texts = np.split(ids, np.flatnonzero(ids == tokenizer.end_of_text_id))
    return ScoredText(
        text=END.join(map(tokenizer.decode, texts))[given:],
        nats=np.add.reduceat(nats, starts)[given:],
        choices=choices[starts][given:],
        probabilities=probabilities[starts][given:],
        evaluation=summary(nats[given:], ids[given:], tokenizer, protocol, model.config.context_length, began),
    )


def text_ids(text: str, tokenizer: Tokenizer, unknown: Unknown, in_records: bool) -> tuple[Ids, int]:
    """A text as a model was trained to read it, and how many characters of that come before the text itself.

    A model of records reads each line as a record: an end-of-text comes first and takes the place of each newline.
    Another one with an end-of-text finds it after the text.

    Raises:
        CorpusError: the text is empty, or nothing in it is known.
        UnknownCharacterError: a character is not in the vocabulary, and `unknown` is "error".
    """
    if not text:
        raise CorpusError("the text is empty: give one of at least 2 characters")
    require_known(text, tokenizer, unknown, "\r\n" if in_records else "")
    end = [] if tokenizer.end_of_text_id is None else [tokenizer.end_of_text_id]
    pieces = lines_of(text) if in_records else [text]
    ids = np.concatenate(
        [end * in_records, *(part for piece in pieces for part in (tokenizer.encode(piece, unknown), end))]
    )
    if not (ids != tokenizer.end_of_text_id).any():
        raise CorpusError("nothing is left of the text: none of its characters is in the vocabulary")
    return ids.astype(np.uint32), int(in_records)


def lines_of(text: str) -> list[str]:
    r"""The lines of a text, ended by \n or \r\n."""
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]


def require_known(text: str, tokenizer: Tokenizer, unknown: Unknown, apart: str = "") -> None:
    """Refuse characters outside the vocabulary, but for those `apart`; or tell what is done with them instead.

    Raises:
        UnknownCharacterError: there is one, and `unknown` is "error"; its place is named.
    """
    strange = "".join(c for c in strange_characters("".join(sorted(set(text))), tokenizer) if c not in apart)
    if not strange:
        return
    if unknown == "error":
        place = min(text.index(character) for character in strange)
        line, column = text.count("\n", 0, place) + 1, place - text.rfind("\n", 0, place)
        raise unknown_character(text[place], f"line {line}, column {column}", tokenizer)
    done = "left out" if unknown == "skip" else f"replaced by {tokenizer.replacement!r}"
    times = sum(map(text.count, strange))
    log.warning("characters outside the vocabulary were %s, %d in all: %r", done, times, strange[:50])
