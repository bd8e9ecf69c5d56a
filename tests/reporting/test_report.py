"""The report says what the files of the run say, stands alone, and shows a text as text whatever is in it."""

import json
import math
import re
import shlex
import xml.etree.ElementTree as ET
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from letterloom.config import build_config, read_toml
from letterloom.errors import LetterloomError, RunError
from letterloom.reporting.report import write_report
from letterloom.runs.directory import RunDirectory
from letterloom.text.tokenizers import CharacterTokenizer

FILES = ("loss.svg", "loss.png", "report.md", "report.html")
HOSTILE = (
    "</pre><script>alert(1)</script>\n```\n# `|` <img src=x onerror=alert(2)> ![a](http://b/c) {{ 7 * 7 }}"
    "\x1b\x00\r&lt;"
)
SETTINGS = {
    "model": {"context_length": 64, "d_model": 128},
    "text": {"corpus": ["play.txt"]},
    "training": {"max_steps": 90, "seed": 7},
}
ENVIRONMENT = {"letterloom": "0.1.0", "commit": None, "python": "3.11.9", "torch": "2.13.0", "threads": 2}
CORPUS = {
    "corpus": ["play.txt"],
    "licence": "public domain",
    "sha256": "86c4" * 16,
    "characters": 1115394,
    "split": {"train": {"characters": 1003854}, "validation": {"characters": 111540}},
    "notes": ["CRLF line ends are kept"],
}
EVALUATION: dict[str, dict[str, Any]] = {
    "sliding": {
        "nats_per_character": 1.8622,
        "bits_per_character": 1.8622 / math.log(2),
        "interval": None,
        "characters": 111540,
        "protocol": "sliding",
        "context_length": 64,
        "seconds": 75.2,
    },
    "blocks": {
        "nats_per_character": 1.8979,
        "bits_per_character": 1.8979 / math.log(2),
        "interval": {"low": 1.8801, "high": 1.9157},
        "characters": 111540,
        "protocol": "blocks",
        "context_length": 64,
        "seconds": 8.25,
    },
}


def new_run(path: Path, corpus: dict[str, Any] = CORPUS, **settings: Any) -> RunDirectory:
    """A run that has been created and has not made a step."""
    run = RunDirectory(path)
    tokenizer = CharacterTokenizer("".join(map(chr, range(32, 97))))  # 65 characters
    run.create(build_config(SETTINGS, settings), tokenizer, corpus, ENVIRONMENT)
    return run


def log(run: RunDirectory, steps: int, validate: bool) -> None:
    """Write `steps` lines of training, and a validation every 30."""
    lines: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        bits = 2.5 + 4 / step
        lines.append(
            {"kind": "train", "step": step, "loss": bits * math.log(2), "bits_per_character": bits}
            | {"characters": 768 * step, "seconds": 1.5 * step}
        )
        if validate and step % 30 == 0:
            lines.append({"kind": "validation", "step": step, "nats_per_character": 2 + abs(step - 60) / 100})
    run.metrics_file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def finished_run(path: Path, **changes: Any) -> RunDirectory:
    run = new_run(path, **changes)
    log(run, 90, validate=True)
    run.evaluation_file.write_text(json.dumps(EVALUATION), encoding="utf-8")
    run.samples_folder.mkdir()
    for step in (30, 60, 90):
        (run.samples_folder / f"step-{step:06d}.txt").write_text(f"\nROMEO {step}", encoding="utf-8")
    return run


