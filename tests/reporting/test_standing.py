"""Where a model stands among baselines: in order, in words, and in a picture that shows every row."""

import json
import math
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path

import pytest
from written_runs import finished_run

from letterloom.errors import DataMismatchError
from letterloom.reporting.curves import image
from letterloom.reporting.diagnosis.finding import Finding
from letterloom.reporting.reading import RunRecord, read_run
from letterloom.reporting.report import write_report
from letterloom.reporting.standing import draw_standing, standing, verdict

BASELINES = {"uniform": 6.022, "PPMd": 2.026, "Kneser-Ney": 2.2, "xz": 2.8}


def placed(
    path: Path,
    nats: float,
    baselines: Mapping[str, float] = BASELINES,
    interval: tuple[float, float] | None = None,
) -> RunRecord:
    """A finished run whose model costs so much, beside baselines in bits per character."""
    run = finished_run(path)
    evaluation = json.loads(run.evaluation_file.read_text(encoding="utf-8"))
    low_high = interval and dict(zip(("low", "high"), interval, strict=True))
    evaluation["validation"]["sliding"] |= {"nats_per_character": nats, "interval": low_high}
    run.evaluation_file.write_text(json.dumps(evaluation), encoding="utf-8")
    rows = [
        {"name": name, "nats_per_character": bits * math.log(2), "note": f"about {name}"}
        for name, bits in baselines.items()
    ]
    run.baselines_file.write_text(json.dumps({"baselines": rows, "notes": ["brotli left out"]}), encoding="utf-8")
    return read_run(run.path)


def test_rows_stand_in_order_of_their_bits(tmp_path: Path) -> None:
    rows = standing(placed(tmp_path / "run", 2.1 * math.log(2)))
    assert [row.name for row in rows] == [
        "PPMd",
        "this model, sliding",
        "Kneser-Ney",
        "this model, blocks",
        "xz",
        "uniform",
    ]
    assert rows[1].bits == pytest.approx(2.1)


@pytest.mark.parametrize(
    ("bits", "words"),
    [
        (1.9, "better than each of the 4 baselines measured, PPMd (2.026 bits) the best of them"),
        (2.1, "between PPMd (2.026 bits) and Kneser-Ney (2.200 bits)"),
        (2.5, "between Kneser-Ney (2.200 bits) and xz (2.800 bits)"),
        (7.0, "worse than each of the 4 baselines measured, uniform (6.022 bits) the last of them"),
    ],
)
def test_the_verdict_names_the_neighbours(tmp_path: Path, bits: float, words: str) -> None:
    told = verdict(placed(tmp_path / "run", bits * math.log(2)), ())
    assert told is not None
    assert told.startswith(f"By `sliding`, {words}.")


def test_an_interval_that_reaches_over_a_baseline_is_told(tmp_path: Path) -> None:
    run = placed(tmp_path / "run", 2.0 * math.log(2), interval=(1.9 * math.log(2), 2.1 * math.log(2)))
    assert "reaches over PPMd." in (verdict(run, ()) or "")


def test_what_was_found_wrong_is_told(tmp_path: Path) -> None:
    findings = [Finding(failure, "found", "So it is.") for failure in ("overfitting", "undertraining")]
    told = verdict(placed(tmp_path / "run", 1.3), findings) or ""
    assert "Overfitted since step " in told
    assert "Undertrained" in told
    calm = [Finding(finding.failure, "not found", "It is not so.") for finding in findings]
    assert "ted" not in (verdict(placed(tmp_path / "other", 1.3), calm) or "")


def test_without_baselines_the_verdict_says_how_to_get_them(tmp_path: Path) -> None:
    assert "`letterloom baselines`" in (verdict(placed(tmp_path / "run", 1.3, {}), ()) or "")


def test_the_gap_to_a_known_limit_is_told(tmp_path: Path) -> None:
    run = placed(tmp_path / "run", 1.3)
    assert "limit" not in (verdict(run, ()) or "")
    evaluation = json.loads(run.directory.evaluation_file.read_text(encoding="utf-8"))
    evaluation["validation"]["sliding"]["limit"] = 1.3 - 0.1 * math.log(2)
    run.directory.evaluation_file.write_text(json.dumps(evaluation), encoding="utf-8")
    limited = read_run(run.directory.path)
    assert "is 0.1000 bits." in (verdict(limited, ()) or "")
    assert [row.name for row in standing(limited)].count("limit") == 1


def test_a_score_of_a_part_is_not_held_against_the_whole(tmp_path: Path) -> None:
    run = placed(tmp_path / "run", 1.3)
    evaluation = json.loads(run.directory.evaluation_file.read_text(encoding="utf-8"))
    evaluation["validation"]["sliding"]["characters"] //= 4
    run.directory.evaluation_file.write_text(json.dumps(evaluation), encoding="utf-8")
    assert (verdict(read_run(run.directory.path), ()) or "").startswith("By `blocks`")


def test_the_picture_names_every_row_and_its_bits(tmp_path: Path) -> None:
    rows = standing(placed(tmp_path / "run", 1.4, interval=(1.38, 1.42)))
    texts = {
        "".join(element.itertext()).strip()
        for element in ET.fromstring(image(draw_standing(rows), "svg")).iter("{http://www.w3.org/2000/svg}text")
    }
    assert {row.name for row in rows} | {f"{row.bits:.3f}" for row in rows} <= texts


def test_the_report_has_picture_table_and_words(tmp_path: Path) -> None:
    run = placed(tmp_path / "run", 1.3)
    path = run.directory.path
    write_report(path)
    markdown, page = ((path / f"report.{kind}").read_text(encoding="utf-8") for kind in ("md", "html"))
    for text in (markdown, page):
        assert "better than each of the 4 baselines measured, PPMd (2.026 bits)" in text
        assert "about Kneser-Ney" in text
        assert "Here brotli left out." in text
    assert "standing.svg" in markdown
    assert (path / "standing.svg").exists()


@pytest.mark.parametrize("content", ["[", "[]", '{"baselines": 3}', '{"baselines": [{"name": "x"}]}'])
def test_a_damaged_file_of_baselines_is_named(tmp_path: Path, content: str) -> None:
    run = finished_run(tmp_path / "run")
    run.baselines_file.write_text(content, encoding="utf-8")
    with pytest.raises(DataMismatchError, match=r"baselines\.json"):
        read_run(run.path)


@pytest.mark.parametrize(
    "content", ['{"a": 1}', '{"texts": {}, "human": null}', '{"texts": {"shares": 3}, "human": {}}']
)
def test_a_damaged_file_of_copies_is_named(tmp_path: Path, content: str) -> None:
    run = finished_run(tmp_path / "run")
    run.copying_file.write_text(content, encoding="utf-8")
    with pytest.raises(DataMismatchError, match=r"copying\.json"):
        read_run(run.path)


def test_a_run_without_a_held_out_score_has_a_report(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    run.evaluation_file.write_text('{"validation": {}, "training": {}}', encoding="utf-8")
    write_report(run.path)
