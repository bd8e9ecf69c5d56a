"""Compressing with a model, and back."""

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from letterloom.compression import codec, fingerprint
from letterloom.compression.codec import Codec, escape_bits
from letterloom.compression.container import Header, pack, unpack
from letterloom.compression.prediction import walk
from letterloom.compression.quantization import TOTAL, Counts
from letterloom.config import ModelConfig
from letterloom.errors import ConfigError, DataMismatchError, NonFiniteError
from letterloom.evaluation.dynamic import DynamicModel, dynamic_surprisal
from letterloom.evaluation.loss import surprisal
from letterloom.model.transformer import Transformer
from letterloom.text.tokenizers import ByteTokenizer, CharacterTokenizer, Tokenizer

LETTERS = CharacterTokenizer("\n abcdefg")
PROTOCOLS = ("blocks", "sliding", "dynamic")
RATE = 0.01
protocols = pytest.mark.parametrize("protocol", PROTOCOLS)


def random_model(vocab_size: int, context_length: int = 8, seed: int = 7, **settings: Any) -> Transformer:
    config = ModelConfig(context_length=context_length, d_model=8, n_layers=1, n_heads=2, **settings)
    model = Transformer(config, vocab_size).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5, generator=generator)
    return model


def codec_of(model: Transformer, tokenizer: Tokenizer) -> Codec:
    arrays = {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}
    return Codec(arrays, model.config, tokenizer, lambda: model)


@pytest.fixture(scope="module")
def letters() -> Codec:
    return codec_of(random_model(LETTERS.vocab_size), LETTERS)


def some_text(n: int, seed: int = 0) -> bytes:
    return "".join(random.Random(seed).choices("abcdefg \n", k=n)).encode()


class TestPrediction:
    """The numbers against what evaluation charges, which is computed by PyTorch, whole windows at a time."""

    @protocols
    @pytest.mark.parametrize(("context", "n"), [(8, 1), (8, 9), (8, 10), (8, 61), (3, 20), (1, 9)])
    def test_a_character_costs_what_evaluation_says(self, protocol: str, context: int, n: int) -> None:
        model = random_model(9, context, token_smear=True, norm_placement="before_and_after")
        ids = np.random.default_rng(n).integers(0, 9, n)
        costs: list[float] = []
        done: list[int] = []
        rest: Iterator[int] = iter(ids.tolist())

        def code(counts: Counts) -> int:
            token = next(rest)
            costs.append(-math.log(counts[token] / TOTAL))
            return token

        learner = DynamicModel(model, RATE) if protocol == "dynamic" else None
        found = np.empty(n, np.int64)
        arrays = {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}
        windows = "sliding" if learner else protocol
        walk(
            found,
            arrays,
            model.config,
            9,
            protocol=windows,
            escape=1,
            code=code,
            dynamic=learner,
            watch=done.append,
        )
        assert found.tolist() == ids.tolist()
        assert done[-1] == n
        if n == 1:
            expected = np.array([math.log(9)])
        else:
            expected = dynamic_surprisal(model, ids, RATE) if learner else surprisal(model, ids, protocol)[0]
        np.testing.assert_allclose(costs, expected, rtol=1e-3, atol=1e-3)


