"""A text becomes ids on disk, once: memory-mapped, keyed by what made them, checked on every opening.

The source is streamed twice, to survey it and to encode it, so memory does not grow with the text. The ids lie in the
cache (`LETTERLOOM_CACHE`) and can be made again at any time.
"""

import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from letterloom.config import TextConfig
from letterloom.errors import CorpusError, DataMismatchError
from letterloom.text.corpora import open_source
from letterloom.text.documents import Document, printable
from letterloom.text.records import encode_records, read_records
from letterloom.text.stored import stored_ids
from letterloom.text.survey import first_of, survey
from letterloom.text.synthetic import PREFIX
from letterloom.text.synthetic.sources import open_synthetic
from letterloom.text.tokenizers import (
    ByteTokenizer,
    CharacterTokenizer,
    Ids,
    Tokenizer,
    Unknown,
    ids_dtype,
    unknown_character,
)

_VERSION = 1  # of the cached ids; a change in how text becomes ids needs a new one
_BLOCK = 1 << 20  # ids looked at at once
Marks = Callable[[Ids], NDArray[np.bool_]]


@dataclass(frozen=True)
class Corpus:
    """A text as ids, split; `description` is what corpus.json holds.

    Of a text from a single synthetic source, `description["limit"]` says what it costs the process that drew it, in
    nats per character (see `SyntheticSource.limit`): the validation split given all of the text before it.

    `train` and `validation` are read-only memory maps, shape (n,). With records each begins and ends with an
    end-of-text, so that every record has its context; the one between the splits belongs to both. What is replayed of
    another text stands at the end of `train`, and `description["replay"]` tells of it.
    """

    tokenizer: Tokenizer
    train: Ids
    validation: Ids
    description: dict[str, Any]

    @property
    def limit(self) -> float | None:
        """What a character of the validation split costs the process that drew it, in nats, where that is known."""
        limit = self.description.get("limit")
        return limit and float(limit["validation"])


def open_corpus(
    config: TextConfig,
    tokenizer: Tokenizer | None = None,
    unknown: Unknown = "error",
    expected: dict[str, Any] | None = None,
) -> Corpus:
    """Open the text of a run; encode it first, unless that was done before.

    The first `int(train_fraction * n)` of its n characters train, the rest validates; with records, so many of n
    shuffled ones. Of what trains, the share `train_share` is used, and after it comes as much of what `replay` names,
    from the beginning of its training split, as makes `replay_share` of both. A given `tokenizer` (a trained model's)
    is used as it is; else the vocabulary is that of the text. It has to be what `expected`, a run's description, says.

    Raises:
        CorpusError: the text is missing, unreadable, not UTF-8, or too short to be split.
        UnknownCharacterError: a character is outside the given vocabulary, and `unknown` is "error".
        DataMismatchError: a named corpus is not what it should be, a text changed while it was read, or is not the
            `expected` one.
        ResourceError: the disk of the cache is full.
    """
    if tokenizer is None and config.replay:
        tokenizer = _new_tokenizer(config, characters_of(config))
    tokenizer, ids, description = _encode(config, tokenizer, unknown, expected)
    characters = _character_marks(tokenizer)
    in_records = config.records == "lines"
    unit, marks = ("records", _end_marks(tokenizer)) if in_records else ("characters", characters)
    n = description["records"]["kept"] if in_records else description["characters"]
    cut = int(config.train_fraction * n)
    if not 0 < cut < n:
        split = f"train_fraction {config.train_fraction} leaves {cut:,} to train and {n - cut:,} to validate"
        other = "another fraction, or `--records none` for plain text" if in_records else "another fraction"
        raise CorpusError(f"{_name(config)} has {n:,} {unit}; {split}: give more text or {other}")
    used = int(config.train_share * cut)
    if not used:
        raise CorpusError(f"train_share {config.train_share} leaves none of {cut:,} {unit} to train; give a larger one")
    train = ids[: _position(ids, used, marks) + in_records]
    validation = ids[_position(ids, cut, marks) :]
    shares = {"train": {unit: used, "ids": len(train)}, "validation": {unit: n - cut, "ids": len(validation)}}
    if in_records:
        for share, part in (("train", train), ("validation", validation)):
            shares[share]["characters"] = _count(part, characters)
    description["split"] = shares
    if not in_records and tokenizer.end_of_text_id is None and unknown == "error":
        name, *others = description["corpus"]
        if name.startswith(PREFIX) and not others:
            known = (expected or {}).get("limit")  # of the same text, by its hash
            description["limit"] = known or open_synthetic(name).limit(cut)
    if config.replay:
        train = _with_replay(train, config, tokenizer, unknown, description, (expected or {}).get("replay"))
    return Corpus(tokenizer, train, validation, description)


