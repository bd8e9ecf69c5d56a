"""Arms that are stopped for being worse. No run is trained: its score is written in its place."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from scipy import stats

from letterloom import storage
from letterloom.studies.beginning import begin
from letterloom.studies.directory import StudyDirectory
from letterloom.studies.stopping import stop_worse
from letterloom.studies.trials import finished_nats

STUDY = """
corpus = ["text.txt"]
recipe = "gpt2-char"
seeds = [0, 1, 2, 3, 4, 5]
stop_worse = {p}
budget.steps = 5
factors.model.n_heads = [1, 2, 4]
"""
GOOD = (1.50, 1.52, 1.49, 1.51, 1.50)
BAD = (1.61, 1.60, 1.63, 1.59, 1.62)


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyDirectory:
    monkeypatch.setenv("LETTERLOOM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("To be, or not to be, that is the question.\n" * 50)
    return planned("")


def planned(more: str, p: float = 0.1) -> StudyDirectory:
    Path("study.toml").write_text(more + STUDY.format(p=p))
    return begin("study.toml")


def finish(study: StudyDirectory, *arms: Sequence[float]) -> None:
    """Give the arms, in their order, so many scores."""
    for arm, scores in zip(study.arms(), arms, strict=True):
        for run, nats in zip(arm.runs, scores, strict=False):
            told = {"validation": {"blocks": {"nats_per_character": nats}}}
            storage.write_json(study.run(run.name).evaluation_file, told)


def stopped(study: StudyDirectory) -> list[str]:
    return [arm.name for arm in study.arms() if study.stopped(arm)]


def test_a_clearly_worse_arm_is_stopped_and_its_other_runs_are_not_begun(study: StudyDirectory) -> None:
    better = [nats - 0.005 for nats in GOOD]
    finish(study, GOOD[:4], better[:4], BAD[:4])
    stop_worse(study)
    assert stopped(study) == ["n_heads 4"]
    worse = study.arms()[2]
    judge = stats.wilcoxon(BAD[:4], better[:4], alternative="greater").pvalue
    assert study.stopped(worse) == {"arm": "n_heads 4", "p": pytest.approx(judge), "seeds": 4, "against": "n_heads 2"}
    assert [study.states()[run.name] for run in worse.runs] == ["done"] * 4 + ["stopped"] * 2


def test_it_is_recorded_once(study: StudyDirectory) -> None:
    finish(study, GOOD[:4], GOOD[:4], BAD[:4])
    stop_worse(study)
    before = study.stopped(study.arms()[2])
    finish(study, GOOD, GOOD, BAD)
    stop_worse(study)
    assert study.stopped(study.arms()[2]) == before


def test_three_seeds_are_the_least(study: StudyDirectory) -> None:
    study = planned("", p=0.3)
    finish(study, GOOD[:3], GOOD[:3], BAD[:2])
    stop_worse(study)
    assert not stopped(study)
    finish(study, GOOD[:3], GOOD[:3], BAD[:3])
    stop_worse(study)
    assert stopped(study) == ["n_heads 4"]


def test_what_is_not_clear_goes_on(study: StudyDirectory) -> None:
    finish(study, GOOD, GOOD[::-1], [1.49, 1.53, 1.50, 1.53, 1.49])
    stop_worse(study)
    assert not stopped(study)


@pytest.mark.parametrize("content", ["", "[]", '{"validation": []}', '{"validation": {"blocks": 3}}'])
def test_a_damaged_score_counts_as_none(study: StudyDirectory, content: str) -> None:
    finish(study, GOOD, GOOD, BAD)
    run = study.arms()[2].runs[0]
    damaged = study.run(run.name)
    damaged.evaluation_file.write_text(content)
    assert finished_nats(study, run, study.design()) is None
    stop_worse(study)
    assert (study.stopped(study.arms()[2]) or {})["seeds"] == 4


def test_equal_arms_go_on(study: StudyDirectory) -> None:
    finish(study, GOOD, GOOD, GOOD)
    stop_worse(study)
    assert not stopped(study)


@pytest.mark.parametrize("baseline", ["n_heads 1", "n_heads 4"])
def test_the_baseline_is_never_stopped(study: StudyDirectory, baseline: str) -> None:
    study = planned(f'baseline = "{baseline}"\n')
    assert study.arms()[0].name == baseline
    finish(study, BAD, GOOD, GOOD)
    stop_worse(study)
    assert not stopped(study)


def test_arms_are_compared_by_the_seeds_that_both_have(study: StudyDirectory) -> None:
    """Seed 0 is a hard one, and the first two arms alone have it."""
    hard = (3.0, *GOOD[1:])
    finish(study, hard, hard, BAD)
    first = study.arms()[2].runs[0].name
    storage.remove_file(study.run(first).evaluation_file)
    study.record_failure(first, "it diverged")
    stop_worse(study)
    assert stopped(study) == ["n_heads 4"]
    assert (study.stopped(study.arms()[2]) or {})["seeds"] == 4


def test_an_arm_with_nothing_more_to_run_is_not_stopped(study: StudyDirectory) -> None:
    finish(study, (*GOOD, 1.5), (*GOOD, 1.5), (*BAD, 1.6))
    stop_worse(study)
    assert not stopped(study)


def test_nothing_is_stopped_unless_it_is_asked_for(study: StudyDirectory) -> None:
    study.write_plan(study.source().replace("stop_worse = 0.1", ""), study.arms())
    finish(study, GOOD, GOOD, BAD)
    stop_worse(study)
    assert not stopped(study)
