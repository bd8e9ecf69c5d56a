"""Where text comes from: corpora by name, files, folders and standard input.

All of them end as a `Source` of documents that can be read again and again, in pieces, without ever holding a text.
"""

import difflib
import hashlib
import os
import stat
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from letterloom import storage
from letterloom.errors import CorpusError, DataMismatchError
from letterloom.text.documents import PIECE, Document, is_text, printable, reading
from letterloom.text.synthetic import PREFIX

_RUN_FILES = {"run.toml", "tokenizer.json"}  # what a run directory and a checkpoint are known by


@dataclass(frozen=True)
class NamedCorpus:
    """A corpus that Letterloom knows; what it downloads has a fixed SHA-256."""

    name: str
    title: str
    size: str
    licence: str
    url: str | None = None
    file: str = ""
    sha256: str = ""


CORPORA = {
    corpus.name: corpus
    for corpus in (
        NamedCorpus(
            "python-docs",
            "the language reference inside this Python (pydoc_data.topics)",
            "about 465,000 characters, varies with the Python version",
            "PSF-2.0",
        ),
        NamedCorpus(
            "shakespeare",
            "Tiny Shakespeare: 40,000 lines of the plays",
            "1,115,394 characters",
            "public domain",
            "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
            "tinyshakespeare.txt",
            "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        ),
        NamedCorpus(
            "names",
            "first names from the statistics of the US Social Security Administration; train with --records lines",
            "32,033 lines, 228,145 characters",
            "public domain",
            "https://raw.githubusercontent.com/karpathy/makemore/master/names.txt",
            "names.txt",
            "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d",
        ),
    )
}


@dataclass(frozen=True)
class Source:
    """Documents in order; `corpus` gives the same ones again from any folder; `notes` tell what was left out."""

    documents: tuple[Document, ...]
    corpus: tuple[str, ...]
    notes: tuple[str, ...]


def open_source(corpus: Sequence[str]) -> Source:
    """Find the documents behind names of corpora and synthetic sources, files, folders, or `-` for standard input.

    Standard input is stored in the cache, and stands in `Source.corpus` as the path of that file.

    Raises:
        CorpusError: something is missing, unreadable, no text, or cannot be downloaded.
        DataMismatchError: a file under the name of a corpus is not that corpus.
    """
    documents: list[Document] = []
    resolved: list[str] = []
    notes: list[str] = []
    for name in corpus:
        if name in CORPORA or name.startswith(PREFIX):
            document = _named(CORPORA[name]) if name in CORPORA else _synthetic(name)
            documents.append(document)
            resolved.append(document.name)
            if Path(name).exists():
                notes.append(f"{name!r} is the corpus of that name; for the file here write ./{name}")
            continue
        path = _spool_standard_input() if name == "-" else Path(name)
        documents += _documents(path, name, notes)
        resolved.append(str(path.absolute()))
    return Source(tuple(documents), tuple(resolved), tuple(notes))


def cache_folder() -> Path:
    """`LETTERLOOM_CACHE`, else the user's cache; all in it can be made again but `stdin/`, what was piped in."""
    if folder := os.environ.get("LETTERLOOM_CACHE"):
        return Path(folder).absolute()
    import platformdirs

    return platformdirs.user_cache_path("letterloom")


def _named(corpus: NamedCorpus) -> Document:
    if corpus.url is None:
        return Document(corpus.name, content=_python_docs(), licence=corpus.licence)
    path = _local(corpus) or _download(corpus)
    return Document(corpus.name, path, licence=corpus.licence)


def _synthetic(name: str) -> Document:
    from letterloom.text.synthetic.sources import open_synthetic  # with NumPy, which a list of corpora does without

    source = open_synthetic(name)
    return Document(source.name, content=source.text.encode(), licence="public domain")


def _python_docs() -> bytes:
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise CorpusError(
            "this Python comes without pydoc_data.topics; name another corpus, a file or a folder"
        ) from None
    return "\n".join(topics[name] for name in sorted(topics)).encode()


def _local(corpus: NamedCorpus) -> Path | None:
    """The corpus in the folder that LETTERLOOM_CORPORA names, checked; None where it is not there."""
    folder = os.environ.get("LETTERLOOM_CORPORA")
    if not folder:
        return None
    path = Path(folder) / corpus.file
    with reading(str(path)):
        if not path.parent.is_dir():
            raise CorpusError(f"LETTERLOOM_CORPORA names {folder}, which is not a folder; change it or unset it")
        if not path.exists():
            return None
        digest = storage.sha256_file(path)
    if digest != corpus.sha256:
        raise DataMismatchError(
            f"{path} is not the corpus {corpus.name!r}: its SHA-256 is {digest}, not {corpus.sha256}; "
            "replace it, or unset LETTERLOOM_CORPORA"
        )
    return path


def _download(corpus: NamedCorpus) -> Path:
    import pooch

    pooch.get_logger().setLevel("WARNING")
    folder = cache_folder() / "corpora"
    try:
        return Path(pooch.retrieve(corpus.url, f"sha256:{corpus.sha256}", corpus.file, folder))
    except (OSError, ValueError) as error:  # the errors of requests are OSErrors, a wrong checksum is a ValueError
        reason = textwrap.shorten(str(error), 200)
        raise CorpusError(
            f"cannot download the corpus {corpus.name!r}: put {corpus.url} as {corpus.file} into a folder "
            f"and set LETTERLOOM_CORPORA to that folder ({reason})"
        ) from None


def _spool_standard_input() -> Path:
    """Store standard input in the cache under its SHA-256, to be read as often as needed."""
    stream = getattr(sys.stdin, "buffer", None)
    if stream is None:
        raise CorpusError("standard input is closed; pipe a text in, or name a file")

    def chunks() -> Iterator[bytes]:
        with reading("standard input"):
            while chunk := stream.read(PIECE):
                yield chunk

    folder = cache_folder() / "stdin"
    incoming = folder / f"incoming-{os.getpid()}"
    digest = _store(incoming, chunks())
    path = folder / digest / "text.txt"
    if not path.exists() or storage.sha256_file(path) != digest:
        _store(path.parent, Document("standard input", incoming / path.name).chunks())
    storage.remove_folder(incoming)
    return path


def _store(folder: Path, chunks: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    with storage.new_folder(folder) as writer, writer.open("text.txt") as file:
        for chunk in chunks:
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def _documents(path: Path, name: str, notes: list[str]) -> list[Document]:
    """The document of a file, or those of a folder."""
    try:
        shown = "standard input" if name == "-" else printable(name.encode().decode())
        mode = os.stat(path if name else name).st_mode  # noqa: PTH116 (an empty Path would be the current folder)
    except UnicodeEncodeError:
        raise CorpusError(f"the name {name!r} is not UTF-8, so that a run cannot record it; rename it") from None
    except (FileNotFoundError, NotADirectoryError, ValueError):
        from letterloom.text.synthetic.sources import KINDS

        near = difflib.get_close_matches(name, [*CORPORA, *(PREFIX + kind for kind in KINDS)], n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; the corpora by name are {', '.join(CORPORA)}"
        raise CorpusError(f"there is no file, folder or corpus {shown}{hint}") from None
    except OSError as error:
        raise CorpusError(f"cannot read {shown}: {error.strerror}") from None
    if stat.S_ISREG(mode):
        return [Document(shown, path)]
    if not stat.S_ISDIR(mode):
        raise CorpusError(
            f"{shown} is a pipe or a device, and a text is read twice; feed it in with `-`: ... - < {shown}"
        )
    return _folder(path, notes)


def _folder(folder: Path, notes: list[str]) -> list[Document]:
    """Every regular, visible file below a folder that git would call text, in the order of their paths.

    Not those of run directories: a run that was written into the folder of its text would be part of it on resuming.
    """
    paths, runs = [], 0
    shown = printable(folder)
    with reading(shown):
        for place, folders, files in os.walk(folder, onerror=_raise):
            if set(files) >= _RUN_FILES:
                folders.clear()
                runs += 1
                continue
            folders[:] = [name for name in folders if not name.startswith(".")]
            paths += [Path(place, name) for name in files if not name.startswith(".")]
    paths.sort(key=lambda path: path.parts)
    texts, skipped = [], []
    for path in paths:
        if is_text(path):
            texts.append(Document(printable(path), path))
        else:
            skipped.append(printable(path.relative_to(folder)))
    if not texts:
        raise CorpusError(f"the folder {shown} has no text files in it; name a folder with some, or a file")
    if runs:
        notes.append(f"{runs} run directories or checkpoints below {shown} were skipped")
    if skipped:
        listed = ", ".join(skipped[:5]) + (", ..." if len(skipped) > 5 else "")
        notes.append(f"{len(skipped)} files below {shown} are empty or no text, and were skipped: {listed}")
    return texts


def _raise(error: OSError) -> None:
    with reading(printable(error.filename)):  # the folder below that is unreadable, not the one that was named
        raise error