def encode_text_of(
    corpus: Sequence[str],
    tokenizer: Tokenizer,
    unknown: Unknown = "error",
    records: Literal["none", "lines"] = "none",
) -> tuple[Ids, dict[str, Any]]:
    """A whole text in the vocabulary of a trained model: ids, shape (n,), and their description.

    Raises:
        LetterloomError: as `open_corpus`.
    """
    _, ids, description = _encode(TextConfig(corpus=tuple(corpus), records=records), tokenizer, unknown)
    return ids, description


def characters_of(config: TextConfig) -> str:
    """Every character of the ids of a run's text, what is replayed included, once, by code point.

    Raises:
        LetterloomError: as `open_corpus`.
    """
    found = ""
    for corpus, records in ((config.corpus, config.records), (config.replay, config.replay_records)):
        if corpus:
            text = survey(open_source(corpus), in_records=records == "lines")
            in_records = read_records(text.documents, config.records_seed) if records == "lines" else text
            found += in_records.characters
    return "".join(sorted(set(found)))


def scored_characters(ids: Ids, tokenizer: Tokenizer) -> int:
    """Characters of some ids as evaluation counts them: an end-of-text is one."""
    return _count(ids, tokenizer.starts)


def check_same_text(description: dict[str, Any], expected: dict[str, Any]) -> None:
    """Refuse to go on with another text than the one that a run was trained on.

    Raises:
        DataMismatchError: naming both SHA-256.
    """
    if description["sha256"] != expected["sha256"]:
        here, there = (
            about["sha256"] + (f" (of Python {about['python']})" if "python" in about else "")
            for about in (description, expected)
        )
        raise DataMismatchError(
            f"the text {', '.join(description['corpus'])} is not the one this run was trained on: "
            f"its SHA-256 is {here}, that of the run's text {there}; bring that text back, or start a new run"
        )


def _with_replay(
    train: Ids,
    config: TextConfig,
    tokenizer: Tokenizer,
    unknown: Unknown,
    description: dict[str, Any],
    expected: dict[str, Any] | None,
) -> Ids:
    """The training ids, and after them the beginning of another text's; the description tells of it."""
    split = {"train_fraction": config.train_fraction, "records_seed": config.records_seed}
    earlier = TextConfig.model_validate({"corpus": config.replay, "records": config.replay_records} | split)
    other = open_corpus(earlier, tokenizer, unknown, expected)
    wanted = round(config.replay_share / (1.0 - config.replay_share) * len(train))
    if not wanted:
        raise CorpusError(
            f"text.replay_share {config.replay_share:g} of {len(train):,} ids replays none; give a larger share"
        )
    parts = (train, other.train[:wanted])
    count = len(parts[1])
    share = count / (len(train) + count)
    if count < wanted:
        name = ", ".join(map(printable, config.replay))
        description["notes"].append(f"{name} has {count:,} ids to replay, which are {share:.1%} of the training ids")
    description["replay"] = {
        "corpus": other.description["corpus"],
        "sha256": other.description["sha256"],
        "ids": count,
        "share": share,
    }
    shares = {**split, "records": [config.records, config.replay_records], "train_share": config.train_share}
    texts = [description["sha256"], other.description["sha256"]]
    key = [_VERSION, "replay", texts, tokenizer.to_json(), shares, count, unknown]
    pieces = (part[i : i + _BLOCK] for part in parts for i in range(0, len(part), _BLOCK))
    return stored_ids(key, train.dtype, pieces, description["notes"])


