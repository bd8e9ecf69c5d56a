import errno
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from letterloom import storage
from letterloom.config import TextConfig
from letterloom.errors import (
    CorpusError,
    DataMismatchError,
    LetterloomError,
    ResourceError,
    RunError,
    UnknownCharacterError,
)
from letterloom.text.documents import Document
from letterloom.text.encoding import Corpus, check_same_text, encode_text_of, open_corpus
from letterloom.text.tokenizers import ByteTokenizer, CharacterTokenizer

CORPORA_FOLDER = Path(
    os.environ.get("LETTERLOOM_CORPORA") or Path(__file__).parents[2].parent / "shared" / "corpora"
).absolute()


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache for this file, on a disk that need not be waited for: durability is tested with storage."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LETTERLOOM_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("LETTERLOOM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def _corpora(monkeypatch: pytest.MonkeyPatch) -> None:
    if not (CORPORA_FOLDER / "tinyshakespeare.txt").exists():
        pytest.skip("tinyshakespeare.txt is not there; name a folder with it by LETTERLOOM_CORPORA")
    monkeypatch.setenv("LETTERLOOM_CORPORA", str(CORPORA_FOLDER))


def written(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def config(*corpus: Path | str, **values: Any) -> TextConfig:
    return TextConfig(corpus=tuple(map(str, corpus)), **values)


def texts(corpus: Corpus) -> tuple[str, str]:
    return corpus.tokenizer.decode(corpus.train), corpus.tokenizer.decode(corpus.validation)


plain = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), min_size=2)
bytes_of_files = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=60).map(str.encode),
    st.text(alphabet="aé🙂\n\r\ufeff", max_size=60).map(str.encode),
    st.tuples(st.text(max_size=20).map(str.encode), st.binary(max_size=3)).map(b"".join),
)


@settings(max_examples=1000)
@given(
    bytes_of_files,
    st.sampled_from(["characters", "bytes"]),
    st.sampled_from(["none", "lines"]),
    st.booleans(),
    st.floats(0.01, 0.99),
)
def test_any_file_becomes_a_corpus_or_a_clear_error(
    data: bytes, kind: str, records: str, end_of_text: bool, fraction: float
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder) / "file.txt", data)
        try:
            corpus = open_corpus(
                config(path, tokenizer=kind, records=records, end_of_text=end_of_text, train_fraction=fraction)
            )
        except LetterloomError as error:
            assert len(str(error).splitlines()) == 1
            corpus = None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    lines = {line.removesuffix("\r") for line in text.split("\n")} - {""}
    units = len(lines) if records == "lines" else len(text)
    is_good = "\0" not in text and 0 < int(fraction * units) < units
    assert (corpus is not None) == is_good
    if corpus is None:
        return
    train, validation = texts(corpus)
    if records == "none":
        assert (train, validation) == (text[: int(fraction * units)], text[int(fraction * units) :])
    else:
        assert sorted(train + validation) == sorted("".join(lines))


@pytest.mark.usefixtures("_corpora")
@pytest.mark.parametrize(("kind", "vocab_size"), [("characters", 65), ("bytes", 256)])
def test_tiny_shakespeare_is_split_where_everyone_splits_it(kind: str, vocab_size: int) -> None:
    corpus = open_corpus(config("shakespeare", tokenizer=kind))
    assert corpus.tokenizer.vocab_size == vocab_size
    assert (len(corpus.train), len(corpus.validation)) == (1_003_854, 111_540)
    text = (CORPORA_FOLDER / "tinyshakespeare.txt").read_text()
    assert texts(corpus) == (text[:1_003_854], text[1_003_854:])
    assert corpus.description["split"] == {
        "train": {"characters": 1_003_854, "ids": 1_003_854},
        "validation": {"characters": 111_540, "ids": 111_540},
    }
    assert corpus.description["sha256"].startswith("86c4e6aa9db7c042")
    assert corpus.description["notes"] == []


