"""Pictures of a study: differences with intervals, learning curves, and what a loss costs. Less is better in each."""

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axes._secondary_axes import SecondaryAxis
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter, ScalarFormatter

from letterloom.reporting.curves import COLOURS, STYLE, draw_scales
from letterloom.reporting.markup import plain
from letterloom.reporting.overlay.arms import Arm, same_batches
from letterloom.reporting.overlay.drawing import LINES, MARKERS, RUN_COLOURS, places_of, shared_validations
from letterloom.studies.scaling import Law, Point
from letterloom.studies.statistics import Comparison, Summary

CURVES_SHOWN = 12  # more than so many colours with line styles nobody tells apart
LINE_CHARACTERS, LINES_SHOWN = 30, 3  # of a name beside a picture
FAR = 30.0  # times the median deviation: what is so much worse would press the others flat
SETTLED = 0.25  # share of the steps after which curves are no longer steep


class Cost(NamedTuple):
    """An arm as a point: what it cost, and what it reached."""

    arm: str
    cost: float
    summary: Summary


def draw_differences(comparisons: Sequence[Comparison], baseline: str) -> Figure:
    """Forest plot: a row an arm, the best above, its difference from the baseline at 0 with 95 % intervals.

    Thick over seeds, thin below it over stretches of the text. What is shown has a full diamond and says so.
    """
    rows = sorted(comparisons, key=lambda comparison: comparison.difference)
    labels = [_wrapped(row.arm) for row in rows]
    top = _upper_limit([0.0, *(row.difference for row in rows)])
    height = sum(0.22 + 0.14 * (label.count("\n") + 1) for label in labels)
    with matplotlib.style.context(["default", STYLE]):
        figure = Figure(figsize=(5.8, 0.95 + height), layout="constrained")
        axes = figure.add_subplot()
        axes.axvline(0.0, color=COLOURS["muted"], linewidth=1.0, zorder=1)
        for place, row in enumerate(rows):
            if row.difference <= top:
                _draw_difference(axes, row, place)
            else:
                axes.plot([0.99], [place], color=COLOURS["training"], marker=">", transform=axes.get_yaxis_transform())
        axes.set_yticks(range(len(rows)), labels, color=COLOURS["ink"])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.margins(x=0.05)
        told = axes.secondary_yaxis("right")
        told.set_yticks(range(len(rows)), [_told(row) for row in rows], color=COLOURS["ink"])
        axes.set_xlabel(f"nats per character more than\n{_wrapped(baseline, 60)} (0)\nleft is better")
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.grid(visible=True, axis="x")
        _bare(axes, told)
    return figure


def _draw_difference(axes: Axes, row: Comparison, place: int) -> None:
    colour, marker = COLOURS["training"], "D" if row.shown else "o"
    fill = colour if row.shown else COLOURS["paper"]
    if row.interval:
        axes.plot(row.interval, [place, place], color=colour, linewidth=2.2, zorder=2)
    if row.text_interval:
        axes.plot(row.text_interval, [place + 0.24] * 2, color=COLOURS["muted"], linewidth=0.9, zorder=2)
    axes.plot([row.difference], [place], color=colour, marker=marker, markerfacecolor=fill, markersize=6.5, zorder=3)


def _told(row: Comparison) -> str:
    if not row.same_text:
        return f"{row.difference:+.4f}, different text"
    return f"{row.difference:+.4f}{', shown' if row.shown else ''}"


