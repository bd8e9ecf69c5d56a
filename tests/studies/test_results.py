"""What is read of a study: every run's fate, which numbers count, and what makes the comparison weaker."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from written_studies import CORPUS, arm, finish, runs_of, written_study

from letterloom.config import build_config
from letterloom.errors import DataMismatchError
from letterloom.studies.directory import StudyDirectory
from letterloom.studies.notes import notes
from letterloom.studies.results import read_results
from letterloom.studies.trials import finished_nats

PAIR = {"a": {}, "b": {"model": {"n_heads": 1}}}


def finished(path: Path, **design: Any) -> StudyDirectory:
    study = written_study(path, PAIR, **design)
    for name, better in (("a", 0.0), ("b", 0.1)):
        for seed, run in runs_of(study, name).items():
            finish(study, run, 2.0 - better + seed / 1000)
    return study


def test_each_arm_has_its_numbers_by_seed(tmp_path: Path) -> None:
    results = read_results(finished(tmp_path / "s"))
    assert results.baseline == "a"
    assert {arm.name: arm.nats for arm in results.arms} == {
        "a": pytest.approx({0: 2.0, 1: 2.001, 2: 2.002}),
        "b": pytest.approx({0: 1.9, 1: 1.901, 2: 1.902}),
    }
    assert results.analysis is not None
    assert [c.difference for c in results.analysis.comparisons] == pytest.approx([-0.1])
    assert notes(results) == [] and results.strangers == ()


def test_the_protocol_is_the_one_that_the_study_asks_for(tmp_path: Path) -> None:
    results = read_results(finished(tmp_path / "s", protocol="sliding"))
    assert results.arms[0].nats == pytest.approx({0: 1.9, 1: 1.901, 2: 1.902})


def test_how_well_arms_fit_is_compared_where_the_study_asks_for_it(tmp_path: Path) -> None:
    study = finished(tmp_path / "s", metric="training")
    results = read_results(study)
    assert results.arms[0].nats == pytest.approx({0: 1.7, 1: 1.701, 2: 1.702})
    assert finished_nats(study, runs_of(study, "a")[2], study.design()) == pytest.approx(1.702)
    assert any("how well arms fit the text" in note for note in notes(results))


def test_less_of_the_training_text_is_another_text_to_fit_and_the_same_to_be_held_out_from(tmp_path: Path) -> None:
    """As many characters are scored of each."""
    arms = {"a": {}, "b": {"text": {"train_share": 0.5}}}
    for metric in ("training", "validation"):
        study = written_study(tmp_path / metric, arms, metric=metric)
        for run in study.runs():
            finish(study, run, 2.0 + 0.001 * run.seed)
        analysis = read_results(study).analysis
        assert analysis is not None
        assert [c.same_text for c in analysis.comparisons] == [metric == "validation"]


def test_what_a_run_cost_is_told(tmp_path: Path) -> None:
    study = finished(tmp_path / "s")
    run = read_results(study).arms[0].measured[0]
    model = run.record.config.model
    d, layers, context, batch = (
        model.d_model,
        model.n_layers,
        model.context_length,
        run.record.config.training.batch_size,
    )
    weights = layers * 12 * d * d + d * 65  # of the products: no biases, and the head
    attention = layers * 2 * context * d
    assert (run.seconds, run.steps, run.characters) == (9.0, 90, 90 * batch * context)
    assert run.flops == 6 * (weights + attention) * run.characters


def test_an_unfinished_study_tells_what_has_become_of_each_run(tmp_path: Path) -> None:
    study = written_study(tmp_path / "s", PAIR)
    a, b = runs_of(study, "a"), runs_of(study, "b")
    finish(study, a[0], 2.0)
    study.record_failure(b[0].name, "CorpusError: no text")
    study.record_stopped(study.arms()[1], p=0.01)
    with study.claimed(a[1].name):
        results = read_results(study)
    fates = {run.planned.name: (run.state, run.error) for arm in results.arms for run in arm.runs}
    assert fates == {
        a[0].name: ("done", None),
        a[1].name: ("running", None),
        a[2].name: ("to do", None),
        b[0].name: ("failed", "CorpusError: no text"),
        b[1].name: ("stopped", None),
        b[2].name: ("stopped", None),
    }
    assert results.analysis is not None and results.analysis.comparisons == ()
    assert any("5 of 6 runs have no number" in note for note in notes(results))
    assert any("A study ends when its plan is done" in note for note in notes(results))


def test_without_a_number_of_the_baseline_nothing_is_compared(tmp_path: Path) -> None:
    study = written_study(tmp_path / "s", PAIR)
    finish(study, runs_of(study, "b")[0], 2.0)
    assert read_results(study).analysis is None


@pytest.mark.parametrize("kind", ["damaged", "other text", "other settings", "no score", "not finite"])
def test_a_run_that_cannot_count_is_left_out_with_its_reason(tmp_path: Path, kind: str) -> None:
    study = finished(tmp_path / "s")
    run = study.run(runs_of(study, "b")[1].name)
    evaluation = json.loads(run.evaluation_file.read_text(encoding="utf-8"))
    if kind == "damaged":
        run.metrics_file.write_text("no event\n", encoding="utf-8")
    elif kind == "other text":
        (run.path / "corpus.json").write_text(json.dumps(CORPUS | {"sha256": "0a30" * 16}), encoding="utf-8")
    elif kind == "other settings":
        settings = run.config_file.read_text(encoding="utf-8")
        run.config_file.write_text(settings.replace("n_heads = 1\n", "n_heads = 2\n"), encoding="utf-8")
    elif kind == "no score":
        evaluation["validation"]["sliding"] = evaluation["validation"].pop("blocks")
        run.evaluation_file.write_text(json.dumps(evaluation), encoding="utf-8")
    else:
        evaluation["validation"]["blocks"]["nats_per_character"] = float("nan")
        run.evaluation_file.write_text(json.dumps(evaluation), encoding="utf-8")
    results = read_results(study)
    b = results.arms[1]
    assert sorted(b.nats) == [0, 2]
    assert b.runs[1].error is not None and str(run.path) in b.runs[1].error
    assert results.analysis is not None and results.analysis.comparisons[0].seeds == 2


def test_a_run_of_other_settings_is_no_score_for_a_search_or_a_stop(tmp_path: Path) -> None:
    study = finished(tmp_path / "s")
    one, other = runs_of(study, "a")[0], runs_of(study, "a")[1]
    assert finished_nats(study, one, study.design()) == 2.0
    shutil.copy(study.run(other.name).config_file, study.run(one.name).config_file)
    assert finished_nats(study, one, study.design()) is None


@pytest.mark.parametrize(
    ("planned", "there", "difference"),
    [
        ({}, {"training": {"precision": "bf16", "threads": 2, "products": "matmul", "device": "cuda"}}, ""),
        ({"training": {"precision": "mixed"}}, {"training": {"precision": "fp16"}}, ""),
        ({}, {"text": {"corpus": ["/elsewhere/play.txt"]}}, ""),  # its hash tells what it says
        ({}, {"training": {"seed": 3}}, "training.seed is 3, not 0"),
        ({}, {"optimizer": {"learning_rate": 0.5}}, "optimizer.learning_rate is 0.5, not 0.001"),
        ({"training": {"threads": 1}}, {"training": {"threads": 2}}, "training.threads is 2, not 1"),
        ({"training": {"precision": "fp32"}}, {"training": {"precision": "bf16"}}, "training.precision is bf16"),
    ],
)
def test_a_run_is_the_planned_one_but_for_what_was_left_to_the_machine(
    planned: dict[str, Any], there: dict[str, Any], difference: str
) -> None:
    (run,) = arm("a", planned, [0]).runs
    found = run.difference(build_config(run.config.model_dump(), there))
    assert found.startswith(difference) and bool(found) == bool(difference)


def test_a_damaged_plan_is_named(tmp_path: Path) -> None:
    study = finished(tmp_path / "s")
    study.plan_file.write_text("{", encoding="utf-8")
    with pytest.raises(DataMismatchError, match=r"plan\.json is damaged"):
        read_results(study)


def test_runs_of_other_settings_are_strangers(tmp_path: Path) -> None:
    study = finished(tmp_path / "s")
    former = runs_of(study, "b")
    written_study(study.path, {"a": {}, "c": {"model": {"n_heads": 2}}})
    results = read_results(study)
    assert results.strangers == tuple(sorted(run.name for run in former.values()))
    assert [arm.name for arm in results.arms] == ["a", "c"]


@pytest.mark.parametrize(
    ("protocol", "context", "limit", "apart"),
    [
        ("sliding", 32, None, True),  # windows of another length, of which a part is scored
        ("sliding", 64, None, False),
        ("blocks", 32, 1_000, True),
        ("blocks", 64, 1_000, False),
        ("blocks", 32, None, False),  # all of the text
    ],
)
def test_arms_scored_on_different_texts_show_nothing(
    tmp_path: Path, protocol: str, context: int, limit: int | None, apart: bool
) -> None:
    """Though the numbers of characters are the same, and those of its stretches."""
    shared: dict[str, Any] = {"training": {"final_eval_characters": limit}} if limit else {}
    arms = {"a": shared, "b": shared | {"model": {"context_length": context, "n_heads": 1}}}
    study = written_study(tmp_path / "s", arms, protocol=protocol)
    for arm_name, value in (("a", 2.0), ("b", 1.5)):
        for seed, run in runs_of(study, arm_name).items():
            finish(study, run, value + 0.001 * seed * (1 + value))
    results = read_results(study)
    assert results.analysis is not None
    (comparison,) = results.analysis.comparisons
    assert (comparison.shown, comparison.same_text) == (not apart, not apart)
    assert any("scored on different texts" in note for note in notes(results)) == apart


def test_stretches_cut_by_another_tokenizer_are_of_the_same_text(tmp_path: Path) -> None:
    study = written_study(tmp_path / "s", PAIR)
    for name, value, sizes in (("a", 2.0, (100,) * 20), ("b", 1.5, (90, 110) * 10)):
        for seed, run in runs_of(study, name).items():
            finish(study, run, value + 0.001 * seed * (1 + value), sizes=sizes)
    analysis = read_results(study).analysis
    assert analysis is not None
    (comparison,) = analysis.comparisons
    assert comparison.shown and comparison.text_interval is None


def test_arms_that_a_search_adds_meanwhile_are_left_for_the_next_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = finished(tmp_path / "s")
    arms = [study.arms(), study.arms()[:1]]
    monkeypatch.setattr(StudyDirectory, "arms", lambda _: arms.pop(0) if len(arms) > 1 else arms[0])
    assert [arm.name for arm in read_results(study).arms] == ["a", "b"]


def test_a_confirmed_arm_is_not_judged_by_the_seed_that_chose_it(tmp_path: Path) -> None:
    factors = {"model": {"n_heads": [1, 2, 4]}}
    study = written_study(tmp_path / "s", {}, baseline=None, design="search", factors=factors)
    lucky, sound, poor = (arm(f"trial {n}", {"model": {"n_heads": n}}, (0, 1, 2)) for n in (1, 2, 4))
    nats = {"trial 1": [1.0, 2.0, 2.1], "trial 2": [1.5, 1.6, 1.7], "trial 4": [3.0]}
    for number, (found, confirmed) in enumerate([(lucky, True), (sound, True), (poor, False)]):
        found = found if confirmed else arm(found.name, {"model": {"n_heads": 4}}, (0,))
        study.add_arm(number, found, confirmed=confirmed)
        for run, value in zip(found.runs, nats[found.name], strict=True):
            finish(study, run, value)
    results = read_results(study)
    assert [trial.name for trial in results.trials] == ["trial 1", "trial 2", "trial 4"]
    assert results.baseline == "trial 1"  # which the search, by its one seed, took for the best
    assert {arm.name: arm.nats for arm in results.compared} == {
        "trial 1": pytest.approx({1: 2.0, 2: 2.1}),
        "trial 2": pytest.approx({1: 1.6, 2: 1.7}),
    }
    assert results.analysis is not None
    assert results.analysis.comparisons[0].difference == pytest.approx(-0.4)


def test_a_search_that_has_not_confirmed_says_so(tmp_path: Path) -> None:
    factors = {"model": {"n_heads": [1, 2]}}
    study = written_study(tmp_path / "s", {}, baseline=None, design="search", factors=factors)
    assert read_results(study).baseline is None
    for number, value in enumerate([2.0, 1.9]):
        found = arm(f"trial {number}", {"model": {"n_heads": number + 1}}, (0,))
        study.add_arm(number, found)
        finish(study, found.runs[0], value)
    results = read_results(study)
    assert results.baseline == "trial 1"
    assert any("No arm of the search is confirmed" in note for note in notes(results))
