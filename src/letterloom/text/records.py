"""Records: each line of a text is a document of its own (names, molecules).

All records are held in memory, a few times the size of the text; a text too large for that is for `records = "none"`.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from letterloom.text.documents import Document
from letterloom.text.tokenizers import Ids, Tokenizer, Unknown

_GROUP = 10_000  # records whose ids are written at once


@dataclass(frozen=True)
class Records:
    """The different lines of a text in shuffled order, and what was dropped on the way."""

    texts: tuple[str, ...]
    empty: int  # lines dropped
    repeated: int  # lines dropped

    @property
    def characters(self) -> str:
        """Every character in the records, once, by code point."""
        return "".join(sorted(set().union(*self.texts)))


def read_records(documents: Iterable[Document], seed: int) -> Records:
    r"""Read every line (ended by \n or \r\n) of the documents; drop empty and repeated ones; shuffle.

    The place of a record in the order is a function of the seed and its text alone, so the same records in another
    order, or in other files, are split in the same way.

    Raises:
        CorpusError: a document cannot be read, or is not text.
    """
    lines: list[str] = []
    for document in documents:
        text = b"".join(document.pieces()).decode()
        lines += (line.removesuffix("\r") for line in text.removesuffix("\n").split("\n"))
    unique = dict.fromkeys(line for line in lines if line)
    empty = sum(not line for line in lines)
    key = seed.to_bytes(8, "little")
    texts = sorted(unique, key=lambda line: hashlib.blake2b(line.encode(), key=key, digest_size=16).digest())
    return Records(tuple(texts), empty, repeated=len(lines) - empty - len(texts))


def encode_records(records: Records, tokenizer: Tokenizer, unknown: Unknown = "error") -> Iterator[Ids]:
    """The ids of all records: end-of-text first, then each record followed by end-of-text."""
    end = np.array([tokenizer.end_of_text_id], dtype=np.uint32)
    yield end
    for first in range(0, len(records.texts), _GROUP):
        group = records.texts[first : first + _GROUP]
        yield np.concatenate([ids for text in group for ids in (tokenizer.encode_utf8(text.encode(), unknown), end)])
