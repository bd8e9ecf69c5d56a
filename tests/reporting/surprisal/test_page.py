import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from letterloom.errors import RunError
from letterloom.evaluation.copying import copying
from letterloom.evaluation.loss import Evaluation
from letterloom.reporting.surprisal import page
from letterloom.reporting.surprisal.page import write_page
from letterloom.reporting.surprisal.places import Row
from letterloom.text.tokenizers import CharacterTokenizer

HOSTILE = '<b>&"\x1b\n'
TOKENIZER = CharacterTokenizer("".join(sorted(HOSTILE)))


class Reader(HTMLParser):
    """The characters of the map, with what is told of each; and every tag."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.told: list[tuple[str, str]] = []
        self.names: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.names += [name for name, _ in attrs]
        if "data-told" in dict(attrs):
            self.told.append(("", dict(attrs)["data-told"] or ""))

    def handle_data(self, data: str) -> None:
        if self.told and not self.told[-1][0]:
            self.told[-1] = data, self.told[-1][1]


def written(path: Path, text: str = HOSTILE, **options: Any) -> tuple[str, Reader]:
    n = len(text)
    shares = np.tile(np.array([0.75, 0.2], np.float32), (n, 1))
    row = Row(3, text, np.arange(float(n)) * math.log(2), np.tile([2, 0], (n, 1)), shares, "1 of 9")
    figures = {"nats": 1.0, "bits": 1.4} | Evaluation(0.25, (0.2, 0.3), n, "blocks", 64, 0.1).to_json()
    write_page(path, "file <x>.txt", figures, [row], TOKENIZER, **options)
    html = path.read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(html)
    return html, reader


def test_each_character_tells_what_was_expected(tmp_path: Path) -> None:
    html, reader = written(tmp_path / "new" / "page.html")
    assert [shown for shown, _ in reader.told] == ["<", "b", ">", "&", '"', r"\x1b", "⏎"]
    assert reader.told[4][1] == '"  4.00 bits\n" 75 %   ⏎ 20 %'  # ids 2 and 0 of the vocabulary
    assert "3.00" in html  # the mean of the line
    assert "1 of 9" in html


def test_the_page_stands_alone_and_text_stays_text(tmp_path: Path) -> None:
    html, reader = written(tmp_path / "page.html", copying=copying(["<i>a"], "<i>", ""))
    assert not reader.tags & {"script", "b", "link", "img", "iframe"}
    assert not [name for name in reader.names if name.startswith("on") or name in ("src", "href")]
    assert not re.search(r"url\(|@import|https?:", html)
    assert "file &lt;x&gt;.txt" in html
    assert "\x1b" not in html
    assert "&lt;i&gt;" in html  # the longest match


def test_a_long_text_is_cut_which_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "SHOWN", 5)
    html, reader = written(tmp_path / "page.html", "ab" * 10)
    assert len(reader.told) == 5
    assert "The first 5 of 20 characters are shown" in html


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write"):
        written(tmp_path / "file" / "page.html")
