"""Any bytes as a model reads them: an id each, and where it has none, the code point that stands behind an escape.

A byte that is not UTF-8 is a character too, from U+DC80 on, where no text has any (PEP 383), so that any bytes are
characters, and these the same bytes again.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from letterloom.errors import DataMismatchError
from letterloom.text.tokenizers import Tokenizer

NOT_ESCAPED = -1
POINTS = 0x110000  # code points there are


@dataclass(frozen=True)
class Symbols:
    """A text of n symbols. Where a character has no id, `ids` holds the one that the model is shown in its place."""

    ids: NDArray[np.int64]  # (n,)
    points: NDArray[np.int64]  # (n,): the code point of a character without an id, else `NOT_ESCAPED`

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def escapes(self) -> int:
        """Characters that have no id."""
        return int(np.count_nonzero(self.points != NOT_ESCAPED))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self.ids.tolist(), self.points.tolist(), strict=True)


class Alphabet:
    """What the ids of a tokenizer spell, each a character or, of a byte model, a byte.

    A vocabulary of records has no line feed but an end-of-text, which is what a model of records has seen in its place.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._encoding = "latin-1" if tokenizer.kind == "bytes" else "utf-8"
        spellings = [spelling.decode(self._encoding) for spelling in tokenizer.spellings]
        if tokenizer.end_of_text_id is not None:
            spellings[tokenizer.end_of_text_id] = "" if "\n" in spellings else "\n"
        self._spellings = spellings
        self._ids = {character: i for i, character in enumerate(spellings) if character}
        self.stand_in = self._ids[tokenizer.replacement]  # what the model is shown for a character without an id

    def symbols(self, data: bytes) -> Symbols:
        """The bytes as symbols."""
        text = self._characters(data)
        strange = {character: ord(character) for character in set(text) - self._ids.keys()}
        ids = map(self._ids.get, text) if not strange else (self._ids.get(c, self.stand_in) for c in text)
        points = (strange.get(c, NOT_ESCAPED) for c in text) if strange else ()
        return Symbols(
            np.fromiter(ids, np.int64, len(text)),
            np.fromiter(points, np.int64, len(text)) if strange else np.full(len(text), NOT_ESCAPED),
        )

    def data(self, symbols: Iterable[tuple[int, int]]) -> bytes:
        """The bytes that symbols (id, point) stand for.

        Raises:
            DataMismatchError: there are no bytes that would give these symbols.
        """
        text = "".join(self._spellings[i] if point == NOT_ESCAPED else chr(point) for i, point in symbols)
        try:
            return text.encode(self._encoding, "surrogateescape")
        except UnicodeEncodeError:
            raise DataMismatchError("what was decoded is no text: the file is damaged; take another copy") from None

    def _characters(self, data: bytes) -> str:
        return data.decode(self._encoding, "surrogateescape")
