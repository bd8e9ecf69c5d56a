"""Baselines reach a run that ended before they were measured, and a run whose text is gone keeps what it has."""

import json
from pathlib import Path

import pytest

from letterloom.evaluation.baselines.measure import measure_baselines, remarks
from letterloom.evaluation.baselines.of_run import renew_baselines
from letterloom.runs.directory import RunDirectory
from letterloom.text.encoding import open_corpus


def test_what_was_measured_since_is_taken(run_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LETTERLOOM_CACHE", str(tmp_path))
    run = RunDirectory(run_copy)
    before = run.baselines()
    renew_baselines(run)
    assert run.baselines() == before
    corpus = open_corpus(run.config().text)
    measured = measure_baselines(corpus.train, corpus.validation, corpus.tokenizer)
    renew_baselines(run)
    found = run.baselines() or {}
    assert found["baselines"] == [baseline.to_json() for baseline in measured]
    assert found["notes"] == list(remarks(corpus.train, corpus.validation, corpus.tokenizer))


def test_a_cache_that_cannot_be_used_is_no_hindrance(run_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LETTERLOOM_CACHE", "/dev/null/x")
    before = (run_copy / "baselines.json").read_bytes()
    renew_baselines(RunDirectory(run_copy))
    assert (run_copy / "baselines.json").read_bytes() == before


def test_without_its_text_a_run_keeps_its_baselines(run_copy: Path) -> None:
    run = RunDirectory(run_copy)
    file = run.config_file
    text = json.dumps(str(run_copy / "gone.txt"))
    lines = [f"corpus = [{text}]" if "corpus =" in line else line for line in file.read_text("utf-8").splitlines()]
    file.write_text("\n".join(lines), encoding="utf-8")
    before = run.baselines_file.read_bytes()
    renew_baselines(run)
    assert run.baselines_file.read_bytes() == before
