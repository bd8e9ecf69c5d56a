"""Pictures of an inspection: how long the lines are, how often the characters occur."""

from collections.abc import Mapping
from typing import Any

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from letterloom.reporting.curves import COLOURS, STYLE
from letterloom.reporting.inspection.figures import RARE


def draw_line_lengths(told: Mapping[str, Any]) -> Figure:
    """A histogram of the lines by their characters."""
    bars = told["lines"]["histogram"]
    with matplotlib.style.context(["default", STYLE]):
        figure, axes = _axes()
        width = bars[0]["to"] - bars[0]["from"] + 1
        axes.bar([bar["from"] for bar in bars], [bar["lines"] for bar in bars], width, align="edge", **_LOOK)
        axes.set_xlabel("characters of a line; the last bar has all that are longer too")
        axes.set_ylabel("lines")
    return figure


def draw_counts(told: Mapping[str, Any]) -> Figure:
    """How often each character occurs, from the most frequent to the rarest, on logarithmic scales."""
    counts = sorted((one["count"] for one in told["vocabulary"]), reverse=True)
    with matplotlib.style.context(["default", STYLE]):
        figure, axes = _axes()
        axes.plot(range(1, len(counts) + 1), counts, color=COLOURS["training"], marker=".", linewidth=1)
        axes.set_yscale("log")
        axes.axhline(RARE, color=COLOURS["validation"], linewidth=0.8)
        axes.set_xlabel("rank of the character; those below the line are rare")
        axes.set_ylabel("times")
    return figure


_LOOK: dict[str, Any] = {"color": COLOURS["training"], "edgecolor": COLOURS["paper"], "linewidth": 0.5}


def _axes() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.8, 2.6), layout="constrained")
    axes = figure.add_subplot()
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(EngFormatter(sep="\N{NO-BREAK SPACE}"))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, axis="y")
    axes.set_axisbelow(True)
    return figure, axes
