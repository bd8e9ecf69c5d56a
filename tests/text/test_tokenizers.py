import json
import re
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from letterloom.errors import DataMismatchError, LetterloomError, UnknownCharacterError
from letterloom.text.tokenizers import (
    ByteTokenizer,
    CharacterTokenizer,
    StreamDecoder,
    Tokenizer,
    ids_dtype,
    tokenizer_from_json,
)

any_text = st.text(min_size=1)  # all of Unicode but surrogates: astral, combining, controls, NUL


def characters_of(text: str, end_of_text: bool = False) -> CharacterTokenizer:
    return CharacterTokenizer("".join(sorted(set(text))), end_of_text)


@settings(max_examples=1000)
@given(any_text, st.booleans())
def test_every_text_comes_back_from_its_ids(text: str, end_of_text: bool) -> None:
    for tokenizer in (characters_of(text, end_of_text), ByteTokenizer(end_of_text)):
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert ids.dtype == np.int64
        assert all(0 <= i < tokenizer.vocab_size and i != tokenizer.end_of_text_id for i in ids.tolist())


@given(any_text, st.booleans())
def test_the_json_gives_the_same_tokenizer_back(text: str, end_of_text: bool) -> None:
    for tokenizer in (characters_of(text, end_of_text), ByteTokenizer(end_of_text)):
        assert tokenizer_from_json(tokenizer.to_json()) == tokenizer


def test_character_ids_are_places_in_the_sorted_vocabulary() -> None:
    tokenizer = CharacterTokenizer("\nabé🙂", end_of_text=True)
    assert tokenizer.encode("b🙂\né").tolist() == [2, 4, 0, 3]
    assert (tokenizer.vocab_size, tokenizer.end_of_text_id) == (6, 5)


def test_byte_ids_are_the_bytes_of_utf8() -> None:
    assert ByteTokenizer(end_of_text=True).encode("é🙂").tolist() == [0xC3, 0xA9, 0xF0, 0x9F, 0x99, 0x82]
    assert (ByteTokenizer(True).vocab_size, ByteTokenizer(True).end_of_text_id) == (257, 256)
    assert (ByteTokenizer().vocab_size, ByteTokenizer().end_of_text_id) == (256, None)


@pytest.mark.parametrize("tokenizer", [CharacterTokenizer("ab", True), ByteTokenizer(True)])
def test_end_of_text_decodes_to_nothing(tokenizer: Tokenizer) -> None:
    end = tokenizer.end_of_text_id
    assert end is not None
    assert tokenizer.decode([end, *tokenizer.encode("ab").tolist(), end]) == "ab"
    assert tokenizer.starts(np.array([end])).tolist() == [True]


def test_seventy_thousand_different_characters() -> None:
    everything = "".join(chr(i) for i in range(0x20000) if not 0xD800 <= i < 0xE000)[:70_000]
    tokenizer = CharacterTokenizer(everything, end_of_text=True)
    assert ids_dtype(tokenizer.vocab_size) == np.uint32
    assert tokenizer.encode_utf8(everything.encode()).tolist() == list(range(70_000))
    assert tokenizer.decode(range(70_000)) == everything


@pytest.mark.parametrize("size", [1, 2, 127, 128, 254, 255, 256, 257, 65_535, 65_536, 65_537])
def test_ids_never_wrap_around_the_edges_of_a_type(size: int) -> None:
    vocabulary = "".join(chr(0x10000 + i) for i in range(size))
    tokenizer = CharacterTokenizer(vocabulary)
    stored = tokenizer.encode_utf8(vocabulary.encode()).astype(ids_dtype(size))
    assert stored.tolist() == list(range(size))
    assert stored.itemsize == (1 if size <= 256 else 2 if size <= 65_536 else 4)
    with pytest.raises(UnknownCharacterError):
        tokenizer.encode("a")


def test_an_unknown_character_is_named_with_its_place_and_the_choices() -> None:
    with pytest.raises(UnknownCharacterError) as caught:
        CharacterTokenizer("\n ab").encode("ab\nbaéb")
    message = str(caught.value)
    for part in (
        "'é' (U+00E9)",
        "position 5",
        "line 2, column 3",
        "`unknown` (now: error)",
        "skip leaves",
        "replace puts",
    ):
        assert part in message
    assert "\n" not in message


@given(any_text, any_text)
def test_skip_and_replace_touch_unknown_characters_only(known: str, text: str) -> None:
    tokenizer = characters_of(known)
    assert tokenizer.decode(tokenizer.encode(text, "skip")) == "".join(c for c in text if c in known)
    replaced = "".join(c if c in known else tokenizer.replacement for c in text)
    assert tokenizer.decode(tokenizer.encode(text, "replace")) == replaced


@pytest.mark.parametrize(("vocabulary", "expected"), [(" ?a", " "), ("?a\ufffd", "\ufffd"), ("?a", "?"), ("ab", "a")])
def test_the_replacement_is_the_most_neutral_character_there_is(vocabulary: str, expected: str) -> None:
    assert CharacterTokenizer("".join(sorted(vocabulary))).replacement == expected


