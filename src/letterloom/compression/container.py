"""The file that a compressed text lies in: a header, what the range coder wrote, and a checksum of both."""

import struct
import zlib
from dataclasses import astuple, dataclass
from typing import ClassVar

from letterloom.errors import DataMismatchError

MAGIC = b"\x89LTZ"  # its first byte is no text's
VERSION = 1
STORED = "stored"  # as it is: for what a model would only make longer
PROTOCOLS = (STORED, "blocks", "sliding", "dynamic")
_LAYOUT = struct.Struct("<4sBBBQd8s8s32s")
_CHECKSUM = struct.Struct("<I")
_DAMAGED = "the compressed file is damaged ({}); take another copy"


@dataclass(frozen=True)
class Header:
    """What has to be known, and to be the same, to decompress."""

    size: ClassVar[int] = _LAYOUT.size + _CHECKSUM.size  # bytes, with the checksum

    protocol: str
    escape_bits: int  # the share of an escape is 2 to the minus this
    symbols: int
    rate: float  # of protocol `dynamic`
    model: bytes  # a digest of the model, (8,)
    build: bytes  # a digest of what computes it, (8,)
    sha256: bytes  # of the original, (32,)


def pack(header: Header, payload: bytes) -> bytes:
    """The whole file."""
    protocol, *others = astuple(header)
    body = _LAYOUT.pack(MAGIC, VERSION, PROTOCOLS.index(protocol), *others) + payload
    return body + _CHECKSUM.pack(zlib.crc32(body))


def unpack(data: bytes) -> tuple[Header, bytes]:
    """The header and the payload of a file.

    Raises:
        DataMismatchError: it is something else, damaged, or of a newer format.
    """
    if not data.startswith(MAGIC):
        raise DataMismatchError("this is no file that `letterloom compress` wrote, or its beginning is damaged")
    if len(data) < Header.size:
        raise DataMismatchError(_DAMAGED.format("it ends within its header"))
    body, checksum = data[: -_CHECKSUM.size], data[-_CHECKSUM.size :]
    if _CHECKSUM.pack(zlib.crc32(body)) != checksum:
        raise DataMismatchError(_DAMAGED.format("its checksum differs"))
    _, version, protocol, *others = _LAYOUT.unpack_from(body)
    if version > VERSION or protocol >= len(PROTOCOLS):
        raise DataMismatchError(f"the compressed file has the newer format {version}; upgrade Letterloom")
    return Header(PROTOCOLS[protocol], *others), body[_LAYOUT.size :]
