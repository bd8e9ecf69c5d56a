"""Whole plans, for texts of many kinds and for what people fix by hand, on a machine whose speed is made up."""

import time
from pathlib import Path
from typing import Any

import pytest

from letterloom import accounting
from letterloom.accounting import Measured
from letterloom.config import RunConfig, build_config
from letterloom.errors import ConfigError, CorpusError
from letterloom.evaluation.baselines import of_run
from letterloom.recipes import read_recipe
from letterloom.text.encoding import Corpus, open_corpus
from letterloom.training.closing import Costs, closing_seconds
from letterloom.training.planning import plan
from letterloom.training.planning.ladder import LADDER, RECIPE, first_shape
from letterloom.training.planning.plan import Plan, make_plan, round_down
from letterloom.training.ranks import Ranks

SPEED = 3e11  # operations a second, of training; scores are as fast
COSTS = Costs(scored_id=2e-5, samples=0.3, save=0.05)


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> list[RunConfig]:
    """What was measured; in no time at all."""
    measured: list[RunConfig] = []

    def step(config: RunConfig, vocab_size: int, ranks: Ranks) -> Measured:
        measured.append(config)
        flops = accounting.training_flops(config.model, vocab_size, config.model.context_length)
        return Measured(0.003 + config.training.batch_size * flops / SPEED, 2, "", {})

    monkeypatch.setattr(plan, "measured_step", step)
    monkeypatch.setattr(plan, "fastest_threads", lambda config, *_: (config.training.threads or 2, ["threads: 2"]))
    monkeypatch.setattr(plan, "measure_costs", lambda *_: COSTS)
    monkeypatch.setattr(of_run, "cached_baselines", lambda *_: ())
    monkeypatch.setattr(time, "perf_counter", lambda: 103.0)  # three seconds after the command began
    return measured


def made(text: Path | Corpus, ranks: Ranks | None = None, /, **kept: dict[str, Any]) -> Plan:
    corpus = text if isinstance(text, Corpus) else open_corpus(given(text, kept).text)
    source = Path(corpus.description["corpus"][0])
    return make_plan(given(source, kept), kept, corpus, ranks or Ranks(), began=100.0)


def given(text: Path, kept: dict[str, Any]) -> RunConfig:
    shape = {"model": first_shape(kept.get("model", {}))}
    here = {"text": {"corpus": [str(text)]}, "training": {"device": "cpu"}}
    return build_config(read_recipe("small"), shape, here, kept)


def minutes(number: float, **training: Any) -> dict[str, Any]:
    return {"max_minutes": number, **training}


def steps(planned: Plan, corpus: Corpus) -> float:
    """How many there will be, worked out anew."""
    config = planned.config
    flops = accounting.training_flops(config.model, corpus.tokenizer.vocab_size, config.model.context_length)
    left = 60 * (config.training.max_minutes or 0) - 3.0 - closing_seconds(config, corpus, planned.costs)
    return left / (0.003 + config.training.batch_size * flops / SPEED)


