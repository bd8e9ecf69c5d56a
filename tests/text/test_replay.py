"""A share of another text at the end of the training ids."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from letterloom.config import TextConfig, build_config
from letterloom.errors import ConfigError, CorpusError, DataMismatchError
from letterloom.text.encoding import open_corpus
from letterloom.text.tokenizers import CharacterTokenizer

LETTERS = CharacterTokenizer("\nabcdefgh", end_of_text=True)


@pytest.fixture
def texts(tmp_path: Path) -> tuple[Path, Path]:
    """1,000 characters of new text, and 4,000 of old text, whose last tenth is told from the rest."""
    new, old = tmp_path / "new.txt", tmp_path / "old.txt"
    new.write_text("ab" * 500)
    old.write_text("cdef" * 900 + "gh" * 200)
    return new, old


def config(new: Path, old: Path, share: float, **more: Any) -> TextConfig:
    return TextConfig(corpus=(str(new),), replay=(str(old),), replay_share=share, **more)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5, 0.75])
def test_the_share_is_what_was_asked_for_and_comes_after_the_new_text(texts: tuple[Path, Path], share: float) -> None:
    corpus = open_corpus(config(*texts, share), LETTERS)
    alone = open_corpus(TextConfig(corpus=(str(texts[0]),)), LETTERS)
    n = len(alone.train)
    np.testing.assert_array_equal(corpus.train[:n], alone.train)
    replayed = LETTERS.decode(corpus.train[n:])
    assert ("cdef" * 900).startswith(replayed)  # from the beginning of its training split, and nothing held out
    assert len(replayed) / len(corpus.train) == pytest.approx(share, abs=1 / len(corpus.train))
    assert corpus.description["replay"]["share"] == pytest.approx(share, abs=1e-3)
    np.testing.assert_array_equal(corpus.validation, alone.validation)
    assert corpus.train.dtype == alone.train.dtype
    assert not corpus.train.flags.writeable


def test_where_the_old_text_is_too_short_for_its_share_this_is_told(texts: tuple[Path, Path]) -> None:
    corpus = open_corpus(config(*texts, 0.9), LETTERS)
    assert corpus.description["replay"]["ids"] == 3600
    assert any("3,600 ids to replay, which are 80.0%" in note for note in corpus.description["notes"])


def test_it_is_found_in_the_cache_and_another_share_is_another_copy(texts: tuple[Path, Path]) -> None:
    first, again = (open_corpus(config(*texts, 0.2), LETTERS) for _ in range(2))
    np.testing.assert_array_equal(first.train, again.train)
    assert len(open_corpus(config(*texts, 0.5), LETTERS).train) > len(first.train)


def test_records_are_replayed_as_records(tmp_path: Path, texts: tuple[Path, Path]) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text("".join(f"{a}{b}{c}\n" for a in "abcd" for b in "cdef" for c in "gh"))
    corpus = open_corpus(config(texts[0], lines, 0.05, replay_records="lines"), LETTERS)
    replayed = corpus.train[-corpus.description["replay"]["ids"] :]
    assert replayed[0] == LETTERS.end_of_text_id
    assert set(replayed[4::4]) == {LETTERS.end_of_text_id}


def test_without_a_vocabulary_that_of_both_texts_is_made(texts: tuple[Path, Path]) -> None:
    assert open_corpus(config(*texts, 0.2)).tokenizer == CharacterTokenizer("abcdefgh")


def test_an_old_text_that_has_changed_is_refused(texts: tuple[Path, Path]) -> None:
    before = open_corpus(config(*texts, 0.2), LETTERS).description
    texts[1].write_text("cd" * 2000)
    with pytest.raises(DataMismatchError, match=r"old.txt"):
        open_corpus(config(*texts, 0.2), LETTERS, expected=before)
    texts[1].unlink()
    with pytest.raises(CorpusError, match=r"old.txt"):
        open_corpus(config(*texts, 0.2), LETTERS, expected=before)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ({"replay": ["x"]}, "both, or neither"),
        ({"replay_share": 0.2}, "both, or neither"),
        ({"replay": ["x"], "replay_share": -0.1}, "replay_share = -0.1"),
        ({"replay": ["x"], "replay_share": 0.95}, "replay_share = 0.95"),
    ],
)
def test_settings_that_make_no_sense_are_refused(text: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        build_config({"text": text})
