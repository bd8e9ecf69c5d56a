"""The report of a study tells its numbers, claims no more than they show, and takes names for names."""

import json
import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy
from markdown_it import MarkdownIt
from scipy import stats
from written_studies import arm, finish, runs_of, written_study

from letterloom import accounting
from letterloom.config import RunConfig
from letterloom.errors import RunError
from letterloom.reporting.overlay.arms import Arm
from letterloom.studies.directory import StudyDirectory
from letterloom.studies.report.answer import answer
from letterloom.studies.report.drawing import Cost, draw_cost, draw_differences, draw_learning, frontier
from letterloom.studies.report.report import FILES, write_report
from letterloom.studies.results import read_results
from letterloom.studies.statistics import Comparison, Summary

NATS = {
    "learned": [2.0, 2.003, 1.998],
    "rotary": [1.9, 1.902, 1.899],
    "sinusoidal": [2.001, 1.999, 2.003],
    "none": [2.1, 2.104, 2.097],
}
HOSTILE = "$x_1$ <script>alert(1)</script> `|` **b** [a](http://b.c) _c_"


def settings(number: int) -> dict[str, Any]:
    return {"model": {"d_model": 128 + 16 * number}}


def positions(path: Path, **design: Any) -> StudyDirectory:
    study = written_study(path, {name: settings(i) for i, name in enumerate(NATS)}, **design)
    for i, (name, nats) in enumerate(NATS.items()):
        for run, value in zip(runs_of(study, name).values(), nats, strict=True):
            finish(study, run, value, seconds=9.0 + i)
    return study


class Page(HTMLParser):
    """Tags, links, rows of tables and the text of a page."""

    def __init__(self, study: StudyDirectory) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.source = (study.path / "report.html").read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value for name, value in attrs if name == "href" and tag == "a" and value]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def test_the_tables_hold_what_the_runs_measured(tmp_path: Path) -> None:
    study = positions(tmp_path / "s")
    told = write_report(study)
    assert json.loads((study.path / "report.json").read_text(encoding="utf-8")) == told
    assert [arm["name"] for arm in told["arms"]] == ["rotary", "learned", "sinusoidal", "none"]
    rotary = told["arms"][0]
    assert rotary["sd"] == pytest.approx(np.std(NATS["rotary"], ddof=1))
    low, high = stats.t.interval(0.95, 2, np.mean(NATS["rotary"]), stats.sem(NATS["rotary"]))
    assert (rotary["interval"]["low"], rotary["interval"]["high"]) == pytest.approx((low, high))
    assert {seed: run["nats"] for seed, run in rotary["seeds"].items()} == dict(zip("012", NATS["rotary"], strict=True))
    comparison = told["comparisons"][0]
    judge = stats.ttest_rel(NATS["rotary"], NATS["learned"])
    assert comparison["arm"] == "rotary" and comparison["shown"] and comparison["verdict"] == "better, shown"
    assert [c["verdict"] for c in told["comparisons"][1:]] == ["no difference shown", "worse, shown"]
    assert comparison["p"] == pytest.approx(judge.pvalue)
    assert comparison["difference"] == pytest.approx(np.mean(NATS["rotary"]) - np.mean(NATS["learned"]))
    assert (told["baseline"], told["protocol"], told["question"]) == ("learned", "blocks", "Which?")
    page, markdown = Page(study), (study.path / "report.md").read_text(encoding="utf-8")
    row = next(row for row in page.rows if row[0] == "rotary" and row[-1].strip() == "better, shown")
    assert row[1].startswith(f"{comparison['difference']:+.4f}")
    assert f"| `rotary` | {comparison['difference']:+.4f} (" in markdown


def test_the_answer_is_written_from_the_numbers(tmp_path: Path) -> None:
    better, worse, unsure = answer(read_results(positions(tmp_path / "s")))
    low, high = stats.ttest_rel(NATS["learned"], NATS["rotary"]).confidence_interval()
    assert better == (
        f'"rotary" costs 0.100 nats per character less than "learned" (95 % {low:.3f} to {high:.3f}, 3 seeds): shown.'
    )
    assert worse.startswith('"none" costs 0.100 nats per character more than "learned" (95 % ')
    assert worse.endswith("3 seeds): shown.")
    assert unsure.startswith('No difference shown between "learned" and "sinusoidal" (+0.0007; 95 % -')
    differences = [np.subtract(NATS[name], NATS["learned"]) for name in ("sinusoidal", "rotary", "none")]
    sd = max(math.sqrt(np.mean([row.var(ddof=1) for row in differences])), differences[0].std(ddof=1))
    needed = pairs_that_show(differences[0].mean() / sd, comparisons=3)
    assert needed > 100
    assert unsure.endswith(
        f"; 3 seeds; if that is the true difference, a new study with about {needed:,} seeds of each arm would show it "
        "in 4 of 5 cases)."
    )


