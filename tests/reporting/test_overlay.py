"""The pictures of several runs hold their numbers, one colour an arm, whatever the runs are called."""

import json
import math
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from written_runs import EVALUATION, finished_run, log, new_run

from letterloom.reporting.curves import image
from letterloom.reporting.overlay.arms import Arm, group, read_runs
from letterloom.reporting.overlay.drawing import RUN_COLOURS, draw_bits, draw_overlay


def arms_of(*paths: Path) -> list[Arm]:
    return group(read_runs(paths))


def run(path: Path, held_out: float = 2.0, seen: float = 1.0, **changes: Any) -> Path:
    """A finished run with these final bits per character, its validations moved by as much."""
    made = finished_run(path, **changes)
    scores = {"validation": held_out, "training": seen}
    block = EVALUATION["training"]["blocks"]
    evaluation = {
        split: {"blocks": block | {"nats_per_character": bits * math.log(2), "interval": None}}
        for split, bits in scores.items()
    }
    made.evaluation_file.write_text(json.dumps(evaluation), encoding="utf-8")
    lines = [json.loads(line) for line in made.metrics_file.read_text(encoding="utf-8").splitlines()]
    for line in lines:
        if line["kind"] == "validation":
            line["nats_per_character"] += held_out - 2.0
    made.metrics_file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return made.path


def lines(axes: Axes) -> list[Any]:
    return list(axes.lines)


def line(axes: Axes, label: str) -> Any:
    (found,) = [line for line in lines(axes) if line.get_label() == label]
    return found


def test_each_run_has_its_validation_and_its_training_in_one_colour(tmp_path: Path) -> None:
    arms = arms_of(run(tmp_path / "a"), run(tmp_path / "b", 2.5, model={"d_model": 64}))
    (axes,) = draw_overlay(arms).axes
    for i, (label, shift) in enumerate((("a", 0.0), ("b", 0.5))):
        validation = line(axes, label)
        assert validation.get_xdata().tolist() == [30, 60, 90]
        assert validation.get_ydata() == pytest.approx([2.3 + shift, 2.0 + shift, 2.3 + shift])
        assert sum(to_hex(drawn.get_color()) == RUN_COLOURS[i] for drawn in lines(axes)) == 2
    training = [drawn for drawn in lines(axes) if len(drawn.get_xdata()) == 90]
    width = 90 // 40
    expected = np.convolve(arms[0].runs[0].curves.losses, np.ones(width) / width, "same")[1:-1]
    assert training[0].get_ydata()[1:-1] == pytest.approx(expected)
    assert line(axes, "a").get_marker() != line(axes, "b").get_marker()


def test_seeds_are_a_mean_in_a_band(tmp_path: Path) -> None:
    seeds = [run(tmp_path / f"s{i}", 2.0 + i, training={"seed": i}) for i in (0, 1, 5)]
    (axes,) = draw_overlay(arms_of(*seeds)).axes
    assert line(axes, "s0, 3 seeds").get_ydata() == pytest.approx([4.3, 4.0, 4.3])
    (band,) = axes.collections
    edges = np.asarray(band.get_paths()[0].vertices)[:, 1]
    assert (edges.min(), edges.max()) == pytest.approx((2.0, 7.3))


def test_seeds_of_different_length_are_one_line_where_all_of_them_are(tmp_path: Path) -> None:
    short = new_run(tmp_path / "short", training={"seed": 1})
    log(short, 70, validate=True)
    (axes,) = draw_overlay(arms_of(run(tmp_path / "long"), short.path)).axes
    assert line(axes, "long, 2 seeds").get_xdata().tolist() == [30, 60]


def test_other_batches_are_drawn_against_characters(tmp_path: Path) -> None:
    small, large = run(tmp_path / "small"), finished_run(tmp_path / "large", training={"batch_size": 24})
    log(large, 90, validate=True, characters_per_step=1536)
    (axes,) = draw_overlay(arms_of(small, large.path)).axes
    assert line(axes, "small").get_xdata().tolist() == [768 * step for step in (30, 60, 90)]
    assert line(axes, "large").get_xdata().tolist() == [1536 * step for step in (30, 60, 90)]
    assert axes.get_xlabel() == "characters read"


