"""The picture shows the numbers of the log, whatever the log holds."""

import math
import subprocess
import sys
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes

from letterloom.reporting.curves import Curves, draw_curves, image, read_curves, running_mean


def train_line(step: int, nats: float) -> dict[str, Any]:
    return {
        "kind": "train",
        "step": step,
        "loss": nats,
        "bits_per_character": nats / math.log(2),
        "characters": 768 * step,
        "seconds": 0.5 * step,
    }


def validation_line(step: int, nats: float | None) -> dict[str, Any]:
    return {"kind": "validation", "step": step, "nats_per_character": nats}


def axes_of(curves: Curves) -> Axes:
    (axes,) = draw_curves(curves).axes
    return axes


def points(axes: Axes, label: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """What is drawn under the label that begins so: (n, 2)."""
    (line,) = [line for line in axes.lines if str(line.get_label()).startswith(label)]
    return np.column_stack([line.get_xdata(), line.get_ydata()])


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=50), st.integers(1, 60))
def test_running_mean_is_the_mean_of_the_neighbours(values: list[float], width: int) -> None:
    n, width_used = len(values), min(width, len(values))
    for i, mean in enumerate(running_mean(np.array(values), width)):
        # numpy's "same" puts the odd one of an even window on the left
        window = values[max(0, i - width_used // 2) : min(n, i + (width_used + 1) // 2)]
        assert mean == pytest.approx(sum(window) / len(window), abs=1e-9)


def test_a_short_run_is_drawn_as_it_is_logged() -> None:
    lines = [train_line(step, 4.0 / step) for step in range(1, 31)] + [
        validation_line(15, 1.0),
        validation_line(30, 0.5),
    ]
    axes = axes_of(read_curves(lines))
    assert points(axes, "training batch") == pytest.approx(np.array([[s, 4.0 / s] for s in range(1, 31)]))
    assert points(axes, "validation") == pytest.approx(np.array([[15, 1.0], [30, 0.5]]))


def test_a_long_run_shows_batches_and_their_mean_and_cuts_only_the_steep_beginning() -> None:
    nats = [1.5 + 5 * math.exp(-step / 10) for step in range(1, 1001)]
    curves = read_curves([train_line(step, n) for step, n in enumerate(nats, start=1)])
    axes = axes_of(curves)
    assert len(points(axes, "training batch")) == 1000
    assert points(axes, "mean of 25")[500, 1] == pytest.approx(sum(nats[500 - 12 : 500 + 13]) / 25)
    bottom, top = axes.get_ylim()
    assert bottom < min(nats)
    assert max(nats[50 + 13 :]) < top < max(nats)


def test_validation_is_never_cut_off() -> None:
    lines = [train_line(step, 1.0) for step in range(1, 1001)] + [validation_line(500, 1.1), validation_line(1000, 9.0)]
    assert axes_of(read_curves(lines)).get_ylim()[1] > 9.0


def test_the_best_validation_is_ringed_and_named() -> None:
    curves = read_curves([validation_line(10, 2.0), validation_line(20, 1.5), validation_line(30, 1.75)])
    assert curves.best == (20, 1.5)
    axes = axes_of(curves)
    rings = [line for line in axes.lines if line.get_fillstyle() == "none"]
    assert [(ring.get_xdata(), ring.get_ydata()) for ring in rings] == [([20], [1.5])]
    assert any("best 1.500 nats = 2.164 bits" in str(line.get_label()) for line in axes.lines)


def test_the_second_scales_are_bits_and_characters() -> None:
    figure = draw_curves(read_curves([train_line(100, 2.0), train_line(200, 1.0)]))
    figure.draw_without_rendering()
    (axes,) = figure.axes
    bits, characters = axes.child_axes
    assert bits.get_ylim() == pytest.approx([nats / math.log(2) for nats in axes.get_ylim()])
    assert characters.get_xlim() == pytest.approx([768 * step for step in axes.get_xlim()])


def test_a_step_logged_twice_counts_once_as_last_written() -> None:
    lines = [train_line(1, 4.0), train_line(2, 3.9), train_line(2, 3.5), train_line(3, 3.0)]
    curves = read_curves(lines)
    assert curves.steps.tolist() == [1, 2, 3]
    assert curves.losses == pytest.approx([4.0, 3.5, 3.0])


def test_what_is_infinite_is_a_gap() -> None:
    far = [train_line(step, math.inf if step in (1, 150) else 2.0 + 1 / step) for step in range(1, 201)]
    for lines in (far, far[:3], [*far, validation_line(200, math.inf)], [train_line(1, math.inf)]):
        axes = axes_of(read_curves(lines))
        assert all(math.isfinite(limit) for limit in axes.get_ylim())
        assert image(draw_curves(read_curves(lines)), "png")


def test_high_losses_are_written_in_their_labels() -> None:
    figure = draw_curves(read_curves([train_line(1, 4.2), train_line(2, 3_000_000.0)]))
    figure.draw_without_rendering()
    for axis in (figure.axes[0].yaxis, figure.axes[0].child_axes[0].yaxis):
        assert axis.get_offset_text().get_text() == ""
        assert "2M" in [label.get_text() for label in axis.get_ticklabels()]


def test_a_null_is_a_gap() -> None:
    curves = read_curves([train_line(1, 4.0), validation_line(1, None), validation_line(2, 3.0)])
    assert curves.best == (2, 3.0)
    assert image(draw_curves(curves), "png")


LOGS: dict[str, list[dict[str, Any]]] = {
    "nothing": [],
    "one step": [train_line(1, 4.2)],
    "one step, validated": [train_line(1, 4.2), validation_line(1, 4.1)],
    "no validation": [train_line(step, 4.0 - step / 100) for step in range(1, 200)],
    "validation alone": [validation_line(250, 2.0)],
    "only nulls": [validation_line(1, None)],
    "equal losses": [train_line(step, 2.0) for step in range(1, 100)],
}


@pytest.mark.parametrize("log", LOGS.values(), ids=LOGS.keys())
def test_any_log_gives_whole_pictures(log: list[dict[str, Any]]) -> None:
    curves = read_curves(log)
    svg, png = image(draw_curves(curves), "svg"), image(draw_curves(curves), "png")
    text = "".join(ET.fromstring(svg).itertext())
    assert "nats per character" in text
    assert "bits per character" in text
    assert ("nothing logged yet" in text) == (log == [])
    assert png.startswith(b"\x89PNG")


def test_equal_logs_give_equal_bytes() -> None:
    log = [train_line(step, 4.0 / step) for step in range(1, 300)] + [validation_line(100, 1.0)]
    for kind in ("svg", "png"):
        first, second = (image(draw_curves(read_curves(log)), kind) for _ in range(2))
        assert first == second


def test_drawing_leaves_matplotlibs_state_alone() -> None:
    check = """
import sys
import matplotlib
def settings():
    return {key: matplotlib.rcParams[key] for key in matplotlib.rcParams if key != "backend"}  # asking for it sets it
before = settings()
from letterloom.reporting.curves import draw_curves, image, read_curves
image(draw_curves(read_curves([])), "png")
assert "matplotlib.pyplot" not in sys.modules
assert settings() == before
"""
    subprocess.run([sys.executable, "-W", "error", "-c", check], check=True)