def pairs_that_show(effect: float, comparisons: int) -> int:
    """The first number of pairs by which 4 of 5 paired t tests find an effect (in sd), at 5 % by their number."""
    n = np.arange(2, 10_000)
    power = stats.nct.sf(stats.t.ppf(1 - 0.025 / comparisons, n - 1), n - 1, effect * np.sqrt(n))
    return int(n[power >= 0.8][0])


def test_the_report_says_of_which_text_its_numbers_are(tmp_path: Path) -> None:
    for metric, words in (("training", "of training text, 2,000 "), ("validation", "of held-out text, 2,000 ")):
        study = written_study(tmp_path / metric, {"a": {}}, metric=metric)
        finish(study, runs_of(study, "a")[0], 2.0)
        assert write_report(study)["metric"] == metric
        assert words in Page(study).text and words in (study.path / "report.md").read_text(encoding="utf-8")


def test_arms_scored_on_different_texts_are_not_compared(tmp_path: Path) -> None:
    arms = {"a": {}, "b": {"model": {"context_length": 32}}, "c": settings(1)}
    study = written_study(tmp_path / "s", arms, protocol="sliding")
    for name, nats in zip("abc", ([2.0, 2.003, 1.998], [1.5, 1.504, 1.501], [1.9, 1.902, 1.899]), strict=True):
        for run, value in zip(runs_of(study, name).values(), nats, strict=True):
            finish(study, run, value)
    told, page = write_report(study), Page(study)
    assert [(c["arm"], c["shown"], c["verdict"]) for c in told["comparisons"]] == [
        ("b", False, "different text"),
        ("c", True, "better, shown"),
    ]
    assert told["answer"][1:] == ['Scored on different text than "a", so nothing is shown of "b" (-0.499).']
    assert next(row for row in page.rows if row[0] == "b")[-1].strip() == "different text"
    markdown = (study.path / "report.md").read_text(encoding="utf-8")
    assert re.search(r"^\| `b` \| -0\.4987 \|.*\| different text \|$", markdown, re.MULTILINE)


@pytest.mark.parametrize(
    ("budget", "told"),
    [
        ({"budget": {"steps": 1500}}, "budget 1,500 steps a run"),
        ({"budget": {"flops": 5e12}}, "budget 5.00 TFLOP a run"),
        ({"budget": {"minutes": 0.5}}, "budget 30.0 s a run"),
        ({}, "no budget: each arm costs what its settings say"),
    ],
)
def test_what_an_arm_may_cost_and_cost_is_told(tmp_path: Path, budget: dict[str, Any], told: str) -> None:
    study = written_study(tmp_path / "s", {"a": {}, "b": settings(1)}, seeds=[0], **budget)
    for run in study.runs():
        finish(study, run, 2.0)
    written, page = write_report(study), Page(study)
    assert f"; {told}. Less is better." in page.text
    assert f"; {told}. Less is better." in (study.path / "report.md").read_text(encoding="utf-8")
    assert written["budget"] == budget.get("budget", {})
    for run in study.runs():
        model, sequences = run.config.model, 90 * run.config.training.batch_size
        flops = sequences * accounting.training_flops(model, 65, model.context_length)
        assert [row["flops"] for row in written["arms"] if row["name"] == run.arm] == [flops]
        assert f"{flops / 1e9:,.0f} G" in [row[6] for row in page.rows if len(row) == 8 and " of " in row[3]]


def test_one_seed_shows_nothing(tmp_path: Path) -> None:
    study = written_study(tmp_path / "s", {"a": {}, "b": settings(1)}, seeds=[4])
    finish(study, runs_of(study, "a")[4], 2.0)
    finish(study, runs_of(study, "b")[4], 1.0)
    told = write_report(study)
    assert told["answer"] == ['No difference shown between "a" and "b" (-1.000; 1 seed).']
    assert (told["comparisons"][0]["shown"], told["comparisons"][0]["verdict"]) == (False, "one seed: nothing shown")
    assert told["noise"] is None
    assert "no arm has two finished seeds" in Page(study).text