def test_a_run_driven_away_does_not_press_the_others_flat(tmp_path: Path) -> None:
    (axes,) = draw_overlay(arms_of(run(tmp_path / "a"), run(tmp_path / "far", 500.0, model={"d_model": 64}))).axes
    bottom, top = axes.get_ylim()
    assert top == pytest.approx(1.5 * math.log(65))
    assert 1.0 < bottom < 2.0
    assert line(axes, "far (above the picture)").get_ydata().min() > top
    assert line(axes, "a")


def test_runs_that_differ_in_the_third_digit_are_told_apart(tmp_path: Path) -> None:
    figure = draw_bits(
        arms_of(run(tmp_path / "a", 4.003, 3.99), run(tmp_path / "b", 4.019, 3.98, model={"d_model": 64}))
    )
    left, right = figure.axes[0].get_xlim()
    assert 0.016 / (right - left) > 0.25


def test_final_bits_are_where_they_belong(tmp_path: Path) -> None:
    seeds = [run(tmp_path / f"s{i}", 2.0 + i, 1.0 + i, training={"seed": i}) for i in (0, 1)]
    figure = draw_bits(arms_of(run(tmp_path / "alone", 3.5, 0.07, model={"d_model": 64}), *seeds))
    (axes,) = figure.axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["alone", "s0, 2 seeds"]
    marks = [drawn for drawn in lines(axes) if len(drawn.get_xdata()) == 1 and drawn.get_marker() in "os"]
    full = {(drawn.get_xdata()[0], drawn.get_ydata()[0]): drawn.get_markerfacecolor() != "#ffffff" for drawn in marks}
    expected = {(0.07, 0): False, (3.5, 0): True, (1.5, 1): False, (2.5, 1): True}
    for (x, y), fill in expected.items():
        (found,) = [f for (fx, fy), f in full.items() if fy == y and fx == pytest.approx(x)]
        assert found == fill
    spans = [tuple(drawn.get_xdata()) for drawn in lines(axes) if drawn.get_marker() == "None"]
    assert any(span == pytest.approx((2.0, 3.0)) for span in spans)


def test_without_a_finished_run_the_pictures_say_so(tmp_path: Path) -> None:
    young = [new_run(tmp_path / name, training={"seed": i}) for i, name in enumerate("ab")]
    arms = arms_of(*(run.path for run in young))
    assert "no run has finished yet" in "".join(ET.fromstring(image(draw_bits(arms), "svg")).itertext())
    assert "a, 2 seeds (not validated yet)" in "".join(ET.fromstring(image(draw_overlay(arms), "svg")).itertext())


@pytest.mark.parametrize("name", ["_hidden", "a$b$", "$\\frac{", "<b>&", "織機 ☃", "x" * 120, "new\nline"])
def test_any_name_is_shown_as_it_is(tmp_path: Path, name: str) -> None:
    arms = arms_of(run(tmp_path / name), run(tmp_path / "b", model={"d_model": 64}))
    shown = name.replace("\n", " ") if len(name) <= 40 else "x" * 37 + "..."
    for figure in (draw_overlay(arms), draw_bits(arms)):
        assert image(figure, "png").startswith(b"\x89PNG")
        assert any(shown in str(element.text) for element in ET.fromstring(image(figure, "svg")).iter())


def test_more_arms_than_colours_differ_in_their_lines(tmp_path: Path) -> None:
    made = [run(tmp_path / f"r{i}", model={"n_layers": i + 1}) for i in range(14)]
    (axes,) = draw_overlay(arms_of(*made)).axes
    drawn = [line(axes, f"r{i}") for i in range(14)]
    assert len({(d.get_color(), d.get_linestyle()) for d in drawn}) == 14
