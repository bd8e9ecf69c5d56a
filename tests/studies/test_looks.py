"""Who looks at a study again with other seeds needs more to show a difference."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from written_studies import finish, runs_of, written_study

from letterloom.studies.report import report
from letterloom.studies.report.report import write_report
from letterloom.studies.statistics import analyse

ARMS: dict[str, dict[str, Any]] = {"a": {}, "b": {"model": {"n_heads": 1}}, "c": {"model": {"n_heads": 2}}}


@pytest.fixture(autouse=True)
def _without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "write_run_report", lambda _: None)
    monkeypatch.setattr(report, "_figures", lambda _: ({}, dict.fromkeys(report.PICTURES, "")))


def looked_at(path: Path, arms: dict[str, dict[str, Any]], seeds: Sequence[int], **design: Any) -> dict[str, Any]:
    """What is reported once the folder's study has these arms and seeds, and all is run."""
    study = written_study(path, arms, seeds, **design)
    for place, name in enumerate(arms):
        for seed, run in runs_of(study, name).items():
            if not study.is_finished(run.name):
                finish(study, run, 2.0 + 0.01 * place + 0.001 * ((5 * seed + 3 * place) % 7))
    return write_report(study)


def judged(told: dict[str, Any]) -> dict[str, float]:
    """Benjamini and Hochberg's p values of what a report compares, by scipy."""
    nats = {arm["name"]: [run["nats"] for _, run in sorted(arm["seeds"].items())] for arm in told["arms"]}
    others = [name for name in nats if name != told["baseline"]]
    p_values = [stats.ttest_rel(nats[name], nats[told["baseline"]]).pvalue for name in others]
    return dict(zip(others, stats.false_discovery_control(p_values).tolist(), strict=True))


def adjusted(told: dict[str, Any]) -> dict[str, float]:
    return {comparison["arm"]: comparison["adjusted_p"] for comparison in told["comparisons"]}


def test_each_look_by_other_seeds_doubles_what_luck_may_have_done(tmp_path: Path) -> None:
    """The same seeds again are no other look, and interim numbers of one plan are none either."""
    for looks, seeds in enumerate([[0, 1, 2], [3, 2, 1, 0], [0, 1, 2, 3, 4]]):
        for _ in range(2):
            told = looked_at(tmp_path / "s", ARMS, seeds)
            expected = {name: min(1.0, 2**looks * p) for name, p in judged(told).items()}
            assert adjusted(told) == pytest.approx(expected)
            notes = [note for note in told["notes"] if "earlier look" in note]
            assert len(notes) == (looks > 0)
    assert "2 earlier looks at these arms by other seeds" in notes[0]
    assert "shown at 0.013, not at 0.05" in notes[0]


def test_a_question_about_other_arms_begins_anew(tmp_path: Path) -> None:
    looked_at(tmp_path / "s", ARMS, [0, 1, 2])
    others = {"a": {}, "d": {"model": {"n_layers": 1}}}  # it shares one arm, and so no comparison
    told = looked_at(tmp_path / "s", others, [0, 1, 2, 3])
    assert adjusted(told) == pytest.approx(judged(told))
    assert not any("earlier look" in note for note in told["notes"])
    renamed = {"x": ARMS["a"], "y": ARMS["b"]}
    assert any("1 earlier look at these" in note for note in looked_at(tmp_path / "s", renamed, [0, 1])["notes"])


def test_one_seed_is_no_look(tmp_path: Path) -> None:
    looked_at(tmp_path / "s", ARMS, [0])
    assert not any("earlier look" in note for note in looked_at(tmp_path / "s", ARMS, [0, 1, 2])["notes"])


def test_seeds_added_until_a_difference_shows_seldom_find_one_between_identical_arms() -> None:
    """Seeds 3 to 12, one at a time, with a stop at the first claim: 20 % without a correction, 10 % are allowed."""
    rng, studies, naive, corrected = np.random.default_rng(0), 400, 0, 0
    for _ in range(studies):
        nats = 1.5 + 0.003 * rng.normal(size=(4, 12))
        claims = [looks for looks, seeds in enumerate(range(3, 13)) if claims_by_itself(nats[:, :seeds])]
        naive += bool(claims)
        corrected += any(claims_after(looks, nats[:, : looks + 3]) for looks in claims)  # only where p is small
    assert naive >= 0.15 * studies
    assert corrected <= 0.10 * studies


def claims_by_itself(nats: NDArray[np.float64]) -> bool:
    """Whether one study of these (arms, seeds) would show anything, by scipy."""
    p_values = stats.ttest_rel(nats[1:], nats[:1], axis=1).pvalue
    return bool(stats.false_discovery_control(p_values).min() <= 0.05)


def claims_after(looks: int, nats: NDArray[np.float64]) -> bool:
    arms = {str(arm): dict(enumerate(map(float, row))) for arm, row in enumerate(nats)}
    return any(comparison.shown for comparison in analyse(arms, "0", earlier_looks=looks).comparisons)