@pytest.mark.parametrize("finished", [[], ["b"], ["a"]])
def test_an_unfinished_study_says_what_is_missing(tmp_path: Path, finished: list[str]) -> None:
    study = written_study(tmp_path / "s", {"a": {}, "b": settings(1)})
    for name in finished:
        finish(study, runs_of(study, name)[0], 2.0)
    said = {
        (): "None of 6 runs has a number, so there is no answer.",
        ("b",): 'Nothing can be compared: "a", the baseline, has no finished run.',
        ("a",): '"a" costs 2.000 nats per character; no other arm has a number.',
    }[tuple(finished)]
    assert said in " ".join(write_report(study)["answer"])
    assert said in Page(study).text
    assert not (study.path / "differences.svg").exists()


def test_arms_without_a_seed_of_the_baseline_are_not_compared(tmp_path: Path) -> None:
    study = written_study(tmp_path / "s", {"a": {}, "b": settings(1)}, seeds=[0, 1])
    a, b = runs_of(study, "a"), runs_of(study, "b")
    finish(study, a[1], 2.0)
    finish(study, b[0], 2.0)
    for run in (a[0], b[1]):
        study.record_failure(run.name, "ResourceError: no memory")
    assert write_report(study)["answer"] == [
        "2 runs failed.",
        'Nothing can be compared: no arm has a finished seed in common with "a", the baseline.',
    ]


def test_a_study_that_is_over_says_what_became_of_its_other_runs(tmp_path: Path) -> None:
    """And not that there is more to come."""
    study = positions(tmp_path / "s")
    for name, seed in (("rotary", 2), ("none", 1), ("none", 2), ("sinusoidal", 0)):
        study.run(runs_of(study, name)[seed].name).evaluation_file.unlink()
    study.record_failure(runs_of(study, "rotary")[2].name, "ResourceError: no memory")
    study.record_stopped(study.arms()[3], p=0.01)
    so_far, failed, stopped, *_ = write_report(study)["answer"]
    assert so_far == "8 of 12 runs are finished; this is what they say so far."  # one is to do
    assert (failed, stopped) == ("1 run failed.", "2 runs of stopped arms were not begun.")
    finish(study, runs_of(study, "sinusoidal")[0], 2.001)
    assert write_report(study)["answer"][:2] == [failed, stopped]


def test_what_was_stopped_failed_or_left_out_is_told(tmp_path: Path) -> None:
    study = positions(tmp_path / "s")
    arms = {name: settings(i) for i, name in enumerate(NATS) if name != "none"} | {"new": settings(9)}
    strangers = sorted(run.name for run in runs_of(study, "none").values())
    written_study(study.path, arms)
    failed = runs_of(study, "new")[0].name
    study.record_failure(failed, "ResourceError: <b>no memory</b>")
    study.record_stopped(study.arms()[1], p=0.01)
    told, page = write_report(study), Page(study)
    assert told["failures"] == [{"run": failed, "arm": "new", "seed": 0, "error": "ResourceError: <b>no memory</b>"}]
    assert told["stopped"] == [{"p": 0.01, "arm": "rotary"}]
    assert told["strangers"] == strangers
    for words in ("ResourceError: <b>no memory</b>", "Stopped: rotary. p: 0.01.", "; ".join(strangers)):
        assert words in page.text


def test_a_second_arm_that_is_shown_has_its_own_interval(tmp_path: Path) -> None:
    study = written_study(tmp_path / "s", {"a": {}, "b": settings(1), "c": settings(2)})
    nats = {"a": [2.0, 2.003, 1.998], "b": [2.5, 2.502, 2.499], "c": [2.3, 2.301, 2.299]}
    for name, values in nats.items():
        for run, value in zip(runs_of(study, name).values(), values, strict=True):
            finish(study, run, value)
    (told,) = write_report(study)["answer"]
    low, high = stats.ttest_rel(nats["c"], nats["a"]).confidence_interval()
    assert told.endswith(f'shown. Also shown to cost more: "c" (+0.300; 95 % {low:+.3f} to {high:+.3f}).')


