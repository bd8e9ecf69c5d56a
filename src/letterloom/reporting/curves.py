"""The learning curve of a run, drawn from its metrics log."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, StrMethodFormatter
from numpy.typing import ArrayLike, NDArray

# One colour a role, so that a page can replace each of them by its own (light or dark).
COLOURS = {
    "paper": "#ffffff",
    "ink": "#1f2328",
    "muted": "#656d77",
    "line": "#d9dee4",
    "batches": "#b7cbf2",
    "training": "#2f63d0",
    "validation": "#d4500c",
    "run-1": "#0072b2",  # these differ for the colour-blind too (after Okabe and Ito 2008, darkened for thin lines)
    "run-2": "#d55e00",
    "run-3": "#009e73",
    "run-4": "#a8438f",
    "run-5": "#8a6d00",
    "run-6": "#4d4d4d",
}
SMOOTHING = 40  # running means over a long run; fewer steps than twice this are drawn as they are
STYLE = {
    "svg.fonttype": "none",  # text stays text: small, searchable, in the page's own font
    "svg.hashsalt": "letterloom",  # the same metrics give the same bytes
    "font.size": 9,
    "figure.facecolor": COLOURS["paper"],
    "axes.facecolor": COLOURS["paper"],
    "axes.edgecolor": COLOURS["line"],
    "axes.labelcolor": COLOURS["muted"],
    "xtick.color": COLOURS["line"],
    "ytick.color": COLOURS["line"],
    "xtick.labelcolor": COLOURS["muted"],
    "ytick.labelcolor": COLOURS["muted"],
    "text.color": COLOURS["ink"],
    "grid.color": COLOURS["line"],
    "grid.linewidth": 0.6,
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Curves:
    """What a metrics log says, one entry a logged step; a step logged twice counts as last written."""

    steps: NDArray[np.float64]
    losses: NDArray[np.float64]  # nats per character, of the batch
    gradient_norms: NDArray[np.float64]  # before clipping; NaN where none was logged
    characters_per_step: float | None
    validation_steps: NDArray[np.float64]
    validation_losses: NDArray[np.float64]  # nats per character
    protocol: str | None  # of the last validation

    @property
    def finite_losses(self) -> NDArray[np.float64]:
        """All losses that are numbers, of batches and of validations."""
        losses: NDArray[np.float64] = np.concatenate([self.losses, self.validation_losses])
        return losses[np.isfinite(losses)]

    @property
    def best(self) -> tuple[int, float] | None:
        """Step and nats per character of the best validation, where there is one."""
        finite = np.isfinite(self.validation_losses)
        if not finite.any():
            return None
        i = int(np.argmin(np.where(finite, self.validation_losses, np.inf)))
        return int(self.validation_steps[i]), float(self.validation_losses[i])


def read_curves(metrics: list[dict[str, Any]]) -> Curves:
    """Sort the lines of a metrics log into curves.

    Raises:
        KeyError, TypeError, ValueError: a line is not what a run writes.
    """
    train = {line["step"]: line for line in metrics if line["kind"] == "train"}
    validation = {line["step"]: line["nats_per_character"] for line in metrics if line["kind"] == "validation"}
    protocols = [line.get("protocol") for line in metrics if line["kind"] == "validation"]
    last = max(train, default=0)
    return Curves(
        steps=np.array(sorted(train), dtype=np.float64),
        losses=np.array([train[step]["bits_per_character"] for step in sorted(train)], dtype=np.float64) * math.log(2),
        gradient_norms=np.array([train[step].get("gradient_norm") for step in sorted(train)], dtype=np.float64),
        characters_per_step=train[last]["characters"] / last if last else None,
        validation_steps=np.array(sorted(validation), dtype=np.float64),
        validation_losses=np.array([validation[step] for step in sorted(validation)], dtype=np.float64),
        protocol=protocols[-1] if protocols else None,
    )


def running_mean(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Mean of the `width` values around each one; at the ends, of those there are."""
    if not len(values):
        return values
    window = np.ones(min(width, len(values)))
    return np.convolve(values, window, "same") / np.convolve(np.ones_like(values), window, "same")


class CurvesFigure(Figure):
    """A figure that Jupyter shows, which it does by itself for figures of pyplot alone."""

    def _repr_svg_(self) -> str:
        return image(self, "svg").decode()


