"""The report says what the files of the run say, stands alone, and shows a text as text whatever is in it."""

import json
import math
import re
import shlex
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from written_runs import CORPUS, EVALUATION, SETTINGS, TRAINING, VALIDATION, Page, finished_run, log, new_run

from letterloom import accounting
from letterloom.config import build_config
from letterloom.errors import DataMismatchError, RunError
from letterloom.reporting.markup import metric
from letterloom.reporting.reading import read_run
from letterloom.reporting.report import write_report
from letterloom.runs.directory import RunDirectory
from letterloom.sections import read_toml
from letterloom.text.tokenizers import ByteTokenizer, CharacterTokenizer, Tokenizer

FILES = ("loss.svg", "loss.png", "report.md", "report.html")
HOSTILE = (
    "</pre><script>alert(1)</script>\n```\n# `|` <img src=x onerror=alert(2)> ![a](http://b/c) {{ 7 * 7 }}"
    "\x1b\x00\r&lt;"
)


def markdown_tokens(run: RunDirectory) -> list[Any]:
    text = (run.path / "report.md").read_text(encoding="utf-8")
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    return [inner for token in tokens for inner in [token, *(token.children or [])]]


def test_a_finished_run_shows_the_numbers_of_its_files(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "romeo")
    write_report(run.path)
    page = Page(run.path)
    assert page.row("held out", "blocks")[2:] == ["2.7381", "2.7124 to 2.7638", "1.8979", "111,540", "64", "8.2 s"]
    assert page.row("held out", "sliding")[2:] == ["2.6866", "none", "1.8622", "111,540", "64", "1 min 15 s"]
    assert page.row("training", "blocks")[2:] == ["2.1640", "2.0198 to 2.3083", "1.5000", "111,540", "64", "8.2 s"]
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
    of_page = set(numbers.findall(" ".join(" ".join(row) for row in Page(run.path).rows)))
    assert len(of_page) > 50
    assert of_page - set(numbers.findall(markdown)) == set()


def test_the_parameter_table_adds_up(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "romeo", model={"activation": "swiglu", "bias_mlp": True, "token_smear": True})
    write_report(run.path)
    page = Page(run.path)
    table = [row for row in page.rows if len(row) == 5 and row[0] != "component"]
    numbers = [[int(cell.replace(",", "")) for cell in row[2:]] for row in table]
    assert all(each * copies == count for each, copies, count in numbers)
    assert sum(count for *_, count in numbers) == int(page.row("total")[1].replace(",", ""))


def test_the_page_stands_alone(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "romeo")
    write_report(run.path)
    page = Page(run.path)
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
    (run.samples_folder / "step-000090-1.txt").write_bytes(HOSTILE.encode())
    return run


def test_a_hostile_text_is_shown_as_text_in_the_page(tmp_path: Path) -> None:
    run = hostile_run(tmp_path / "<b>run<b> `|`")
    write_report(run.path)
    page = Page(run.path)
    shown = HOSTILE.replace("\x1b", "\\x1b").replace("\x00", "\\x00").replace("\r", "\\r")
    assert page.blocks[0] == "\n" + shown  # the first newline of a <pre> is not shown
    assert page.rows[[row[0] for row in page.rows].index("corpus")][1] == shown
    assert not {"script", "img", "b"} & {tag for tag, _ in page.tags}
    assert "<b>run<b> `|`" in page.text


def test_a_hostile_text_is_shown_as_text_in_markdown(tmp_path: Path) -> None:
    run = hostile_run(tmp_path / "<b>run<b> `|`")
    write_report(run.path)
    tokens = markdown_tokens(run)
    shown = HOSTILE.replace("\x1b", "\\x1b").replace("\x00", "\\x00").replace("\r", "\\r")
    assert not [token for token in tokens if token.type.startswith(("html", "link"))]
    assert [token.attrs["src"] for token in tokens if token.type == "image"] == ["loss.svg", "standing.svg"]
    assert next(token.content for token in tokens if token.type == "fence") == shown + "\n"
    assert sum(token.type == "heading_open" for token in tokens) == 11
    columns = [len(re.findall(r"<t[hd][ >]", table)) for table in _tables(run)]
    assert columns == [8, 2, 5, 2, 2, 2, 2]


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
    assert Page(run.path).row("total")[1] == "804,096"


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
    score = VALIDATION["blocks"] | {"nats_per_character": nats, "bits_per_character": nats / math.log(2)}
    run.evaluation_file.write_text(json.dumps({"validation": {"blocks": score}}), encoding="utf-8")
    write_report(run.path)
    assert told in (run.path / "report.md").read_text(encoding="utf-8")


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "killed")
    with run.metrics_file.open("a", encoding="utf-8") as file:
        file.write('{"kind": "train", "ste')
    write_report(run.path)
    assert "Trained for 90 steps" in (run.path / "report.md").read_text(encoding="utf-8")


