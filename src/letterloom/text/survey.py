"""One reading of a source: is it text, how long is it, which characters does it have, what is worth telling."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from letterloom.errors import CorpusError
from letterloom.text.corpora import Source
from letterloom.text.documents import Document
from letterloom.text.tokenizers import code_points

_BYTE_ORDER_MARK = "\ufeff".encode()


@dataclass(frozen=True)
class Survey:
    """What one reading tells; `documents` now know their SHA-256, so that reading a changed one again fails."""

    documents: tuple[Document, ...]
    sources: tuple[dict[str, Any], ...]  # name, path, licence, bytes, characters, sha256
    characters: str  # every character there is, once, by code point
    notes: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """Identity of the text: the hash of the only document, or of the list of the documents' hashes."""
        hashes = [source["sha256"] for source in self.sources]
        return hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def survey(source: Source, *, in_records: bool = False) -> Survey:
    """Read all documents once, to the end; `in_records` only words a note.

    Raises:
        CorpusError: a document is empty, unreadable, or not text.
    """
    seen, seen_ascii = np.zeros(0x110000, dtype=np.bool_), set[int]()
    documents, sources, notes = [], [], list(source.notes)
    for document in source.documents:
        digest, size, characters, has_mark, has_returns = hashlib.sha256(), 0, 0, False, False
        for piece in document.pieces():
            has_mark |= size == 0 and piece.startswith(_BYTE_ORDER_MARK)
            has_returns |= b"\r" in piece
            points = code_points(piece)
            if piece.isascii():  # what is left after deleting the known ones is new, and mostly nothing
                seen_ascii.update(piece.translate(None, bytes(seen_ascii)))
            else:
                seen[points] = True
            digest.update(piece)
            size, characters = size + len(piece), characters + len(points)
        if not size:
            raise CorpusError(f"{document.name} is empty; give a text with something in it")
        if has_mark:
            notes.append(f"{document.name} begins with a byte order mark; it is kept, as the character U+FEFF")
        if has_returns:
            fate = "dropped at the end of a record" if in_records else "kept, as characters"
            notes.append(f"{document.name} has carriage returns (CRLF line ends); they are {fate}")
        sources.append(
            {
                "name": document.name,
                "path": None if document.path is None else str(document.path.absolute()),
                "licence": document.licence,
                "bytes": size,
                "characters": characters,
                "sha256": digest.hexdigest(),
            }
        )
        documents.append(replace(document, sha256=digest.hexdigest()))
    seen[list(seen_ascii)] = True
    found = np.flatnonzero(seen).astype("<u4").tobytes().decode("utf-32-le")
    return Survey(tuple(documents), tuple(sources), found, tuple(notes))


def first_of(characters: str, documents: Iterable[Document]) -> tuple[str, str]:
    """The first of some characters to occur in the documents, and its place there in words."""
    wanted = re.compile(f"[{re.escape(characters)}]")
    for document in documents:
        position, line, line_start = 0, 1, 0
        for piece in document.pieces():
            text = piece.decode()
            found = wanted.search(text)
            end = found.start() if found else len(text)
            line += text.count("\n", 0, end)
            if (newline := text.rfind("\n", 0, end)) >= 0:
                line_start = position + newline + 1
            position += end
            if found:
                return found[0], f"line {line}, column {position - line_start + 1} of {document.name}"
    raise ValueError("none of the characters occurs")
