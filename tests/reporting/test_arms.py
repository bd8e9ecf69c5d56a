"""Runs share an axis only where their numbers measure the same; those that differ in the seed alone belong together."""

import json
from pathlib import Path
from typing import Any

import pytest
from written_runs import ALPHABET, CORPUS, finished_run, log, new_run

from letterloom.errors import ConfigError, DataMismatchError, RunError
from letterloom.reporting.overlay.arms import differing_settings, group, notes, read_runs


def paths(folder: Path, **changes: dict[str, Any]) -> list[Path]:
    """Finished runs by name, with what is changed in each."""
    return [finished_run(folder / name, **change).path for name, change in changes.items()]


def test_seeds_are_one_arm(tmp_path: Path) -> None:
    seeds = {f"s{seed}": {"training": {"seed": seed}} for seed in (1, 2, 3)}
    runs = read_runs(paths(tmp_path, **seeds, wide={"model": {"d_model": 256}}))
    assert [(arm.label, len(arm.runs)) for arm in group(runs)] == [("s1, 3 seeds", 3), ("wide", 1)]
    assert differing_settings(list(runs.values())) == ["model.d_model", "training.seed"]


def test_the_place_of_the_text_is_no_setting(tmp_path: Path) -> None:
    runs = read_runs(paths(tmp_path, a={}, b={"text": {"corpus": ["elsewhere/play.txt"]}, "training": {"seed": 8}}))
    assert [len(arm.runs) for arm in group(runs)] == [2]


def test_runs_of_one_name_are_told_apart_by_their_places(tmp_path: Path) -> None:
    places = [*paths(tmp_path / "a", run={}), *paths(tmp_path / "b", run={"training": {"seed": 8}})]
    assert list(read_runs(places)) == [str(place) for place in places]


def test_a_run_named_twice_is_refused(tmp_path: Path) -> None:
    (path,) = paths(tmp_path, a={})
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(ConfigError, match=r"link is the same run as .*a; name each run once"):
        read_runs([path, tmp_path / "link"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"corpus": CORPUS | {"sha256": "0a30" * 16}}, "the text (SHA-256 86c486c4 against 0a300a30)"),
        ({"text": {"train_fraction": 0.8}}, "the share that trains (0.9 against 0.8)"),
        ({"text": {"records": "lines"}}, "the records (none; 0; no against lines; 0; no)"),
        ({"text": {"tokenizer": "bytes"}}, "the tokenizer (characters against bytes)"),
        ({"alphabet": ALPHABET + "~"}, "the vocabulary (65 ids against 66 ids)"),
    ],
)
def test_what_measures_something_else_is_refused(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    places = paths(tmp_path, a={}, b={"training": {"seed": 8}}, c=change)
    with pytest.raises(DataMismatchError) as refused:
        read_runs(places)
    assert f"{places[0]} and {places[2]} cannot share one axis: they differ in {told}; report each" in str(
        refused.value
    )
    assert "\n" not in str(refused.value)


def test_everything_that_differs_is_told(tmp_path: Path) -> None:
    other = {"corpus": CORPUS | {"sha256": "0a30" * 16}, "alphabet": "abc", "text": {"train_fraction": 0.8}}
    with pytest.raises(DataMismatchError, match=r"the text .* and the share .* and the vocabulary"):
        read_runs(paths(tmp_path, a={}, b=other))


def test_another_protocol_is_refused(tmp_path: Path) -> None:
    places = paths(tmp_path, a={}, b={"training": {"seed": 8}})
    metrics = places[1] / "metrics.jsonl"
    metrics.write_text(metrics.read_text(encoding="utf-8").replace("blocks", "sliding"), encoding="utf-8")
    with pytest.raises(DataMismatchError, match=r"the protocol \(blocks against sliding\)"):
        read_runs(places)


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a run directory"):
        read_runs([*paths(tmp_path, a={}), tmp_path])


def test_what_to_know_of_the_runs_is_told(tmp_path: Path) -> None:
    changes: dict[str, dict[str, Any]] = {
        "a": {},
        "again": {},
        "long": {"model": {"context_length": 128}, "training": {"eval_characters": 5}},
    }
    young = new_run(tmp_path / "young", training={"seed": 9})
    log(young, 40, validate=True)
    told = " ".join(notes(read_runs([*paths(tmp_path, **changes), young.path])))
    assert "young has not finished" in told
    assert "The contexts differ" in told
    assert "parts of different length" in told
    assert "drawn against characters read" in told
    assert "a, 2 seeds: some have the same seed too" in told
    (tmp_path / "b").mkdir()
    assert notes(read_runs(paths(tmp_path / "b", a={}, b={"training": {"seed": 8}}))) == []


def test_a_text_that_is_not_described_is_damage(tmp_path: Path) -> None:
    places = paths(tmp_path, a={}, b={"training": {"seed": 8}})
    (places[1] / "corpus.json").write_text(json.dumps({"ids": 1, "characters": 1}), encoding="utf-8")
    with pytest.raises(DataMismatchError, match=r"b/corpus.json is damaged: it has no 'sha256'; restore"):
        read_runs(places)