def draw_learning(arms: Sequence[Arm], baseline: str) -> Figure:
    """Validation loss against steps: the mean of each arm, in a band from the least to the greatest of its seeds.

    Against the characters trained on where the batches differ. The steep beginning is cut off at the top.
    """
    runs = [run for arm in arms for run in arm.runs]
    by_step = same_batches(runs)
    names = [_wrapped(arm.name, 40) + " (baseline)" * (arm.name == baseline) for arm in arms]
    columns = 1 if max(map(len, names)) > 30 else 2
    lines = sum(name.count("\n") + 1 for name in names)
    with matplotlib.style.context(["default", STYLE]):
        figure = Figure(figsize=(5.8, 3.6 + 0.18 * -(-lines // columns)), layout="constrained")
        axes = figure.add_subplot()
        settled, least = [], []
        for number, (arm, name) in enumerate(zip(arms, names, strict=True)):
            steps, losses = shared_validations(arm)
            if not len(steps):
                continue
            colour, line = RUN_COLOURS[number % len(RUN_COLOURS)], LINES[number // len(RUN_COLOURS) % len(LINES)]
            places, marker = places_of(arm.runs[0].curves, steps, by_step), MARKERS[number % len(MARKERS)]
            axes.plot(
                places, losses.mean(axis=0), color=colour, linestyle=line, marker=marker, markersize=4, label=name
            )
            axes.fill_between(places, losses.min(axis=0), losses.max(axis=0), color=colour, alpha=0.2, linewidth=0)
            settled.append(float(losses[:, steps >= SETTLED * steps[-1]].max()))
            least.append(float(losses.min()))
        rate = runs[0].curves.characters_per_step
        top = _upper_limit(settled) if settled else 1.0
        low = min(least, default=0.0)
        margin = 0.05 * (top - low) or 0.05
        draw_scales(axes, rate if by_step else None, (low - margin, top + margin))
        if not by_step:
            axes.set_xlabel("characters trained on")
            axes.xaxis.set_major_formatter(EngFormatter(sep="\N{NO-BREAK SPACE}"))
        if settled:
            figure.legend(loc="outside lower center", ncols=columns, fontsize=8.5)
        else:
            axes.text(0.5, 0.5, "no validation that all seeds have", ha="center", transform=axes.transAxes)
    return figure


def draw_cost(points: Sequence[Cost], told: str, named: Sequence[str]) -> Figure:
    """Mean loss with its interval over seeds against a cost; a line joins the frontier, whose points are full.

    Args:
        points: One an arm.
        told: What the cost is, with its unit.
        named: The arms whose names stand beside the picture.
    """
    best = {point.arm for point in frontier(points)}
    means = [point.summary.mean for point in points]
    top = _upper_limit(means)
    with matplotlib.style.context(["default", STYLE]):
        figure = Figure(figsize=(5.8, max(3.2, 1.0 + 0.2 * len(named))), layout="constrained")
        axes = figure.add_subplot()
        line = frontier(points)
        axes.plot([p.cost for p in line], [p.summary.mean for p in line], color=COLOURS["muted"], zorder=1)
        for point in points:
            mean, colour = min(point.summary.mean, top), COLOURS["training"]
            fill = colour if point.arm in best else COLOURS["paper"]
            marker = "o" if point.summary.mean <= top else "^"
            if point.summary.interval and point.summary.mean <= top:
                axes.plot([point.cost] * 2, point.summary.interval, color=colour, linewidth=1.0, zorder=2)
            axes.plot([point.cost], [mean], color=colour, marker=marker, markerfacecolor=fill, zorder=3)
        costs = [point.cost for point in points]
        if max(costs) > 5 * min(costs) > 0:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.margins(x=0.06)
        axes.set_xlabel(told)
        axes.set_ylabel("nats per character")
        axes.xaxis.set_major_formatter(EngFormatter(sep="\N{NO-BREAK SPACE}"))
        axes.grid(visible=True)
        _bare(axes)
        _name_points(axes, [point for point in points if point.arm in named], top)
    return figure


def draw_scaling(points: Sequence[Point], law: Law | None) -> Figure:
    """Loss against characters trained on, by their logarithms: a colour a model size, a point a run, the law a line."""
    sizes = sorted({point.parameters for point in points})
    seen = [point.characters for point in points]
    along = np.geomspace(min(seen), max(seen), 60)
    with matplotlib.style.context(["default", STYLE]):
        figure = Figure(figsize=(5.8, 3.6 + 0.18 * -(-len(sizes) // 3)), layout="constrained")
        axes = figure.add_subplot()
        for number, size in enumerate(sizes):
            ours = [point for point in points if point.parameters == size]
            colour, line = RUN_COLOURS[number % len(RUN_COLOURS)], LINES[number // len(RUN_COLOURS) % len(LINES)]
            axes.plot(
                [point.characters for point in ours],
                [point.nats for point in ours],
                color=colour,
                marker=MARKERS[number % len(MARKERS)],
                markersize=4.5,
                linestyle="none",
                label=f"{plain(size)} parameters",
            )
            if law:
                axes.plot(along, [law.predict(size, d) for d in along], color=colour, linestyle=line, linewidth=1.0)
        axes.set_xscale("log")
        axes.set_yscale("log")
        for axis, form in ((axes.xaxis, EngFormatter(sep="\N{NO-BREAK SPACE}")), (axes.yaxis, ScalarFormatter())):
            axis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0)))
            axis.set_major_formatter(form)
            axis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("characters trained on")
        axes.set_ylabel("nats per character")
        axes.grid(visible=True)
        _bare(axes)
        figure.legend(loc="outside lower center", ncols=3, fontsize=8.5)
    return figure


def frontier(points: Sequence[Cost]) -> list[Cost]:
    """The points that no other beats in both, by cost; of equal ones the first."""
    kept: list[Cost] = []
    for point in sorted(points, key=lambda point: (point.cost, point.summary.mean)):
        if not kept or point.summary.mean < kept[-1].summary.mean:
            kept.append(point)
    return kept


def _name_points(axes: Axes, points: Sequence[Cost], top: float) -> None:
    """Names in a column on the right, in the order of the points and never over one another, with lines to them."""
    low, high = axes.get_ylim()
    points = sorted(points, key=lambda point: point.summary.mean)
    wanted = [(min(point.summary.mean, top) - low) / (high - low) for point in points]
    for point, place in zip(points, _spread(wanted, 1.0 / max(len(points), 14)), strict=True):
        above = f" ({point.summary.mean:.2f}, above)" if point.summary.mean > top else ""
        axes.annotate(
            _wrapped(point.arm, 26, 1) + above,
            (point.cost, min(point.summary.mean, top)),
            (1.04, place),
            textcoords="axes fraction",
            va="center",
            fontsize=8.5,
            arrowprops={
                "arrowstyle": "-",
                "color": COLOURS["muted"],
                "linewidth": 0.5,
                "shrinkB": 3,
                "relpos": (0.0, 0.5),
            },
        )


def _spread(wanted: Sequence[float], gap: float) -> list[float]:
    """Places near the wanted ones, ascending in 0 to 1, at least `gap` apart."""
    places: list[float] = []
    for i, place in enumerate(wanted):
        places.append(max(place, places[-1] + gap if i else 0.0))
    for i in reversed(range(len(places))):
        places[i] = min(places[i], places[i + 1] - gap if i + 1 < len(places) else 1.0)
    return places


def _bare(*scales: Axes | SecondaryAxis) -> None:
    for scale in scales:
        scale.tick_params(length=0, which="both")
        scale.spines[:].set_visible(False)


def _upper_limit(values: Sequence[float]) -> float:
    """The greatest that is not `FAR` above the median, in median deviations from it."""
    median = float(np.median(values))
    deviation = float(np.median(np.abs(np.array(values) - median)))
    return max(value for value in values if value <= median + FAR * deviation or not deviation)


def _wrapped(name: str, width: int = LINE_CHARACTERS, lines: int = LINES_SHOWN) -> str:
    """A name for a picture: in a few lines, without mathematics, or a first underscore, which hides it in a legend."""
    told = " ".join(plain(name).split())
    if lines * width < len(told):
        told = f"{told[: lines * width - 3]}..."
    text = "\n".join(textwrap.wrap(told, width)) if lines > 1 else told
    return f"{' ' * text.startswith('_')}{text}".replace("$", r"\$")
