# ruff: noqa: RUF001 (Greek letters are meant)
import dataclasses
import random
import string
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from letterloom.adaptation.vocabulary import Vocabulary, adapt_vocabulary, ids_in
from letterloom.config import ModelConfig
from letterloom.errors import ConfigError, UnknownCharacterError
from letterloom.model.transformer import Transformer
from letterloom.reference.model import forward
from letterloom.reference.options import Options
from letterloom.text.tokenizers import ByteTokenizer, CharacterTokenizer, Tokenizer, tokenizer_from_json

LATIN = CharacterTokenizer("".join(sorted(string.ascii_letters + " \n.")))
Arrays = dict[str, NDArray[Any]]


def weights(config: ModelConfig, vocab_size: int) -> Arrays:
    """Those of a new model, with a bias of the head that is not 0."""
    model = Transformer(config, vocab_size)
    found = {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}
    if "head.bias" in found:
        found["head.bias"] = np.random.default_rng(0).normal(size=vocab_size).astype(np.float32)
    return found


def logits(arrays: Arrays, config: ModelConfig, tokenizer: Tokenizer, text: str) -> NDArray[np.float64]:
    """By the NumPy reference: (T, V)."""
    shared = {f.name: getattr(config, f.name) for f in dataclasses.fields(Options) if f.name != "vocab_size"}
    options = Options(vocab_size=tokenizer.vocab_size, **shared)
    wide = {name: array.astype(np.float64) for name, array in arrays.items()}
    found: NDArray[np.float64] = forward(wide, tokenizer.encode(text)[None], options)[0]
    return found


def origin(vocabulary: Vocabulary, name: str) -> str:
    return next(one.origin for one in vocabulary.grown if one.name == name)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("mode", ["grow", "text"])
def test_what_is_kept_costs_what_it_did_apart_from_the_share_of_what_is_new(tied: bool, bias: bool, mode: Any) -> None:
    config = ModelConfig(context_length=16, d_model=8, n_heads=2, n_layers=2, tied_head=tied, bias_head=bias)
    before, known = weights(config, LATIN.vocab_size), "the quick.\n"
    vocabulary = adapt_vocabulary(LATIN, "αβé" + known, mode, end_of_text=True)
    after = vocabulary.adapt(before)
    assert ("head.weight" in after) == (not tied)
    old, new = logits(before, config, LATIN, known), logits(after, config, vocabulary.tokenizer, known)
    kept = sorted(set(known))
    assert new.shape == (len(known), vocabulary.tokenizer.vocab_size)
    np.testing.assert_allclose(
        new[:, vocabulary.tokenizer.encode("".join(kept))], old[:, LATIN.encode("".join(kept))], atol=1e-6
    )


def test_a_new_character_begins_as_the_one_it_is_like() -> None:
    config = ModelConfig(context_length=4, d_model=8, n_heads=2, n_layers=1, tied_head=False, bias_head=True)
    tokenizer = CharacterTokenizer(" Zabe")
    before = weights(config, tokenizer.vocab_size)
    vocabulary = adapt_vocabulary(tokenizer, "éÀzα7", end_of_text=True)
    assert origin(vocabulary, "é") == "e"
    assert origin(vocabulary, "À") == "a"
    assert origin(vocabulary, "z") == "Z"
    assert origin(vocabulary, "α") == "the mean of the small letters"
    assert origin(vocabulary, "7") == "the mean of all"
    assert origin(vocabulary, "end of text") == "the mean of all"  # there is no end of a line to begin from
    after, new = vocabulary.adapt(before), vocabulary.tokenizer
    for name in ("embedding.weight", "head.weight", "head.bias"):
        rows = before[name]
        accented, small, alpha, seven = after[name][new.encode("ézα7")]
        np.testing.assert_array_equal(accented, rows[tokenizer.encode("e")[0]])
        np.testing.assert_array_equal(small, rows[tokenizer.encode("Z")[0]])
        np.testing.assert_allclose(alpha, rows[tokenizer.encode("abe")].mean(axis=0), rtol=1e-5)
        np.testing.assert_allclose(seven, rows.mean(axis=0), rtol=1e-5, atol=1e-7)


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), min_size=1, max_size=4), st.integers(0, 3)
)
def test_ids_stay_what_they_were_however_often_a_vocabulary_grows(texts: list[str], ends_at: int) -> None:
    tokenizer: Tokenizer = LATIN
    for number, text in enumerate(texts):
        grown = adapt_vocabulary(tokenizer, text, "grow", end_of_text=number == ends_at)
        assert list(ids_in(tokenizer, grown.tokenizer)) == list(range(tokenizer.vocab_size))
        assert grown.rows[: tokenizer.vocab_size] == tuple((i,) for i in range(tokenizer.vocab_size))
        assert grown.tokenizer.decode(grown.tokenizer.encode(text)) == text
        if tokenizer.end_of_text_id is not None:
            assert grown.tokenizer.end_of_text_id == tokenizer.end_of_text_id
        assert tokenizer_from_json(grown.tokenizer.to_json()) == grown.tokenizer
        assert len(grown.grown) == grown.tokenizer.vocab_size - tokenizer.vocab_size
        tokenizer = grown.tokenizer


def test_an_end_of_text_in_the_middle_has_no_spelling() -> None:
    tokenizer = CharacterTokenizer("abγβ", end_of_text=True, after_end=2)
    assert tokenizer.end_of_text_id == 2
    assert tokenizer.encode("aγbβ").tolist() == [0, 3, 1, 4]
    assert tokenizer.decode([0, 2, 3, 2, 4]) == "aγβ"
    assert tokenizer.spellings[2] == b""
    assert tokenizer.encode("a?b", "replace").tolist() == [0, 0, 1]


def test_to_shrink_keeps_exactly_the_characters_of_the_text() -> None:
    vocabulary = adapt_vocabulary(LATIN, "beta α", "text")
    assert vocabulary.tokenizer == CharacterTokenizer(" abetα")
    assert set(vocabulary.dropped) == set(LATIN.characters) - set("beta ")
    assert [one.name for one in vocabulary.grown] == ["α"]


def test_bytes_know_every_character_and_grow_by_an_end_alone() -> None:
    assert adapt_vocabulary(ByteTokenizer(), "αβγ", "refuse").grown == ()
    vocabulary = adapt_vocabulary(ByteTokenizer(), "αβγ", end_of_text=True)
    assert vocabulary.tokenizer == ByteTokenizer(end_of_text=True)
    assert vocabulary.rows[256] == (ord("\n"),)
    assert ids_in(ByteTokenizer(), vocabulary.tokenizer).tolist() == list(range(256))


def test_what_is_new_may_be_refused() -> None:
    with pytest.raises(UnknownCharacterError, match=r"2 characters.*'αβ'.*--characters grow"):
        adapt_vocabulary(LATIN, "aαβ", "refuse")
    assert adapt_vocabulary(LATIN, "abc", "refuse").tokenizer == LATIN


def test_a_text_that_would_leave_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="keep nothing"):
        adapt_vocabulary(LATIN, "αβ", "text")


def test_thousands_of_new_characters_take_no_time() -> None:
    characters = "".join(chr(0x4E00 + i) for i in range(5_000))
    shuffled = random.Random(0).sample(characters, len(characters))
    vocabulary = adapt_vocabulary(LATIN, "".join(shuffled))
    assert vocabulary.tokenizer.vocab_size == LATIN.vocab_size + 5_000
    assert {one.origin for one in vocabulary.grown} == {"the mean of all"}