@pytest.mark.parametrize("tokenizer", [CharacterTokenizer(" ab"), ByteTokenizer()])
def test_half_a_character_is_unknown_to_every_tokenizer(tokenizer: Tokenizer) -> None:
    text = "a\ud83d\ude00b"  # two surrogates that UTF-16 would read as one character
    with pytest.raises(UnknownCharacterError, match=re.escape("(U+D83D) at position 1")):
        tokenizer.encode(text)
    assert tokenizer.decode(tokenizer.encode(text, "skip")) == "ab"
    assert tokenizer.decode(tokenizer.encode(text, "replace")) == "a  b"


@given(st.text(alphabet=st.characters(), max_size=20))  # surrogates too
def test_a_prompt_is_encoded_or_refused_with_a_clear_error(text: str) -> None:
    for tokenizer in (CharacterTokenizer(" abc"), ByteTokenizer()):
        try:
            tokenizer.encode(text)
        except UnknownCharacterError as error:
            assert "\n" not in str(error)
        tokenizer.encode(text, "skip")
        tokenizer.encode(text, "replace")


@given(any_text, st.booleans())
def test_starts_counts_characters(text: str, end_of_text: bool) -> None:
    for tokenizer in (characters_of(text, end_of_text), ByteTokenizer(end_of_text)):
        assert tokenizer.starts(tokenizer.encode(text)).sum() == len(text)
        assert tokenizer.starts(tokenizer.encode_utf8(text.encode())).sum() == len(text)


@given(st.lists(st.integers(0, 256)))
def test_streaming_gives_what_decoding_at_once_gives(ids: list[int]) -> None:
    tokenizer = ByteTokenizer(end_of_text=True)
    decoder = StreamDecoder(tokenizer)
    middle = len(ids) // 2
    streamed = "".join(decoder.feed([i]) for i in ids[:middle]) + decoder.feed(ids[middle:]) + decoder.finish()
    assert streamed == tokenizer.decode(ids) == bytes(i for i in ids if i < 256).decode("utf-8", "replace")


def test_the_stream_holds_bytes_back_until_they_make_a_character() -> None:
    decoder = StreamDecoder(ByteTokenizer())
    assert [decoder.feed([i]) for i in "é🙂".encode()] == ["", "é", "", "", "", "🙂"]
    assert decoder.feed([0xF0]) == ""
    assert decoder.finish() == "\ufffd"


def test_the_stream_of_characters_gives_each_at_once() -> None:
    tokenizer = CharacterTokenizer("a🙂", end_of_text=True)
    decoder = StreamDecoder(tokenizer)
    assert [decoder.feed([i]) for i in (1, 2, 0)] == ["🙂", "", "a"]
    assert decoder.finish() == ""


@pytest.mark.parametrize("tokenizer", [CharacterTokenizer("ab"), ByteTokenizer()])
@pytest.mark.parametrize("strange", [-1, 256])
def test_an_id_outside_the_vocabulary_is_not_decoded(tokenizer: Tokenizer, strange: int) -> None:
    with pytest.raises(ValueError, match="the vocabulary has"):
        tokenizer.decode([0, strange])


def test_combining_characters_are_kept_apart() -> None:
    decomposed = unicodedata.normalize("NFD", "é")
    assert len(characters_of(decomposed).encode(decomposed)) == 2


good = {"format": 1, "kind": "characters", "characters": "ab", "end_of_text": False}


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        ({"kind": "words"}, "fields"),
        ({"characters": "ba"}, "sorted"),
        ({"characters": "aab"}, "twice"),
        ({"characters": ""}, "empty"),
        ({"characters": "a\ud800"}, "surrogate"),
        ({"characters": ["a", "b"]}, "fields"),
        ({"end_of_text": 1}, "fields"),
        ({"format": 2}, "fields"),
        ({"format": 3}, "newer"),
        ({"format": 2, "after_end": 1}, "after the end-of-text"),
        ({"format": 2, "after_end": 3, "end_of_text": True}, "after the end-of-text"),
        ({"format": 2, "after_end": -1, "end_of_text": True}, "after the end-of-text"),
        ({"extra": 1}, "fields"),
        ({"kind": ["characters"]}, "fields"),
    ],
)
def test_a_malformed_tokenizer_file_is_refused_and_the_fault_named(damage: dict[str, object], named: str) -> None:
    with pytest.raises(DataMismatchError, match=named):
        tokenizer_from_json(json.dumps(good | damage))


@pytest.mark.parametrize("missing", list(good))
def test_a_missing_field_is_refused(missing: str) -> None:
    with pytest.raises(DataMismatchError, match=f"{missing}|fields"):
        tokenizer_from_json(json.dumps({key: value for key, value in good.items() if key != missing}))


@given(
    st.one_of(
        st.text(),
        st.recursive(st.none() | st.text(), lambda s: st.lists(s) | st.dictionaries(st.text(), s)).map(json.dumps),
    )
)
def test_any_other_text_is_refused_as_a_tokenizer_file(text: str) -> None:
    with pytest.raises(DataMismatchError):
        tokenizer_from_json(text)


@pytest.mark.parametrize("text", ["[" * 100_000, "NaN", "1e999", json.dumps(good)[:-2]])
def test_hostile_json_is_refused(text: str) -> None:
    with pytest.raises(LetterloomError):
        tokenizer_from_json(text)
