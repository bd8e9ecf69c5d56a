"""Bytes to symbols and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from letterloom.compression.symbols import NOT_ESCAPED, Alphabet
from letterloom.errors import DataMismatchError
from letterloom.text.tokenizers import ByteTokenizer, CharacterTokenizer, Tokenizer

TOKENIZERS: list[Tokenizer] = [
    CharacterTokenizer("\n abcdefg"),
    CharacterTokenizer("abc", end_of_text=True),
    CharacterTokenizer("\n", end_of_text=True),
    CharacterTokenizer("ab\N{LATIN SMALL LETTER E WITH ACUTE}\N{SNOWMAN}\N{FISH}"),
    CharacterTokenizer("x"),
    ByteTokenizer(),
    ByteTokenizer(end_of_text=True),
]
tokenizers = pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=repr)
pieces = st.binary() | st.text().map(str.encode) | st.text("abc\n xé☃").map(str.encode)


@tokenizers
@given(parts=st.lists(pieces, max_size=8))
def test_any_bytes_come_back(tokenizer: Tokenizer, parts: list[bytes]) -> None:
    alphabet, data = Alphabet(tokenizer), b"".join(parts)
    symbols = alphabet.symbols(data)
    assert alphabet.data(symbols) == data
    assert len(symbols) == len(symbols.ids) == len(symbols.points) == len(list(symbols))
    assert ((symbols.ids >= 0) & (symbols.ids < tokenizer.vocab_size)).all()
    assert symbols.escapes == (symbols.points != NOT_ESCAPED).sum()


@pytest.mark.parametrize("tokenizer", [TOKENIZERS[0], ByteTokenizer()], ids=repr)
@given(text=st.text("\n abcdefg"))
def test_a_text_in_the_vocabulary_is_what_the_tokenizer_makes_of_it(tokenizer: Tokenizer, text: str) -> None:
    symbols = Alphabet(tokenizer).symbols(text.encode())
    np.testing.assert_array_equal(symbols.ids, tokenizer.encode(text))
    assert symbols.escapes == 0


def test_what_has_no_id_is_escaped_and_shown_as_the_replacement() -> None:
    tokenizer = CharacterTokenizer(" ab")
    symbols = Alphabet(tokenizer).symbols("aé".encode() + b"\xff" + "\N{FISH}b".encode())
    assert symbols.ids.tolist() == [1, 0, 0, 0, 2]
    assert symbols.points.tolist() == [NOT_ESCAPED, 0xE9, 0xDCFF, 0x1F41F, NOT_ESCAPED]


@pytest.mark.parametrize(("characters", "expected"), [("ab", 2), ("\nab", 0)])
def test_a_line_feed_is_an_end_of_text_where_it_is_no_character(characters: str, expected: int) -> None:
    symbols = Alphabet(CharacterTokenizer(characters, end_of_text=True)).symbols(b"\n")
    assert (symbols.ids.tolist(), symbols.escapes) == ([expected], 0)


def test_symbols_that_no_bytes_have_are_refused() -> None:
    with pytest.raises(DataMismatchError, match="damaged"):
        Alphabet(TOKENIZERS[0]).data([(0, 0xD800)])