class TestRoundTrip:
    @protocols
    @given(data=st.binary(max_size=60) | st.text("abcdefg \n", max_size=60).map(str.encode) | st.text().map(str.encode))
    @example(data=b"")
    @example(data=b"a")
    @example(data=b"\xff")
    @settings(max_examples=30)
    def test_any_bytes_come_back(self, letters: Codec, protocol: str, data: bytes) -> None:
        assert letters.decompress(letters.compress(data, protocol, RATE)) == data

    @protocols
    def test_over_many_windows(self, letters: Codec, protocol: str) -> None:
        data = some_text(500) + "né".encode() + b"\x80" + some_text(200, 1)
        compressed = letters.compress(data, protocol, RATE)
        assert unpack(compressed)[0].protocol == protocol  # by the model, not as it is
        assert letters.decompress(compressed) == data

    @protocols
    @pytest.mark.parametrize("tokenizer", [ByteTokenizer(), ByteTokenizer(end_of_text=True)], ids=repr)
    def test_by_a_model_of_bytes(self, tokenizer: Tokenizer, protocol: str) -> None:
        codec = codec_of(random_model(tokenizer.vocab_size), tokenizer)
        data = bytes(range(256)) + "né \N{FISH}".encode()
        header = replace(unpack(codec.compress(data, protocol, RATE))[0], protocol=protocol)
        assert header.symbols == len(data)
        assert codec.decompress(codec.compress(data, protocol, RATE)) == data

    def test_of_one_repeated_character_nothing_is_left(self) -> None:
        """A vocabulary of one: entropy 0, but for a share of 2^-24 that an escape keeps."""
        tokenizer = CharacterTokenizer("x")
        codec = codec_of(random_model(1), tokenizer)
        compressed = codec.compress(b"x" * 5000)
        assert len(compressed) <= Header.size + 8
        assert codec.decompress(compressed) == b"x" * 5000

    @protocols
    def test_a_text_gives_the_same_file_each_time(self, letters: Codec, protocol: str) -> None:
        files, kept = set(), []
        for n in range(20):
            kept.append(np.empty(100 * n))  # so that arrays come to lie elsewhere
            files.add(letters.compress(some_text(60), protocol, RATE))
        assert len(files) == 1

    def test_a_model_that_learns_is_left_as_it_was(self, letters: Codec) -> None:
        before = {name: array.copy() for name, array in letters.parameters.items()}
        letters.compress(some_text(100), "dynamic", RATE)
        for name, array in letters.parameters.items():
            np.testing.assert_array_equal(array, before[name])

    def test_threads_are_put_back(self, letters: Codec) -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(2)
        try:
            letters.compress(some_text(50), "dynamic", RATE)
            assert torch.get_num_threads() == 2
        finally:
            torch.set_num_threads(before)


class TestSize:
    @protocols
    def test_it_is_what_evaluation_says(self, letters: Codec, protocol: str) -> None:
        """The surprisal in bytes, the header, and the end of the coder: at most two words."""
        data, model = some_text(3000), letters.network()
        ids = LETTERS.encode(data.decode())
        nats = dynamic_surprisal(model, ids, RATE) if protocol == "dynamic" else surprisal(model, ids, protocol)[0]
        payload = len(letters.compress(data, protocol, RATE)) - Header.size
        assert payload == pytest.approx(nats.sum() / math.log(2) / 8, rel=1e-3, abs=8)

    def test_a_character_without_an_id_costs_about_three_bytes(self, letters: Codec) -> None:
        plain = some_text(2000)
        mixed = plain.replace(b"a", "é".encode())
        assert len(letters.compress(mixed)) - len(letters.compress(plain)) < 4 * plain.count(b"a")

    def test_noise_is_stored_as_it_is(self, letters: Codec) -> None:
        noise = random.Random(1).randbytes(1000)
        compressed = letters.compress(noise)
        assert len(compressed) == len(noise) + Header.size
        assert letters.decompress(compressed) == noise