def require_each_record_in_one_split(corpus: Corpus, lines: list[str], fraction: float) -> None:
    end = corpus.tokenizer.end_of_text_id
    splits = []
    for part in (corpus.train, corpus.validation):
        ends = np.flatnonzero(part == end)
        assert (ends[0], ends[-1]) == (0, len(part) - 1)
        splits.append({corpus.tokenizer.decode(ids) for ids in np.split(part, ends)} - {""})
    assert not splits[0] & splits[1]
    assert splits[0] | splits[1] == set(lines)
    assert len(splits[0]) == int(fraction * len(set(lines)))
    about = corpus.description
    assert about["records"] == {"kept": len(set(lines)), "empty": 0, "repeated": len(lines) - len(set(lines))}
    for split, name in zip(splits, ("train", "validation"), strict=True):
        assert about["split"][name]["records"] == len(split)
        assert about["split"][name]["characters"] == sum(map(len, split))


@pytest.mark.usefixtures("_corpora")
def test_each_name_is_in_one_split_alone() -> None:
    names = (CORPORA_FOLDER / "names.txt").read_text().split()
    require_each_record_in_one_split(open_corpus(config("names", records="lines")), names, 0.9)


@pytest.mark.parametrize("kind", ["characters", "bytes"])
def test_each_record_is_in_one_split_alone(tmp_path: Path, kind: str) -> None:
    lines = [f"{i % 70} naïve" for i in range(100)]
    path = written(tmp_path / "lines.txt", "\n".join(lines))
    corpus = open_corpus(config(path, tokenizer=kind, records="lines", train_fraction=0.7))
    require_each_record_in_one_split(corpus, lines, 0.7)


def test_the_docs_of_python_tell_their_version() -> None:
    about = open_corpus(config("python-docs")).description
    assert about["python"] == sys.version.split()[0]
    assert about["licence"] == "PSF-2.0"
    assert about["corpus"] == ["python-docs"]


# the split


@given(plain, st.floats(0.05, 0.95), st.booleans())
def test_bytes_are_split_at_the_same_character_as_characters(text: str, fraction: float, end_of_text: bool) -> None:
    if not 0 < int(fraction * len(text)) < len(text):
        return
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder) / "file.txt", text)
        corpora = [
            open_corpus(config(path, tokenizer=kind, train_fraction=fraction, end_of_text=end_of_text))
            for kind in ("characters", "bytes")
        ]
    cut = int(fraction * len(text))
    for corpus in corpora:
        assert texts(corpus) == (text[:cut], text[cut:])
        split = corpus.description["split"]
        assert [split[name]["characters"] for name in ("train", "validation")] == [cut, len(text) - cut]
        assert split["train"]["ids"] + split["validation"]["ids"] == corpus.description["ids"]


@pytest.mark.parametrize("kind", ["characters", "bytes"])
def test_a_share_of_the_training_split_leaves_the_rest_of_the_split_alone(tmp_path: Path, kind: str) -> None:
    path = written(tmp_path / "text.txt", "αβγδεζηθικ" * 10)
    whole, half = (open_corpus(config(path, tokenizer=kind, train_share=share)) for share in (1.0, 0.5))
    assert texts(half) == ("αβγδεζηθικ" * 4 + "αβγδε", texts(whole)[1])
    assert half.description["split"]["train"] == {"characters": 45, "ids": len(half.train)}
    assert half.description["split"]["validation"] == whole.description["split"]["validation"]
    with pytest.raises(CorpusError, match=r"train_share 0\.01 leaves none of 90 characters to train"):
        open_corpus(config(path, tokenizer=kind, train_share=0.01))


def test_a_share_of_records_ends_with_one(tmp_path: Path) -> None:
    path = written(tmp_path / "names.txt", "\n".join(f"name {number}" for number in range(20)))
    whole, half = (open_corpus(config(path, records="lines", train_share=share)) for share in (1.0, 0.5))
    assert np.array_equal(half.train, whole.train[: len(half.train)])
    assert half.train[-1] == half.tokenizer.end_of_text_id
    assert half.description["split"]["train"]["records"] == 9
    assert np.array_equal(half.validation, whole.validation)


def test_end_of_text_follows_each_document_and_goes_with_it_into_its_split(tmp_path: Path) -> None:
    first, second = written(tmp_path / "a", "aaaa"), written(tmp_path / "b", "bbbb")
    corpus = open_corpus(config(first, second, end_of_text=True, train_fraction=0.5))
    assert corpus.train.tolist() == [0, 0, 0, 0, 2]
    assert corpus.validation.tolist() == [1, 1, 1, 1, 2]
    assert corpus.description["characters"] == 8
    together = open_corpus(config(first, second, train_fraction=0.5))
    assert texts(together) == ("aaaa", "bbbb")
    assert len(together.train) == 4


