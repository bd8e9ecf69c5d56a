"""One text as bytes: a file, or bytes in memory, read in pieces and never held whole."""

import codecs
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from letterloom.errors import CorpusError, DataMismatchError

PIECE = 1 << 20  # bytes read at once: small enough for the work on a piece to stay in the processor's cache
_HEAD = 8192  # bytes in which a NUL tells a binary file, as git does it
_CONVERT = "give a UTF-8 text, made for example by `iconv -f UTF-16 -t UTF-8` (or -f LATIN1)"


@dataclass(frozen=True)
class Document:
    """One text: a file, or bytes in memory.

    `licence` is known for named corpora only; `sha256` (hex) once the document was read, which pins it from then on.
    """

    name: str
    path: Path | None = None
    content: bytes = b""
    licence: str | None = None
    sha256: str | None = None

    def chunks(self, size: int = PIECE) -> Iterator[bytes]:
        """The bytes, `size` at a time.

        Raises:
            CorpusError: the file cannot be read.
        """
        if self.path is None:
            yield from (self.content[i : i + size] for i in range(0, len(self.content), size))
            return
        with reading(self.name), self.path.open("rb", buffering=0) as file:
            while chunk := file.read(size):
                yield chunk

    def pieces(self, size: int = PIECE) -> Iterator[bytes]:
        """The bytes as valid UTF-8 without NUL, about `size` at a time, never cutting a character.

        Raises:
            CorpusError: naming the file and the offset of the first byte that is not text.
            DataMismatchError: at the end, where the bytes are not those of `sha256`.
        """
        offset, rest, digest = 0, b"", hashlib.sha256()
        for chunk in self.chunks(size):
            if self.sha256:
                digest.update(chunk)
            data = rest + chunk
            used = self._check(data, offset, final=False)
            if used:
                yield data[:used]
            offset, rest = offset + used, data[used:]
        self._check(rest, offset, final=True)
        if self.sha256 and self.sha256 != digest.hexdigest():
            raise DataMismatchError(f"{self.name} changed while it was being read; start again when it is complete")

    def _check(self, data: bytes, offset: int, *, final: bool) -> int:
        """How many of these bytes are whole characters; `offset` is where they lie in the file."""
        if (nul := data.find(0)) >= 0:
            raise CorpusError(f"{self.name} has a NUL at byte {offset + nul}: it is binary, or not UTF-8; {_CONVERT}")
        if data.isascii():
            return len(data)
        try:
            return codecs.utf_8_decode(data, "strict", final)[1]
        except UnicodeDecodeError as error:
            place = f"byte {offset + error.start} (0x{data[error.start]:02x})"
            raise CorpusError(f"{self.name} is not valid UTF-8 at {place}; {_CONVERT}") from None


def is_text(path: Path) -> bool:
    """Whether a path is a regular file that is not empty and has no NUL near its beginning."""
    with reading(printable(path)):
        if not path.is_file():
            return False
        with path.open("rb") as file:
            head = file.read(_HEAD)
    return bool(head) and 0 not in head


def printable(path: str | Path) -> str:
    """A path for messages and JSON: on one line, and also where the file system's bytes are no UTF-8."""
    text = os.fsencode(path).decode("utf-8", "replace")
    return text if text and text.isprintable() else repr(text)


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn the errors of reading `name` into a CorpusError."""
    try:
        yield
    except OSError as error:
        raise CorpusError(f"cannot read {name}: {error.strerror or error}; check it and its permissions") from None
