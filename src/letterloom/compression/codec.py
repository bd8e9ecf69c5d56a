"""Any bytes in fewer by what a model expects, and back: arithmetic coding (Witten, Neal and Cleary 1987).

A character costs its surprisal in bits. So the size of the file proves what `evaluate` says of the same text.
"""

import hashlib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from letterloom.compression.coding import Decoder, Encoder
from letterloom.compression.container import STORED, Header, pack, unpack
from letterloom.compression.fingerprint import build_digest, model_digest
from letterloom.compression.prediction import Parameters, walk
from letterloom.compression.quantization import BITS, TOTAL, Counts
from letterloom.compression.symbols import Alphabet
from letterloom.config import ModelConfig
from letterloom.errors import DataMismatchError
from letterloom.text.tokenizers import Tokenizer

if TYPE_CHECKING:
    from letterloom.evaluation.dynamic import DynamicModel
    from letterloom.model.transformer import Transformer

Watch = Callable[[int, int], None]  # is told how many symbols are done, and of how many


@dataclass(frozen=True)
class Codec:
    """A model that compresses.

    Args:
        parameters: the model's, by name, float32.
        config: its architecture.
        tokenizer: its own.
        network: gives the same model on the CPU, to learn by; asked for protocol "dynamic" alone.
    """

    parameters: Parameters
    config: ModelConfig
    tokenizer: Tokenizer
    network: "Callable[[], Transformer]"

    def compress(self, data: bytes, protocol: str = "blocks", rate: float = 0.0, watch: Watch | None = None) -> bytes:
        """The bytes as a file from which `decompress` makes them again.

        Args:
            data: text in UTF-8, or anything else of any length: a character that is not in the vocabulary, or a byte
                that is not UTF-8, costs about 3 bytes; what would become longer is stored as it is.
            protocol: "blocks", "sliding" or "dynamic", as the model is evaluated.
            rate: of "dynamic"; see `letterloom.evaluation.dynamic`.
            watch: see `Watch`.

        Raises:
            ConfigError: the protocol is unknown.
            NonFiniteError: the model gives NaN or infinity.
            ResourceError: the range coder is not installed.
        """
        symbols = Alphabet(self.tokenizer).symbols(data)
        n, escapes = len(symbols), symbols.escapes
        header = Header(
            protocol=protocol,
            escape_bits=escape_bits(n, escapes),
            symbols=n,
            rate=rate,
            model=model_digest(self.parameters, self.config, self.tokenizer),
            build=self._build(protocol, rate),
            sha256=hashlib.sha256(data).digest(),
        )
        encoder = Encoder(iter(symbols))
        self._walk(header, encoder, watch)
        payload = encoder.payload()
        if len(payload) >= len(data):
            return pack(replace(header, protocol=STORED), data)
        return pack(header, payload)

    def decompress(self, file: bytes, watch: Watch | None = None) -> bytes:
        """What `compress` was given; the same model is needed, on the same machine with the same packages.

        Raises:
            DataMismatchError: the file is damaged, something else, or of another model or build.
            ResourceError: the range coder is not installed.
        """
        header, payload = unpack(file)
        data = payload
        if header.protocol != STORED:
            if header.model != model_digest(self.parameters, self.config, self.tokenizer):
                raise DataMismatchError("the file was compressed with another model; name the run that compressed it")
            if header.build != self._build(header.protocol, header.rate):
                raise DataMismatchError(
                    "the file was compressed by another build: Letterloom, a package it computes with or the processor "
                    "is another, and would not give the same numbers; decompress it where it was compressed"
                )
            alphabet = Alphabet(self.tokenizer)
            decoder = Decoder(payload, alphabet.stand_in)
            self._walk(header, decoder, watch)
            data = alphabet.data(decoder.symbols)
        if hashlib.sha256(data).digest() != header.sha256:
            raise DataMismatchError("the decompressed text is not the original: its SHA-256 differs; take another copy")
        return data

    def _walk(self, header: Header, code: Callable[[Counts], int], watch: Watch | None) -> None:
        if not header.symbols:
            return
        n, vocab_size = header.symbols, self.tokenizer.vocab_size
        with self._learner(header.protocol, header.rate) as dynamic:
            walk(
                np.empty(n, np.int64),
                self.parameters,
                self.config,
                vocab_size,
                protocol="sliding" if dynamic else header.protocol,
                escape=TOTAL >> header.escape_bits,
                code=code,
                dynamic=dynamic,
                watch=watch and (lambda done: watch(done, n)),
            )

    def _build(self, protocol: str, rate: float) -> bytes:
        with self._learner(protocol, rate) as dynamic:
            return build_digest(self.parameters, self.config, self.tokenizer.vocab_size, dynamic)

    @contextmanager
    def _learner(self, protocol: str, rate: float) -> "Iterator[DynamicModel | None]":
        """The model that learns, where one does; within, torch has one thread, whose sums have one order."""
        if protocol != "dynamic":
            yield None
            return
        import torch

        from letterloom.evaluation.dynamic import DynamicModel

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield DynamicModel(self.network(), rate)
        finally:
            torch.set_num_threads(threads)


def escape_bits(symbols: int, escapes: int) -> int:
    """Bits that an escape costs: what its frequency asks for, and no more than the smallest share there is."""
    return min(BITS, max(1, round(math.log2(symbols / escapes)))) if escapes else BITS
