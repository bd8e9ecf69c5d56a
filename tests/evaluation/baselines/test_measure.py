"""Every baseline against a direct call of what it stands for, and what is kept of it."""

import bz2
import json
import lzma
import math
import sys
import time
import zlib
from itertools import count
from pathlib import Path
from typing import Any

import brotli
import numpy as np
import pyppmd
import pytest
import zstandard

from letterloom.config import TextConfig
from letterloom.errors import CorpusError
from letterloom.evaluation.baselines import compressors, measure
from letterloom.evaluation.baselines.measure import (
    Baseline,
    cached_baselines,
    estimated_seconds,
    measure_baselines,
    quick_baselines,
    remarks,
)
from letterloom.text.encoding import Corpus, open_corpus
from letterloom.text.tokenizers import ByteTokenizer, CharacterTokenizer

COMPRESS: dict[str, Any] = {
    "zlib": lambda data: zlib.compress(data, 9),
    "bz2": bz2.compress,
    "xz": lambda data: lzma.compress(data, preset=9 | lzma.PRESET_EXTREME),
    "zstd": lambda data: zstandard.compress(data, 22),
    "brotli": brotli.compress,
    "PPMd": lambda data: pyppmd.compress(data, max_order=6, mem_size=1 << 28),
}


def splits(corpus: Corpus) -> tuple[Any, Any, Any]:
    return corpus.train, corpus.validation, corpus.tokenizer


def by_name(found: tuple[Baseline, ...]) -> dict[str, Baseline]:
    return {baseline.name: baseline for baseline in found}