def test_a_folder_is_one_text_of_several_documents(tmp_path: Path) -> None:
    written(tmp_path / "b.txt", "bb")
    written(tmp_path / "a.txt", "aé")
    written(tmp_path / "c.bin", b"\0")
    corpus = open_corpus(config(tmp_path, train_fraction=0.5))
    assert texts(corpus) == ("aé", "bb")
    sources = corpus.description["sources"]
    assert [(source["bytes"], source["characters"]) for source in sources] == [(3, 2), (2, 2)]
    assert sources[0]["sha256"] == hashlib.sha256("aé".encode()).hexdigest()
    assert "c.bin" in corpus.description["notes"][0]
    json.dumps(corpus.description)


@pytest.mark.parametrize("text", ["", "a"])
def test_a_text_too_short_to_split_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(CorpusError, match=r"text\.txt (is empty|has 1 characters)"):
        open_corpus(config(written(tmp_path / "text.txt", text)))


def test_lines_without_records_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="only empty lines"):
        open_corpus(config(written(tmp_path / "text.txt", "\n\r\n\n"), records="lines"))
    with pytest.raises(CorpusError, match="has 1 records"):
        open_corpus(config(written(tmp_path / "text.txt", "one\none\n"), records="lines"))


def test_byte_order_mark_and_carriage_returns_are_kept_and_told(tmp_path: Path) -> None:
    text = "\ufeffone\r\ntwo\r\n"
    corpus = open_corpus(config(written(tmp_path / "dos.txt", text)))
    assert "".join(texts(corpus)) == text
    mark, returns = corpus.description["notes"]
    assert re.search(r"dos\.txt begins with a byte order mark.*kept", mark)
    assert re.search(r"dos\.txt has carriage returns.*kept", returns)


# encoding


@given(plain, st.sampled_from(["characters", "bytes"]), st.integers(1, 7))
def test_ids_do_not_depend_on_the_size_of_the_pieces(text: str, kind: str, size: int) -> None:
    whole = Document.chunks
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = written(Path(folder) / "file.txt", text)
        reference = open_corpus(config(path, tokenizer=kind))
        patch.setenv("LETTERLOOM_CACHE", folder)
        patch.setattr(Document, "chunks", lambda document, _: whole(document, size))
        corpus = open_corpus(config(path, tokenizer=kind))
        np.testing.assert_array_equal(corpus.train, reference.train)
        np.testing.assert_array_equal(corpus.validation, reference.validation)
        assert corpus.description == reference.description


def test_seventy_thousand_characters_are_stored_without_wrapping(tmp_path: Path) -> None:
    everything = "".join(chr(i) for i in range(1, 0x20000) if not 0xD800 <= i < 0xE000)[:70_000]
    corpus = open_corpus(config(written(tmp_path / "text.txt", everything)))
    assert corpus.train.dtype == np.uint32
    assert "".join(texts(corpus)) == everything


@pytest.mark.parametrize(("different", "bits"), [(256, 8), (257, 16)])
def test_ids_take_the_narrowest_type_on_disk(tmp_path: Path, different: int, bits: int) -> None:
    text = "".join(chr(0x4E00 + i) for i in range(different)) * 2
    corpus = open_corpus(config(written(tmp_path / "text.txt", text)))
    assert corpus.train.dtype == np.dtype(f"uint{bits}")
    assert "".join(texts(corpus)) == text


def test_the_ids_cannot_be_written_to(tmp_path: Path) -> None:
    corpus = open_corpus(config(written(tmp_path / "text.txt", "some text")))
    with pytest.raises(ValueError, match="read-only"):
        corpus.train[0] = 1


def test_memory_does_not_grow_with_the_text(tmp_path: Path) -> None:
    path = written(tmp_path / "large.txt", "Ten bytes\n" * 3_000_000)
    for kind in ("characters", "bytes"):
        tracemalloc.start()
        corpus = open_corpus(config(path, tokenizer=kind))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(corpus.train) == 27_000_000
        assert peak < 16 * 2**20


# the cache


def encoded_files(cache: Path) -> list[Path]:
    return sorted(cache.glob("encoded/*/ids/ids.*"))


