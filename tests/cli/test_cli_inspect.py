"""`inspect`: what is told of a text, good or bad."""

import json
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def inspected(call: Any, tmp_path: Path) -> Any:
    """The figures of a text that is given as bytes."""

    def run(content: bytes, *options: str) -> Any:
        file = tmp_path / "text.txt"
        file.write_bytes(content)
        result = call("inspect", file, "--json", *options)
        assert (result.exit_code, result.err) == (0, "")
        return json.loads(result.out)

    return run


def warnings(told: Any) -> str:
    return "\n".join(one["warning"] for one in told["warnings"])


DRAW = random.Random(0)
WORDS = ["".join(DRAW.choices("etaoinshr", k=5)) for _ in range(50)]
PROSE = "".join(DRAW.choice(WORDS) + " \n"[i % 9 == 8] for i in range(4000))


def test_a_sound_text_has_no_warnings(inspected: Any) -> None:
    told = inspected(PROSE.encode())
    assert told["warnings"] == []
    assert told["characters"] == len(PROSE)
    assert told["line_ends"] == {"lf": PROSE.count("\n"), "crlf": 0, "cr": 0}
    assert told["split"] == {
        "training_characters": int(0.9 * len(PROSE)),
        "validation_characters": len(PROSE) - int(0.9 * len(PROSE)),
    }
    assert {one["character"]: one["count"] for one in told["vocabulary"]} == {c: PROSE.count(c) for c in set(PROSE)}
    assert told["model"]["parameters"] > 0
    assert told["model"]["seconds"] is None


def test_lines_begin_with_the_warnings_and_tell_the_figures(call: Any, tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_bytes(PROSE.replace("\n", "\r\n").encode())
    out = call("inspect", file).out
    assert out.index("Warning: Lines end in CRLF") < out.index("vocabulary")
    for words in (f"{len(PROSE) + PROSE.count(chr(10)):,} characters", "all ASCII", "CRLF", "50 or more characters"):
        assert words in out


def test_validation_text_that_was_trained_on_is_told(inspected: Any) -> None:
    told = inspected((PROSE + PROSE[:2000]).encode())
    assert "of the validation split lie in passages of 50 or more characters" in warnings(told)
    (leak,) = told["copies"]["leaked_passages"]
    assert (leak["characters"], leak["source"]) == (2000, "character 1")
    assert leak["place"] == f"character {len(PROSE) + 1:,}"
    validation = told["split"]["validation_characters"]
    assert told["copies"]["shares"][0]["leaked"]["share"] == pytest.approx(2000 / validation)


def test_places_name_the_document(call: Any, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(PROSE)
    (tmp_path / "b.txt").write_text("one\ntwo\x07\n" + PROSE[:600])
    told = json.loads(call("inspect", tmp_path / "a.txt", tmp_path / "b.txt", "--json").out)
    (bell,) = told["strange"]
    assert bell["places"] == [f"line 2, column 4 of {tmp_path / 'b.txt'}"]
    (leak,) = told["copies"]["leaked_passages"]
    assert leak["place"] == f"character 10 of {tmp_path / 'b.txt'}"
    assert leak["source"] == f"character 1 of {tmp_path / 'a.txt'}"


@pytest.mark.parametrize(
    ("content", "warning", "remedy"),
    [
        ("\ufeff" + PROSE, "begins with a byte order mark", "sed -i"),
        (PROSE.replace("\n", "\r\n"), "Lines end in CRLF", "sed -i"),
        (PROSE.replace("\n", "\r\n", 9), "Line ends are mixed: 9 are CRLF", "sed -i"),
        (PROSE.replace("\n", "\r"), "carriage returns without a newline", "tr "),
        (PROSE + "\x07\u200b", "2 characters that nobody sees", r"[\x{7}\x{200b}]"),
        (PROSE + "caf\ufffd", "replacement characters", "iconv"),
        (PROSE + "\x93so\x94", "U+0080 to U+009F", "WINDOWS-1252"),
        (PROSE + "xy\u200b", r"occur in the training split: x, y, \u200b", "bytes"),
        (PROSE + "jklmnopq" * 2, "occur fewer than 10 times", "TRANSLIT"),
        ("so\n" * 3000, "in lines that repeat an earlier line", "--records lines"),
        ("the same words again " * 300, "copy an earlier passage", "licences"),
        ("a" * 1_000_000, "one character, 'a', over and over", "another text"),
        ("".join(random.Random(0).choices("abcdefghijklmnop", k=20_000)), "blind guessing", "packed"),
        ("abcdefghij", "The validation split has 1 character, and", "more text"),
        ("a", "too few to train on some and validate with others", "more text"),
    ],
)
def test_what_is_wrong_is_told_with_what_helps(inspected: Any, content: str, warning: str, remedy: str) -> None:
    told = inspected(content.encode())
    assert warning in warnings(told)
    assert any(warning in one["warning"] and remedy in one["remedy"] for one in told["warnings"])


def test_one_line_of_a_megabyte(inspected: Any) -> None:
    told = inspected("".join(random.Random(0).choices("abc d", k=1_100_000)).encode())
    assert told["lines"]["longest_characters"] == 1_100_000
    assert (told["repeated_lines"]["lines"], told["repeated_lines"]["not_compared"]) == (0, 1)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"caf\xe9 au lait", "not valid UTF-8 at byte 3 (0xe9)"),
        (bytes(range(256)) * 9, "NUL at byte 0"),
        ("text".encode("utf-16"), "NUL at byte 3: it is binary, or not UTF-8"),
    ],
)
def test_what_is_no_text_is_refused_with_its_place(call: Any, tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "text.txt").write_bytes(content)
    result = call("inspect", tmp_path / "text.txt", "--html", tmp_path / "page.html")
    assert (result.exit_code, words in result.error) == (2, True)
    assert not (tmp_path / "page.html").exists()