@pytest.fixture
def tiny(tiny_text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    """A text of which nothing is kept yet."""
    monkeypatch.setenv("LETTERLOOM_CACHE", str(tmp_path / "cache"))
    return open_corpus(TextConfig(corpus=(str(tiny_text),)))


@pytest.mark.parametrize("tokenizer", ["characters", "bytes"])
def test_compressors_against_direct_calls(tiny_text: Path, tokenizer: Any) -> None:
    text = tiny_text.read_text(encoding="utf-8")
    cut = int(0.9 * len(text))
    train, validation = text[:cut].encode(), text[cut:].encode()
    corpus = open_corpus(TextConfig(corpus=(str(tiny_text),), tokenizer=tokenizer))
    found = by_name(measure_baselines(*splits(corpus)))
    for name, compress in COMPRESS.items():
        bits = 8 * (len(compress(train + validation)) - len(compress(train)))
        assert found[name].bits_per_character == pytest.approx(bits / (len(text) - cut)), name
    assert all(baseline.characters == len(text) - cut for baseline in found.values())
    vocab_size, n = (256, len(validation)) if tokenizer == "bytes" else (len(set(text)), len(text) - cut)
    assert found["uniform"].nats_per_character == pytest.approx(n * math.log(vocab_size) / (len(text) - cut))


def test_static_ppmd_against_direct_calls(tiny: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compressors, "CHUNK", 100)
    monkeypatch.setattr(compressors, "MOST_CHUNKS", 3)
    text = tiny.tokenizer.decode(tiny.validation)
    train = tiny.tokenizer.decode(tiny.train).encode()
    pieces = [text[i : i + 100] for i in range(0, len(text), 100)]
    chosen = [pieces[0], pieces[len(pieces) // 3], pieces[2 * len(pieces) // 3]]
    ppmd = COMPRESS["PPMd"]
    bits = sum(8 * (len(ppmd(train + piece.encode())) - len(ppmd(train))) for piece in chosen)
    static = by_name(measure_baselines(*splits(tiny)))["PPMd, static"]
    assert static.characters == sum(map(len, chosen))
    assert static.bits_per_character == pytest.approx(bits / static.characters)


def test_compressors_read_back_what_they_wrote() -> None:
    """A compressor that loses something is none."""
    data = ("The loom weaves. " * 500 + "naïve").encode() + b"\xff\n"
    back: dict[str, Any] = {
        "zlib": zlib.decompress,
        "bz2": bz2.decompress,
        "xz": lzma.decompress,
        "zstd": zstandard.decompress,
        "brotli": brotli.decompress,
        "PPMd": lambda packed: pyppmd.decompress(packed, max_order=6, mem_size=1 << 28),
    }
    for compressor in compressors.COMPRESSORS:
        packed = compressor.compress(sys.modules[compressor.package], data)
        assert bytes(back[compressor.name](packed)) == data, compressor.name


def test_compressors_look_back_on_a_million_bytes() -> None:
    """Noise, and its beginning once more, of 8 bits a byte: what the format allows, each finds."""
    noise = np.random.default_rng(0).integers(0, 256, 1_000_000, dtype=np.uint8).tobytes()
    bits = {c.name: c.nats(noise, [noise[:20_000]]) / math.log(2) / 20_000 for c in compressors.COMPRESSORS}
    assert {name for name in bits if bits[name] < 1} == {"xz", "zstd", "brotli", "PPMd"}


def test_end_of_text_is_seen_and_counted(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("\n".join(f"name {i}" for i in range(200)))
    corpus = open_corpus(TextConfig(corpus=(str(tmp_path / "names.txt"),), records="lines"))
    data = compressors.spelled(corpus.validation, corpus.tokenizer)
    lines = data.split(b"\xff")
    assert (lines[0], lines[-1], len(lines)) == (b"", b"", 22)
    assert all(line.startswith(b"name ") for line in lines[1:-1])
    found = by_name(measure_baselines(*splits(corpus)))
    assert found["PPMd"].characters == len(data)
    assert found["Kneser-Ney"].bits_per_character < found["unigram"].bits_per_character


def test_the_best_comes_first(tiny: Corpus) -> None:
    bits = [baseline.bits_per_character for baseline in measure_baselines(*splits(tiny))]
    assert bits == sorted(bits)
    assert bits[-1] == pytest.approx(math.log2(tiny.tokenizer.vocab_size))


class TestKept:
    def test_a_second_call_measures_nothing(self, tiny: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
        assert cached_baselines(*splits(tiny)) is None
        first = measure_baselines(*splits(tiny))
        monkeypatch.setattr(measure, "_measured", None)
        assert cached_baselines(*splits(tiny)) == measure_baselines(*splits(tiny)) == first

    def test_of_this_text_alone(self, tiny: Corpus) -> None:
        measure_baselines(*splits(tiny))
        train, validation, tokenizer = splits(tiny)
        assert cached_baselines(train[1:], validation, tokenizer) is None
        assert cached_baselines(train, validation[:-1], tokenizer) is None
        assert cached_baselines(train, np.append(validation[:-1], validation[0]), tokenizer) is None
        assert cached_baselines(np.append(train, validation[0]), validation[1:], tokenizer) is None

    def test_damaged_files_are_measured_again(self, tiny: Corpus, tmp_path: Path) -> None:
        first = measure_baselines(*splits(tiny))
        (file,) = (tmp_path / "cache" / "baselines").iterdir()
        for damage in ("{", "[1]", '[{"name": "PPMd"}]'):
            file.write_text(damage)
            assert cached_baselines(*splits(tiny)) is None
        assert [b.nats_per_character for b in measure_baselines(*splits(tiny))] == [b.nats_per_character for b in first]

    def test_where_nothing_can_be_kept_it_is_told(
        self, tiny: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("LETTERLOOM_CACHE", str(tmp_path / "file"))
        assert measure_baselines(*splits(tiny))
        assert "the baselines are not kept" in caplog.text


def test_without_the_extra_packages(tiny: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    assert by_name(measure_baselines(*splits(tiny))).keys() >= {"zstd", "brotli", "PPMd", "PPMd, static"}
    for package in ("zstandard", "brotli", "pyppmd"):
        monkeypatch.setitem(sys.modules, package, None)
    found = by_name(measure_baselines(*splits(tiny)))
    assert set(found) == {"uniform", "unigram", "Kneser-Ney", "Kneser-Ney, static", "zlib", "bz2", "xz"}
    assert remarks(*splits(tiny))[-1].startswith("zstd, brotli, PPMd left out; `pip install 'letterloom[compress]'`")


def test_of_a_large_text_a_part_is_measured(tiny: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    train, validation, tokenizer = splits(tiny)
    expected = measure_baselines(train[-900:], validation[:200], tokenizer)
    monkeypatch.setattr(measure, "LARGEST_TRAINING", 900)
    monkeypatch.setattr(measure, "LARGEST_VALIDATION", 200)
    found = measure_baselines(train, validation, tokenizer)
    assert [b.nats_per_character for b in found] == [b.nats_per_character for b in expected]
    assert remarks(train, validation, tokenizer)[:2] == (
        f"baselines are given the last 900 of {len(train):,} training ids",
        f"baselines are measured on the first 200 of {len(validation):,} validation ids",
    )


def test_the_part_measured_ends_with_a_whole_character(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = ByteTokenizer()
    ids = tokenizer.encode_utf8(("é" * 30).encode())
    monkeypatch.setattr(measure, "LARGEST_VALIDATION", 11)
    assert {baseline.characters for baseline in measure_baselines(ids, ids, tokenizer)} == {5}


class TestStrangeTexts:
    def test_one_repeated_character_costs_nothing(self) -> None:
        ids = np.zeros(500, dtype=np.uint8)
        found = by_name(measure_baselines(ids, ids, CharacterTokenizer("a")))
        for name in ("uniform", "unigram", "Kneser-Ney", "Kneser-Ney, static"):
            assert found[name].nats_per_character == 0.0
        assert not any(np.signbit(baseline.bits_per_character) for baseline in found.values())

    def test_one_character_to_learn_from_and_one_to_measure(self) -> None:
        tokenizer = CharacterTokenizer("ab")
        one, other = np.array([0], dtype=np.uint8), np.array([1], dtype=np.uint8)
        found = measure_baselines(one, other, tokenizer)
        assert all(math.isfinite(baseline.bits_per_character) for baseline in found)
        assert remarks(one, other, tokenizer) == (
            "compressors write whole bytes, which makes their figures rough here: a byte is 8.00 bits per character",
        )

    def test_characters_never_seen_in_training(self) -> None:
        train, strange = np.array([0, 1] * 50, dtype=np.uint8), np.array([2, 3] * 50, dtype=np.uint8)
        found = by_name(measure_baselines(train, strange, CharacterTokenizer("abcd")))
        assert all(math.isfinite(baseline.bits_per_character) for baseline in found.values())
        assert found["Kneser-Ney"].bits_per_character < found["Kneser-Ney, static"].bits_per_character

    @pytest.mark.parametrize(("train", "validation"), [(0, 5), (5, 0)])
    def test_an_empty_split(self, train: int, validation: int) -> None:
        with pytest.raises(CorpusError, match="a character in both splits") as error:
            measure_baselines(np.zeros(train, np.uint8), np.zeros(validation, np.uint8), CharacterTokenizer("a"))
        assert f"{train} ids to learn from and {validation} to measure" in str(error.value)


def test_the_time_is_estimated_by_a_yardstick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", count().__next__)  # bzip2 takes a second for 100,000 ids
    ids = np.zeros(300_000, dtype=np.uint8)
    assert estimated_seconds(ids, ids[:100_000], CharacterTokenizer("a")) == pytest.approx(1 + 4 * 160)


def test_facts_of_shakespeare() -> None:
    """The figures that others measured (zlib, bzip2, xz, PPMd), and the line that n-grams have to come below."""
    folder = Path(__file__).parents[3].parent / "shared" / "corpora"
    file = folder / "tinyshakespeare.txt"
    if not file.exists():
        pytest.skip("Tiny Shakespeare is not on this machine")
    found = measure_baselines(*splits(open_corpus(TextConfig(corpus=(str(file),)))))
    bits = {baseline.name: baseline.bits_per_character for baseline in found}
    facts = {"PPMd": 2.026, "PPMd, static": 2.063, "bz2": 2.398, "xz": 2.518, "zlib": 3.096}
    assert {name: bits[name] for name in facts} == pytest.approx(facts, abs=0.005)
    assert bits["Kneser-Ney"] < bits["Kneser-Ney, static"] < 2.2
    json.dumps([baseline.to_json() for baseline in found], allow_nan=False)


def test_the_quick_ones_are_some_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LETTERLOOM_CACHE", str(tmp_path))
    text = np.random.default_rng(0).integers(5, size=4000, dtype=np.uint8)
    splits = text[:3600], text[3600:], CharacterTokenizer("abcde")
    quick = quick_baselines(*splits)
    measured = {b.name: b.nats_per_character for b in measure_baselines(*splits)}
    assert {b.name for b in quick} >= {"uniform", "bz2"}
    assert {b.name: b.nats_per_character for b in quick}.items() <= measured.items()
    assert [b.nats_per_character for b in quick] == sorted(b.nats_per_character for b in quick)
