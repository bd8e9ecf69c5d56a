"""Text to ids and back: one id a character, or one id a UTF-8 byte.

A tokenizer is a value: frozen, equal when its vocabulary is equal, saved as JSON in every checkpoint. The optional
end-of-text stands between documents and has no spelling; its id is the last one, until the vocabulary grows.
"""
# ruff: noqa: D102 (the protocol says what the methods of every tokenizer do)

import codecs
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from letterloom.errors import DataMismatchError, UnknownCharacterError

Unknown = Literal["error", "skip", "replace"]
Ids = NDArray[np.unsignedinteger[Any]]

_FORMAT = 2  # 1, while a vocabulary has not grown
_SURROGATE = re.compile("[\ud800-\udfff]")  # half a character: possible in a str, impossible in UTF-8


class Tokenizer(Protocol):
    """What every tokenizer offers; `unknown` says what becomes of a character outside the vocabulary."""

    @property
    def kind(self) -> str:
        """`characters` or `bytes`."""

    @property
    def vocab_size(self) -> int:
        """Number of ids, end-of-text included."""

    @property
    def end_of_text_id(self) -> int | None:
        """The id between documents, where there is one."""

    @property
    def replacement(self) -> str:
        """The character that `unknown="replace"` puts in the place of an unknown one."""

    def encode(self, text: str, unknown: Unknown = "error") -> NDArray[np.int64]:
        """The ids of a text, shape (n,).

        Raises:
            UnknownCharacterError: a character is not in the vocabulary, and `unknown` is "error".
        """

    def encode_utf8(self, data: bytes, unknown: Unknown = "error") -> Ids:
        """The same for valid UTF-8 that cuts no character, as narrow ids: the fast way for large texts."""

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids; end-of-text is left out, bytes that are no UTF-8 become U+FFFD.

        Raises:
            ValueError: an id is outside the vocabulary.
        """

    @property
    def spellings(self) -> Sequence[bytes]:
        """The bytes that each id stands for; none for end-of-text."""

    def starts(self, ids: NDArray[Any]) -> NDArray[np.bool_]:
        """True where an id begins a character, or is an end-of-text; shape (n,)."""

    def to_json(self) -> str:
        """The tokenizer as JSON; `tokenizer_from_json` reads it back."""


@dataclass(frozen=True)
class CharacterTokenizer:
    """One id a character; of a new vocabulary they are in the order of code points.

    What it grows by takes the next ids, so that older ones stay, that of end-of-text too: `after_end` characters, the
    last ones, come after it.
    """

    characters: str
    end_of_text: bool = False
    after_end: int = 0
    kind: ClassVar[str] = "characters"

    def __post_init__(self) -> None:
        if not self.characters or _SURROGATE.search(self.characters):
            raise ValueError("the vocabulary is empty or has half a character (a surrogate) in it")
        if len(set(self.characters)) < len(self.characters):
            raise ValueError("the vocabulary has a character twice")
        if not 0 <= self.after_end <= len(self.characters) * self.end_of_text:
            raise ValueError(f"there cannot be {self.after_end} characters after the end-of-text")

    @property
    def vocab_size(self) -> int:
        return len(self.characters) + self.end_of_text

    @property
    def end_of_text_id(self) -> int | None:
        return len(self.characters) - self.after_end if self.end_of_text else None

    @property
    def replacement(self) -> str:
        """The first of space, U+FFFD and "?" that is in the vocabulary, else the vocabulary's first character."""
        return next((c for c in " \ufffd?" if c in self.characters), self.characters[0])

    def encode(self, text: str, unknown: Unknown = "error") -> NDArray[np.int64]:
        return self.encode_utf8(text.encode("utf-8", "surrogatepass"), unknown).astype(np.int64)

    def encode_utf8(self, data: bytes, unknown: Unknown = "error") -> Ids:
        if self._ascii_ids and data.isascii():
            ascii_ids = data.translate(self._ascii_ids)
            if self.vocab_size not in ascii_ids:
                return np.frombuffer(ascii_ids, dtype=np.uint8)
        points = code_points(data)
        ids: Ids = np.take(self._id_of_point, points, mode="clip")
        strange = ids == self.vocab_size
        if not strange.any():
            return ids
        if unknown == "skip":
            return np.asarray(ids[~strange])
        if unknown == "replace":
            ids[strange] = self._id_of_point[ord(self.replacement)]
            return ids
        raise _unknown_in(data.decode("utf-8", "surrogatepass"), int(strange.argmax()), self)

    def decode(self, ids: Iterable[int]) -> str:
        known = _checked(ids, self.vocab_size)
        if self.end_of_text:
            known = known[known != self.end_of_text_id]
        return str(self._points[known].tobytes(), "utf-32-le")

    @cached_property
    def spellings(self) -> Sequence[bytes]:
        return tuple(self.decode([token]).encode() for token in range(self.vocab_size))

    def starts(self, ids: NDArray[Any]) -> NDArray[np.bool_]:
        return np.ones(len(ids), dtype=np.bool_)

    def to_json(self) -> str:
        fields = {"kind": self.kind, "characters": self.characters, "end_of_text": self.end_of_text}
        if self.after_end or not _is_sorted(self.characters):
            return _to_json(2, **fields, after_end=self.after_end)
        return _to_json(1, **fields)

    @cached_property
    def _points(self) -> NDArray[np.uint32]:
        """Code point by id; 0 for end-of-text, which has none."""
        points = np.frombuffer(self.characters.encode("utf-32-le"), dtype="<u4")
        return points if self.end_of_text_id is None else np.insert(points, self.end_of_text_id, 0)

    @cached_property
    def _id_of_point(self) -> Ids:
        """Id by code point; `vocab_size` marks a stranger, and the last entry serves all higher code points."""
        ids = np.arange(self.vocab_size)
        spelled = ids != (-1 if self.end_of_text_id is None else self.end_of_text_id)
        table = np.full(int(self._points.max()) + 2, self.vocab_size, dtype=np.min_scalar_type(self.vocab_size))
        table[self._points[spelled]] = ids[spelled]
        return table

    @cached_property
    def _ascii_ids(self) -> bytes:
        """The same table for `bytes.translate`, several times as fast; empty where ids are wider than a byte."""
        ids = np.take(self._id_of_point, np.arange(256), mode="clip")
        return ids.tobytes() if ids.dtype == np.uint8 else b""


