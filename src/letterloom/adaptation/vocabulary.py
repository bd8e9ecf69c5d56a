"""Another vocabulary for a trained model: characters it lacks are added, those that a text does without are dropped.

What is kept keeps its rows of embedding and head, bit for bit, so that the logits of known characters on known text
stay what they were. A new character begins as a copy of one that is like it: its case pair, or the base letter of its
Unicode decomposition (e for é); else as the mean of the known ones of its general category (Unicode Standard Annex 44,
section 5.7.1), else of all.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from letterloom.errors import ConfigError, UnknownCharacterError
from letterloom.generation.terminal import escape_controls
from letterloom.text.tokenizers import ByteTokenizer, CharacterTokenizer, Tokenizer

Characters = Literal["grow", "refuse", "text"]
Arrays = Mapping[str, NDArray[Any]]
BY_ID = ("embedding.weight", "head.weight", "head.bias")  # parameters with a row for each id
SHOWN = 50  # characters named in a message
_CATEGORIES = {"Lu": "capital letters", "Ll": "small letters", "Lo": "letters", "Nd": "digits", "Zs": "spaces"}


@dataclass(frozen=True)
class Grown:
    """A new id, and what its rows began from."""

    name: str  # the character, or "end of text"
    origin: str  # in words
    ids: tuple[int, ...]  # of the old vocabulary; the new rows are the mean of theirs


@dataclass(frozen=True)
class Vocabulary:
    """What became of a vocabulary."""

    tokenizer: Tokenizer
    rows: tuple[tuple[int, ...], ...]  # for each new id the old ones whose mean its rows are
    grown: tuple[Grown, ...]
    dropped: str

    def adapt(self, parameters: Arrays) -> dict[str, NDArray[Any]]:
        """Parameters of the old vocabulary, (V, ...) by name, as those of the new one; the others as they are."""
        return {name: self._rows(array) if name in BY_ID else array for name, array in parameters.items()}

    def to_json(self) -> dict[str, Any]:
        """What `finetuning.json` tells of it."""
        return {"new": [{"character": g.name, "from": g.origin} for g in self.grown], "dropped": self.dropped}

    def _rows(self, array: NDArray[Any]) -> NDArray[Any]:
        means = [array[list(ids)].mean(axis=0, dtype=np.float64) for ids in self.rows]  # of one row exactly that row
        return np.stack(means).astype(array.dtype)


def adapt_vocabulary(
    tokenizer: Tokenizer, characters: str, mode: Characters = "grow", end_of_text: bool = False
) -> Vocabulary:
    """The vocabulary for a text.

    Args:
        tokenizer: Of the trained model.
        characters: Those of the text.
        mode: "grow" adds what is new after the old ids, which stay; "refuse" lets nothing be new; "text" keeps and
            adds exactly the characters of the text, in the order of code points.
        end_of_text: Whether the text needs an end-of-text; it is added like a character, in any mode.

    Raises:
        UnknownCharacterError: something is new, and to be refused.
        ConfigError: "text" would keep no character.
    """
    ends = end_of_text or tokenizer.end_of_text_id is not None
    if not isinstance(tokenizer, CharacterTokenizer):
        return _mapped(tokenizer, ByteTokenizer(ends))
    known = set(tokenizer.characters)
    new = "".join(sorted(set(characters) - known))
    if new and mode == "refuse":
        raise UnknownCharacterError(
            f"the text has {len(new)} characters that are not in the vocabulary: {new[:SHOWN]!r}; let it grow with "
            "--characters grow, or take them out of the text"
        )
    if mode == "text":
        if not known & set(characters):
            raise ConfigError(
                "no character of the text is in the vocabulary, so that --characters text would keep nothing of it; "
                "use --characters grow"
            )
        return _mapped(tokenizer, CharacterTokenizer("".join(sorted(set(characters))), ends))
    had_end = tokenizer.end_of_text_id is not None
    after_end = tokenizer.after_end + len(new) if had_end else 0
    return _mapped(tokenizer, CharacterTokenizer(tokenizer.characters + new, ends, after_end))


def ids_in(old: Tokenizer, new: Tokenizer) -> NDArray[np.int64]:
    """The new id of each old one, shape (V,); -1 where the new vocabulary does without it."""
    ids = np.full(old.vocab_size, -1, dtype=np.int64)
    if isinstance(old, CharacterTokenizer) and isinstance(new, CharacterTokenizer):
        kept = "".join(sorted(set(old.characters) & set(new.characters)))
        ids[old.encode(kept)] = new.encode(kept)
    else:
        ids[:256] = np.arange(256)
    if old.end_of_text_id is not None and new.end_of_text_id is not None:
        ids[old.end_of_text_id] = new.end_of_text_id
    return ids


def _mapped(old: Tokenizer, new: Tokenizer) -> Vocabulary:
    """A vocabulary in the place of another, with where its rows come from."""
    ids = ids_in(old, new)
    rows: list[tuple[int, ...]] = [()] * new.vocab_size
    for before, after in enumerate(ids):
        if after >= 0:
            rows[after] = (before,)
    grown, similar = [], _Similar(old)
    for place in (place for place, origin in enumerate(rows) if not origin):
        one = similar.end_of_text() if place == new.end_of_text_id else similar.character(new.decode([place]))
        rows[place] = one.ids
        grown.append(one)
    dropped = old.decode(np.flatnonzero(ids < 0))
    return Vocabulary(new, tuple(rows), tuple(grown), dropped)


class _Similar:
    """Finds in a vocabulary what something new begins from."""

    def __init__(self, old: Tokenizer) -> None:
        self._old = old
        self._all = tuple(i for i in range(old.vocab_size) if i != old.end_of_text_id)
        self._by_category: dict[str, list[int]] = {}
        for i in self._all:
            for character in old.decode([i]):
                self._by_category.setdefault(unicodedata.category(character), []).append(i)

    def end_of_text(self) -> Grown:
        if (newline := self._known("\n")) is not None:
            return Grown("end of text", "the end of a line", (newline,))
        return Grown("end of text", "the mean of all", self._all)

    def character(self, new: str) -> Grown:
        base = unicodedata.normalize("NFKD", new)[:1]
        for like in dict.fromkeys([new.swapcase(), base, base.swapcase()]):
            if (known := self._known(like)) is not None:
                return Grown(new, like, (known,))
        category = unicodedata.category(new)
        if alike := self._by_category.get(category):
            name = _CATEGORIES.get(category, f"characters of category {category}")
            return Grown(new, f"the mean of the {name}", tuple(alike))
        return Grown(new, "the mean of all", self._all)

    def _known(self, character: str) -> int | None:
        found = self._old.encode(character, "skip")
        return int(found[0]) if len(character) == len(found) == 1 else None


def told(vocabulary: Vocabulary) -> Sequence[str]:
    """What became of it, in lines."""
    origins: dict[str, list[str]] = {}
    for one in vocabulary.grown:
        origins.setdefault(one.origin, []).append(one.name)
    lines = [f"new, from {escape_controls(o)}: {escape_controls(' '.join(names))}" for o, names in origins.items()]
    return [*lines, f"dropped: {escape_controls(' '.join(vocabulary.dropped))}"] if vocabulary.dropped else lines
