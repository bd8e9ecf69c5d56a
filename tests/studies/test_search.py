"""Arms that are drawn: evenly, and by what was found so far. No run is trained: its score is written in its place."""

import logging
import math
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from studying import enter

from letterloom import storage
from letterloom.config import RunConfig
from letterloom.errors import ConfigError, ResourceError
from letterloom.studies.arms import plan_arms
from letterloom.studies.beginning import begin
from letterloom.studies.design import Design, parse_design
from letterloom.studies.directory import StudyDirectory
from letterloom.studies.search import draw, extend

BASE = """
corpus = ["text.txt"]
recipe = "gpt2-char"
seeds = [5, 6, 7]
trials = {trials}
design = "{design}"
budget.steps = 5
"""
RANGES = """
factors.model.d_model = { low = 15.5, high = 64 }
factors.model.n_layers = { low = 1, high = 100, log = true }
factors.model.d_ff = { low = 8, high = 64 }
factors.optimizer.learning_rate = { low = 1e-4, high = 1e-2, log = true }
factors.model.norm = ["layernorm", "rmsnorm"]
[factors.rule]
AdamW = { optimizer = { name = "adamw", beta2 = 0.95 } }
Muon = { optimizer = { name = "muon" }, training = { batch_size = 3 } }
"""
HEADS = "base.model.d_model = 12\nfactors.model.n_heads = [1, 2, 3, 4, 5, 6]\n"  # 5 does not divide the width
RATE = "factors.optimizer.learning_rate = { low = 1e-5, high = 1.0, log = true }\n"


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(tmp_path, monkeypatch)


def source(factors: str, design: str = "search", trials: int = 8) -> str:
    return BASE.format(design=design, trials=trials) + factors


def searched(factors: str, trials: int = 8, **settings: Any) -> StudyDirectory:
    told = "".join(f"{name} = {value}\n" for name, value in settings.items())
    Path("search.toml").write_text(told + source(factors, trials=trials))
    return begin("search.toml")


def designed(factors: str, trials: int = 8) -> Design:
    return parse_design(source(factors, "random", trials), "random.toml")


def finish(study: StudyDirectory, name: str, nats: float) -> None:
    storage.write_json(study.run(name).evaluation_file, {"validation": {"blocks": {"nats_per_character": nats}}})


def rate_loss(config: RunConfig) -> float:
    """Lowest, 1, at a learning rate of 0.01."""
    return 1.0 + (math.log10(config.optimizer.learning_rate) + 2) ** 2


def run_all(study: StudyDirectory, loss: Callable[[RunConfig], float]) -> None:
    for run in study.runs():
        if not study.is_finished(run.name):
            finish(study, run.name, loss(run.config) + run.seed * 1e-6)


class TestDraw:
    def test_every_kind_of_factor_is_drawn_in_its_range(self) -> None:
        design = designed("base.model = { n_heads = 1, bias_norm = false }\n" + RANGES, trials=60)
        drawn = draw(design)
        assert len(drawn) == 60
        for settings in drawn:
            model, optimizer = settings["model"], settings["optimizer"]
            assert isinstance(model["d_model"], int)
            assert isinstance(model["d_ff"], int)
            assert 16 <= model["d_model"] <= 64
            assert 1e-4 <= optimizer["learning_rate"] <= 1e-2
            assert settings["training"] == {"batch_size": 3} if optimizer["name"] == "muon" else True
            assert (optimizer.get("beta2") == 0.95) is (optimizer["name"] == "adamw")
        assert {s["model"]["norm"] for s in drawn} == {"layernorm", "rmsnorm"}
        shallow = sum(s["model"]["n_layers"] <= 10 for s in drawn)
        assert 18 <= shallow <= 42  # half of them, by the logarithm; 6 of 60 otherwise
        assert [arm.name for arm in plan_arms(design)] == [f"draw {n}" for n in range(1, 61)]

    def test_it_is_a_function_of_the_design(self) -> None:
        assert draw(designed(RATE)) == draw(designed(RATE))

    def test_a_space_that_is_smaller_is_drawn_whole(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING, "letterloom"):
            drawn = draw(designed(HEADS, trials=20))
        assert sorted(settings["model"]["n_heads"] for settings in drawn) == [1, 2, 3, 4, 6]
        assert "5 of 20 trials" in caplog.text
        assert "d_model 12 is not divisible by n_heads 5" in caplog.text

    @pytest.mark.parametrize(
        ("factors", "told"),
        [
            ("factors.model.norm = { low = 1, high = 2 }", "factors.model.norm has a range, but takes no numbers"),
            ("factors.model.bias_qkv = { low = 0, high = 1 }", "takes no numbers"),
            ("factors.model.n_layers = { low = 1.2, high = 1.8 }", "no whole number between 1.2 and 1.8"),
            ("base.model.d_model = 12\nfactors.model.n_heads = [5, 7]", "none of 200 draws .* not divisible"),
        ],
    )
    def test_what_cannot_be_drawn_is_told(self, factors: str, told: str) -> None:
        with pytest.raises(ConfigError, match=told):
            draw(designed(factors))

    def test_without_optuna_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "optuna", None)
        with pytest.raises(ResourceError, match=r"pip install 'letterloom\[study\]'"):
            draw(designed(RATE))


