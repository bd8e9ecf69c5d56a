"""Pictures of several runs: their loss curves on one axis, and their final bits per character."""

from collections.abc import Sequence

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator
from numpy.typing import NDArray

from letterloom.reporting.curves import COLOURS, SMOOTHING, STYLE, Curves, draw_scales, nats_shown, running_mean
from letterloom.reporting.diagnosis.trend import DRIVEN_AWAY
from letterloom.reporting.markup import plain
from letterloom.reporting.overlay.arms import Arm, same_batches
from letterloom.reporting.reading import RunRecord

RUN_COLOURS = [colour for role, colour in COLOURS.items() if role.startswith("run-")]
MARKERS = "os^Dv*"  # with the colours they tell more arms apart than either does
LABEL_CHARACTERS = 40
LINES = ("solid", "dashed", "dotted")


def draw_overlay(arms: Sequence[Arm]) -> Figure:
    """Loss in nats (left) and bits per character (right): validation thick with marks, training a thin running mean.

    Runs that differ in the seed alone are one line, their mean, in a band from the least to the greatest. Where the
    batches differ, the curves stand over the characters read.
    """
    runs = [run for arm in arms for run in arm.runs]
    by_step = same_batches(runs)
    with matplotlib.style.context(["default", STYLE]):
        columns = 1 if max(len(arm.label) for arm in arms) > 24 else 2
        figure = Figure(figsize=(5.8, 3.7 + 0.2 * -(-len(arms) // columns)), layout="constrained")
        axes = figure.add_subplot()
        shown = _shown(runs)
        for i, arm in enumerate(arms):
            _draw_arm(axes, arm, i, by_step, shown[1])
        rates = [run.curves.characters_per_step for run in runs if run.curves.characters_per_step]
        draw_scales(axes, rates[0] if by_step and rates else None, shown)
        if not by_step:
            axes.set_xlabel("characters read")
            axes.xaxis.set_major_formatter(EngFormatter(sep="\N{NO-BREAK SPACE}"))
        if axes.lines:
            figure.legend(loc="outside lower center", ncols=columns, fontsize=8.5)
        else:
            axes.text(0.5, 0.5, "nothing logged yet", ha="center", va="center", transform=axes.transAxes)
    return figure


def draw_bits(arms: Sequence[Arm]) -> Figure:
    """Final bits per character, training text (hollow) against held-out text (full).

    Of one run with its 95 % interval; of several seeds with the mean, and a bar from the least to the greatest. Where
    no run has finished the picture says so.
    """
    finished = [(i, arm) for i, arm in enumerate(arms) if arm.bits("held out")]
    with matplotlib.style.context(["default", STYLE]):
        figure = Figure(figsize=(5.8, 1.0 + 0.45 * len(finished)), layout="constrained")
        axes = figure.add_subplot()
        for row, (i, arm) in enumerate(finished):
            means = [float(np.mean(bits)) for split in ("training", "held out") if (bits := arm.bits(split))]
            axes.plot(means, [row] * len(means), color=COLOURS["line"], linewidth=2, zorder=1)
            for split in ("training", "held out"):
                if arm.bits(split):
                    _draw_bits(axes, arm, split, row, i)
            axes.annotate(f"{means[-1]:.3f}", (means[-1], row), (0, 7), textcoords="offset points", ha="center")
        axes.set_yticks(range(len(finished)), [_label(arm) for _, arm in finished], color=COLOURS["ink"])
        axes.set_ylim(len(finished) - 0.5, -0.7)
        if not finished:
            axes.text(0.5, 0.5, "no run has finished yet", ha="center", va="center", transform=axes.transAxes)
        axes.margins(x=0.08)  # near the data: runs worth comparing often differ in the third digit
        axes.set_xlabel("bits per character: hollow training text, full held-out text")
        axes.xaxis.set_major_locator(MaxNLocator(7))
        axes.grid(visible=True, axis="x")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    return figure


def _shown(runs: Sequence[RunRecord]) -> tuple[float, float]:
    """Limits of the picture, in nats: the runs' own, but for what was driven away and would press the others flat."""
    begun = [run for run in runs if len(run.curves.finite_losses)]
    if not begun:
        return 0.0, 1.0
    lowest = min(float(run.curves.finite_losses.min()) for run in begun)
    highest, limit = max(nats_shown(run.curves)[1] for run in begun), DRIVEN_AWAY * runs[0].blind_nats
    top = min(highest, limit) if lowest < limit else highest
    return lowest - 0.05 * (top - lowest), top


def _draw_arm(axes: Axes, arm: Arm, number: int, by_step: bool, top: float) -> None:
    colour, line = RUN_COLOURS[number % len(RUN_COLOURS)], LINES[number // len(RUN_COLOURS) % len(LINES)]
    for run in arm.runs:
        losses = running_mean(run.curves.losses, max(1, len(run.curves.losses) // SMOOTHING))
        axes.plot(places_of(run.curves, run.curves.steps, by_step), losses, color=colour, linewidth=0.8, alpha=0.6)
    steps, losses = shared_validations(arm)
    label = _label(arm)
    if not len(steps):
        label += " (not validated yet)"
    elif not (losses.mean(axis=0) <= top).any():
        label += " (above the picture)"
    places = places_of(arm.runs[0].curves, steps, by_step)
    marker = MARKERS[number % len(MARKERS)]
    axes.plot(places, losses.mean(axis=0), color=colour, linestyle=line, marker=marker, markersize=4, label=label)
    if len(arm.runs) > 1:
        axes.fill_between(places, losses.min(axis=0), losses.max(axis=0), color=colour, alpha=0.2, linewidth=0)


def _label(arm: Arm) -> str:
    """The arm's label for a picture: one short line, without mathematics, or a first underscore, which hides."""
    text = " ".join(plain(arm.label).split())
    shown = text if len(text) <= LABEL_CHARACTERS else f"{text[: LABEL_CHARACTERS - 3]}..."
    return f"{' ' * shown.startswith('_')}{shown}".replace("$", r"\$")


def shared_validations(arm: Arm) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The steps after which every run of an arm was validated, (N,), and the nats per character, (runs, N)."""
    by_step = [dict(zip(run.curves.validation_steps, run.curves.validation_losses, strict=True)) for run in arm.runs]
    steps = sorted(set.intersection(*map(set, by_step)))
    return np.array(steps), np.array([[losses[step] for step in steps] for losses in by_step])


def places_of(curves: Curves, steps: NDArray[np.float64], by_step: bool) -> NDArray[np.float64]:
    """Where steps lie on the axis: at themselves, or at the characters read until then."""
    return steps if by_step else steps * (curves.characters_per_step or 0.0)


def _draw_bits(axes: Axes, arm: Arm, split: str, row: int, number: int) -> None:
    """The points of one split, and their interval or spread."""
    colour, marker = RUN_COLOURS[number % len(RUN_COLOURS)], MARKERS[number % len(MARKERS)]
    bits = arm.bits(split)
    fill = colour if split == "held out" else COLOURS["paper"]
    if len(bits) == 1:
        interval = next(score.interval for run in arm.runs if (score := run.score(split)) is not None)
        spread = interval or (bits[0], bits[0])
    else:
        spread = min(bits), max(bits)
        axes.plot(bits, [row] * len(bits), color=colour, marker="|", markersize=7, linestyle="none", zorder=2)
    axes.plot(spread, [row, row], color=colour, linewidth=1.4, zorder=2)
    axes.plot(
        [float(np.mean(bits))], [row], color=colour, marker=marker, markersize=6.5, markerfacecolor=fill, zorder=3
    )
