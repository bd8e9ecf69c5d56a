"""What the end of a run costs, foretold under a clock that is made up, and minutes that are too few."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from letterloom import accounting
from letterloom.config import RunConfig, build_config
from letterloom.errors import ConfigError
from letterloom.evaluation.baselines import of_run
from letterloom.text.encoding import open_corpus
from letterloom.training import closing
from letterloom.training.closing import Costs, closing_seconds, measure_costs, require_time, scored_at_most

SCORED_ID, DRAWN_ID = 0.002, 0.03  # seconds


def config(tiny_text: Path, **training: Any) -> RunConfig:
    small = {"max_minutes": 1, "device": "cpu", "threads": 1, "sample_characters": 40, "eval_characters": 100}
    return build_config(
        {
            "text": {"corpus": [str(tiny_text)]},
            "model": {"context_length": 16, "d_model": 16, "n_layers": 1, "n_heads": 2},
            "training": small | training,
        }
    )


def test_costs_are_those_of_a_few_windows_and_ids(tiny_text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def scoring(*_: object, max_characters: int) -> None:
        now[0] += max_characters * SCORED_ID

    def drawing(*_: object, max_new_tokens: int, **__: object) -> list[str]:
        now[0] += max_new_tokens * DRAWN_ID
        return ["x"]

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(closing, "evaluate", scoring)
    monkeypatch.setattr(closing, "generate", drawing)
    settings = config(tiny_text, sample_prompts=["", "the"])
    corpus = open_corpus(settings.text)
    costs = measure_costs(settings, corpus)
    assert costs.scored_id == pytest.approx(SCORED_ID)
    assert costs.samples == pytest.approx(2 * 40 * DRAWN_ID)
    state = accounting.state_bytes(settings.model, corpus.tokenizer.vocab_size, settings.optimizer)
    assert costs.save == pytest.approx(0.05 + state / 2e8)


@pytest.mark.parametrize(("final", "scored"), [(None, 3), (10**9, 3), (50, 0)])
@pytest.mark.parametrize(
    ("estimated", "known", "reserved"), [(2.9, None, 2.9), (3.1, None, 0.0), (2.9, (), 0.0)], ids=str
)
def test_the_end_is_a_validation_a_save_three_scores_samples_baselines_and_the_report(
    tiny_text: Path,
    final: int | None,
    scored: int,
    estimated: float,
    known: tuple[()] | None,
    reserved: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(of_run, "cached_baselines", lambda *_: known)
    monkeypatch.setattr(of_run, "estimated_seconds", lambda *_: estimated)
    settings = config(tiny_text, final_eval_characters=final)
    corpus = open_corpus(settings.text)
    three = scored * len(corpus.validation) or 3 * 50
    found = closing_seconds(settings, corpus, Costs(scored_id=1.0, samples=10_000.0, save=1e6))
    assert found == pytest.approx(100 + three + 2 * 10_000 + 2 * 1e6 + 3.0 + reserved)


def test_without_minutes_nothing_is_measured(tiny_text: Path) -> None:
    settings = config(tiny_text, max_minutes=None, max_steps=1)
    assert closing_seconds(settings, open_corpus(settings.text)) == 0.0


def test_as_much_is_scored_as_is_asked_for_but_no_more_than_is_held_out(tiny_text: Path) -> None:
    limits = [config(tiny_text, final_eval_characters=most).training for most in (None, 99, 100, 101)]
    assert [scored_at_most(training, 100) for training in limits] == [None, 99, None, None]


class TestTooFewMinutes:
    def test_the_fifth_that_is_left_decides(self, tiny_text: Path) -> None:
        training = config(tiny_text).training
        require_time(training, spent=28.0, closing=20.0)
        with pytest.raises(ConfigError, match=r"max_minutes 1 is too short: starting took 28\.1 s.* at least 1\.01"):
            require_time(training, spent=28.1, closing=20.0)

    def test_other_limits_are_none_of_time(self, tiny_text: Path) -> None:
        require_time(config(tiny_text, max_minutes=None, max_steps=1).training, spent=1e9, closing=1e9)

    def test_a_score_that_takes_too_long_may_be_a_shorter_one(self, tiny_text: Path) -> None:
        with pytest.raises(ConfigError, match=r"lower training\.final_eval_characters"):
            require_time(config(tiny_text).training, spent=1.0, closing=100.0)
        with pytest.raises(ConfigError, match=r"at least \d+(\.\d+)?$"):
            require_time(config(tiny_text).training, spent=100.0, closing=2.0)


def test_the_minutes_that_are_advised_do(tiny_text: Path) -> None:
    draw = np.random.default_rng(0)
    for spent, end in draw.uniform(0.1, 100, size=(50, 2)):
        with pytest.raises(ConfigError) as caught:
            require_time(config(tiny_text, max_minutes=0.001).training, spent, end)
        advised = str(caught.value).partition("at least ")[2].partition(",")[0]
        require_time(config(tiny_text, max_minutes=float(advised)).training, spent, end)
