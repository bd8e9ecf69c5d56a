"""A study file becomes a plan: once, again, changed, by two at a time."""

import multiprocessing
from pathlib import Path

import pytest
from studying import enter

from letterloom import storage
from letterloom.errors import ConfigError, DataMismatchError, ResourceError, RunError
from letterloom.studies import beginning
from letterloom.studies.arms import build_arm
from letterloom.studies.beginning import begin
from letterloom.studies.search import extend
from letterloom.study import run_study

STUDY = """
corpus = ["text.txt"]
recipe = "gpt2-char"
seeds = [0, 1]
budget.steps = 5
"""
GRID = STUDY + "factors.model.n_heads = [1, 2]\n"
SEARCH = STUDY + "design = 'search'\ntrials = 3\nfactors.model.n_heads = [1, 2, 4]\n"


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(tmp_path, monkeypatch)
    (tmp_path / "grid.toml").write_text(GRID)


@pytest.mark.parametrize("left", [[".lock"], [".lock", "study.toml", ".tmp-7-plan.json"]])
def test_what_a_killed_beginning_left_is_no_obstacle(left: list[str]) -> None:
    Path("studies/grid").mkdir(parents=True)
    for name in left:
        (Path("studies/grid") / name).write_text("")
    assert len(begin("grid.toml").runs()) == 4


def test_two_may_begin_a_study_together() -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        found = pool.starmap(begin, [("grid.toml", Path("together"))] * 6)
    assert len({tuple(run.name for run in study.runs()) for study in found}) == 1


def test_a_search_goes_on_with_more_seeds_and_begins_anew_for_other_factors(caplog: pytest.LogCaptureFixture) -> None:
    Path("search.toml").write_text(SEARCH)
    study = begin("search.toml")
    study.add_arm(1, build_arm(study.design(), "trial 1", [{"model": {"n_heads": 2}}], (0,)), params={})
    Path("search.toml").write_text(SEARCH.replace("seeds = [0, 1]", "seeds = [0, 1, 2]"))
    begin("search.toml")
    assert list(study.added()) == [1]
    assert not caplog.text
    Path("search.toml").write_text(SEARCH.replace("seeds = [0, 1]", "seeds = [3, 1]"))
    begin("search.toml")
    assert not study.added()
    assert "the search has changed: 1 trials are left out, and it begins anew" in caplog.text


def test_a_search_does_not_mix_texts() -> None:
    Path("search.toml").write_text(SEARCH)
    study = begin("search.toml")
    assert extend(study)
    (run,) = study.runs()
    storage.write_json(study.run(run.name).evaluation_file, {"validation": {"blocks": {"nats_per_character": 2.0}}})
    Path("text.txt").write_text("Another text, of another kind.\n" * 50)
    with pytest.raises(DataMismatchError, match="has changed since its first trial"):
        extend(study)


@pytest.mark.parametrize(("here", "gpu"), [(True, False), (True, True), (False, False)])
def test_what_does_not_fit_this_machine_is_refused_where_it_is_to_run_here(
    here: bool, gpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beginning, "physical_memory", lambda: 1000)
    monkeypatch.setattr(beginning, "NVIDIA", Path("/" if gpu else "/none"))
    if here and not gpu:
        with pytest.raises(ResourceError, match="arm 'n_heads 1': training a model of"):
            begin("grid.toml", here=here)
        assert not Path("studies").exists()
    else:
        assert len(begin("grid.toml", here=here).runs()) == 4


def test_a_file_in_the_way_is_told() -> None:
    Path("taken").write_text("mine")
    with pytest.raises(RunError, match="taken is a file"):
        begin("grid.toml", Path("taken"))


@pytest.mark.parametrize("workers", [0, -1])
def test_nobody_works_is_refused(workers: int) -> None:
    with pytest.raises(ConfigError, match=f"workers = {workers}: should be at least 1"):
        run_study("grid.toml", workers=workers)
    assert not Path("studies").exists()
