import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from letterloom.text.documents import Document
from letterloom.text.records import encode_records, read_records
from letterloom.text.tokenizers import ByteTokenizer, CharacterTokenizer, Tokenizer


def document(text: str) -> Document:
    return Document("test", content=text.encode())


lines = st.lists(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\n\r\0")))


@given(lines, st.integers(0, 2**32 - 1), st.sampled_from(["\n", "\r\n"]))
def test_records_are_the_different_lines_that_are_not_empty(lines: list[str], seed: int, ending: str) -> None:
    records = read_records([document("".join(line + ending for line in lines))], seed)
    assert set(records.texts) == set(lines) - {""}
    assert len(records.texts) == len(set(records.texts))
    assert len(records.texts) + records.empty + records.repeated == max(len(lines), 1)


def test_what_was_dropped_is_counted() -> None:
    records = read_records([document("a\n\nb\na"), document("b\n\n\nc\n")], seed=0)
    assert (sorted(records.texts), records.empty, records.repeated) == (["a", "b", "c"], 3, 2)


def test_the_order_depends_on_the_seed_and_not_on_the_order_in_the_file() -> None:
    names = [f"name {i}" for i in range(200)]
    moved = random.Random(0).sample(names, len(names))
    first = read_records([document("\n".join(names))], seed=0).texts
    assert read_records([document("\n".join(moved))], seed=0).texts == first
    assert read_records([document("\n".join(names))], seed=1).texts != first
    assert list(first) != names


def test_one_more_record_leaves_the_order_of_the_others_alone() -> None:
    names = [f"name {i}" for i in range(200)]
    before = read_records([document("\n".join(names))], seed=0).texts
    after = read_records([document("\n".join([*names, "another"]))], seed=0).texts
    assert tuple(name for name in after if name != "another") == before


def test_only_newlines_end_a_record() -> None:
    assert read_records([document("a\u2028b\x0bc\rd\n")], seed=0).texts == ("a\u2028b\x0bc\rd",)


@pytest.mark.parametrize("tokenizer", [CharacterTokenizer("abé", True), ByteTokenizer(True)])
def test_end_of_text_stands_before_between_and_after_records(tokenizer: Tokenizer) -> None:
    records = read_records([document("ab\né\nbb\n")], seed=0)
    ids = np.concatenate(list(encode_records(records, tokenizer)))
    ends = np.flatnonzero(ids == tokenizer.end_of_text_id)
    assert ends[0] == 0
    assert ends[-1] == len(ids) - 1
    between = [tokenizer.decode(ids[a + 1 : b]) for a, b in itertools.pairwise(ends)]
    assert between == list(records.texts)


def test_many_records_are_encoded_in_groups_without_a_seam() -> None:
    names = [str(i) for i in range(25_000)]
    tokenizer = CharacterTokenizer("0123456789", True)
    records = read_records([document("\n".join(names))], seed=0)
    groups = list(encode_records(records, tokenizer))
    assert len(groups) == 4
    assert len(np.concatenate(groups)) == sum(map(len, names)) + len(names) + 1