@dataclass(frozen=True)
class ByteTokenizer:
    """One id a byte of UTF-8: 256 ids, so no character is unknown; only half a character (a surrogate) is."""

    end_of_text: bool = False
    kind: ClassVar[str] = "bytes"
    replacement: ClassVar[str] = " "

    @property
    def vocab_size(self) -> int:
        return 256 + self.end_of_text

    @property
    def end_of_text_id(self) -> int | None:
        return 256 if self.end_of_text else None

    def encode(self, text: str, unknown: Unknown = "error") -> NDArray[np.int64]:
        if strange := _SURROGATE.search(text):
            if unknown == "error":
                raise _unknown_in(text, strange.start(), self)
            text = _SURROGATE.sub(self.replacement if unknown == "replace" else "", text)
        return self.encode_utf8(text.encode()).astype(np.int64)

    def encode_utf8(self, data: bytes, unknown: Unknown = "error") -> Ids:  # noqa: ARG002 (nothing is unknown)
        return np.frombuffer(data, dtype=np.uint8)

    def decode(self, ids: Iterable[int]) -> str:
        known = _checked(ids, self.vocab_size)
        return known[known < 256].astype(np.uint8).tobytes().decode("utf-8", "replace")

    @cached_property
    def spellings(self) -> Sequence[bytes]:
        return (*(bytes([byte]) for byte in range(256)), *[b""] * self.end_of_text)

    def starts(self, ids: NDArray[Any]) -> NDArray[np.bool_]:
        return np.asarray((ids & 0xC0) != 0x80)  # 10xxxxxx continues a character; end-of-text is 1 00000000

    def to_json(self) -> str:
        return _to_json(1, kind=self.kind, end_of_text=self.end_of_text)


