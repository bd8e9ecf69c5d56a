"""The choice of a size, on machines whose speed is made up."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from letterloom import accounting
from letterloom.config import RunConfig, build_config
from letterloom.recipes import read_recipe
from letterloom.training.planning.ladder import DROPOUT, FIRST, LADDER, Rung, climb, dropout, rung_layer

SHAKESPEARE = 1_003_854
SIZES = [build_config(read_recipe("small"), rung_layer(rung, SHAKESPEARE)) for rung in LADDER]


def flops(config: RunConfig) -> int:
    return config.training.batch_size * accounting.training_flops(config.model, 65, config.model.context_length)


class Machine:
    """A machine of so many operations a second, on which each step takes `overhead` seconds more."""

    def __init__(self, speed: float, overhead: float = 0.0) -> None:
        self.speed, self.overhead = speed, overhead
        self.measured: list[RunConfig] = []

    def step(self, config: RunConfig) -> float:
        self.measured.append(config)
        return self.overhead + flops(config) / self.speed

    def choose(self, seconds: float, training_ids: int = SHAKESPEARE) -> int:
        place, taken = climb(SIZES, 65, training_ids, lambda _, step: seconds / step, self.step)
        assert taken == self.overhead + flops(SIZES[place]) / self.speed
        return place


def test_the_ladder_rises() -> None:
    counts = [sum(accounting.parameters(config.model, 65).values()) for config in SIZES]
    assert all(a < b for a, b in pairwise(counts))
    assert LADDER[0].least_seen == 0  # there is always one


def test_two_cores_and_five_minutes_give_the_size_that_was_measured_best_there() -> None:
    assert SIZES[Machine(4.5e11, 0.005).choose(290)].model.d_model == 192


@pytest.mark.parametrize(("seconds", "place"), [(1, 0), (8 * 3600, len(LADDER) - 1)])
def test_the_ends_of_the_ladder(seconds: float, place: int) -> None:
    assert Machine(1.5e11).choose(seconds) == place


@given(st.floats(1e8, 1e15), st.floats(0, 0.1), st.floats(1, 1e5))
def test_the_choice_is_the_last_rung_that_is_seen_enough(speed: float, overhead: float, seconds: float) -> None:
    machine = Machine(speed, overhead)
    place = machine.choose(seconds)
    seen = [seconds / (overhead + flops(c) / speed) * c.training.batch_size * c.model.context_length for c in SIZES]
    count = [sum(accounting.parameters(config.model, 65).values()) for config in SIZES]
    assert seen[place] >= LADDER[place].least_seen * count[place]
    assert len(machine.measured) == len({id(config) for config in machine.measured}) <= len(LADDER)


@given(st.floats(1e9, 1e13), st.floats(10, 1e5), st.floats(1, 10))
def test_more_time_gives_no_smaller_model(speed: float, seconds: float, more: float) -> None:
    assert Machine(speed).choose(seconds) <= Machine(speed).choose(seconds * more)


def test_a_machine_that_is_all_overhead_is_not_judged_by_its_small_models() -> None:
    gpu = Machine(1e15, overhead=0.005)
    assert gpu.choose(3600) == len(LADDER) - 1
    assert gpu.measured[0] == SIZES[FIRST]


def test_a_short_text_carries_no_large_model() -> None:
    places = [Machine(1e14).choose(1e5, ids) for ids in (100, 10_000, 100_000, 1_000_000, 10**9)]
    assert places[0] == 0
    assert places[-1] == len(LADDER) - 1
    assert places == sorted(places)
    assert len(set(places)) >= 3


@pytest.mark.parametrize("rung", LADDER)
def test_a_text_is_at_least_eight_contexts_long_and_the_ids_of_a_step_stay(rung: Rung) -> None:
    for ids in (2, 9, 60, 400, 3000, 10**6):
        layer = rung_layer(rung, ids)
        context = layer["model"]["context_length"]
        assert context == 1 or context <= ids / 8
        assert context * layer["training"]["batch_size"] == rung.context_length * rung.batch_size
        build_config(read_recipe("small"), layer)


def test_the_context_of_records_holds_several_and_no_more() -> None:
    for mean in (2.0, 7.1, 20.0):
        context = rung_layer(LADDER[-1], SHAKESPEARE, mean)["model"]["context_length"]
        assert 8 * mean <= context <= 16 * mean


@given(st.integers(1, 2000), st.sampled_from(LADDER))
def test_any_width_finds_its_heads(width: int, rung: Rung) -> None:
    model = rung_layer(rung, SHAKESPEARE, fixed={"d_model": width})["model"]
    assert (model["d_model"], width % model["n_heads"]) == (width, 0)
    if width % 2 == 0:
        build_config(read_recipe("small"), {"model": model})


@given(st.integers(1, 40), st.sampled_from(LADDER))
def test_any_number_of_heads_finds_its_width(heads: int, rung: Rung) -> None:
    model = rung_layer(rung, SHAKESPEARE, fixed={"n_heads": heads})["model"]
    assert model["n_heads"] == heads
    assert abs(model["d_model"] - rung.d_model) <= heads or model["d_model"] == 2 * heads
    build_config(read_recipe("small"), {"model": model})


@pytest.mark.parametrize("context", [32, 256, 1024, 10**6])
def test_the_ids_of_a_step_stay_with_a_fixed_context(context: int) -> None:
    layer = rung_layer(LADDER[2], SHAKESPEARE, fixed={"context_length": context})
    assert layer["model"]["context_length"] == context
    assert layer["training"]["batch_size"] == max(1, 2048 // context)


def test_dropout_grows_with_the_readings() -> None:
    assert [dropout(epochs) for epochs in (0.1, 8.0, 20.0, 1e9)] == [0.0, 0.1, 0.2, 0.3]
    assert DROPOUT[-1][0] == float("inf")