@pytest.fixture(scope="module")
def long_text(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """A million characters."""
    path = tmp_path_factory.mktemp("long") / "long.txt"
    path.write_text("".join(chr(97 + number * number % 26) for number in range(1_000_000)), encoding="utf-8")
    return open_corpus(given(path, {}).text)


@pytest.mark.parametrize("length", [0.3, 0.5, 2, 5, 60, 480])
def test_what_is_done_on_the_way_takes_few_hundredths_of_the_time(long_text: Corpus, length: float) -> None:
    planned = made(long_text, training=minutes(length))
    training, total = planned.config.training, steps(planned, long_text)
    validations, samples = total / training.eval_interval, total // training.sample_interval
    assert training.checkpoint_interval == training.eval_interval
    scored = min(training.eval_characters, len(long_text.validation))
    assert validations * (scored * COSTS.scored_id + COSTS.save) + samples * COSTS.samples < 0.05 * 60 * length
    assert validations >= min(19, 60 * length / 7)
    assert validations >= length / 12  # a kill costs no more than this of a long one


@pytest.mark.parametrize("length", [0.3, 1, 10])
def test_no_more_is_scored_at_the_end_than_there_is_time_for(long_text: Corpus, length: float) -> None:
    training = made(long_text, training=minutes(length)).config.training
    scored = 3 * min(training.final_eval_characters or 10**9, len(long_text.validation)) * COSTS.scored_id
    assert scored <= 0.15 * 60 * length
    assert (training.final_eval_characters is None) == (3 * len(long_text.validation) * COSTS.scored_id < 9 * length)


def test_longer_runs_have_larger_models(long_text: Corpus) -> None:
    widths = [made(long_text, training=minutes(length)).config.model.d_model for length in (0.3, 5, 480)]
    assert widths == sorted(set(widths))


def test_a_text_that_is_read_often_is_read_with_dropout(long_text: Corpus, tiny_text: Path) -> None:
    assert made(long_text, training=minutes(0.3)).config.model.dropout == 0.0
    assert made(tiny_text, training=minutes(10)).config.model.dropout == 0.3


KEPT: list[dict[str, dict[str, Any]]] = [
    {"model": {"d_model": "16", "n_layers": "1"}},
    {"model": {"d_model": 80}},
    {"model": {"d_model": 100, "n_heads": 5}},
    *({"model": {"n_heads": heads}} for heads in (3, 5, 7)),
    {"model": {"n_heads": 1, "context_length": 24, "dropout": 0.05}},
    {"optimizer": {"learning_rate": 0.5, "muon_learning_rate": 0.25, "schedule": "wsd"}},
    {"training": {"batch_size": 3, "eval_interval": 7, "checkpoint_interval": 5, "sample_interval": 11}},
    {"training": {"threads": 5, "eval_characters": 77, "final_eval_characters": 88, "sample_characters": 9}},
    {"text": {"tokenizer": "bytes", "train_fraction": 0.5}},
]


@pytest.mark.parametrize("kept", KEPT, ids=str)
def test_what_is_given_is_kept(tiny_text: Path, kept: dict[str, dict[str, Any]], machine: list[RunConfig]) -> None:
    kept = kept | {"training": minutes(1) | kept.get("training", {})}
    planned = made(tiny_text, **kept)
    for config in (planned.config, *machine):
        told = config.model_dump(include={section: set(values) for section, values in kept.items()})
        wanted = given(tiny_text, kept).model_dump()
        assert all(told[section][key] == wanted[section][key] for section in kept for key in kept[section])


def test_other_limits_make_the_intervals_shorter(long_text: Corpus) -> None:
    free, bound = (made(long_text, training=minutes(5) | limit) for limit in ({}, {"max_steps": 100}))
    assert bound.config.training.eval_interval <= 100 < free.config.training.eval_interval
    assert "about 100 of" in bound.told
    assert free.told.split("ends")[1][:20] > bound.told.split("ends")[1][:20]  # the clock stands still here
    assert bound.config.model.dropout == 0.0


def test_intervals_in_epochs_stay_in_epochs(tiny_text: Path) -> None:
    planned = made(tiny_text, training=minutes(1, interval_unit="epochs"))
    corpus = open_corpus(planned.config.text)
    training, context = planned.config.training, planned.config.model.context_length
    epochs = steps(planned, corpus) * training.batch_size * context / len(corpus.train)
    assert epochs / training.eval_interval == pytest.approx(20, rel=0.15)


def test_processes_share_every_batch(tiny_text: Path) -> None:
    ranks = Ranks()
    ranks.world = ranks.local_world = 3
    assert made(tiny_text, ranks, training=minutes(1)).config.training.batch_size % 3 == 0


def test_records_are_read_in_contexts_of_their_size(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("\n".join(f"{a}{b}{c}" for a in "abcdef" for b in "aeiou" for c in "lmnrst"), encoding="utf-8")
    kept: dict[str, dict[str, Any]] = {"text": {"records": "lines"}, "training": minutes(1)}
    assert made(names, **kept).config.model.context_length <= 64


@pytest.mark.parametrize("characters", [20, 60, 400, 3000])
def test_a_text_of_any_length_has_a_plan(tmp_path: Path, characters: int) -> None:
    text = tmp_path / "short.txt"
    text.write_text(("the loom weaves a letter " * 200)[:characters], encoding="utf-8")
    planned = made(text, training=minutes(1))
    assert planned.config.model.context_length < 0.9 * characters
    assert "fewer minutes would do" in planned.told


def test_two_characters_are_none(tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("ab", encoding="utf-8")
    with pytest.raises(CorpusError, match=r"short\.txt"):
        made(tmp_path / "short.txt", training=minutes(1))


@pytest.mark.parametrize("length", [0.01, 0.05, 0.09])
def test_a_few_seconds_are_too_few(tiny_text: Path, length: float, machine: list[RunConfig]) -> None:
    with pytest.raises(ConfigError, match=r"is too short: starting took 3\.0 s"):
        made(tiny_text, training=minutes(length))
    assert not machine


def test_nothing_but_what_a_plan_decides_differs_from_the_recipe(tiny_text: Path) -> None:
    planned, base = made(tiny_text, training=minutes(1)).config, given(tiny_text, {"training": minutes(1)})
    decided = {
        "model": {"d_model", "n_layers", "n_heads", "context_length", "dropout"},
        "text": set[str](),
        "optimizer": {"learning_rate", "muon_learning_rate"},
        "training": {"batch_size", "threads", "eval_interval", "eval_characters", "final_eval_characters"}
        | {"checkpoint_interval", "sample_interval"},
    }
    assert planned.model_dump(exclude=decided) == base.model_dump(exclude=decided)
    assert build_config(planned.model_dump()) == planned


def test_the_recipe_has_the_shape_of_its_size(tiny_text: Path) -> None:
    model, rung = given(tiny_text, {}).model, LADDER[RECIPE]
    assert (model.d_model, model.n_layers, model.context_length) == (rung.d_model, rung.n_layers, rung.context_length)


def test_a_context_longer_than_the_text_is_refused_before_anything_is_measured(
    tiny_text: Path, machine: list[RunConfig]
) -> None:
    with pytest.raises(CorpusError, match="context"):
        made(tiny_text, model={"context_length": 10**6}, training=minutes(1))
    assert not machine


def test_a_prompt_of_unknown_characters_is_refused_before_anything_is_measured(
    tiny_text: Path, machine: list[RunConfig]
) -> None:
    with pytest.raises(ConfigError, match="start samples with characters that do"):
        made(tiny_text, training=minutes(1, sample_prompts=("♔",)))
    assert not machine


def test_a_warm_up_that_outlasts_the_run_is_told(long_text: Corpus) -> None:
    assert "outlasts the run" in made(long_text, optimizer={"warmup_steps": 10**6}, training=minutes(1)).told
    assert "outlasts" not in made(long_text, optimizer={"warmup_steps": 10}, training=minutes(1)).told


def test_numbers_are_rounded_to_be_read() -> None:
    assert [round_down(x) for x in (0.2, 1.9, 99.9, 104, 1234, 98_765)] == [1, 1, 99, 100, 1200, 98_000]
