"""The report of several runs tells the numbers of each, writes all of its files or none, and takes text for text."""

import json
import math
import re
import statistics
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from written_runs import CORPUS, EVALUATION, Page, finished_run, log, new_run

from letterloom.errors import DataMismatchError, RunError
from letterloom.reporting.overlay.report import FILES, write_overlay

HOSTILE = "</pre><script>alert(1)</script>\n```\n# `|` <img src=x>"


def made(path: Path, held_out: float = 1.9, **changes: Any) -> Path:
    """A finished run with this final loss, in nats."""
    run = finished_run(path, **changes)
    score = EVALUATION["validation"]["blocks"] | {"nats_per_character": held_out}
    run.evaluation_file.write_text(json.dumps(EVALUATION | {"validation": {"blocks": score}}), encoding="utf-8")
    return run.path


def test_the_table_holds_each_run_and_the_settings_that_differ(tmp_path: Path) -> None:
    paths = [made(tmp_path / "base"), made(tmp_path / "ablation", 2.1, model={"n_heads": 1, "positions": "none"})]
    table = write_overlay(paths, tmp_path / "out")
    page, markdown = Page(tmp_path / "out"), (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    base, ablation = table["runs"]
    assert base["held_out"]["bits_per_character"] == pytest.approx(1.9 / math.log(2))
    assert base["training"]["interval_bits"]["low"] == pytest.approx(1.4 / math.log(2))
    assert ablation["settings"] == {"model.n_heads": 1, "model.positions": "none"}
    row = page.row("base")
    assert row[:4] == ["base", "2.74112.7124 to 2.7638", "2.16402.0198 to 2.3083", base["diagnosis"]]
    assert row[4:8] == ["7", "804,096", "90", "2 min 15 s"]
    assert page.row("model.n_heads") == ["model.n_heads", "4", "1"]
    assert not [row for row in page.rows if row[0] in ("model.d_model", "training.seed")]
    assert "| `model.n_heads` | `4` | `1` |" in markdown
    assert "| `base` | 2.7411 (2.7124 to 2.7638) | 2.1640 (2.0198 to 2.3083) |" in markdown
    assert "| 7 | 804,096 | 90 | 2 min 15 s |" in markdown
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == sorted(FILES)


def test_seeds_have_mean_and_standard_deviation(tmp_path: Path) -> None:
    nats = [1.9, 2.0, 2.3]
    paths = [made(tmp_path / f"s{i}", value, training={"seed": i}) for i, value in enumerate(nats)]
    (arm,) = write_overlay(paths, tmp_path / "out")["arms"]
    bits = [value / math.log(2) for value in nats]
    assert arm["held_out"] == {
        "finished_runs": 3,
        "mean_bits": pytest.approx(statistics.mean(bits)),
        "sd_bits": pytest.approx(statistics.stdev(bits)),
        "min_bits": pytest.approx(min(bits)),
        "max_bits": pytest.approx(max(bits)),
    }
    row = Page(tmp_path / "out").row("s0, 3 seeds", "held out")
    assert row[2:] == ["3", "2.9816", "0.3003", "2.7411", "3.3182"]
    assert " | ".join(row[2:]) in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")


def test_a_run_that_has_not_finished_is_drawn_and_told(tmp_path: Path) -> None:
    young = new_run(tmp_path / "young", training={"seed": 1})
    log(young, 60, validate=True)
    table = write_overlay([made(tmp_path / "done"), young.path], tmp_path / "out")
    assert table["runs"][1]["held_out"] is None
    assert "young has not finished" in Page(tmp_path / "out").text
    assert Page(tmp_path / "out").row("young")[1:3] == ["none", "none"]


def test_what_was_not_measured_is_not_called_healthy(tmp_path: Path) -> None:
    young = new_run(tmp_path / "young", training={"seed": 1})
    table = write_overlay([made(tmp_path / "done"), young.path], tmp_path / "out")
    done, begun = table["runs"]
    assert begun["diagnosis"] == "not measured" == Page(tmp_path / "out").row("young")[3]
    assert len(begun["not_measured"]) == 7
    assert done["diagnosis"] == "overfitting; 5 of 7 not measured"  # few steps, short samples, no held-out text


def test_a_copy_of_a_run_is_no_further_seed(tmp_path: Path) -> None:
    paths = [made(tmp_path / "a"), made(tmp_path / "copy")]
    table = write_overlay(paths, tmp_path / "out")
    (arm,) = table["arms"]
    assert (arm["arm"], arm["seeds"], arm["runs"]) == ("a, 2 of one seed", 1, 2)
    assert (arm["held_out"]["finished_runs"], arm["held_out"]["sd_bits"]) == (1, None)
    assert "Seeds" not in Page(tmp_path / "out").text
    three = write_overlay([*paths, made(tmp_path / "b", 2.1, training={"seed": 1})], tmp_path / "out")["arms"][0]
    assert (three["arm"], three["held_out"]["finished_runs"]) == ("a, 2 seeds", 2)
    assert three["held_out"]["mean_bits"] == pytest.approx(2.0 / math.log(2))


def test_a_report_that_is_replaced_leaves_no_picture_behind(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_overlay([made(tmp_path / "a"), made(tmp_path / "b", training={"seed": 1})], tmp_path / "out")
    assert not caplog.messages
    write_overlay(
        [new_run(tmp_path / name, training={"seed": i}).path for i, name in enumerate("cd")], tmp_path / "out"
    )
    assert "held a report of several runs; it is replaced" in caplog.text
    assert "no run has finished yet" in (tmp_path / "out" / "bits.svg").read_text(encoding="utf-8")


def test_samples_stand_together_by_prompt(tmp_path: Path) -> None:
    paths = []
    for i, name in enumerate("ab"):
        run = finished_run(tmp_path / name, training={"seed": i, "sample_prompts": ["", "THE "]})
        (run.samples_folder / "step-000090-2.txt").write_text(f"THE {name}", encoding="utf-8")
        paths.append(run.path)
    write_overlay(paths, tmp_path / "out")
    assert Page(tmp_path / "out").blocks == ["\n\nROMEO 90", "\n\nROMEO 90", "\nTHE a", "\nTHE b"]


def test_the_page_takes_its_colours_and_loads_nothing(tmp_path: Path) -> None:
    write_overlay([made(tmp_path / "a"), made(tmp_path / "b", model={"n_heads": 1})], tmp_path / "out")
    source = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    pictures = [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", source, re.DOTALL)]
    styles = " ".join(style for svg in pictures for element in svg.iter() if (style := element.get("style")))
    assert len(pictures) == 2
    assert re.findall("#[0-9a-f]{6}", styles) == []
    for i in (1, 2):
        assert f"var(--run-{i})" in styles
        assert source.count(f"--run-{i}:") == 3  # light, dark and print
    assert not {"script", "img", "link", "iframe"} & {tag for tag, _ in Page(tmp_path / "out").tags}


def test_hostile_names_and_texts_are_shown_as_text(tmp_path: Path) -> None:
    name = "<script>x `|` **b**"
    run = finished_run(tmp_path / name, text={"corpus": [HOSTILE]}, training={"sample_prompts": [HOSTILE]})
    (run.samples_folder / "step-000090-1.txt").write_text(HOSTILE, encoding="utf-8")
    write_overlay([run.path, made(tmp_path / "b", training={"seed": 1})], tmp_path / "out")
    page = Page(tmp_path / "out")
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.blocks[0] == "\n" + HOSTILE
    assert page.row(name)
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    parsed = MarkdownIt("commonmark").enable("table").parse(text)
    tokens = [inner for token in parsed for inner in [token, *(token.children or [])]]
    assert not [token for token in tokens if token.type.startswith(("html", "link", "strong"))]
    assert [token.attrs["src"] for token in tokens if token.type == "image"] == ["loss.svg", "bits.svg"]


def test_equal_runs_give_equal_bytes_written_over(tmp_path: Path) -> None:
    paths = [made(tmp_path / "a"), made(tmp_path / "b", training={"seed": 1})]
    contents = []
    for _ in range(2):
        write_overlay(paths, tmp_path / "out")
        contents.append([(tmp_path / "out" / name).read_bytes() for name in FILES])
    assert contents[0] == contents[1]


def test_what_may_not_be_compared_leaves_nothing_behind(tmp_path: Path) -> None:
    paths = [made(tmp_path / "a"), made(tmp_path / "b", corpus=CORPUS | {"sha256": "0a30" * 16})]
    with pytest.raises(DataMismatchError, match="cannot share one axis"):
        write_overlay(paths, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("a", "is a run, whose own report"),
        ("a/metrics.jsonl", "is a file"),
        ("full", "holds something else"),
        ("folders", "holds something else"),
    ],
)
def test_a_folder_in_use_is_refused(tmp_path: Path, place: str, told: str) -> None:
    paths = [made(tmp_path / "a"), made(tmp_path / "b", training={"seed": 1})]
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    (tmp_path / "folders" / "report.html").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RunError, match=told):
        write_overlay(paths, tmp_path / place)
    assert sorted(tmp_path.rglob("*")) == before