def test_what_draws_decide_is_known_by_name() -> None:
    varied = {"model.d_model", "model.n_layers", "model.d_ff", "model.norm", "optimizer.learning_rate"}
    named = {"optimizer.name", "optimizer.beta2", "training.batch_size"}
    assert set(designed(RANGES).drawn_settings()) == varied | named
    assert parse_design("corpus = ['text.txt']\nfactors.model.n_heads = [1, 2]", "grid.toml").drawn_settings() == ()


class TestExtend:
    def test_a_search_goes_on_to_what_is_good_and_confirms_the_best(self) -> None:
        study = searched(RATE, trials=30, confirm=2)
        while extend(study):
            run_all(study, rate_loss)
        told = study.added()
        assert list(told) == list(range(1, 31))
        first_nats = {number: rate_loss(arm.config) for number, arm in zip(told, study.added_arms(), strict=True)}
        best = sorted(first_nats, key=first_nats.__getitem__)[:2]
        assert sorted(number for number, arm in told.items() if arm.get("confirmed")) == sorted(best)
        seeds = {number: list(arm["runs"]) for number, arm in told.items()}
        assert all(seeds[number] == (["5", "6", "7"] if number in best else ["5"]) for number in told)
        early, late = (sum(first_nats[number] for number in range(*ends)) for ends in ((1, 11), (21, 31)))
        assert late < early / 2
        assert not extend(study)

    def test_workers_that_have_finished_nothing_draw_different_arms(self) -> None:
        study = searched(RATE, trials=4)
        with ThreadPoolExecutor(4) as pool:
            added = list(pool.map(lambda _: extend(study), range(6)))
        assert Counter(added) == {True: 4, False: 2}
        assert list(study.added()) == [1, 2, 3, 4]
        assert len({run.name for run in study.runs()}) == 4

    def test_nothing_is_confirmed_before_all_have_ended(self) -> None:
        study = searched(RATE, trials=3, confirm=1)
        while extend(study):
            pass
        good, bad, open_run = (run.name for run in study.runs())
        finish(study, good, 2.0)
        study.record_failure(bad, "it diverged")
        assert not extend(study)
        finish(study, open_run, math.inf)  # counts as failed
        assert extend(study)
        assert [bool(arm.get("confirmed")) for arm in study.added().values()] == [True, False, False]
        assert len(study.runs()) == 5

    def test_a_search_of_few_possibilities_ends(self, caplog: pytest.LogCaptureFixture) -> None:
        study = searched(HEADS, trials=30, confirm=1)
        with caplog.at_level(logging.WARNING, "letterloom"):
            while extend(study):
                run_all(study, lambda config: config.model.n_heads)
        assert sorted(arm.config.model.n_heads for arm in study.added_arms()) == [1, 2, 3, 4, 6]
        assert "5 of 30 trials" in caplog.text
        (best,) = (arm for arm in study.added_arms() if len(arm.seeds) == 3)
        assert best.config.model.n_heads == 1

    def test_nothing_that_can_be_built_is_an_error(self) -> None:
        study = searched("base.model.d_model = 12\nfactors.model.n_heads = [5, 7]\n")
        with pytest.raises(ConfigError, match=r"trial 1.*not divisible"):
            extend(study)
        assert not study.added()

    def test_trials_of_an_earlier_study_file_are_not_learnt_from(self) -> None:
        study = searched(RATE, trials=2)
        while extend(study):
            run_all(study, rate_loss)
        study = searched("factors.model.n_heads = [1, 2]\n", trials=3)
        assert not study.added()
        assert extend(study)
        assert study.added()[1]["params"].keys() == {"model.n_heads"}