def test_few_of_many_samples_are_shown_the_last_first_and_long_ones_cut(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "long")
    for step in range(1, 101):
        (run.samples_folder / f"step-{step:06d}-1.txt").write_text(f"{step:04d}" * 1000, encoding="utf-8")
    write_report(run.path)
    samples = Page(run.path).blocks[:-1]
    assert len(samples) == 6
    assert (samples[0], samples[-1]) == ("\n" + "0100" * 250, "\n" + "0001" * 250)
    assert "the first 1,000 of 4,000 characters" in Page(run.path).text


def test_the_finished_model_is_shown_at_every_prompt_and_earlier_ones_at_the_first(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "romeo", training={"sample_prompts": ["", "THE "]})
    for step in (30, 60, 90):
        (run.samples_folder / f"step-{step:06d}-2.txt").write_text(f"THE {step}", encoding="utf-8")
    run.checkpoint(60).mkdir(parents=True)
    (run.checkpoints_folder / "best").symlink_to(run.checkpoint(60))
    write_report(run.path)
    page = Page(run.path)
    assert page.blocks[:-1] == ["\n\nROMEO 60", "\nTHE 60", "\n\nROMEO 90", "\n\nROMEO 30"]
    assert "After step 60, the finished model, prompt THE" in page.text
    assert "After step 90, the finished" not in page.text


@pytest.mark.parametrize("change", ["unfinished", "best without a sample"])
def test_other_models_are_not_called_the_finished_one(tmp_path: Path, change: str) -> None:
    run = finished_run(tmp_path / "romeo")
    if change == "unfinished":
        run.evaluation_file.unlink()
    step = 60 if change == "unfinished" else 45
    run.checkpoint(step).mkdir(parents=True)
    (run.checkpoints_folder / "best").symlink_to(run.checkpoint(step))
    write_report(run.path)
    for name in ("report.html", "report.md"):
        text = (run.path / name).read_text(encoding="utf-8")
        assert "After step 90, the newest sample" in text
        assert ", the finished model" not in text


@pytest.mark.parametrize("content", [None, b"\xff\xfe"], ids=["missing", "damaged"])
def test_a_run_that_lost_its_yardstick_has_a_report(tmp_path: Path, content: bytes | None) -> None:
    run = finished_run(tmp_path / "romeo")
    (run.path / "held-out.txt").unlink()
    if content is not None:
        (run.path / "held-out.txt").write_bytes(content)
    verdicts = {finding.failure: finding.verdict for finding in write_report(run.path)}
    assert {name for name in verdicts if verdicts[name] == "not measured"} >= {"repetition", "undertraining"}
    assert "The run's held-out.txt, which has the text" in (run.path / "report.md").read_text(encoding="utf-8")


def test_checkpoints_are_left_to_verify(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "romeo")
    write_report(run.path)
    for name in ("report.html", "report.md"):
        assert "letterloom verify" in (run.path / name).read_text(encoding="utf-8")


def test_memory_and_checkpoint_files_are_told(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "romeo", training={"batch_size": 12, "micro_batches": 4})
    run.checkpoint(60).mkdir(parents=True)
    (run.checkpoint(60) / "model.safetensors").write_bytes(b"x" * 3_220_000)
    (run.checkpoints_folder / "best").symlink_to(run.checkpoint(60))
    write_report(run.path)
    page = Page(run.path)
    assert page.row("weights")[1] == page.row("gradients")[1] == "3.22 MB"  # 804,096 parameters of 4 bytes
    assert page.row("optimizer state")[1] == "6.43 MB"  # AdamW: two for each
    assert page.row("on disk: model.safetensors")[1] == "3.22 MB"
    assert "averaged weights" not in dict(row for row in page.rows if len(row) == 2)
    one = accounting.activations(build_config(SETTINGS).model, 65, sequences=3)  # 12 sequences in 4 parts
    assert page.row("activations")[1] == metric(sum(one.values()), "B")


def test_averaged_weights_take_memory_too(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "romeo", training={"ema_decay": 0.99})
    write_report(run.path)
    assert Page(run.path).row("averaged weights")[1] == "3.22 MB"


