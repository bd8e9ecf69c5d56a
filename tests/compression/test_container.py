"""The file around what was coded."""

from dataclasses import replace

import pytest

from letterloom.compression.container import Header, pack, unpack
from letterloom.errors import DataMismatchError

HEADER = Header("sliding", 24, 12345678901, 5e-5, b"model123", b"build123", bytes(range(32)))


@pytest.mark.parametrize("protocol", ["stored", "blocks", "sliding", "dynamic"])
@pytest.mark.parametrize("payload", [b"", b"\0", bytes(1000)])
def test_what_is_packed_is_unpacked(protocol: str, payload: bytes) -> None:
    header = replace(HEADER, protocol=protocol, rate=0.1)
    data = pack(header, payload)
    assert unpack(data) == (header, payload)
    assert len(data) == Header.size + len(payload)


def test_every_truncation_is_found() -> None:
    data = pack(HEADER, b"some bits")
    for length in range(len(data)):
        with pytest.raises(DataMismatchError, match=r"damaged|no file"):
            unpack(data[:length])


def test_every_flipped_bit_is_found() -> None:
    data = pack(HEADER, b"some bits")
    for place in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        with pytest.raises(DataMismatchError, match=r"damaged|no file"):
            unpack(bytes(flipped))


@pytest.mark.parametrize("data", [b"", b"To be, or not to be", b"\x89PNG\r\n\x1a\n"])
def test_another_file_is_no_damaged_one(data: bytes) -> None:
    with pytest.raises(DataMismatchError, match="no file that `letterloom compress` wrote"):
        unpack(data)


def test_a_newer_format_asks_for_a_newer_letterloom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("letterloom.compression.container.VERSION", 2)
    data = pack(HEADER, b"")
    monkeypatch.undo()
    with pytest.raises(DataMismatchError, match="newer format 2; upgrade"):
        unpack(data)
