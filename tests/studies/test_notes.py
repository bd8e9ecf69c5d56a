"""What weakens the comparisons of a study is told, and nothing else is."""

from pathlib import Path
from typing import Any

import pytest
from written_studies import ENVIRONMENT, finish, runs_of, written_study

from letterloom.studies.notes import notes
from letterloom.studies.results import read_results


def test_what_weakens_a_comparison_is_noted(tmp_path: Path) -> None:
    study = written_study(tmp_path / "s", {"a": {}, "b": {"model": {"context_length": 32}}}, budget={"minutes": 1})
    a, b = runs_of(study, "a"), runs_of(study, "b")
    for seed in a:
        finish(study, a[seed], 2.0, precision="fp32")
        finish(study, b[seed], 2.0, characters=1000, environment=ENVIRONMENT | {"torch": "2.12.0"}, precision="bf16")
    told = "\n".join(notes(read_results(study)))
    for words in (
        "differ in torch (2.12.0; 2.13.0)",
        "training.precision came out differently on different machines (bf16; fp32)",
        "scored on different texts",
        "The contexts differ",
        "Minutes limited the runs",
    ):
        assert words in told


def test_precision_that_is_what_the_study_varies_is_no_weakness(tmp_path: Path) -> None:
    arms = {name: {"training": {"precision": name}} for name in ("fp32", "bf16")}
    study = written_study(tmp_path / "s", arms)
    for run in study.runs():
        finish(study, run, 2.0)
    assert notes(read_results(study)) == []


@pytest.mark.parametrize(
    ("other", "design", "told"),
    [
        ({"training": {"max_steps": 300}}, {}, "(90 to 300 steps, 69.1 k to 230 k characters, "),
        ({"training": {"batch_size": 24}}, {"budget": {"steps": 90}}, "(69.1 k to 138 k characters, "),
        (
            {"model": {"d_model": 256}},
            {"budget": {"characters": 69120}},
            " FLOP a run): a difference may come of that.",
        ),
        ({"training": {"max_steps": 93}}, {}, ""),  # 3 % more
        ({"model": {"n_heads": 1}}, {}, ""),
        ({"training": {"max_steps": 300}}, {"fit": "scaling"}, ""),  # which is about nothing else
    ],
)
def test_arms_that_were_given_more_are_told(
    tmp_path: Path, other: dict[str, Any], design: dict[str, Any], told: str
) -> None:
    study = written_study(tmp_path / "s", {"a": {}, "b": other}, **design)
    for run in study.runs():
        finish(study, run, 2.0)
    found = [note for note in notes(read_results(study)) if "do not cost the same" in note]
    assert bool(found) == bool(told)
    assert told in "".join(found)


def test_an_arm_of_which_seeds_failed_is_told(tmp_path: Path) -> None:
    """For those that did not diverge are a choice."""
    study = written_study(tmp_path / "s", {"a": {}, "b": {"model": {"n_heads": 1}}})
    for run in study.runs():
        finish(study, run, 2.0)
    lost = runs_of(study, "b")[1]
    study.run(lost.name).evaluation_file.unlink()
    assert not any("flatter" in note for note in notes(read_results(study)))  # it is yet to come
    study.record_failure(lost.name, "the loss is nan")
    assert "b failed by 1 of 3 seeds: the others may flatter it." in notes(read_results(study))
