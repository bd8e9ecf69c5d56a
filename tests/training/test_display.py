import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from letterloom.training.display import LiveDisplay, NotebookDisplay, PlainDisplay, build_display
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
    figures, left = display.describe(step(20, seconds=7.0))
    assert "5,000 characters/s" in figures  # 10,000 characters in 2 seconds
    assert left == "0:16 left"  # 10 % took 2 seconds, 80 % are left
    assert "loss 1.5000 nats" in figures


def test_the_first_step_tells_no_speed_that_nobody_has_measured() -> None:
    out = io.StringIO()
    PlainDisplay(Console(file=out, width=200)).record(step(10, seconds=5.0))
    assert out.getvalue() == "step 10  loss 1.5000 nats  2.164 bpc  rate 1.0e-03\n"


def test_validations_are_always_printed_and_steps_only_now_and_then() -> None:
    out = io.StringIO()
    display = PlainDisplay(Console(file=out, width=200))
    for number in range(1, 50):
        display.record(step(number, seconds=number / 10))
    display.record(VALIDATION)
    printed = out.getvalue().splitlines()
    assert len(printed) == 2
    assert printed[1] == "step 20  validation 1.2500 nats = 1.8034 bpc (blocks)  best so far"


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


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_bar_and_the_figures_have_lines_of_their_own(width: int) -> None:
    out = io.StringIO()
    display = LiveDisplay(Console(file=out, width=width, force_terminal=True, color_system=None))
    display.record(step(10_000, seconds=1.0) | {"progress": 0.2})
    display.record(step(12_345, seconds=13.0) | {"progress": 0.4})
    display.close()
    shown = re.sub(r"\x1b\[[0-9?]*[A-Za-z]", "\n", out.getvalue())  # each movement of the cursor begins a new line
    lines = [line.strip() for line in shown.splitlines()]
    [bar, *_] = [line for line in lines if line.endswith("0:36 left")]
    assert "step" not in bar
    assert len(bar) <= width
    [figures, *_] = [line for line in lines if line.startswith("step 12,345  loss 1.5000 nats")]
    assert width < 80 or figures.endswith("195,417 characters/s")


@pytest.mark.parametrize(("term", "shown"), [("xterm", LiveDisplay), ("dumb", PlainDisplay)])
def test_only_a_terminal_that_can_move_its_cursor_gets_the_bar(
    monkeypatch: pytest.MonkeyPatch, term: str, shown: type
) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich's word for: take it for a terminal
    assert type(build_display()) is shown


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("place", ["a reader that is gone", "a full disk"])
def test_progress_that_nobody_can_read_does_not_end_the_training(place: str) -> None:
    script = (
        "from letterloom.training.display import build_display\n"
        "display = build_display()\n"
        "for line in 'abc': display.tell(line)\n"
        "print('the end')"
    )
    if place == "a full disk":
        writing = os.open("/dev/full", os.O_WRONLY)
    else:
        reading, writing = os.pipe()
        os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=writing, text=True, check=False
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stdout) == (0, "the end\n")


class Output:
    """In the place of what IPython's `display` returns: every content that the output has had."""

    def __init__(self) -> None:
        self.contents: list[dict[str, str]] = []

    def update(self, content: dict[str, str], raw: bool) -> None:
        assert raw
        self.contents.append(content)


def test_a_notebook_gets_one_output_that_is_updated_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs: list[Output] = []

    def display(content: dict[str, str], raw: bool, display_id: bool) -> Output:
        outputs.append(Output())
        return outputs[-1]

    monkeypatch.setattr("IPython.display.display", display)
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    shown = NotebookDisplay(Console(file=io.StringIO()))
    shown.tell("a run in <here>")
    for number in range(1, 50):
        now += 0.01
        shown.record(step(number, seconds=number / 10))
    assert len(outputs) == 1
    assert len(outputs[0].contents) < 10  # not one for each step
    assert 'progress value="0.' in outputs[0].contents[-1]["text/html"]

    shown.record(VALIDATION)
    shown.close()
    [*_, last] = outputs[0].contents
    assert "<progress" not in last["text/html"]
    assert "a run in &lt;here&gt;" in last["text/html"]
    assert last["text/plain"].splitlines() == [
        "a run in <here>",
        "step 20  validation 1.2500 nats = 1.8034 bpc (blocks)  best so far",
    ]


def test_jupyter_is_told_from_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setattr("IPython.display.display", lambda content, raw, display_id: Output())
    assert type(build_display()) is NotebookDisplay