class StreamDecoder:
    """Decodes ids piece by piece; holds bytes back until they make a character.

    What `feed` and `finish` return, joined, is what `decode` gives for all ids at once.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._spelling = tokenizer.spellings.__getitem__
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, ids: Iterable[int]) -> str:
        """The characters that are whole now; the bytes of one that is not are kept for the next piece."""
        return self._decoder.decode(b"".join(map(self._spelling, ids)))

    def finish(self) -> str:
        """What is left: U+FFFD for a character that was never finished, else nothing."""
        return self._decoder.decode(b"", final=True)


def tokenizer_from_json(text: str) -> Tokenizer:
    """Read what `Tokenizer.to_json` wrote.

    Raises:
        DataMismatchError: it is something else, damaged, or of a newer format.
    """
    try:
        value = json.loads(text)
        fields = {"format": int, "kind": str, "end_of_text": bool}
        if value["kind"] == "characters":
            fields["characters"] = str
            if value["format"] == 2:
                fields["after_end"] = int
        if {key: type(field) for key, field in value.items()} != fields:
            raise ValueError(f"its fields should be {', '.join(fields)}")
        if value["format"] > _FORMAT:
            raise ValueError(f"it has format {value['format']}, newer than this Letterloom reads ({_FORMAT})")
        if value["kind"] == "characters":
            if value["format"] == 1 and not _is_sorted(value["characters"]):
                raise ValueError("the vocabulary is not sorted, and has not grown")
            return CharacterTokenizer(value["characters"], value["end_of_text"], value.get("after_end", 0))
        if value["kind"] == "bytes":
            return ByteTokenizer(value["end_of_text"])
        raise ValueError(f"its kind {value['kind']!r} is neither 'characters' nor 'bytes'")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise DataMismatchError(f"the tokenizer's JSON cannot be used: {reason}; take another copy of it") from None


def ids_dtype(vocab_size: int) -> np.dtype[Any]:
    """The narrowest unsigned type that holds every id, little-endian."""
    return np.min_scalar_type(vocab_size - 1).newbyteorder("<")


def code_points(data: bytes) -> Ids:
    """The Unicode code points of UTF-8 that cuts no character, shape (characters,)."""
    if data.isascii():
        return np.frombuffer(data, dtype=np.uint8)
    text = data.decode("utf-8", "surrogatepass")
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def unknown_character(character: str, place: str, tokenizer: Tokenizer) -> UnknownCharacterError:
    """The error for a character outside the vocabulary, found at `place`."""
    return UnknownCharacterError(
        f"{character!r} (U+{ord(character):04X}) at {place} is not in the vocabulary; "
        "the option `unknown` (now: error) set to skip leaves such characters out, "
        f"set to replace puts {tokenizer.replacement!r} in their place"
    )


def _unknown_in(text: str, position: int, tokenizer: Tokenizer) -> UnknownCharacterError:
    line, column = text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position)
    return unknown_character(text[position], f"position {position} (line {line}, column {column})", tokenizer)


def _checked(ids: Iterable[int], vocab_size: int) -> NDArray[Any]:
    array = ids if isinstance(ids, np.ndarray) else np.fromiter(ids, dtype=np.int64)
    if len(array) and not 0 <= array.min() <= array.max() < vocab_size:
        raise ValueError(f"ids from {array.min()} to {array.max()}; the vocabulary has {vocab_size}")
    return array


def _is_sorted(characters: str) -> bool:
    return list(characters) == sorted(characters)


def _to_json(form: int, **fields: Any) -> str:
    return json.dumps({"format": form, **fields}, ensure_ascii=False) + "\n"