def test_what_other_methods_need_for_the_same_text_is_told_for_scale(tmp_path: Path) -> None:
    study = positions(tmp_path / "s")
    assert write_report(study)["others"] == {}  # of runs that measured none
    entry = {"characters": 2000, "seconds": 1.0, "note": "", "bits_per_character": 3.0}
    nats = {"zlib": 2.1, "PPMd, static": 1.4}
    told = {"baselines": [{"name": name, "nats_per_character": value} | entry for name, value in nats.items()]}
    study.run(study.runs()[4].name).baselines_file.write_text(json.dumps(told | {"notes": []}))
    assert list(write_report(study)["others"].items()) == [("PPMd, static", 1.4), ("zlib", 2.1)]
    assert "costs other methods: PPMd, static 1.4000; zlib 2.1000." in Page(study).text


def test_every_setting_stands_where_it_is_told_for_all_arms_or_for_each(tmp_path: Path) -> None:
    arms = {"a": {}, "b": {"optimizer": {"learning_rate": 0.25, "name": "sgd"}}}
    study = written_study(tmp_path / "s", arms)
    told = write_report(study)["settings"]
    assert told["different"]["b"] == {"optimizer.name": "sgd", "optimizer.learning_rate": 0.25}
    assert told["alike"]["model"]["d_model"] == 128
    alike = {f"{section}.{name}" for section, settings in told["alike"].items() for name in settings}
    assert alike | set(told["different"]["a"]) == set(RunConfig().settings()) - {"training.seed"}
    page = Page(study)
    assert [row for row in page.rows if row[-1].startswith("optimizer.name sgd, optimizer.learning_rate 0.25")]
    assert "training, of all arms: batch_size 12, " in page.text
    alone = write_report(written_study(tmp_path / "alone", {"a": {}}))["settings"]
    assert alone["different"] == {} and alone["alike"]["optimizer"]["name"] == "adamw"


def test_every_number_leads_to_its_run(tmp_path: Path) -> None:
    study = positions(tmp_path / "s")
    told, page = write_report(study), Page(study)
    assert page.links == [f"runs/{run.name}/report.html" for arm in study.arms() for run in arm.runs]
    assert all((study.path / link).parent.is_dir() for link in page.links)
    for run in told["runs"]:
        assert run["nats"] == NATS[run["arm"]][run["seed"]]


def test_it_tells_how_to_repeat_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    study = positions(tmp_path / "my study")
    write_report(study)
    text = Page(study).text
    assert "letterloom study run study.toml --out NEW-FOLDER" in text
    assert study.study_file.read_text(encoding="utf-8") in text
    assert "2.13.0" in text


@pytest.mark.parametrize(
    ("design", "words"),
    [
        ({"design": "search", "trials": 2}, ["Optuna drew the arms", "runs in another order"]),
        ({"design": "random", "trials": 2}, ["Optuna drew the arms"]),
        ({"design": "grid", "stop_worse": 0.3}, ["Which arms are stopped"]),
        ({"design": "grid"}, []),
    ],
)
def test_what_may_come_out_otherwise_is_told(tmp_path: Path, design: dict[str, Any], words: list[str]) -> None:
    factors = {"model": {"n_heads": [1, 2]}}
    study = written_study(tmp_path / "s", {}, baseline=None, factors=factors, **design)
    study.write_plan(study.source(), (), optuna="4.5.0" if words else None)
    if design["design"] == "search":
        study.add_arm(1, arm("trial 1", {}, (0,)), params={}, optuna="4.6.0")
    told, page = write_report(study), Page(study)
    assert all(word in page.text for word in words)
    assert page.text.count("Optuna drew") == ("Optuna drew the arms" in words)
    versions = ["4.5.0", "4.6.0"] if design["design"] == "search" else ["4.5.0"] if words else None
    assert told["environment"].get("optuna") == versions
    assert told["environment"]["scipy"] == [scipy.__version__]


def test_hostile_names_are_shown_as_text(tmp_path: Path) -> None:
    study = written_study(tmp_path / "s", {HOSTILE: {}, f"_{HOSTILE}": settings(1)}, question=HOSTILE)
    for i, run in enumerate(study.runs()):
        finish(study, run, 2.0 + i / 100, seconds=9.0 + i)
    write_report(study)
    page = Page(study)
    assert not {"script", "b", "img"} & page.tags
    assert HOSTILE in page.text
    parsed = MarkdownIt("commonmark").enable("table").parse((study.path / "report.md").read_text(encoding="utf-8"))
    tokens = [inner for token in parsed for inner in [token, *(token.children or [])]]
    assert not [token for token in tokens if token.type.startswith(("html", "strong", "em_"))]
    links = {token.attrs["href"] for token in tokens if token.type == "link_open"}
    assert links == {f"runs/{run.name}/report.html" for run in study.runs()}
    heading = next(token for token in parsed if token.type == "inline")
    assert "".join(child.content for child in heading.children or []) == HOSTILE
    for picture in study.path.glob("*.svg"):
        words = "".join(ET.parse(picture).getroot().itertext())
        assert "$x_1$" in words.replace("\n", "")


