"""What is said of a measurement that is not what was computed: a reason within its limits, else that there is none."""

from typing import Any

import pytest

from letterloom import accounting
from letterloom.accounting import Measured
from letterloom.config import RunConfig, build_config
from letterloom.recipes import read_recipe
from letterloom.reporting.profile.differences import LEAST_SHARE, START_UP, UNEXPLAINED, WORKSPACE, compare

OTHERS: list[dict[str, Any]] = [{"precision": "fp16"}, {"device": "cuda:0"}, {"compile": True}]


def lecture(**training: Any) -> RunConfig:
    resolved = {"device": "cpu", "precision": "fp32", **training}
    return build_config(read_recipe("lecture-small"), {"training": resolved})


HELD = accounting.training_memory(lecture(), 65)
WHOLE = sum(HELD.values())


def notes(config: RunConfig | None = None, **changed: float) -> dict[str, str]:
    """The note to each quantity, were it measured as computed but for what is changed; the peak is the sum."""
    found = HELD | {name: round(count) for name, count in changed.items()}
    found = {"peak": sum(found.values()), "process": 10**9} | found
    rows = compare(config or lecture(), 65, Measured(1.0, 3, "", {}, bytes=found))
    assert all(bool(row["note"]) == (abs(row["difference"]) > 0.02) for row in rows)
    return {row["quantity"]: row["note"] for row in rows}


def note_of_step(seconds: float, of_large_product: float, disturbance: str | None = None) -> str:
    """The note to a step of so many seconds, whose operations a large product would do in as many others."""
    config = lecture()
    flops = config.training.batch_size * accounting.training_flops(config.model, 65, config.model.context_length)
    measured = Measured(seconds, 3, "", {}, flops / of_large_product, disturbance=disturbance)
    (row,) = compare(config, 65, measured)
    assert row["computed"] == pytest.approx(of_large_product)
    return str(row["note"])


def test_what_agrees_needs_no_reason() -> None:
    assert notes() == dict.fromkeys(["peak", *HELD], "")
    assert note_of_step(1.0, 1.0) == ""


@pytest.mark.parametrize("name", HELD)
@pytest.mark.parametrize("factor", [0.5, 1.03, 10])
def test_what_nothing_explains_is_said_to_be_a_mistake(name: str, factor: float) -> None:
    changed: Any = {name: factor * HELD[name]}
    assert notes(**changed)[name] == UNEXPLAINED


class TestActivations:
    @pytest.mark.parametrize(
        ("training", "words", "share"),
        [(OTHERS[0], "fp16", 0.6), (OTHERS[1], "on cuda", 1.5), (OTHERS[2], "anew", 0.8)],
    )
    def test_the_reason_is_that_of_the_run(self, training: dict[str, Any], words: str, share: float) -> None:
        found = share * HELD["activations"]
        assert words in notes(lecture(**training), activations=found)["activations"]
        assert notes(activations=found)["activations"] == UNEXPLAINED

    @pytest.mark.parametrize("training", OTHERS, ids=str)
    @pytest.mark.parametrize("share", [0.05, 4])
    def test_no_reason_explains_any_size(self, training: dict[str, Any], share: float) -> None:
        assert notes(lecture(**training), activations=share * HELD["activations"])["activations"] == UNEXPLAINED

    def test_half_precision_may_add_the_converted_weights_and_no_more(self) -> None:
        most = HELD["activations"] + HELD["weights"] / 2
        assert "converted weights" in notes(lecture(precision="fp16"), activations=most)["activations"]
        assert notes(lecture(precision="fp16"), activations=1.1 * most)["activations"] == UNEXPLAINED

    def test_bf16_on_a_cpu_is_computed_and_no_reason(self) -> None:
        config = lecture(precision="bf16")
        exact = accounting.training_memory(config, 65)["activations"]
        assert exact < HELD["activations"]
        assert notes(config, activations=exact)["activations"] == ""
        assert notes(config, activations=1.03 * exact)["activations"] == UNEXPLAINED


class TestPeak:
    def test_above_the_sum_and_below_have_other_reasons(self) -> None:
        assert "on top" in notes(peak=round(1.2 * WHOLE))["peak"]
        assert "never whole at once" in notes(peak=round(0.95 * WHOLE))["peak"]

    def test_it_lacks_at_most_what_appears_while_the_other_goes(self) -> None:
        least = WHOLE - min(HELD["gradients"], HELD["activations"])
        assert "never whole at once" in notes(peak=least)["peak"]
        assert notes(peak=least - 1)["peak"] == UNEXPLAINED

    def test_it_has_on_top_what_passes_and_no_more(self) -> None:
        assert notes(peak=6 * WHOLE)["peak"] == UNEXPLAINED
        on_cuda = lecture(device="cuda")
        assert "on top" in notes(on_cuda, peak=WHOLE + WORKSPACE)["peak"]
        assert notes(on_cuda, peak=WHOLE + 2 * WORKSPACE)["peak"] == UNEXPLAINED

    def test_other_activations_make_another_one(self) -> None:
        told = notes(lecture(precision="fp16"), activations=0.6 * HELD["activations"])["peak"]
        assert told.startswith("the activations are others, as said")


class TestTime:
    def test_a_slow_step_tells_its_share(self) -> None:
        assert note_of_step(4.0, 1.0).startswith("25 % of the speed of a large product")
        assert note_of_step(4.0, 1.0, "busy").endswith("; busy")

    def test_next_to_no_speed_is_explained_by_starting_or_a_busy_machine_alone(self) -> None:
        share = LEAST_SHARE / 2
        assert note_of_step(2 * START_UP, 2 * START_UP * share) == UNEXPLAINED
        assert note_of_step(START_UP, START_UP * share) != UNEXPLAINED
        assert note_of_step(2 * START_UP, 2 * START_UP * share, "busy").endswith("busy")

    def test_a_step_is_not_twice_as_fast_as_a_large_product(self) -> None:
        assert "may have slowed" in note_of_step(1.0, 1.9)
        assert note_of_step(1.0, 2.1) == UNEXPLAINED
