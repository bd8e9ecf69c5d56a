"""What is measured against the closed forms, and what is remembered of it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributed._tools.mem_tracker import MemTracker

from letterloom import accounting, memory
from letterloom.accounting import Measured
from letterloom.config import RunConfig, build_config
from letterloom.errors import ResourceError
from letterloom.reporting.profile.differences import UNEXPLAINED, compare
from letterloom.training import estimates, measurement
from letterloom.training.estimates import step_seconds
from letterloom.training.learner import Learner
from letterloom.training.measurement import measure

TINY = {"context_length": 16, "d_model": 32, "n_layers": 2, "n_heads": 2}
FIXED = {"device": "cpu", "precision": "fp32", "products": "matmul", "threads": 1, "batch_size": 6, "max_steps": 9}


def configuration(model: dict[str, Any], optimizer: dict[str, Any], training: dict[str, Any]) -> RunConfig:
    return build_config({"model": TINY | model, "optimizer": optimizer, "training": FIXED | training})


def in_precision(config: RunConfig, precision: str) -> RunConfig:
    return build_config(config.model_dump(), {"training": {"precision": precision}})


CONFIGURATIONS = {
    "adamw": configuration({}, {"name": "adamw"}, {}),
    "sgd": configuration({"activation": "relu"}, {"name": "sgd"}, {}),
    "momentum": configuration({"tied_head": False}, {"name": "sgd", "momentum": 0.9}, {}),
    "muon": configuration(
        {"activation": "relu_squared", "norm": "rmsnorm", "positions": "rotary", "qk_norm": True},
        {"name": "muon"},
        {"products": "convolution"},
    ),
    "dropout": configuration(
        {"dropout": 0.1, "attention_dropout": 0.1, "mlp_dropout": 0.1, "activation": "swiglu"}, {}, {}
    ),
    "micro-batches": configuration({}, {}, {"micro_batches": 4}),
    "averaged": configuration({}, {}, {"ema_decay": 0.9}),
    "factors": configuration({"bias_qkv": True}, {}, {"lora_rank": 4}),
}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_memory_is_what_the_closed_forms_say(name: str, precision: str) -> None:
    config = in_precision(CONFIGURATIONS[name], precision)
    found = measure(config, 65, seconds=0.0).bytes
    computed = accounting.training_memory(config, 65)
    assert set(found) == {*computed, "peak", "process"}
    computed["activations"] += 8 * (config.training.micro_batch() - 1)  # a window's last target lies before the next
    assert {name: found[name] for name in computed} == computed
    assert found["peak"] > found["weights"] + found["activations"]
    assert found["process"] > found["peak"]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ["adamw", "muon", "dropout", "averaged"])
def test_what_differs_is_explained(name: str, precision: str) -> None:
    config = in_precision(CONFIGURATIONS[name], precision)
    rows = compare(config, 65, measure(config, 65, seconds=0.0))
    assert {row["quantity"] for row in rows if row["note"]} > {"peak"}
    assert not [row for row in rows if row["note"] == UNEXPLAINED]


@pytest.mark.parametrize("name", ["adamw", "sgd", "muon", "dropout"])
def test_the_peak_is_that_of_pytorchs_own_tracker(name: str) -> None:
    config = CONFIGURATIONS[name]
    learner = Learner(config, 65)
    ids = np.random.default_rng(0).integers(65, size=(config.training.batch_size, config.model.context_length))
    learner.update(ids, ids, 0, 0.0)
    tracker = MemTracker()
    states = [state for optimizer in learner.optimizers for state in optimizer.state.values()]
    tracker.track_external(learner.model, *(tensor for state in states for tensor in state.values()))
    with tracker:
        learner.update(ids, ids, 1, 0.0)
    total = tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]
    assert measure(config, 65, seconds=0.0).bytes["peak"] == pytest.approx(total, rel=0.01)


def test_the_speed_is_of_at_least_two_steps_and_the_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    config = configuration({}, {}, {"threads": before + 1})
    found = measure(config, 65, seconds=0.0, memory=False)
    assert found.steps == 2
    assert found.seconds_per_step > 0
    assert (found.product_flops_per_second or 0) > 0
    assert found.bytes == {}
    assert found.environment["threads"] == before + 1
    assert torch.get_num_threads() == before


def test_what_cannot_fit_is_refused_before_it_is_tried() -> None:
    with pytest.raises(ResourceError, match="takes at least"):
        measure(configuration({"d_model": 1_000_000, "n_layers": 1000}, {}, {}), 65)


def test_what_takes_most_of_the_memory_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    config = CONFIGURATIONS["adamw"]
    held = sum(accounting.training_memory(config, 65).values())
    monkeypatch.setattr(memory, "physical_memory", lambda: 2 * held)
    assert measure(config, 65, 0.0, memory=False).steps == 2
    monkeypatch.setattr(memory, "physical_memory", lambda: 2 * held - 2)
    with pytest.raises(ResourceError, match="at most half of the"):
        measure(config, 65, 0.0, memory=False)


@pytest.mark.parametrize(("longest", "batches"), [(1e-9, 0), (None, 1)], ids=["by its operations", "by the first"])
def test_steps_of_minutes_are_not_measured(
    monkeypatch: pytest.MonkeyPatch, longest: float | None, batches: int
) -> None:
    done: list[int] = []
    update = Learner.update

    def slow(*arguments: Any, **factor: Any) -> Any:
        done.append(1)
        if longest is None:
            monkeypatch.setattr(measurement, "LONGEST_STEP", 0.0)
        return update(*arguments, **factor)

    monkeypatch.setattr(Learner, "update", slow)
    if longest is not None:
        monkeypatch.setattr(measurement, "LONGEST_STEP", longest)
    with pytest.raises(ResourceError, match="a step takes"):
        measure(CONFIGURATIONS["adamw"], 65, memory=False)
    assert len(done) == batches


class TestEstimates:
    @pytest.fixture
    def measured(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[RunConfig]:
        """What was measured, in place of measuring it, with a cache of its own."""
        monkeypatch.setenv("LETTERLOOM_CACHE", str(tmp_path / "cache"))
        found: list[RunConfig] = []

        def take(config: RunConfig, vocab_size: int) -> Measured:
            found.append(config)
            return Measured(float(len(found)), 1, "a test", {})

        monkeypatch.setattr(estimates, "_measure", take)
        return found

    def test_each_is_measured_once(self, measured: list[RunConfig]) -> None:
        configs = {name: CONFIGURATIONS[name] for name in ("adamw", "sgd")}
        assert step_seconds(configs, 65) == step_seconds(configs, 65) == {"adamw": 1.0, "sgd": 2.0}
        assert measured == list(configs.values())

    def test_other_settings_another_vocabulary_and_a_wish_are_measured_anew(self, measured: list[RunConfig]) -> None:
        config = CONFIGURATIONS["adamw"]
        step_seconds({"a": config}, 65)
        assert step_seconds({"a": CONFIGURATIONS["sgd"]}, 65) == {"a": 2.0}
        assert step_seconds({"a": config}, 66) == {"a": 3.0}
        assert step_seconds({"a": config}, 65, again=True) == {"a": 4.0}
        assert step_seconds({"a": config}, 65) == {"a": 4.0}

    @pytest.mark.parametrize(
        "changed",
        [
            {"model": {"n_layers": 3}},
            {"optimizer": {"name": "muon"}},
            {"training": {"batch_size": 7}},
            {"training": {"micro_batches": 2}},
            {"training": {"products": "convolution"}},
            {"training": {"threads": 2}},
        ],
        ids=str,
    )
    def test_what_the_time_depends_on_is_measured_anew(
        self, measured: list[RunConfig], changed: dict[str, Any]
    ) -> None:
        settings = CONFIGURATIONS["adamw"].model_dump()
        step_seconds({"a": build_config(settings)}, 65)
        assert step_seconds({"a": build_config(settings, changed)}, 65) == {"a": 2.0}

    @pytest.mark.parametrize(
        "changed",
        [
            {"optimizer": {"learning_rate": 0.5, "schedule": "linear"}},
            {"training": {"seed": 1, "sample_prompts": ("x",)}},
            {"training": {"max_steps": 7, "eval_interval": 3, "checkpoint_interval": 3}},
        ],
        ids=str,
    )
    def test_what_it_does_not_depend_on_is_not(self, measured: list[RunConfig], changed: dict[str, Any]) -> None:
        settings = CONFIGURATIONS["adamw"].model_dump()
        step_seconds({"a": build_config(settings)}, 65)
        assert step_seconds({"a": build_config(settings, changed)}, 65) == {"a": 1.0}

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("letterloom.training.estimates.usable_cores", 1000),
            ("letterloom.training.estimates._gpus", "GPU 0: another"),
            ("platform.node", "another"),
        ],
    )
    def test_another_machine_measures_anew(
        self, measured: list[RunConfig], monkeypatch: pytest.MonkeyPatch, name: str, value: object
    ) -> None:
        config = {"a": CONFIGURATIONS["adamw"]}
        step_seconds(config, 65)
        monkeypatch.setattr(name, lambda: value)
        assert step_seconds(config, 65) == {"a": 2.0}

    def test_what_was_measured_outlives_an_interruption(
        self, measured: list[RunConfig], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        configs = {name: CONFIGURATIONS[name] for name in ("adamw", "sgd")}
        take = estimates._measure

        def interrupted(config: RunConfig, vocab_size: int) -> Measured:
            if measured:
                raise KeyboardInterrupt
            return take(config, vocab_size)

        monkeypatch.setattr(estimates, "_measure", interrupted)
        with pytest.raises(KeyboardInterrupt):
            step_seconds(configs, 65)
        monkeypatch.setattr(estimates, "_measure", take)
        assert step_seconds(configs, 65) == {"adamw": 1.0, "sgd": 2.0}

    @pytest.mark.parametrize("content", ["", "[1]", '{"key": "x"}', "\0"])
    def test_a_damaged_memory_is_none(self, measured: list[RunConfig], tmp_path: Path, content: str) -> None:
        config = {"a": CONFIGURATIONS["adamw"]}
        step_seconds(config, 65)
        (file,) = (tmp_path / "cache").rglob("*.json")
        file.write_text(content)
        assert step_seconds(config, 65) == {"a": 2.0}
        assert json.loads(file.read_text())

    def test_a_cache_that_cannot_be_written_is_told_and_does_not_matter(
        self, measured: list[RunConfig], tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "cache").write_text("a file")
        configs = {name: CONFIGURATIONS[name] for name in ("adamw", "sgd")}
        assert step_seconds(configs, 65) == {"adamw": 1.0, "sgd": 2.0}
        (line,) = [line for line in caplog.messages if "are not kept" in line]
        assert "LETTERLOOM_CACHE" in line

    def test_what_cannot_be_measured_is_told_and_left_out(
        self, measured: list[RunConfig], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def refuse(config: RunConfig, vocab_size: int) -> Measured:
            raise ResourceError("too large")

        monkeypatch.setattr(estimates, "_measure", refuse)
        assert step_seconds({"a": CONFIGURATIONS["adamw"]}, 65) == {}
        assert "a cannot be measured here: too large" in caplog.messages

    def test_on_a_busy_machine_that_is_told_once_and_nothing_is_kept(
        self, measured: list[RunConfig], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        take, configs = estimates._measure, {name: CONFIGURATIONS[name] for name in ("adamw", "sgd")}
        monkeypatch.setattr(estimates, "_measure", lambda *given: replace(take(*given), disturbance="busy"))
        assert step_seconds(configs, 65) == {"adamw": 1.0, "sgd": 2.0}
        assert [line for line in caplog.messages if "busy" in line] == [
            "busy; they are not kept, so the next time measures again"
        ]
        assert step_seconds(configs, 65) == {"adamw": 3.0, "sgd": 4.0}

    def test_the_load_that_measuring_makes_itself_is_no_disturbance(
        self, measured: list[RunConfig], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        take, configs = estimates._measure, {name: CONFIGURATIONS[name] for name in ("adamw", "sgd")}

        def loaded(config: RunConfig, vocab_size: int) -> Measured:
            return replace(take(config, vocab_size), disturbance="busy" if len(measured) == 2 else None)

        monkeypatch.setattr(estimates, "_measure", loaded)
        assert step_seconds(configs, 65) == step_seconds(configs, 65) == {"adamw": 1.0, "sgd": 2.0}


def test_a_busy_machine_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    config = configuration({}, {}, {})
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    monkeypatch.setattr("os.getloadavg", lambda: (3.0, 0.0, 0.0))
    assert "load 3.0 on 4 cores" in (measure(config, 65, 0.0, memory=False).disturbance or "")
    monkeypatch.setattr("os.getloadavg", lambda: (1.0, 9.0, 9.0))
    assert measure(config, 65, 0.0, memory=False).disturbance is None