class TestRefusals:
    def test_damage_is_an_error_and_never_another_text(self, letters: Codec) -> None:
        data, draw = some_text(400), random.Random(0)
        compressed = letters.compress(data, "sliding")
        for _ in range(1000):
            flipped = bytearray(compressed)
            for _ in range(draw.randint(1, 3)):
                flipped[draw.randrange(len(flipped))] ^= 1 << draw.randrange(8)
            self.refused_or_the_same(letters, bytes(flipped), data)
        for length in range(len(compressed)):
            self.refused_or_the_same(letters, compressed[:length], data)

    def test_nor_is_damage_that_the_checksum_does_not_see(self, letters: Codec) -> None:
        """As if by chance the checksum fitted: the original's SHA-256 tells."""
        data, draw = some_text(200), random.Random(0)
        header, payload = unpack(letters.compress(data))
        for _ in range(60):
            flipped = bytearray(payload)
            flipped[draw.randrange(len(payload))] ^= 1 << draw.randrange(8)
            self.refused_or_the_same(letters, pack(header, bytes(flipped)), data)
        for symbols in (1, header.symbols - 1, header.symbols + 1, 10 * header.symbols):
            self.refused_or_the_same(letters, pack(replace(header, symbols=symbols), payload), data)

    @staticmethod
    def refused_or_the_same(letters: Codec, file: bytes, data: bytes) -> None:
        try:
            assert letters.decompress(file) == data
        except DataMismatchError as error:
            assert "\n" not in str(error)

    @pytest.mark.parametrize("other", ["weights", "vocabulary", "architecture"])
    def test_another_model_is_refused(self, letters: Codec, other: str) -> None:
        another = {
            "weights": codec_of(random_model(LETTERS.vocab_size, seed=8), LETTERS),
            "vocabulary": replace(letters, tokenizer=CharacterTokenizer("\n abcdefx")),
            "architecture": replace(letters, config=letters.config.model_copy(update={"dropout": 0.25})),
        }[other]
        with pytest.raises(DataMismatchError, match="another model; name the run"):
            another.decompress(letters.compress(some_text(200)))

    @pytest.mark.parametrize("protocol", ["sliding", "dynamic"])
    @pytest.mark.parametrize("change", ["package", "processor", "code", "numbers"])
    def test_another_build_is_refused(
        self, letters: Codec, monkeypatch: pytest.MonkeyPatch, protocol: str, change: str
    ) -> None:
        compressed = letters.compress(some_text(200), protocol, RATE)
        changes: dict[str, Callable[[], None]] = {
            "package": lambda: monkeypatch.setattr(fingerprint, "version", lambda _: "0.0.1"),
            "processor": lambda: monkeypatch.setattr("llvmlite.binding.get_host_cpu_name", lambda: "abacus"),
            "code": lambda: monkeypatch.setattr(fingerprint, "_SOURCES", ("config.py",)),
            "numbers": lambda: monkeypatch.setattr(fingerprint, "PROBE", 63),
        }
        changes[change]()
        with pytest.raises(DataMismatchError, match="another build"):
            letters.decompress(compressed)

    def test_what_is_stored_as_it_is_needs_no_model(self, letters: Codec) -> None:
        noise = random.Random(1).randbytes(100)
        another = codec_of(random_model(LETTERS.vocab_size, seed=8), LETTERS)
        assert another.decompress(letters.compress(noise)) == noise

    @protocols
    def test_damaged_weights_are_refused(self, protocol: str) -> None:
        model = random_model(LETTERS.vocab_size)
        with torch.no_grad():
            next(model.parameters())[0, 0] = math.nan
        with pytest.raises(NonFiniteError, match="not finite"):
            codec_of(model, LETTERS).compress(some_text(100), protocol, RATE)

    def test_an_unknown_protocol_is_refused(self, letters: Codec) -> None:
        with pytest.raises(ConfigError, match="'windows'; the protocols are blocks, sliding"):
            letters.compress(some_text(10), "windows")


def test_progress_is_told(letters: Codec) -> None:
    told: list[tuple[int, int]] = []
    compressed = letters.compress(some_text(100), watch=lambda done, total: told.append((done, total)))
    assert told[-1] == (100, 100)
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    told.clear()
    letters.decompress(compressed, watch=lambda done, total: told.append((done, total)))
    assert told[-1] == (100, 100)


def test_the_module_is_found_without_torch() -> None:
    """Compressing without learning needs none, and begins in a second."""
    import subprocess
    import sys

    command = f"import sys, {codec.__name__}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], check=False).returncode == 0


@pytest.mark.parametrize(("symbols", "escapes"), [(1, 0), (1, 1), (2, 1), (2**25, 1), (10**12, 3), (100, 99)])
def test_an_escape_has_a_share_whatever_the_length(symbols: int, escapes: int) -> None:
    assert 1 <= TOTAL >> escape_bits(symbols, escapes) <= TOTAL // 2
