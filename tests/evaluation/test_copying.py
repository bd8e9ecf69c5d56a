import difflib
import json
import random

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from letterloom.errors import CorpusError
from letterloom.evaluation.copying import BETWEEN, SETS, copying, text_of
from letterloom.text.tokenizers import ByteTokenizer, CharacterTokenizer, Tokenizer

SHORT = st.text("ab\n", min_size=1, max_size=20)


def share_inside(texts: list[str], training: str, n: int) -> float:
    """The judge: every stretch of n characters, looked for."""
    inside = characters = 0
    for text in texts:
        covered: set[int] = set()
        for start in range(len(text) - n + 1):
            if text[start : start + n] in training:
                covered |= set(range(start, start + n))
        inside, characters = inside + len(covered), characters + len(text)
    return inside / characters


@given(texts=st.lists(SHORT, min_size=1, max_size=4), training=SHORT, human=st.text("ab\n", max_size=60))
@example(texts=["ab", "ba"], training="abba", human="")  # nothing matches from one text into the next
@example(texts=["aaa", "aaa"], training="aaaaa", human="aaaaa")
def test_agrees_with_looking_for_every_stretch(texts: list[str], training: str, human: str) -> None:
    lengths = (1, 2, 3, 5, 8)
    found = copying(texts, training, human, lengths)
    assert found.texts.shares == {n: pytest.approx(share_inside(texts, training, n)) for n in lengths}
    blocks = [difflib.SequenceMatcher(None, text, training, autojunk=False).find_longest_match() for text in texts]
    match = found.texts.longest
    assert (len(match.text) if match else 0) == max(block.size for block in blocks)
    if match:
        assert texts[match.number][match.start :].startswith(match.text)
        assert training[match.place :].startswith(match.text)
        assert match.line == training[: match.place].count("\n") + 1


def test_held_out_text_is_cut_as_the_texts_are() -> None:
    """The passages of each set, told one by one."""
    training, texts = "the loom weaves the letters", ["weaves", "the loom!"]
    human = "a loom of letters, and the weaver weaves " * 3
    found = copying(texts, training, human, (3, 5))
    assert len(found.human) == len(human) // 15 == 8
    for i, overlap in enumerate(found.human):
        start = i * len(human) // 8
        passages = [human[start : start + 6], human[start + 6 : start + 15]]
        assert overlap.characters == 15
        assert overlap.shares == {n: pytest.approx(share_inside(passages, training, n)) for n in (3, 5)}
    assert found.expected(3) == pytest.approx(np.mean([overlap.shares[3] for overlap in found.human]))
    assert found.highest(3) == max(overlap.shares[3] for overlap in found.human)


def test_a_text_learned_by_heart_stands_out_and_other_text_of_the_source_does_not() -> None:
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefgh", k=4)) for _ in range(100)]
    source = " ".join(draw.choices(words, k=30_000))
    training, human, fresh = source[:100_000], source[100_000:140_000], source[140_000:140_500]
    learned, ordinary = copying([training[5_000:5_500]], training, human), copying([fresh], training, human)
    assert len(ordinary.human) == SETS
    for n in (20, 30, 50):
        assert learned.texts.shares[n] == 1.0
        highest = learned.highest(n)
        assert highest is not None and highest < 0.5
    assert learned.texts.longest is not None
    assert learned.texts.longest.place == 5_000
    longest = ordinary.texts.longest
    assert longest is not None and ordinary.longest()[0] <= len(longest.text) <= 2 * ordinary.longest()[-1]


def test_nothing_matches_across_the_end_of_a_document() -> None:
    found = copying(["hannah"], f"han{BETWEEN}nah", "")
    assert found.texts.longest is not None
    assert (found.texts.longest.text, found.texts.longest.line) in [("han", 1), ("nah", 2)]
    assert found.training_characters == 6
    assert found.human == ()


def test_records_of_people_are_taken_whole() -> None:
    found = copying(["anna", "otto"], f"anna{BETWEEN}emma", ["emma", "ann", "emil", "karl"], (3, 4))
    assert [overlap.shares for overlap in found.human] == [{3: 1.0, 4: pytest.approx(4 / 7)}, {3: 0.0, 4: 0.0}]


def test_held_out_text_shorter_than_the_texts_is_one_set() -> None:
    found = copying(["abcdef"], "abc", "abcd", (3,))
    assert [(overlap.characters, overlap.shares[3]) for overlap in found.human] == [(4, 0.75)]


@pytest.mark.parametrize("texts", [[], [""], ["", ""]])
def test_texts_without_a_character_are_refused(texts: list[str]) -> None:
    with pytest.raises(CorpusError, match="without a character"):
        copying(texts, "abc", "abc")


def test_texts_that_share_nothing() -> None:
    found = copying(["xyz"], "", "xy")
    assert (found.texts.longest, found.longest()) == (None, [0])
    assert set(found.texts.shares.values()) == {0.0}


def test_the_object_that_scripts_read() -> None:
    value = json.loads(json.dumps(copying(["the loom"], "a loom", "a letter, a loom").to_json()))
    assert value["texts"]["longest"] == {
        "characters": 5, "text": " loom", "number": 0, "start": 3, "place": 1, "line": 1,
    }  # fmt: skip
    assert set(value["texts"]["shares"]) == set(value["human"]["shares"]) == {"10", "20", "30", "50", "100"}
    assert value["human"]["sets"] == len(value["human"]["longest"]) == 2
    assert json.loads(json.dumps(copying(["a"], "a", "").to_json()))["human"] is None


@pytest.mark.parametrize("tokenizer", [CharacterTokenizer("abé", end_of_text=True), ByteTokenizer(end_of_text=True)])
def test_the_text_of_ids_keeps_documents_apart(tokenizer: Tokenizer) -> None:
    end = [tokenizer.end_of_text_id]
    ids = np.concatenate([end, tokenizer.encode("abé"), end, tokenizer.encode("é"), end]).astype(np.uint16)
    assert text_of(ids, tokenizer) == f"{BETWEEN}abé{BETWEEN}é{BETWEEN}"
    assert text_of(np.zeros(2, np.uint8), CharacterTokenizer("ab")) == "aa"
