import hashlib
import io
import os
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from letterloom.errors import CorpusError, DataMismatchError
from letterloom.text.corpora import CORPORA, cache_folder, open_source
from letterloom.text.documents import Document

CORPORA_FOLDER = Path(
    os.environ.get("LETTERLOOM_CORPORA") or Path(__file__).parents[2].parent / "shared" / "corpora"
).absolute()


@pytest.fixture(autouse=True)
def _no_corpora_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LETTERLOOM_CORPORA", raising=False)
    monkeypatch.setenv("LETTERLOOM_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def shakespeare() -> Path:
    path = CORPORA_FOLDER / "tinyshakespeare.txt"
    if not path.exists():
        pytest.skip(f"{path.name} is not there; name a folder with it by LETTERLOOM_CORPORA")
    return path


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address at which its files can be downloaded."""
    folder = tmp_path / "served"
    folder.mkdir()
    with HTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder))) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def text_of(*corpus: str) -> list[bytes]:
    return [b"".join(document.pieces()) for document in open_source(corpus).documents]


def pipe_in(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))


# names


def test_the_docs_that_python_carries() -> None:
    (text,) = text_of("python-docs")
    assert b"while" in text
    assert len(text.decode()) > 100_000
    assert text_of("python-docs") == [text]


def test_a_python_without_its_docs_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pydoc_data.topics", None)
    with pytest.raises(CorpusError, match="without pydoc_data"):
        open_source(["python-docs"])


def test_the_folder_of_corpora_is_looked_in_first(monkeypatch: pytest.MonkeyPatch, shakespeare: Path) -> None:
    monkeypatch.setenv("LETTERLOOM_CORPORA", str(shakespeare.parent))
    (text,) = text_of("shakespeare")
    assert hashlib.sha256(text).hexdigest() == CORPORA["shakespeare"].sha256
    assert len(text) == 1_115_394


def test_a_wrong_file_under_the_name_of_a_corpus_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_bytes(b"emma\n")
    monkeypatch.setenv("LETTERLOOM_CORPORA", str(tmp_path))
    with pytest.raises(DataMismatchError) as caught:
        open_source(["names"])
    for part in (hashlib.sha256(b"emma\n").hexdigest(), CORPORA["names"].sha256, str(tmp_path / "names.txt")):
        assert part in str(caught.value)


def test_a_folder_of_corpora_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LETTERLOOM_CORPORA", str(tmp_path / "missing"))
    with pytest.raises(CorpusError, match=r"LETTERLOOM_CORPORA names .*missing, which is not a folder"):
        open_source(["names"])


def test_a_corpus_is_downloaded_once_and_in_silence(
    monkeypatch: pytest.MonkeyPatch, server: tuple[Path, str], capfd: pytest.CaptureFixture[str]
) -> None:
    folder, address = server
    (folder / "input.txt").write_bytes(b"some text")
    corpus = replace(
        CORPORA["shakespeare"], url=f"{address}/input.txt", sha256=hashlib.sha256(b"some text").hexdigest()
    )
    monkeypatch.setitem(CORPORA, "shakespeare", corpus)
    assert text_of("shakespeare") == [b"some text"]
    (folder / "input.txt").unlink()
    assert text_of("shakespeare") == [b"some text"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("reachable", [True, False])
def test_a_failed_download_names_the_way_out(
    monkeypatch: pytest.MonkeyPatch, server: tuple[Path, str], reachable: bool
) -> None:
    folder, address = server
    (folder / "input.txt").write_bytes(b"not the corpus")
    if not reachable:
        address = "http://127.0.0.1:1"  # where nothing listens
    corpus = replace(CORPORA["shakespeare"], url=f"{address}/input.txt")
    monkeypatch.setitem(CORPORA, "shakespeare", corpus)
    with pytest.raises(CorpusError) as caught:
        open_source(["shakespeare"])
    message = str(caught.value)
    for part in ("cannot download", "LETTERLOOM_CORPORA", "tinyshakespeare.txt", corpus.url or ""):
        assert part in message
    assert "\n" not in message
    assert not list((cache_folder() / "corpora").glob("*"))


def test_a_name_hides_a_file_only_with_a_note(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "python-docs").write_text("mine")
    monkeypatch.chdir(tmp_path)
    assert "./python-docs" in open_source(["python-docs"]).notes[0]
    assert text_of("./python-docs") == [b"mine"]


@pytest.mark.parametrize("name", ["shakespear", "missing/file.txt", "", "a\0b", "x" * 5000, "new\nline"])
def test_a_missing_file_is_one_clear_line(name: str) -> None:
    with pytest.raises(CorpusError, match=r"no file, folder or corpus|cannot read") as caught:
        open_source([name])
    assert "\n" not in str(caught.value)
    assert ("did you mean 'shakespeare'" in str(caught.value)) == (name == "shakespear")
    assert name or "corpus '';" in str(caught.value)


def test_a_name_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(CorpusError, match="not UTF-8"):
        open_source(["text\udcff.txt"])


# files and folders


def test_files_come_in_the_order_given_and_by_their_absolute_paths(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "b.txt").write_bytes(b"first")
    (tmp_path / "a 🙂.txt").write_bytes(b"second")
    monkeypatch.chdir(tmp_path)
    assert text_of("b.txt", "a 🙂.txt") == [b"first", b"second"]
    assert open_source(["b.txt", "python-docs"]).corpus == (str(tmp_path / "b.txt"), "python-docs")


def test_a_folder_gives_its_visible_text_files_sorted_and_tells_the_rest(tmp_path: Path) -> None:
    files = {
        "b.txt": b"b",
        "a/z.txt": b"az",
        "a/b/c.md": b"abc",
        "late-nul.txt": b"x" * 8192 + b"\0",
        "image.png": b"\x89PNG\0",
        "empty.txt": b"",
        ".hidden": b"no",
        ".git/config": b"no",
    }
    for name, content in files.items():
        (tmp_path / "texts" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "texts" / name).write_bytes(content)
    os.mkfifo(tmp_path / "texts" / "pipe")
    (tmp_path / "texts" / "dangling").symlink_to("nowhere")
    source = open_source([str(tmp_path / "texts")])
    found = [Path(document.name).relative_to(tmp_path / "texts").as_posix() for document in source.documents]
    assert found == ["a/b/c.md", "a/z.txt", "b.txt", "late-nul.txt"]
    (note,) = source.notes
    assert note.startswith("4 files")
    assert all(name in note for name in ("dangling", "empty.txt", "image.png", "pipe"))


def test_a_folder_without_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "image.png").write_bytes(b"\0")
    with pytest.raises(CorpusError, match="no text files"):
        open_source([str(tmp_path)])


def test_the_runs_below_a_folder_are_no_part_of_its_text(tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("the text")
    before = text_of(str(tmp_path))
    shutil.copytree(tiny_run, tmp_path / "runs" / "a", symlinks=True)
    shutil.copytree(tiny_run / "checkpoints" / "last", tmp_path / "copied checkpoint")
    source = open_source([str(tmp_path)])
    assert [b"".join(document.pieces()) for document in source.documents] == before == [b"the text"]
    assert source.notes == (f"2 run directories or checkpoints below {tmp_path} were skipped",)


def test_an_unreadable_folder_below_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("the text")
    (tmp_path / "secret").mkdir()
    scan = os.scandir

    def refuse(path: str) -> Any:
        if path.endswith("secret"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)  # as root, permissions would not stop the test
    with pytest.raises(CorpusError, match=r"cannot read .*secret: Permission denied"):
        open_source([str(tmp_path)])


def test_a_file_name_that_is_not_utf8_can_be_told(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.txt")).write_bytes(b"text")
    (document,) = open_source([str(tmp_path)]).documents
    assert document.name.endswith("\ufffd.txt")
    assert b"".join(document.pieces()) == b"text"


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_cannot_be_read_twice_is_refused_with_the_way_to_do_it(tmp_path: Path, kind: str) -> None:
    path = Path("/dev/null")
    if kind == "pipe":
        path = tmp_path / "pipe"
        os.mkfifo(path)
    with pytest.raises(CorpusError, match=re.escape(f"`-`: ... - < {path}")):
        open_source([str(path)])


def test_an_unreadable_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "secret.txt"
    path.write_text("text")
    (document,) = open_source([str(path)]).documents
    monkeypatch.setattr(Path, "open", refuse)  # as root, permissions would not stop the test
    with pytest.raises(CorpusError, match=r"cannot read .*secret\.txt: Permission denied"):
        list(document.pieces())


# standard input


def test_standard_input_is_stored_once_and_can_be_opened_again_by_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    data = "piped text, 🙂\n".encode() * 100_000  # more than one piece
    for _ in range(2):
        pipe_in(monkeypatch, data)
        source = open_source(["-"])
        (document,) = source.documents
        assert document.name == "standard input"
        assert b"".join(document.pieces()) == b"".join(document.pieces()) == data
        assert text_of(*source.corpus) == [data]
        assert hashlib.sha256(data).hexdigest() in source.corpus[0]
        assert [path.name for path in (cache_folder() / "stdin").iterdir()] == [hashlib.sha256(data).hexdigest()]


def test_a_damaged_copy_of_standard_input_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe_in(monkeypatch, b"some text")
    (path,) = open_source(["-"]).corpus
    Path(path).write_bytes(b"some tixt")
    pipe_in(monkeypatch, b"some text")
    assert text_of("-") == [b"some text"]


def test_a_closed_standard_input_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(CorpusError, match="standard input is closed"):
        open_source(["-"])


# reading


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0")), st.integers(1, 9))
def test_pieces_are_whole_characters_whatever_their_size(text: str, size: int) -> None:
    pieces = list(Document("test", content=text.encode()).pieces(size))
    assert "".join(piece.decode() for piece in pieces) == text
    assert b"" not in pieces


@given(
    st.one_of(st.binary(), st.tuples(st.text(), st.binary(max_size=4)).map(lambda p: p[0].encode() + p[1])),
    st.integers(1, 9),
)
def test_the_first_bad_byte_is_told_as_python_tells_it(data: bytes, size: int) -> None:
    data = data.replace(b"\0", b"")
    document = Document("test", content=data)
    try:
        data.decode()
    except UnicodeDecodeError as error:
        place = f"test is not valid UTF-8 at byte {error.start} (0x{data[error.start]:02x})"
        with pytest.raises(CorpusError, match=re.escape(place)):
            list(document.pieces(size))
    else:
        assert b"".join(document.pieces(size)) == data


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_a_nul_is_told_with_its_offset(size: int) -> None:
    with pytest.raises(CorpusError, match="test has a NUL at byte 7"):
        list(Document("test", content="né 🙂".encode()[:7] + b"\0more").pieces(size))


def test_utf16_is_refused_with_the_way_to_convert_it() -> None:
    with pytest.raises(CorpusError, match="iconv -f UTF-16"):
        list(Document("test", content="text".encode("utf-16")).pieces())


def test_a_file_that_changes_between_two_readings_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "growing.txt"
    path.write_bytes(b"abc")
    document = Document("growing.txt", path, sha256=hashlib.sha256(b"abc").hexdigest())
    assert b"".join(document.pieces()) == b"abc"
    path.write_bytes(b"abcd")
    with pytest.raises(DataMismatchError, match=r"growing\.txt changed while it was being read"):
        list(document.pieces())


def test_the_cache_is_the_users_unless_named_otherwise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LETTERLOOM_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.setenv("LETTERLOOM_CACHE", "")
    assert cache_folder().name == "letterloom"