def test_the_page_takes_its_colours_and_loads_nothing(tmp_path: Path) -> None:
    study = positions(tmp_path / "s")
    write_report(study)
    page = Page(study)
    pictures = [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", page.source, re.DOTALL)]
    styles = " ".join(style for svg in pictures for element in svg.iter() if (style := element.get("style")))
    assert len(pictures) == 4
    assert re.findall("#[0-9a-f]{6}", styles) == []
    assert not {"script", "img", "link", "iframe"} & page.tags


def test_a_picture_in_which_all_arms_are_alike_is_left_out(tmp_path: Path) -> None:
    study = written_study(tmp_path / "s", {"a": {}, "b": {"optimizer": {"learning_rate": 0.1}}})
    (study.path / "time.svg").write_text("of an earlier report", encoding="utf-8")
    for i, run in enumerate(study.runs()):
        finish(study, run, 2.0 + i / 100, seconds=100.0 + i / 10)
    write_report(study)
    assert sorted(file.name for file in study.path.glob("*.svg")) == ["curves.svg", "differences.svg"]
    assert "Not drawn against parameters: all arms are alike in it" in Page(study).text


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    study = positions(tmp_path / "s")
    contents = []
    for _ in range(2):
        write_report(study)
        contents.append({file.name: file.read_bytes() for file in study.path.iterdir() if file.name in FILES})
    assert contents[0] == contents[1]
    assert len(contents[0]) == 7


def test_a_folder_in_the_way_is_named(tmp_path: Path) -> None:
    study = positions(tmp_path / "s")
    (study.path / "report.md").mkdir()
    with pytest.raises(RunError, match=r"report\.md is a folder"):
        write_report(study)
    assert not (study.path / "report.json").exists()


def test_a_law_of_scaling_is_fitted_where_the_study_asks_for_it(tmp_path: Path) -> None:
    arms = {
        f"{d} by {steps}": {"model": {"d_model": d}, "training": {"max_steps": steps}}
        for d in (32, 64, 128)
        for steps in (30, 60, 120)
    }
    study = written_study(tmp_path / "s", arms, seeds=[0], fit="scaling")
    for run in study.runs():
        model = run.config.model
        size = sum(accounting.parameters(model, 65).values())
        read = (run.config.training.max_steps or 0) * run.config.training.batch_size * model.context_length
        finish(study, run, 1.0 + 50 / size**0.4 + 100 / read**0.5)
    told, page = write_report(study), Page(study)
    assert told["scaling"]["law"]["alpha"]["value"] == pytest.approx(0.4, abs=0.02)
    assert told["scaling"]["law"]["beta"]["value"] == pytest.approx(0.5, abs=0.02)
    assert "with alpha 0.4" in told["answer"][0]
    assert page.source.count("<svg") == 5 - ("Not drawn" in page.text)
    written_study(study.path, dict(list(arms.items())[:2]), seeds=[0], fit="scaling")
    told = write_report(study)
    assert told["scaling"]["law"] is None
    assert "No law of scaling can be told: it takes 6 different pairs" in " ".join(told["answer"])


def test_what_a_search_tried_is_told(tmp_path: Path) -> None:
    factors = {"model": {"n_heads": [1, 2]}}
    study = written_study(tmp_path / "s", {}, baseline=None, design="search", factors=factors)
    for number, nats in ((1, [2.0, 1.5, 1.6]), (2, [2.1])):
        found = arm(f"trial {number}", {"model": {"n_heads": number}}, range(len(nats)))
        study.add_arm(number, found, confirmed=number == 1)
        for run, value in zip(found.runs, nats, strict=True):
            finish(study, run, value)
    told, page = write_report(study), Page(study)
    assert [(trial["arm"], trial["nats"], trial["confirmed"]) for trial in told["trials"]] == [
        ("trial 1", 2.0, True),
        ("trial 2", 2.1, False),
    ]
    assert told["arms"][0]["mean"] == pytest.approx(1.55)
    assert [run["counted"] for run in told["runs"] if run["arm"] == "trial 1"] == [False, True, True]
    assert "What the search tried" in page.text
    assert [trial["drawn"] for trial in told["trials"]] == [{"model.n_heads": 1}, {"model.n_heads": 2}]
    assert page.text.count("model.n_heads 1") == 2  # among the arms, too
    assert page.text.count("model.n_heads 2") == 1
    assert (study.path / "report.md").read_text(encoding="utf-8").count("`model.n_heads 1`") == 2


def curves(path: Path, arms: dict[str, dict[str, Any]]) -> list[Arm]:
    study = written_study(path, arms)
    for i, run in enumerate(study.runs()):
        finish(study, run, 2.0 + i / 10)
    results = read_results(study)
    return [Arm(arm.name, tuple(run.record for run in arm.counted.values())) for arm in results.arms]


def test_a_curve_is_the_mean_of_the_seeds_in_a_band(tmp_path: Path) -> None:
    axes = draw_learning(curves(tmp_path / "s", {"a": {}, "b": settings(1)}), "a").axes[0]
    lines: list[Any] = list(axes.lines)
    assert [line.get_label() for line in lines] == ["a (baseline)", "b"]
    assert lines[0].get_xdata().tolist() == [30, 60, 90]
    assert lines[0].get_ydata() == pytest.approx([2.2 + 2 / step for step in (30, 60, 90)])  # of 2.0, 2.2 and 2.4
    edges = np.asarray(axes.collections[0].get_paths()[0].vertices)[:, 1]
    assert (edges.min(), edges.max()) == pytest.approx((2.0 + 2 / 90, 2.4 + 2 / 30))


def test_curves_of_different_batches_stand_over_characters(tmp_path: Path) -> None:
    arms = curves(tmp_path / "s", {"a": {}, "b": {"training": {"batch_size": 24}}})
    axes = draw_learning(arms, "a").axes[0]
    lines: list[Any] = list(axes.lines)
    assert axes.get_xlabel() == "characters trained on"
    assert lines[0].get_xdata().tolist() == [step * 12 * 64 for step in (30, 60, 90)]
    assert lines[1].get_xdata().tolist() == [step * 24 * 64 for step in (30, 60, 90)]


def test_a_report_does_not_wait_for_torch() -> None:
    code = "import sys, letterloom.studies.report.report; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def comparison(arm: str, difference: float, shown: bool) -> Comparison:
    interval = difference - 0.01, difference + 0.01
    return Comparison(arm, "base", 3, difference, interval, interval, 0.04, 0.04 if shown else 0.2, shown, 12)


def test_the_forest_is_sorted_and_marks_what_is_shown() -> None:
    rows = [comparison("b", 0.02, False), comparison("a", -0.05, True), comparison("far", 3.0, True)]
    axes = draw_differences([*rows, comparison("c", -0.01, False)], "base").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "c", "b", "far"]
    drawn: list[Any] = list(axes.lines)
    markers = {line.get_ydata()[0]: line.get_marker() for line in drawn if line.get_marker() != "None"}
    assert markers == {0: "D", 1: "o", 2: "o", 3: ">"}  # the last lies far to the right of the picture
    (right,) = axes.child_axes
    assert [label.get_text() for label in right.get_yticklabels()][::3] == ["-0.0500, shown", "+3.0000, shown"]
    assert axes.get_xlim()[1] < 0.1


def cost(arm: str, value: float, mean: float) -> Cost:
    return Cost(arm, value, Summary(arm, {0: mean}, mean, None, None))


def test_the_frontier_is_what_none_beats_in_both() -> None:
    points = [cost("a", 1, 3), cost("b", 2, 2), cost("c", 3, 2.5), cost("d", 4, 1), cost("e", 1, 3.5), cost("f", 9, 1)]
    beaten = {
        p.arm for p in points for q in points if q is not p and q.cost <= p.cost and q.summary.mean <= p.summary.mean
    }
    assert [point.arm for point in frontier(points)] == ["a", "b", "d"]
    assert {point.arm for point in points} - beaten == {"a", "b", "d"}


def test_names_beside_a_picture_never_lie_over_one_another() -> None:
    points = [cost(f"arm {i}", 1 + i, 2 + 1e-4 * math.sin(i)) for i in range(12)]
    axes = draw_cost(points, "seconds", [point.arm for point in points]).axes[0]
    places = sorted(text.xyann[1] for text in axes.texts)  # type: ignore[attr-defined]
    assert len(places) == 12
    assert min(np.diff(places)) > 0.05
    assert places[0] >= 0 and places[-1] <= 1
