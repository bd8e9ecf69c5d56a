"""Minutes are those of the whole command: under a clock that is made up, from half a minute to a night."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from letterloom import api
from letterloom.accounting import Measured
from letterloom.config import RunConfig
from letterloom.errors import ConfigError, Interrupted
from letterloom.evaluation.loss import evaluate
from letterloom.runs.checkpoint import read_checkpoint, save_checkpoint
from letterloom.runs.directory import RunDirectory
from letterloom.text.encoding import open_corpus
from letterloom.training import closing, loop
from letterloom.training.closing import write_samples
from letterloom.training.learner import Learner
from letterloom.training.planning import plan
from letterloom.training.ranks import Ranks
from letterloom.training.signals import StopSignals

SMALL: dict[str, Any] = {"d_model": 16, "n_layers": 1, "n_heads": 2, "context_length": 16}


@dataclass
class Machine:
    """How long everything takes, in seconds."""

    step: float
    starting: float = 3.0
    scored_character: float = 4e-5
    drawn_id: float = 0.002
    save: float = 0.06
    report: float = 2.9  # with a look for copies
    baselines: float = 1.0  # of a text so short
    slower: float = 1.0  # times as long as it was measured before the start
    now: float = 5000.0
    aside: float = 0.0  # that went into validations, samples and checkpoints

    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Let nothing but this machine move the clock; steps, samples and the report are not really made."""

        def taking(seconds: Callable[..., float], work: Callable[..., Any]) -> Callable[..., Any]:
            def timed(*arguments: Any, **named: Any) -> Any:
                result = work(*arguments, **named)
                self.pass_time(seconds(result, **named))
                return result

            return timed

        def beside(work: Callable[..., Any]) -> Callable[..., Any]:
            def noted(*arguments: Any, **named: Any) -> Any:
                before = self.now
                result = work(*arguments, **named)
                self.aside += self.now - before
                return result

            return noted

        def step(config: RunConfig, vocab_size: int, ranks: Ranks) -> Measured:
            self.pass_time(0.6)
            return Measured(self.step, 2, "", {})

        def update(*_: object) -> tuple[float, float]:
            self.pass_time(self.step * self.slower)
            return 1.0, 1.0

        def scored(result: Any, **_: object) -> float:
            again = 4 if result.protocol == "sliding" else 1  # each character is read in so many windows
            return float(result.characters * again * self.scored_character)

        def generate(*_: object, max_new_tokens: int, **__: object) -> str:
            self.pass_time(self.drawn_id * max_new_tokens)
            return "the loom"

        patch.setattr(time, "perf_counter", lambda: self.now)
        patch.setattr(plan, "measured_step", step)
        patch.setattr(plan, "fastest_threads", lambda config, *_: (1, []))
        patch.setattr(Learner, "update", update)
        patch.setattr(loop, "open_corpus", taking(lambda *_, **__: self.starting, open_corpus))
        patch.setattr(loop, "evaluate", beside(taking(scored, evaluate)))
        patch.setattr(loop, "save_checkpoint", beside(taking(lambda *_, **__: self.save, save_checkpoint)))
        patch.setattr(loop, "write_samples", beside(write_samples))
        patch.setattr(closing, "evaluate", taking(scored, evaluate))
        patch.setattr(closing, "generate", generate)
        patch.setattr(closing, "write_baselines", lambda *_: self.pass_time(self.baselines))
        patch.setattr(closing, "write_report", lambda _: self.pass_time(self.report))


@pytest.mark.parametrize(
    ("minutes", "step"), [(0.5, 0.1), (0.5, 0.4), (5, 2.0), (60, 25.0), (480, 200.0)], ids=lambda value: f"{value:g}"
)
@pytest.mark.parametrize("slower", [0.7, 1.0, 1.6])
def test_a_planned_run_ends_with_its_minutes_and_its_decay_with_it(
    tiny_text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minutes: float, step: float, slower: float
) -> None:
    machine = Machine(step, slower=slower)
    machine.install(monkeypatch)
    began = machine.now
    run = api.train(tiny_text, out=tmp_path / "run", model=SMALL, training={"max_minutes": minutes, "device": "cpu"})
    assert machine.now - began == pytest.approx(60 * minutes, rel=0.05)
    assert machine.aside < 0.05 * 60 * minutes
    lines = [line for line in run.metrics if line["kind"] == "train"]
    assert lines[-1]["progress"] == 1.0 > lines[-2]["progress"]
    peak = max(line["learning_rate"] for line in lines)
    assert lines[-1]["learning_rate"] < 0.05 * peak
    assert len([line for line in run.metrics if line["kind"] == "validation"]) >= 5
    assert run.evaluation


def test_so_does_a_recipe(tiny_text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(step=0.5, scored_character=0.02, starting=7.0)
    machine.install(monkeypatch)
    began = machine.now
    training = {"max_minutes": 2, "device": "cpu", "threads": 1}
    api.train(tiny_text, "nanogpt-cpu", tmp_path / "run", model=SMALL, training=training)
    assert machine.now - began == pytest.approx(120, rel=0.05)


def newest_position(path: Path) -> dict[str, float]:
    position: dict[str, float] = read_checkpoint(RunDirectory(path).checkpoints()[-1]).state["position"]
    return position


def test_what_is_reserved_outlives_a_stop_and_other_starts_cost_nothing(
    tiny_text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(step=0.5)
    machine.install(monkeypatch)
    path = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        received = property(lambda _: 2 if machine.now > 5040 else None, lambda *_: None)
        patch.setattr(StopSignals, "received", received, raising=False)
        api.train(tiny_text, out=path, model=SMALL, training={"max_minutes": 2, "device": "cpu"})
    position = newest_position(path)
    assert 0.25 < position["seconds"] / 120 < 0.5
    machine.now += 3600
    machine.starting = 500.0
    api.resume(path)
    after = newest_position(path)
    assert after["reserved"] == position["reserved"] > 3.0
    last = [line for line in RunDirectory(path).metrics() if line["kind"] == "train"][-1]
    assert last["seconds"] + after["reserved"] == pytest.approx(120, rel=0.05)


def test_too_few_are_refused_before_anything_is_written(
    tiny_text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace(Machine(step=0.1), starting=30.0).install(monkeypatch)
    for recipe in (None, "nanogpt-cpu"):
        training = {"max_minutes": 0.5, "device": "cpu", "threads": 1}
        with pytest.raises(ConfigError, match=r"max_minutes 0\.5 is too short: starting took 3\d\.\d s"):
            api.train(tiny_text, recipe, tmp_path / "run", model=SMALL, training=training)
    assert not (tmp_path / "run").exists()


def test_a_text_too_long_to_be_scored_in_time_is_scored_in_part_and_that_is_told(
    tiny_text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = Machine(step=0.1, scored_character=0.01)
    machine.install(monkeypatch)
    run = api.train(tiny_text, out=tmp_path / "run", model=SMALL, training={"max_minutes": 1, "device": "cpu"})
    evaluation = run.evaluation
    assert evaluation
    most = RunDirectory(run.path).config().training.final_eval_characters
    assert most
    assert evaluation["validation"]["blocks"]["characters"] <= most + 1 < 500
    assert f"scoring {most} characters of the validation split" in capsys.readouterr().err
