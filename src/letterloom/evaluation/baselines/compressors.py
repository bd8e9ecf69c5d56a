"""Compressors of files as models: what a text adds to the compressed training text in front of it.

They see bytes, UTF-8; an end-of-text is the byte 0xFF, which is in no UTF-8, so that all of it could be read back.
Each has its strongest setting, and memory for the whole training text where its format allows that: bzip2 works on
blocks of 900,000 bytes, and zlib looks back on 32,768.
"""

import math
import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module, metadata
from typing import Any

import numpy as np

from letterloom.text.tokenizers import Ids, Tokenizer

PPMD_ORDER = 6
PPMD_MEMORY = 256 << 20  # bytes, of which it takes what it needs; were they too few, it would begin anew
CHUNK = 8_192  # characters of the text after which a static PPMd has forgotten them again
MOST_CHUNKS = 16  # before each of them the training text is read anew
_END_OF_TEXT = b"\xff"


@dataclass(frozen=True)
class Compressor:
    """A compressor, and the Python package it comes with."""

    name: str
    package: str
    settings: str
    compress: Callable[[Any, bytes], bytes]  # takes the package, so that it is imported when it is used

    def is_installed(self) -> bool:
        """Whether its package is there."""
        try:
            import_module(self.package)
        except ImportError:
            return False
        return True

    def version(self) -> str | None:
        """That of its package, or of the Python it comes with; None where it is missing."""
        try:
            return metadata.version(self.package) if self.is_installed() else None
        except metadata.PackageNotFoundError:
            return platform.python_version()

    def nats(self, after: bytes, texts: Iterable[bytes]) -> float:
        """Nats that some texts cost in all, each one directly after the same other, measured in whole bytes."""
        package = import_module(self.package)
        alone = len(self.compress(package, after))
        added = [len(self.compress(package, after + text)) - alone for text in texts]
        return sum(max(0, size) for size in added) * 8 * math.log(2)  # a byte more to copy may save another one


PPMD = Compressor(
    "PPMd",
    "pyppmd",
    f"variant I, order {PPMD_ORDER}",
    lambda pyppmd, data: pyppmd.compress(data, max_order=PPMD_ORDER, mem_size=PPMD_MEMORY),
)
COMPRESSORS = (
    Compressor("zlib", "zlib", "level 9, looks back on 32 KiB", lambda zlib, data: zlib.compress(data, 9)),
    Compressor("bz2", "bz2", "level 9, blocks of 900 kB", lambda bz2, data: bz2.compress(data, 9)),
    Compressor("xz", "lzma", "preset 9e", lambda lzma, data: lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)),
    Compressor(
        "zstd", "zstandard", "level 22", lambda zstandard, data: zstandard.ZstdCompressor(level=22).compress(data)
    ),
    Compressor(
        "brotli",
        "brotli",
        "quality 11, looks back on 16 MiB; knows words of English and HTML",
        lambda brotli, data: brotli.compress(data, quality=11, lgwin=24),
    ),
    PPMD,
)


def spelled(ids: Ids, tokenizer: Tokenizer) -> bytes:
    """The bytes that compressors see."""
    spelling = list(tokenizer.spellings)
    if tokenizer.end_of_text_id is not None:
        spelling[tokenizer.end_of_text_id] = _END_OF_TEXT
    return b"".join(map(spelling.__getitem__, ids.tolist()))


def chunks(validation: Ids, tokenizer: Tokenizer) -> list[Ids]:
    """Chunks of `CHUNK` characters, the last one shorter: all, or `MOST_CHUNKS` spread evenly over the text."""
    starts = np.flatnonzero(tokenizer.starts(validation))[::CHUNK]
    pieces = np.split(validation, starts[1:])
    chosen = min(MOST_CHUNKS, len(pieces))
    return [pieces[i * len(pieces) // chosen] for i in range(chosen)]
