import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from letterloom.generation.terminal import escape_controls


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ROMEO:\n\tAy.", "ROMEO:\n\tAy."),
        ("\x1b[2J", r"\x1b[2J"),
        ("\x00\x07\x08\r\x7f", r"\x00\x07\x08\r\x7f"),
        ("\x9b31m", r"\x9b31m"),
        ("\u202egnp.exe\u202c", r"\u202egnp.exe\u202c"),
        ("\ud800", r"\ud800"),
        ("é日👩\u200d🚀", "é日👩\u200d🚀"),  # the joiner inside an emoji is harmless
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert escape_controls(text) == shown


@given(st.text(st.characters(categories=None)))
def test_nothing_that_steers_a_terminal_is_left(text: str) -> None:
    shown = escape_controls(text)
    assert not [c for c in shown if unicodedata.category(c) == "Cc" and c not in "\n\t"]
    bidirectional = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    assert not [c for c in shown if unicodedata.bidirectional(c) in bidirectional]
    io.TextIOWrapper(io.BytesIO(), encoding="utf-8").write(shown)
