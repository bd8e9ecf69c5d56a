"""A text inspected: read a few times from its beginning to its end, in pieces, so that memory does not grow with it."""

import bz2
import lzma
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from letterloom.config import TextConfig
from letterloom.errors import CorpusError
from letterloom.text.corpora import open_source
from letterloom.text.documents import Document
from letterloom.text.inspection.copies import Copies, copies_of, counted_in
from letterloom.text.inspection.passages import Passages, Sample, Stretch, choose_sample
from letterloom.text.inspection.repeated_lines import LineCounter, RepeatedLines
from letterloom.text.inspection.tally import Place, Points, Tally
from letterloom.text.records import read_records
from letterloom.text.survey import Survey, survey
from letterloom.text.tokenizers import code_points

PIECE = 1 << 17  # bytes: what is worked out of them stays in the processor's cache
EXCERPT = 500_000  # characters, from the middle of the text, that are compressed
LINES_SHOWN = 5
_BYTE_ORDER_MARK = 0xFEFF


@dataclass(frozen=True)
class Character:
    """A character of the text, how often it occurs, and where first."""

    character: str
    count: int
    places: tuple[Place, ...]


@dataclass(frozen=True)
class InRecords:
    """The lines of a text as records: those that are kept, and what was dropped."""

    kept: int
    empty: int
    repeated: int
    validation: int  # records
    alike: int  # of the validation split, that equal one of the training split but for case and spaces


@dataclass(frozen=True)
class Inspection:
    """What a text is like."""

    text: Survey
    corpus: tuple[str, ...]
    notes: tuple[str, ...]  # what was left out of it
    byte_order_marks: tuple[str, ...]  # documents that begin with one
    characters: tuple[Character, ...]  # by code point
    line_ends: dict[str, int]
    line_lengths: NDArray[np.int64]  # lines by their characters; the last entry also counts all longer ones
    longest_line: tuple[int, int, int]  # its characters, its document from 0, its line from 1
    repeated_lines: RepeatedLines
    records: InRecords | None
    training_characters: int  # of the splits; 0 where the text is too short to be split
    validation_characters: int
    unseen: str  # characters that the validation split has, and the training split has not
    copies: Copies
    bits_per_character: dict[str, float]  # of an excerpt, by compressor
    excerpt_characters: int


def inspect(corpus: Sequence[str], records: Literal["none", "lines"] = "none") -> Inspection:
    """Inspect a text, split as a run would split it by default.

    Raises:
        CorpusError: it is missing, empty, unreadable or not UTF-8, which is told with the place of the first such byte.
        DataMismatchError: it changed while it was read.
    """
    source = open_source(corpus)
    text = survey(source, in_records=records == "lines")
    tally, lines, marks = Tally(), LineCounter(), []
    for document in text.documents:
        tally.begin()
        for place, points in enumerate(_points([document])):
            if place == 0 and points[0] == _BYTE_ORDER_MARK:
                marks.append(document.name)
            tally.add(points)
            lines.add(points)
        tally.end()
        lines.end()
    repeated = lines.result(LINES_SHOWN)
    del lines  # and its table, before there are others
    found = tuple(
        Character(chr(point), int(tally.counts[point]), tuple(tally.places(point)))
        for point in map(int, np.flatnonzero(tally.counts))
    )
    split = _in_records(text) if records == "lines" else _in_order(text, found)
    excerpt, passages = _look_up(split)
    copies = copies_of(passages, split.cut, split.characters)
    del passages
    if copies.sampled:  # which tells what is repeated, but not how often
        pieces = (piece for document in split.documents for piece in document.pieces())
        copies = replace(copies, repeated_passages=counted_in(copies.repeated_passages, pieces))
    return Inspection(
        text=text,
        corpus=tuple(corpus),
        notes=source.notes,
        byte_order_marks=tuple(marks),
        characters=found,
        line_ends=tally.line_ends,
        line_lengths=tally.line_lengths,
        longest_line=tally.longest_line,
        repeated_lines=repeated,
        records=split.records,
        training_characters=split.cut,
        validation_characters=split.characters - split.cut if split.cut else 0,
        unseen=split.unseen,
        copies=copies,
        bits_per_character=compressed_bits(excerpt),
        excerpt_characters=len(excerpt),
    )


def compressed_bits(text: str) -> dict[str, float]:
    """Bits per character that common compressors need for a text; none for an empty one."""
    data = text.encode()
    sizes = {
        "zlib": len(zlib.compress(data, 9)),
        "bzip2": len(bz2.compress(data)),
        "xz": len(lzma.compress(data)),
    }
    return {name: 8 * size / len(text) for name, size in sizes.items()} if text else {}


@dataclass(frozen=True)
class _Split:
    """A text in the order in which it trains and validates."""

    documents: tuple[Document, ...]
    characters: int
    cut: int  # where the validation split begins; 0 where there is none
    unseen: str
    records: InRecords | None = None


def _in_order(text: Survey, found: Iterable[Character]) -> _Split:
    characters = sum(source["characters"] for source in text.sources)
    cut = _cut(characters)
    unseen = "".join(one.character for one in found if cut and one.places[0].position >= cut)
    return _Split(text.documents, characters, cut, unseen)


def _in_records(text: Survey) -> _Split:
    records = read_records(text.documents, seed=0)
    if not records.texts:
        names = ", ".join(document.name for document in text.documents)
        raise CorpusError(f"{names} has no records, only empty lines; give a text with something in its lines")
    number = _cut(len(records.texts))
    train, validation = records.texts[:number], records.texts[number:]
    seen = {_folded(record) for record in train}
    told = InRecords(
        kept=len(records.texts),
        empty=records.empty,
        repeated=records.repeated,
        validation=len(validation),
        alike=sum(_folded(record) in seen for record in validation),
    )
    known = set().union(*train)
    joined = "\n".join(records.texts)
    return _Split(
        documents=(Document("the records", content=joined.encode()),),
        characters=len(joined),
        cut=sum(map(len, train)) + number if number else 0,
        unseen="".join(sorted(set().union(*validation) - known)) if number else "",
        records=told,
    )


def _cut(number: int) -> int:
    """How many of them train by default; 0 where not both splits would have something."""
    cut = int(TextConfig().train_fraction * number)
    return cut if 0 < cut < number else 0


def _folded(record: str) -> str:
    return " ".join(record.casefold().split())


def _look_up(split: _Split) -> tuple[str, Passages]:
    """An excerpt of the text, and where the passages of its sample occur first."""
    begin = max(0, (split.characters - EXCERPT) // 2)
    end = min(split.characters, begin + EXCERPT)
    excerpt = Sample([Stretch(begin, end, begin, end)])
    sample = Sample(choose_sample(split.cut, split.characters))
    for points in _points(split.documents):
        excerpt.add(points)
        sample.add(points)
    passages = Passages(sample)
    passages.read(_points(split.documents))
    return str(excerpt.points.tobytes(), "utf-32-le"), passages


def _points(documents: Iterable[Document]) -> Iterator[Points]:
    for document in documents:
        for piece in document.pieces(PIECE):
            yield code_points(piece).astype(np.uint32)
