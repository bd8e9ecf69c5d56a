"""Text stays text: a Markdown parser gives back what went in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from letterloom.reporting.markup import code, duration, fence, metric, plain, prose, rows

MARKDOWN = MarkdownIt("commonmark").enable("table")
HOSTILE = st.text(alphabet=st.sampled_from("`|\\<>&*_[]()!#\n\t -~$ax")) | st.text()


@given(HOSTILE)
def test_a_fenced_text_is_one_code_block(text: str) -> None:
    shown = plain(text)
    (block,) = MARKDOWN.parse(fence(shown))
    assert block.type == "fence"
    assert block.content == shown + "\n"


@given(HOSTILE)
def test_code_in_a_table_is_one_cell_with_the_text(text: str) -> None:
    shown = plain(text)
    tokens = MARKDOWN.parse(f"| a | b |\n| - | - |\n| {code(shown)} | after |\n")
    cells = [token for token in tokens if token.type == "inline"][2:]
    assert [cell.content for cell in cells[1:]] == ["after"]
    (span,) = cells[0].children or []
    assert span.type == "code_inline"
    line = " ".join(shown.splitlines())
    assert span.content == (line if line.strip() else '""')


@given(HOSTILE | st.from_regex(r"[0-9+=.)-]{1,4} a", fullmatch=True))
def test_a_sentence_is_one_paragraph_with_its_words(text: str) -> None:
    shown = plain(text)
    inline = [
        token for token in MARKDOWN.parse(prose(shown)) if token.type not in ("paragraph_open", "paragraph_close")
    ]
    children = [child for token in inline for child in token.children or []]
    assert {child.type for child in children} <= {"text"}
    assert "".join(child.content for child in children) == " ".join(shown.split())
    assert len(inline) == (1 if shown.split() else 0)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1003854, "1,003,854"),
        (True, "yes"),
        (False, "no"),
        (None, "none"),
        (0.001, "0.001"),
        (1e-08, "1e-08"),
        ("", '""'),
        ([], "none"),
        (["a", 1], "a; 1"),
        ("a\x1b[2J", "a\\x1b[2J"),
    ],
)
def test_plain(value: object, text: str) -> None:
    assert plain(value) == text


def test_rows_name_every_level() -> None:
    nested = {"split": {"train": {"ids": 9}}, "sources": [{"name": "a"}, {"name": "b"}], "corpus": ["a", "b"]}
    assert list(rows(nested)) == [
        ("split train ids", "9"),
        ("sources 1 name", "a"),
        ("sources 2 name", "b"),
        ("corpus", "a; b"),
    ]


def test_rows_of_many_mappings_end_in_their_number() -> None:
    named = list(rows({"sources": [{"name": f"{i}.txt"} for i in range(1000)]}))
    assert named[9:] == [("sources 10 name", "9.txt"), ("sources", "and 990 more")]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (38_169, "38.2 kB"), (999_600, "1.00 MB"), (1.234e20, "123 EB")],
)
def test_metric(value: float, text: str) -> None:
    assert metric(value, "B") == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 0 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 0 min"),
        (7500, "2 h 5 min"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text
