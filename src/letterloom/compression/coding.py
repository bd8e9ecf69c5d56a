"""From symbols and their numbers to bits and back, by constriction's range coder (Martin 1979; Bamler 2022).

The coder makes whole numbers of the floats it is given, each at least 1. Given the numbers less 1 it has nothing to
round: their sum is then what it has to share out.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from letterloom.compression.quantization import Counts
from letterloom.compression.symbols import NOT_ESCAPED, POINTS
from letterloom.errors import DataMismatchError, needing

_WORD = np.dtype("<u4")
_NO_TEXT = "the compressed file is damaged (no text gives it); take another copy"


class Encoder:
    """Writes symbols (id, point), one for each call; see `compression.prediction.walk`."""

    def __init__(self, symbols: Iterator[tuple[int, int]]) -> None:
        self._symbols, self._stream = symbols, _stream()
        self._coder = self._stream.queue.RangeEncoder()

    def __call__(self, counts: Counts) -> int:
        """Write the next symbol by the numbers of all ids and the escape; its id."""
        token, point = next(self._symbols)
        escaped = point != NOT_ESCAPED
        self._coder.encode(len(counts) - 1 if escaped else token, _model(self._stream, counts))
        if escaped:
            self._coder.encode(point, self._stream.model.Uniform(POINTS))
        return token

    def payload(self) -> bytes:
        """All that was written."""
        return bytes(self._coder.get_compressed().astype(_WORD).tobytes())


class Decoder:
    """Reads what an `Encoder` wrote, a symbol for each call, into `symbols`.

    Raises:
        DataMismatchError: (when made, and when called) no encoder writes this.
    """

    def __init__(self, payload: bytes, stand_in: int) -> None:
        if len(payload) % _WORD.itemsize:
            raise DataMismatchError(_NO_TEXT)
        self._stream, self._stand_in = _stream(), stand_in
        self._coder = self._stream.queue.RangeDecoder(np.frombuffer(payload, _WORD).astype(np.uint32))
        self.symbols: list[tuple[int, int]] = []

    def __call__(self, counts: Counts) -> int:
        """Read the next symbol by the numbers of all ids and the escape; its id."""
        token, point = self._decoded(_model(self._stream, counts)), NOT_ESCAPED
        if token == len(counts) - 1:
            token, point = self._stand_in, self._decoded(self._stream.model.Uniform(POINTS))
        self.symbols.append((token, point))
        return token

    def _decoded(self, model: Any) -> int:
        try:
            return int(self._coder.decode(model))
        except AssertionError:  # constriction's word for bits that no symbol has
            raise DataMismatchError(_NO_TEXT) from None


def _model(stream: Any, counts: Counts) -> Any:
    return stream.model.Categorical((counts - 1).astype(np.float64), lazy=True)


def _stream() -> Any:
    remedy = "`pip install 'letterloom[compress]'` brings it, except on Linux on ARM, for which it has no wheel"
    with needing("compressing", ("constriction",), remedy):
        import constriction
    return constriction.stream
