"""Characters, places and lines are counted as Python's own strings have them."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from letterloom.text.inspection.tally import PLACES, Tally

documents = st.lists(st.text(st.sampled_from("aé☃\U0010ffff\t\r\n"), max_size=60), min_size=1, max_size=3)


def tally_of(texts: list[str], piece: int) -> Tally:
    tally = Tally()
    for text in texts:
        tally.begin()
        for i in range(0, len(text), piece):
            tally.add(np.array([ord(character) for character in text[i : i + piece]], dtype=np.uint32))
        tally.end()
    return tally


@given(documents, st.integers(1, 20))
def test_every_character_is_counted(texts: list[str], piece: int) -> None:
    tally = tally_of(texts, piece)
    found = {chr(point): int(tally.counts[point]) for point in np.flatnonzero(tally.counts)}
    assert found == Counter("".join(texts))


@given(documents, st.integers(1, 20))
def test_places_are_the_first_ones(texts: list[str], piece: int) -> None:
    tally = tally_of(texts, piece)
    for character in set("".join(texts)):
        expected = [
            (number, line, column)
            for number, text in enumerate(texts)
            for line, content in enumerate(text.split("\n"), start=1)
            for column, one in enumerate(content + "\n" * (line <= text.count("\n")), start=1)
            if one == character
        ]
        found = tally.places(ord(character))
        assert [(place.document, place.line, place.column) for place in found] == expected[:PLACES]
        assert found[0].position == "".join(texts).index(character)


@given(documents, st.integers(1, 20))
def test_lines_and_their_ends(texts: list[str], piece: int) -> None:
    tally = tally_of(texts, piece)
    ended = [line.removesuffix("\r") for text in texts for line in text.split("\n")[:-1]]
    last = [text.rpartition("\n")[2] for text in texts]
    lengths = Counter(map(len, [*ended, *filter(None, last)]))
    assert {length: int(count) for length, count in enumerate(tally.line_lengths) if count} == lengths
    assert tally.longest_line[0] == max(lengths, default=0)
    crlf = sum(text.count("\r\n") for text in texts)
    assert tally.line_ends == {
        "lf": sum(text.count("\n") for text in texts) - crlf,
        "crlf": crlf,
        "cr": sum(text.count("\r") for text in texts) - crlf,
    }