def test_the_same_text_is_encoded_once_whatever_its_name_and_split(tmp_path: Path, cache: Path) -> None:
    first, second = written(tmp_path / "a.txt", "some text"), written(tmp_path / "b.txt", "some text")
    open_corpus(config(first))
    (file,) = encoded_files(cache)
    before = file.stat().st_mtime_ns
    open_corpus(config(second, train_fraction=0.5))
    assert encoded_files(cache) == [file]
    assert file.stat().st_mtime_ns == before


def test_whatever_changes_the_ids_has_its_own_place(tmp_path: Path, cache: Path) -> None:
    path = written(tmp_path / "a.txt", "some text\nin lines\nof text\nand so on\n")
    settings: list[dict[str, Any]] = [
        {},
        {"end_of_text": True},
        {"tokenizer": "bytes"},
        {"records": "lines"},
        {"records": "lines", "records_seed": 1},
    ]
    for values in settings:
        open_corpus(config(path, **values))
    assert len(encoded_files(cache)) == len(settings)


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "manifest", "swap"])
def test_a_damaged_cache_is_made_again_and_never_used(tmp_path: Path, cache: Path, damage: str) -> None:
    path = written(tmp_path / "a.txt", "some text " * 100)
    expected = texts(open_corpus(config(path)))
    (file,) = encoded_files(cache)
    if damage == "flip":
        data = bytearray(file.read_bytes())
        data[500] ^= 1
        file.write_bytes(data)
    elif damage == "truncate":
        file.write_bytes(file.read_bytes()[:-1])
    elif damage == "remove":
        file.unlink()
    elif damage == "manifest":
        (file.parent / storage.MANIFEST).write_text("{}")
    else:  # the whole and valid encoding of another text
        open_corpus(config(written(tmp_path / "b.txt", "text some " * 100)))
        (other,) = set(encoded_files(cache)) - {file}
        storage.remove_folder(file.parent)
        other.parent.rename(file.parent)
    corpus = open_corpus(config(path))
    assert texts(corpus) == expected
    assert re.search("damaged, and was made again", corpus.description["notes"][0])
    assert open_corpus(config(path)).description["notes"] == []


def test_what_a_killed_process_left_is_removed(tmp_path: Path, cache: Path) -> None:
    path = written(tmp_path / "a.txt", "some text")
    open_corpus(config(path))
    (file,) = encoded_files(cache)
    place = file.parents[1]
    storage.remove_folder(file.parent)
    left = place / ".tmp-1-ids"
    left.mkdir()
    written(left / "ids.uint8", b"half")
    open_corpus(config(path))
    assert not left.exists()
    assert file.exists()


def test_a_full_disk_while_encoding_leaves_nothing_behind(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "a.txt", "some text")

    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ResourceError, match="no space left"):
        open_corpus(config(path))
    assert not [found for found in cache.rglob("*") if found.name.startswith((".tmp", "ids"))]


def test_a_cache_that_cannot_be_written_names_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LETTERLOOM_CACHE", str(written(tmp_path / "file", "in the way") / "cache"))
    with pytest.raises(RunError, match="LETTERLOOM_CACHE"):
        open_corpus(config(written(tmp_path / "a.txt", "some text")))