class TestRecords:
    def test_what_training_drops_and_keeps(self, inspected: Any) -> None:
        names = [f"{a}{b}" for a in "abcdefghij" for b in "klmnopqrst"]
        told = inspected("\n".join([*names, "", *names[:7]]).encode(), "--records", "lines")
        assert told["records"] == {"kept": 100, "empty": 1, "repeated": 7, "validation": 10, "alike": 0}
        assert "in lines that repeat" not in warnings(told)

    def test_records_alike_but_for_case_and_spaces(self, inspected: Any) -> None:
        told = inspected("\n".join(["The Same", "the same", "THE  same", "tHE same"]).encode(), "--records", "lines")
        assert told["records"]["alike"] == 1
        assert "1 of 1 validation records equal a training record but for case and spaces" in warnings(told)

    def test_only_empty_lines(self, call: Any, tmp_path: Path) -> None:
        (tmp_path / "text.txt").write_text("\n\n\n")
        assert "has no records, only empty lines" in call("inspect", tmp_path / "text.txt", "--records", "lines").error


class TestPage:
    def test_it_stands_alone_and_text_stays_text(self, call: Any, tmp_path: Path) -> None:
        hostile = "<script>alert(1)</script>\n"
        (tmp_path / "text.txt").write_text(PROSE + hostile * 20)
        page = tmp_path / "out" / "page.html"
        result = call("inspect", tmp_path / "text.txt", "--html", page)
        assert result.out.endswith(f"page  {page}\n")
        html = page.read_text(encoding="utf-8")
        assert "<script" not in html
        assert "&lt;script&gt;" in html
        assert html.count("<svg") == 2
        assert not re.search(r"(?:src|href)=\"(?!#)", html)

    def test_a_folder_in_its_place(self, call: Any, tmp_path: Path) -> None:
        (tmp_path / "text.txt").write_text(PROSE)
        assert "is a folder; give a file" in call("inspect", tmp_path / "text.txt", "--html", tmp_path).error


def test_minutes_are_told_on_demand(call: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("letterloom.cli.inspect.step_seconds", lambda configs, _: dict.fromkeys(configs, 0.25))
    (tmp_path / "text.txt").write_text(PROSE * 5)
    model = json.loads(call("inspect", tmp_path / "text.txt", "--measure", "--json").out)["model"]
    assert model["seconds"] == pytest.approx(0.25 * model["characters_to_see"] / 2048, rel=0.01)


def test_without_measuring_it_needs_no_torch(call: Any, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(PROSE)
    code = (
        "import sys; from letterloom.cli import main; main(['inspect', sys.argv[1]]); "
        "assert not {'torch', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "text.txt"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