def test_the_diagnosis_is_told_with_what_to_do(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "memorised", held_out="".join(map(chr, range(32, 97))) * 10)
    score = TRAINING | {"nats_per_character": 0.05, "interval": {"low": 0.04, "high": 0.06}}
    run.evaluation_file.write_text(json.dumps(EVALUATION | {"training": {"blocks": score}}), encoding="utf-8")
    findings = {finding.failure: finding for finding in write_report(run.path)}
    assert findings["memorised text"].verdict == "found"
    assert "0.072 bits a character of training text, 2.738 held out" in findings["memorised text"].reason
    page, markdown = Page(run.path), (run.path / "report.md").read_text(encoding="utf-8")
    for finding in findings.values():
        assert finding.reason in page.text
        assert f"- **{finding.failure}: {finding.verdict}.** {finding.reason}" in markdown
        assert (finding.remedy or "") in markdown
        assert (finding.remedy or "").replace("`", "") in page.text


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
    program, command, option, file = shlex.split(Page(run.path).blocks[-1])
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
        ("tokenizer.json", b"\x80"),
        ("run.toml", b""),
        ("metrics.jsonl", b"{}\n"),
        ("metrics.jsonl", b"3\n"),
        ("metrics.jsonl", b"\xff\n"),
        ("metrics.jsonl", b'{"kind": "train", "step": 1, "bits_per_character": "x", "characters": 1, "seconds": 1}\n'),
        ("metrics.jsonl", b'{"kind": "train", "step": 1, "bits_per_character": 1, "characters": [], "seconds": 1}\n'),
        ("evaluation.json", b"{}}"),
        ("evaluation.json", b'{"validation": {"blocks": {"nats_per_character": 1}}}'),
        ("evaluation.json", b'{"validation": 3}'),
        ("evaluation.json", json.dumps({"validation": {"blocks": TRAINING | {"characters": math.inf}}}).encode()),
        ("samples/step-000060-1.txt", b"\xff\xfe"),
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
    with pytest.raises(DataMismatchError) as told:
        write_report(run.path)
    assert str(told.value).count(str(run.path / name)) == 1
    assert "Error" not in str(told.value)
    assert "\n" not in str(told.value)
    assert not any((run.path / file).exists() for file in FILES)


def test_a_folder_in_the_place_of_a_page_leaves_nothing_behind(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "romeo")
    (run.path / "report.html").mkdir()
    with pytest.raises(RunError, match=r"report.html is a folder"):
        write_report(run.path)
    assert [name for name in FILES if (run.path / name).exists()] == ["report.html"]


@pytest.mark.parametrize("kept", [None, 0, 45])
def test_a_log_that_ends_before_a_checkpoint_leaves_the_report_as_it_was(tmp_path: Path, kept: int | None) -> None:
    run = finished_run(tmp_path / "romeo")
    write_report(run.path)
    run.checkpoint(90).mkdir(parents=True)
    (run.checkpoints_folder / "last").symlink_to(run.checkpoint(90))
    before = [(run.path / name).read_bytes() for name in FILES]
    lines = run.metrics_file.read_text(encoding="utf-8").splitlines(keepends=True)
    run.metrics_file.unlink()
    if kept is not None:
        run.metrics_file.write_text("".join(lines[:kept]), encoding="utf-8")
    with pytest.raises(
        DataMismatchError, match=r"metrics.jsonl ends at step \d+, but there is a checkpoint of step 90"
    ):
        write_report(run.path)
    assert [(run.path / name).read_bytes() for name in FILES] == before


@pytest.mark.parametrize(
    ("tokenizer", "corpus", "per_character"),
    [
        (CharacterTokenizer("abc", end_of_text=True), {"ids": 71, "characters": 60, "records": {"kept": 10}}, 1.0),
        (ByteTokenizer(end_of_text=True), {"ids": 131, "characters": 60, "records": {"kept": 10}}, 131 / 71),
        (ByteTokenizer(end_of_text=True), {"ids": 122, "characters": 60, "sources": [{}, {}]}, 122 / 62),
        (ByteTokenizer(), {"ids": 120, "characters": 60}, 2.0),
    ],
)
def test_an_end_of_text_counts_as_a_character_that_is_guessed(
    tmp_path: Path, tokenizer: Tokenizer, corpus: dict[str, Any], per_character: float
) -> None:
    run = new_run(tmp_path / "run", corpus={"sha256": "86c4" * 16, **corpus})
    (run.path / "tokenizer.json").write_text(tokenizer.to_json(), encoding="utf-8")
    assert read_run(run.path).blind_nats == pytest.approx(per_character * math.log(tokenizer.vocab_size))


def _nothing(path: Path) -> None:
    pass


@pytest.mark.parametrize("make", [_nothing, Path.mkdir, Path.touch], ids=["missing", "empty folder", "file"])
def test_what_is_no_run_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "other"
    make(path)
    with pytest.raises(RunError, match="is not a run directory"):
        write_report(path)