def _encode(
    config: TextConfig, tokenizer: Tokenizer | None, unknown: Unknown, expected: dict[str, Any] | None = None
) -> tuple[Tokenizer, Ids, dict[str, Any]]:
    """The whole text as ids, encoded now or before, and its description."""
    source = open_source(config.corpus)
    text = survey(source, in_records=config.records == "lines")
    about: dict[str, Any] = {
        "corpus": list(source.corpus),
        "sha256": text.sha256,
        "licence": ", ".join(sorted({source["licence"] or "not stated" for source in text.sources})),
        "sources": list(text.sources),
    }
    if "python-docs" in config.corpus:
        about["python"] = platform.python_version()
    if expected:
        check_same_text(about, expected)
    records = read_records(text.documents, config.records_seed) if config.records == "lines" else None
    characters = records.characters if records else text.characters
    if not characters:
        raise CorpusError(f"{_name(config)} has no records, only empty lines; give a text with something in its lines")
    tokenizer = tokenizer or _new_tokenizer(config, characters)
    if records and tokenizer.end_of_text_id is None:
        raise DataMismatchError("records need an end-of-text, and this model's vocabulary has none; use --records none")
    notes = list(text.notes)
    strange = strange_characters(characters, tokenizer)
    if not strange:
        unknown = "error"  # it makes no difference, so it shall not make a second copy of the ids
    elif unknown == "error":
        raise unknown_character(*first_of(strange, text.documents), tokenizer)
    else:
        done = "left out" if unknown == "skip" else f"replaced by {tokenizer.replacement!r}"
        notes.append(f"characters outside the vocabulary were {done}; there are {len(strange)}: {strange[:50]!r}")
    if records:
        pieces = encode_records(records, tokenizer, unknown)
    else:
        pieces = _encode_documents(text.documents, tokenizer, unknown)
    key = [_VERSION, text.sha256, tokenizer.to_json(), config.records_seed if records else None, unknown]
    ids = stored_ids(key, ids_dtype(tokenizer.vocab_size), pieces, notes)
    if records:
        about["records"] = {"kept": len(records.texts), "empty": records.empty, "repeated": records.repeated}
    about |= {
        "tokenizer": tokenizer.kind,
        "vocab_size": tokenizer.vocab_size,
        "characters": _count(ids, _character_marks(tokenizer)),
        "ids": len(ids),
        "notes": notes,
    }
    return tokenizer, ids, about


def _name(config: TextConfig) -> str:
    return ", ".join(printable(name) for name in config.corpus)


def _new_tokenizer(config: TextConfig, characters: str) -> Tokenizer:
    end_of_text = config.end_of_text or config.records == "lines"
    return ByteTokenizer(end_of_text) if config.tokenizer == "bytes" else CharacterTokenizer(characters, end_of_text)


def strange_characters(characters: str, tokenizer: Tokenizer) -> str:
    """Those of the characters that are not in the vocabulary, in their order."""
    known = set(tokenizer.decode(tokenizer.encode(characters, "skip")))
    return "".join(character for character in characters if character not in known)


def _encode_documents(documents: Iterable[Document], tokenizer: Tokenizer, unknown: Unknown) -> Iterator[Ids]:
    """The ids of all documents, piece by piece, each followed by end-of-text where there is one."""
    for document in documents:
        for piece in document.pieces():
            yield tokenizer.encode_utf8(piece, unknown)
        if tokenizer.end_of_text_id is not None:
            yield np.array([tokenizer.end_of_text_id], dtype=np.uint32)


def _character_marks(tokenizer: Tokenizer) -> Marks:
    """Marks the ids that begin a character; end-of-text is none."""
    if tokenizer.end_of_text_id is None:
        return tokenizer.starts
    return lambda ids: tokenizer.starts(ids) & (ids != tokenizer.end_of_text_id)


def _end_marks(tokenizer: Tokenizer) -> Marks:
    return lambda ids: np.asarray(ids == tokenizer.end_of_text_id)


def _count(ids: Ids, marks: Marks) -> int:
    return sum(int(np.count_nonzero(marks(ids[i : i + _BLOCK]))) for i in range(0, len(ids), _BLOCK))


def _position(ids: Ids, number: int, marks: Marks) -> int:
    """Where the marked id with this number (from 0) lies."""
    for start in range(0, len(ids), _BLOCK):
        marked = marks(ids[start : start + _BLOCK])
        count = int(np.count_nonzero(marked))
        if number < count:
            return start + int(np.flatnonzero(marked)[number])
        number -= count
    raise IndexError("fewer ids are marked")