def test_two_processes_encode_the_same_text_without_harm(tmp_path: Path, cache: Path) -> None:
    path = written(tmp_path / "a.txt", "some text " * 100_000)
    program = (
        "import sys; from letterloom.config import TextConfig; from letterloom.text.encoding import open_corpus;"
        "corpus = open_corpus(TextConfig(corpus=(sys.argv[1],))); print(len(corpus.train), corpus.train.sum())"
    )
    command = [sys.executable, "-c", program, str(path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = {process.communicate()[0] for process in running}
    assert [process.returncode for process in running] == [0, 0, 0]
    corpus = open_corpus(config(path))
    assert outputs == {f"{len(corpus.train)} {corpus.train.sum()}\n"}
    assert len(encoded_files(cache)) == 1


def test_a_text_that_changes_while_it_is_encoded_is_refused(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "changing.txt", "some text")
    encode = CharacterTokenizer.encode_utf8

    def encode_and_change(*args: Any) -> Any:
        written(path, "some test")
        return encode(*args)

    monkeypatch.setattr(CharacterTokenizer, "encode_utf8", encode_and_change)
    with pytest.raises(DataMismatchError, match=r"changing\.txt changed"):
        open_corpus(config(path))
    assert encoded_files(cache) == []


# a given vocabulary


def test_a_given_vocabulary_is_used_as_it_is(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", "abba")
    assert open_corpus(config(path), CharacterTokenizer("abcd")).tokenizer == CharacterTokenizer("abcd")
    assert open_corpus(config(path), ByteTokenizer()).train.tolist() == [97, 98, 98]
    ids, about = encode_text_of([str(path)], CharacterTokenizer("abcd", end_of_text=True))
    assert ids.tolist() == [0, 1, 1, 0, 4]
    assert (about["characters"], about["ids"]) == (4, 5)


@given(plain, st.text(alphabet="éü🙂\n", min_size=1, max_size=4))
def test_the_first_unknown_character_of_a_file_is_placed(before: str, unknown: str) -> None:
    vocabulary = CharacterTokenizer("".join(sorted(set(before) - set("éü🙂") | {"\n"})))
    text = before + "é" + unknown
    position = next(i for i, c in enumerate(text) if c in "éü🙂")
    line = text.count("\n", 0, position) + 1
    column = len(text[:position].split("\n")[-1]) + 1
    whole = Document.chunks
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = written(Path(folder) / "file.txt", text)
        patch.setattr(Document, "chunks", lambda document, _: whole(document, 3))
        with pytest.raises(UnknownCharacterError) as caught:
            encode_text_of([str(path)], vocabulary)
    character = text[position]
    assert f"{character!r} (U+{ord(character):04X}) at line {line}, column {column} of {path}" in str(caught.value)


def test_unknown_characters_of_a_file_are_skipped_or_replaced_and_told(tmp_path: Path) -> None:
    path, tokenizer = written(tmp_path / "a.txt", "aéb🙂\nab"), CharacterTokenizer("\n ab")
    for unknown, expected in (("skip", "ab\nab"), ("replace", "a b \nab")):
        ids, about = encode_text_of([str(path)], tokenizer, unknown)  # type: ignore[arg-type]
        assert tokenizer.decode(ids) == expected
        assert about["characters"] == len(expected)
        assert "'é🙂'" in about["notes"][0]
    with pytest.raises(CorpusError, match="nothing is left"):
        encode_text_of([str(path)], CharacterTokenizer("x"), "skip")


def test_records_are_evaluated_as_records(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", "ab\n\nab\nba\n")
    ids, _ = encode_text_of([str(path)], CharacterTokenizer("ab", end_of_text=True), records="lines")
    assert sorted("".join(map(str, ids.tolist())).strip("2").split("2")) == ["01", "10"]
    with pytest.raises(DataMismatchError, match="records need an end-of-text"):
        encode_text_of([str(path)], CharacterTokenizer("ab"), records="lines")


# a changed text


def test_a_changed_text_is_refused_with_both_hashes_before_anything_else(tmp_path: Path, cache: Path) -> None:
    path = written(tmp_path / "a.txt", "some text")
    first = open_corpus(config(path))
    check_same_text(first.description, first.description)
    open_corpus(config(path), first.tokenizer, expected=first.description)
    written(path, "some text, é")  # also has characters the vocabulary does not know
    with pytest.raises(DataMismatchError) as caught:
        open_corpus(config(path), first.tokenizer, expected=first.description)
    for text in ("some text", "some text, é"):
        assert hashlib.sha256(text.encode()).hexdigest() in str(caught.value)
    assert len(encoded_files(cache)) == 1


def test_another_python_is_named_where_its_docs_are_the_text() -> None:
    about = open_corpus(config("python-docs")).description
    with pytest.raises(DataMismatchError, match=re.escape("(of Python 3.9.0)")):
        check_same_text(about, about | {"sha256": "0" * 64, "python": "3.9.0"})


def test_the_identity_of_several_documents_is_their_order_and_content(tmp_path: Path) -> None:
    first, second = written(tmp_path / "a", "aa"), written(tmp_path / "b", "bb")
    identities = {open_corpus(config(*paths)).description["sha256"] for paths in ((first, second), (second, first))}
    assert len(identities) == 2
    assert open_corpus(config(first)).description["sha256"] == hashlib.sha256(b"aa").hexdigest()