def draw_curves(curves: Curves) -> CurvesFigure:
    """Loss against steps, in nats (left) and bits per character (right), with the best validation marked.

    The steep first steps of a long run are cut off at the top, where they would press the rest flat. Of a run that
    has logged nothing yet the picture says so.
    """
    with matplotlib.style.context(["default", STYLE]):
        figure = CurvesFigure(figsize=(5.8, 3.9), layout="constrained")
        axes = figure.add_subplot()
        _draw_training(axes, curves)
        _draw_validation(axes, curves)
        draw_scales(axes, curves.characters_per_step, nats_shown(curves))
        if axes.lines:
            figure.legend(loc="outside lower center", ncols=3, fontsize=8.5, handlelength=1.5, columnspacing=1.2)
        else:
            axes.text(0.5, 0.5, "nothing logged yet", ha="center", va="center", transform=axes.transAxes)
    return figure


def image(figure: Figure, kind: Literal["svg", "png"]) -> bytes:
    """The figure as a file's content; equal figures give equal bytes."""
    buffer = BytesIO()
    nothing = dict.fromkeys(["Date", "Creator", "Format", "Type"]) if kind == "svg" else {"Software": None}
    with matplotlib.style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a run may have any name; SVG keeps it as text
        figure.savefig(buffer, format=kind, dpi=200, metadata=nothing)
    return buffer.getvalue()


def _draw_training(axes: Axes, curves: Curves) -> None:
    """Every batch as a thin line; once there are enough of them, a running mean over it."""
    n = len(curves.steps)
    width = n // SMOOTHING
    if width > 1:
        axes.plot(curves.steps, curves.losses, color=COLOURS["batches"], linewidth=0.6, label="training batch")
        mean = running_mean(curves.losses, width)
        axes.plot(curves.steps, mean, color=COLOURS["training"], linewidth=1.6, label=f"mean of {width:,}")
    elif n:
        marker = "o" if n == 1 else None
        axes.plot(curves.steps, curves.losses, color=COLOURS["training"], marker=marker, label="training batch")


def _draw_validation(axes: Axes, curves: Curves) -> None:
    """A point a validation, joined, and a ring round the best one."""
    if not len(curves.validation_steps):
        return
    colour, label = COLOURS["validation"], "validation"
    if curves.best is not None:
        step, nats = curves.best
        label += f", best {nats:.3f} nats = {nats / math.log(2):.3f} bits"
        axes.plot([step], [nats], color=colour, marker="o", markersize=10, fillstyle="none", linestyle="none")
    steps, losses = curves.validation_steps, curves.validation_losses
    axes.plot(steps, losses, color=colour, marker="o", markersize=3.5, linewidth=1.2, label=label)


def draw_scales(axes: Axes, characters_per_step: float | None, shown: tuple[float, float]) -> None:
    """Axes of a loss curve: steps below, characters read above, nats left (the limits are given), bits right."""
    axes.set_xlabel("step")
    axes.set_ylabel("nats per character")
    axes.set_xlim(left=0)
    axes.set_ylim(shown)
    axes.grid(visible=True)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    bits = axes.secondary_yaxis("right", functions=(_scale(1 / math.log(2)), _scale(math.log(2))))
    bits.set_ylabel("bits per character")
    scales = [axes, bits]
    if shown[1] >= 10_000:  # a common factor would lie on the scale above
        for scale in scales:
            scale.yaxis.set_major_formatter(EngFormatter(sep=""))
    if characters_per_step:
        read = axes.secondary_xaxis("top", functions=(_scale(characters_per_step), _scale(1 / characters_per_step)))
        read.set_xlabel("characters read")
        read.xaxis.set_major_locator(MaxNLocator(6))
        read.xaxis.set_major_formatter(EngFormatter(sep="\N{NO-BREAK SPACE}"))
        scales.append(read)
    for scale in scales:
        scale.tick_params(length=0)
        scale.spines[:].set_visible(False)


def nats_shown(curves: Curves) -> tuple[float, float]:
    """Limits of the picture: all but the steep beginning, which is what lies above the mean at 5 % of the run."""
    width = len(curves.losses) // SMOOTHING
    losses = curves.finite_losses
    if not len(losses):
        return 0.0, 1.0
    bottom, top = float(losses.min()), float(losses.max())
    if width > 1:
        settled = running_mean(curves.losses, width)[len(curves.losses) // 20 :]
        shown = np.concatenate([settled, curves.validation_losses])
        top = float(shown[np.isfinite(shown)].max(initial=bottom))
    margin = 0.05 * (top - bottom) or 0.05
    return bottom - margin, top + margin


def _scale(factor: float) -> Callable[[ArrayLike], ArrayLike]:
    return lambda values: np.asarray(values) * factor
