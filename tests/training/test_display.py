import io

from rich.console import Console

from letterloom.training.display import LiveDisplay, PlainDisplay
from letterloom.training.recorder import Event


def step(number: int, seconds: float) -> Event:
    return {
        "kind": "train",
        "step": number,
        "loss": 1.5,
        "bits_per_character": 2.164,
        "learning_rate": 1e-3,
        "gradient_norm": 0.5,
        "characters": number * 1000,
        "seconds": seconds,
        "progress": number / 100,
    }


VALIDATION: Event = {
    "kind": "validation",
    "step": 20,
    "nats_per_character": 1.25,
    "bits_per_character": 1.8034,
    "characters": 20_000,
    "protocol": "blocks",
    "best": True,
}


def test_plain_lines_show_speed_and_time_left_by_the_runs_own_clock() -> None:
    out = io.StringIO()
    display = PlainDisplay(Console(file=out, width=200))
    display.record(step(10, seconds=5.0))  # a resumed run begins in the middle
    display.record(step(20, seconds=7.0))
    lines = [display.describe(step(20, seconds=7.0))]
    assert "5,000 characters/s" in lines[0]  # 10,000 characters in 2 seconds
    assert "0:16 left" in lines[0]  # 10 % took 2 seconds, 80 % are left
    assert "loss 1.5000 nats" in lines[0]


def test_validations_are_always_printed_and_steps_only_now_and_then() -> None:
    out = io.StringIO()
    display = PlainDisplay(Console(file=out, width=200))
    for number in range(1, 50):
        display.record(step(number, seconds=number / 10))
    display.record(VALIDATION)
    printed = out.getvalue().splitlines()
    assert len(printed) == 2
    assert printed[1] == "step 20  validation 1.2500 nats = 1.8034 bits per character (blocks)  best so far"


def test_a_terminal_gets_a_bar_that_goes_away_and_validations_that_stay() -> None:
    out = io.StringIO()
    display = LiveDisplay(Console(file=out, width=120, force_terminal=True, highlight=False))
    display.record(VALIDATION)
    display.record(step(50, seconds=1.0))
    display.record(VALIDATION)
    display.tell("the [end]")
    display.close()
    shown = out.getvalue()
    assert "loss 1.5000 nats" in shown
    assert shown.count("1.2500 nats") == 2
    assert "the [end]" in shown  # not taken for markup
