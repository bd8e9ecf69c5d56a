"""The choice of threads, on machines that are made up."""

import time

import pytest
import torch

from letterloom import accounting
from letterloom.config import build_config
from letterloom.training.planning import probe
from letterloom.training.planning.probe import fastest_threads, measured_step
from letterloom.training.ranks import Ranks

CONFIG = build_config(
    {
        "model": {"context_length": 8, "d_model": 8, "n_layers": 1, "n_heads": 2},
        "training": {"max_minutes": 1, "batch_size": 4, "device": "cpu"},
    }
)


class Clock:
    """Time that passes only in forward passes, by the number of threads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float], cores: int) -> None:
        self.now, self.seconds, self.passes = 0.0, seconds, list[int]()
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(probe, "predict", self.predict)
        monkeypatch.setattr(accounting, "usable_cores", lambda: cores)

    def predict(self, *_: object) -> None:
        self.passes.append(torch.get_num_threads())
        self.now += self.seconds[torch.get_num_threads()]


@pytest.mark.parametrize(
    ("cores", "seconds", "best", "told"),
    [
        (1, {1: 0.1}, 1, []),
        (2, {1: 0.1, 2: 0.06}, 2, ["threads: 2, since 1 take 1.7 times as long"]),
        (2, {1: 0.1, 2: 0.15}, 1, ["threads: 1, since 2 take 1.5 times as long"]),
        (
            16,
            {1: 0.2, 4: 0.1, 16: 0.3},
            4,
            ["threads: 4, since 1 take 2.0 times as long and 16 take 3.0 times as long"],
        ),
    ],
)
def test_the_fastest_is_taken_and_told(
    monkeypatch: pytest.MonkeyPatch, cores: int, seconds: dict[int, float], best: int, told: list[str]
) -> None:
    before = torch.get_num_threads()
    Clock(monkeypatch, seconds, cores)
    assert fastest_threads(CONFIG, 20, Ranks()) == (best, told)
    assert torch.get_num_threads() == before


def test_one_pass_shows_that_a_number_is_hopeless(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, {1: 0.1, 2: 3.0}, cores=2)
    assert fastest_threads(CONFIG, 20, Ranks())[0] == 1
    assert clock.passes.count(2) == 1


def test_threads_that_are_given_are_not_doubted(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, {}, cores=64)
    given = build_config(CONFIG.model_dump(), {"training": {"threads": 3}})
    assert fastest_threads(given, 20, Ranks()) == (3, [])
    assert not clock.passes


def test_a_step_is_measured_for_the_share_of_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(probe, "measure", lambda config, *_, **__: asked.append(config.training))
    ranks = Ranks()
    ranks.world = ranks.local_world = 2
    measured_step(build_config(CONFIG.model_dump(), {"training": {"threads": 6}}), 20, ranks)
    assert (asked[0].batch_size, asked[0].threads) == (2, 3)