class Page(HTMLParser):
    """What a browser would see: tags with attributes, the text of each <pre>, the rows of tables."""

    def __init__(self, run: RunDirectory) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.blocks: list[str] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed((run.path / "report.html").read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "pre":
            self.blocks.append("")
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.text += data
        if "pre" in self._open:
            self.blocks[-1] += data
        if self.rows and self._open[-1:] in (["td"], ["th"]):
            self.rows[-1][-1] += data

    def row(self, *beginning: str) -> list[str]:
        (row,) = [row for row in self.rows if tuple(row[: len(beginning)]) == beginning]
        return row


def markdown_tokens(run: RunDirectory) -> list[Any]:
    text = (run.path / "report.md").read_text(encoding="utf-8")
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    return [inner for token in tokens for inner in [token, *(token.children or [])]]


def test_a_finished_run_shows_the_numbers_of_its_files(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "romeo")
    write_report(run.path)
    page = Page(run)
    assert page.row("blocks")[1:] == ["2.7381", "2.7124 to 2.7638", "1.8979", "111,540", "64", "8.2 s"]
    assert page.row("sliding")[1:] == ["2.6866", "none", "1.8622", "111,540", "64", "1 min 15 s"]
    assert page.row("total") == ["total", "804,096"]  # facts: nanoGPT's CPU model has 0.80 M
    assert page.row("sha256") == ["sha256", "86c4" * 16]
    assert page.row("licence") == ["licence", "public domain"]
    assert page.row("split train characters")[1] == "1,003,854"
    assert page.row("notes")[1] == "CRLF line ends are kept"
    assert page.row("seed")[1] == "7"
    assert page.row("torch")[1] == "2.13.0"
    headline = re.sub(r"\s+", " ", page.text)
    assert "2.738 bits per character 1.8979 nats · 95 % interval 2.712 to 2.764 bits · protocol blocks" in headline
    assert "choosing among 6.7 equally likely ones" in headline  # e to the 1.8979
    assert "costs 6.02 bits per character; the model needs 45 % of that" in headline  # log2(65)
    assert "about 38.2 kB" in headline  # 111,540 characters of 2.738 bits
    assert "training time2 min 15 s" in headline
    assert "characters a second512" in headline


def test_markdown_and_page_show_the_same_numbers(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "romeo")
    write_report(run.path)
    markdown = (run.path / "report.md").read_text(encoding="utf-8")
    numbers = re.compile(r"\d[\d,]*\.?\d*")
    of_page = set(numbers.findall(" ".join(" ".join(row) for row in Page(run).rows)))
    assert len(of_page) > 50
    assert of_page - set(numbers.findall(markdown)) == set()


def test_the_parameter_table_adds_up(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "romeo", model={"activation": "swiglu", "bias_mlp": True, "token_smear": True})
    write_report(run.path)
    page = Page(run)
    table = [row for row in page.rows if len(row) == 5 and row[0] != "component"]
    numbers = [[int(cell.replace(",", "")) for cell in row[2:]] for row in table]
    assert all(each * copies == count for each, copies, count in numbers)
    assert sum(count for *_, count in numbers) == int(page.row("total")[1].replace(",", ""))


def test_the_page_stands_alone(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "romeo")
    write_report(run.path)
    page = Page(run)
    assert not {"script", "iframe", "img", "object", "embed", "link", "base", "form"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href", "data", "action", "srcset", "poster"):
                assert str(value).startswith("#"), (tag, name, value)
    source = (run.path / "report.html").read_text(encoding="utf-8")
    assert "@import" not in source
    assert all(target.startswith("#") for target in re.findall(r"url\(['\"]?([^)]*)", source))


def test_the_curves_in_the_page_are_the_picture_in_the_pages_colours(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "romeo")
    write_report(run.path)
    source = (run.path / "report.html").read_text(encoding="utf-8")
    inline = ET.fromstring(source[source.index("<svg") : source.index("</svg>") + 6])
    alone = ET.fromstring((run.path / "loss.svg").read_bytes())
    assert [element.tag for element in inline.iter()] == [element.tag for element in alone.iter()]
    styles = [style for element in inline.iter() if (style := element.get("style"))]
    assert any("var(--validation)" in style for style in styles)
    assert set(re.findall(r"#[0-9a-f]{6}", " ".join(styles))) == set()
    assert (run.path / "loss.png").read_bytes().startswith(b"\x89PNG")


def hostile_run(path: Path) -> RunDirectory:
    run = finished_run(path, corpus=CORPUS | {"corpus": [HOSTILE], "notes": [HOSTILE, "b"]}, text={"corpus": [HOSTILE]})
    (run.samples_folder / "step-000090.txt").write_bytes(HOSTILE.encode())
    return run


def test_a_hostile_text_is_shown_as_text_in_the_page(tmp_path: Path) -> None:
    run = hostile_run(tmp_path / "<b>run<b> `|`")
    write_report(run.path)
    page = Page(run)
    shown = HOSTILE.replace("\x1b", "\\x1b").replace("\x00", "\\x00").replace("\r", "\\r")
    assert page.blocks[2] == "\n" + shown  # the first newline of a <pre> is not shown
    assert page.rows[[row[0] for row in page.rows].index("corpus")][1] == shown
    assert not {"script", "img", "b"} & {tag for tag, _ in page.tags}
    assert "<b>run<b> `|`" in page.text


def test_a_hostile_text_is_shown_as_text_in_markdown(tmp_path: Path) -> None:
    run = hostile_run(tmp_path / "<b>run<b> `|`")
    write_report(run.path)
    tokens = markdown_tokens(run)
    shown = HOSTILE.replace("\x1b", "\\x1b").replace("\x00", "\\x00").replace("\r", "\\r")
    assert not [token for token in tokens if token.type.startswith(("html", "link"))]
    assert [token.attrs["src"] for token in tokens if token.type == "image"] == ["loss.svg"]
    assert [token.content for token in tokens if token.type == "fence"][2] == shown + "\n"
    assert sum(token.type == "heading_open" for token in tokens) == 9
    columns = [len(re.findall(r"<t[hd][ >]", table)) for table in _tables(run)]
    assert columns == [7, 2, 5, 2, 2, 2]


def _tables(run: RunDirectory) -> list[str]:
    """The first row of each table of the Markdown report, rendered."""
    text = (run.path / "report.md").read_text(encoding="utf-8")
    html = MarkdownIt("commonmark").enable("table").render(text)
    return [table.split("</tr>")[0] for table in html.split("<table>")[1:]]


def test_a_run_without_a_step_says_so(tmp_path: Path) -> None:
    run = new_run(tmp_path / "young")
    write_report(run.path)
    for name in ("report.html", "report.md"):
        text = (run.path / name).read_text(encoding="utf-8")
        assert "This run has not finished" in text
        assert "It has not been validated yet" in text
        assert "No step of training is logged yet" in text
        assert "None were drawn yet" in text
    assert Page(run).row("total")[1] == "804,096"


def test_an_unfinished_run_tells_its_best_validation(tmp_path: Path) -> None:
    run = new_run(tmp_path / "young")
    log(run, 75, validate=True)
    write_report(run.path)
    for name in ("report.html", "report.md"):
        text = (run.path / name).read_text(encoding="utf-8")
        assert "This run has not finished" in text
        assert "is 2.0000 nats = 2.885 bits per character, after step 60" in text
        assert "Final numbers" not in text


def test_a_byte_models_blind_guess_is_per_byte(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "bytes", text={"tokenizer": "bytes"})
    write_report(run.path)
    assert "costs 6.02 bits per byte. A compressor" in (run.path / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("characters", "nats", "told"),
    [
        ("a", 0.0, "choosing among 1.0 equally likely ones. Guessing blindly among all 1 of its vocabulary costs 0.00"),
        ("ab", 5000.0, "further off than blind guessing"),
    ],
)
def test_extreme_numbers_are_told(tmp_path: Path, characters: str, nats: float, told: str) -> None:
    run = finished_run(tmp_path / "extreme")
    (run.path / "tokenizer.json").write_text(CharacterTokenizer(characters).to_json(), encoding="utf-8")
    score = EVALUATION["blocks"] | {"nats_per_character": nats, "bits_per_character": nats / math.log(2)}
    run.evaluation_file.write_text(json.dumps({"blocks": score}), encoding="utf-8")
    write_report(run.path)
    assert told in (run.path / "report.md").read_text(encoding="utf-8")


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "killed")
    with run.metrics_file.open("a", encoding="utf-8") as file:
        file.write('{"kind": "train", "ste')
    write_report(run.path)
    assert "Trained for 90 steps" in (run.path / "report.md").read_text(encoding="utf-8")


def test_few_of_many_samples_are_shown_the_first_and_the_last_among_them_and_long_ones_cut(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "long")
    for step in range(1, 101):
        (run.samples_folder / f"step-{step:06d}.txt").write_text(f"{step:04d}" * 1000, encoding="utf-8")
    write_report(run.path)
    samples = Page(run).blocks[:-1]
    assert len(samples) == 6
    assert (samples[0], samples[-1]) == ("\n" + "0001" * 250, "\n" + "0100" * 250)
    assert "the first 1,000 of 4,000 characters" in Page(run).text


def test_equal_runs_give_equal_bytes(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "romeo")
    write_report(run.path)
    first = [(run.path / name).read_bytes() for name in FILES]
    write_report(run.path)
    assert [(run.path / name).read_bytes() for name in FILES] == first


def test_the_command_repeats_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = finished_run(Path("runs") / "it's mine")
    write_report(run.path)
    program, command, option, file = shlex.split(Page(run).blocks[-1])
    assert (program, command, option) == ("letterloom", "train", "--config")
    assert not Path(file).is_absolute()
    assert build_config(read_toml(Path(file))) == run.config()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("run.toml", b"model = 3"),
        ("run.toml", b"[model\n"),
        ("corpus.json", None),
        ("corpus.json", b"[1, 2]"),
        ("environment.json", b"{"),
        ("tokenizer.json", None),
        ("tokenizer.json", b"{}"),
        ("metrics.jsonl", b"{}\n"),
        ("metrics.jsonl", b"3\n"),
        ("metrics.jsonl", b"\xff\n"),
        ("metrics.jsonl", b'{"kind": "train", "step": 1, "bits_per_character": "x", "characters": 1, "seconds": 1}\n'),
        ("metrics.jsonl", b'{"kind": "train", "step": 1, "bits_per_character": 1, "characters": [], "seconds": 1}\n'),
        ("evaluation.json", b"{}}"),
        ("evaluation.json", b'{"blocks": {"nats_per_character": 1}}'),
        ("evaluation.json", b'{"blocks": 3}'),
        ("evaluation.json", json.dumps({"blocks": EVALUATION["blocks"] | {"characters": math.inf}}).encode()),
        ("samples/step-000060.txt", b"\xff\xfe"),
    ],
)
def test_a_missing_or_damaged_file_is_named_and_nothing_written(
    tmp_path: Path, name: str, content: bytes | None
) -> None:
    run = finished_run(tmp_path / "romeo")
    if content is None:
        (run.path / name).unlink()
    else:
        (run.path / name).write_bytes(content)
    with pytest.raises(LetterloomError) as told:
        write_report(run.path)
    assert Path(name).name in str(told.value)
    assert "\n" not in str(told.value)
    assert not any((run.path / file).exists() for file in FILES)


def _nothing(path: Path) -> None:
    pass


@pytest.mark.parametrize("make", [_nothing, Path.mkdir, Path.touch], ids=["missing", "empty folder", "file"])
def test_what_is_no_run_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "other"
    make(path)
    with pytest.raises(RunError, match="is not a run directory"):
        write_report(path)
