"""Where a model stands: its bits per character among those of methods that are no model of its kind, and its limit."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import matplotlib.style
from matplotlib.figure import Figure

from letterloom.reporting.curves import COLOURS, STYLE
from letterloom.reporting.diagnosis.finding import Finding
from letterloom.reporting.reading import RunRecord

PROTOCOLS = ("sliding", "blocks")  # the first that was measured: baselines see all that came before, too
PICTURED = "Bits per character of the model, of baselines and, where it is known, of the limit"


class Row(NamedTuple):
    """One line of the picture."""

    name: str
    bits: float  # per character
    interval: tuple[float, float] | None  # 95 %
    kind: str  # "model", "baseline" or "limit"


def standing(run: RunRecord) -> list[Row]:
    """The model by each protocol, the baselines and the limit, the best first; none before the run is finished."""
    scores = [score for score in run.scores if score.split == "held out"]
    rows = [Row(f"this model, {score.protocol}", score.bits, score.interval, "model") for score in scores]
    rows += [Row(baseline.name, baseline.bits, None, "baseline") for baseline in run.baselines]
    if run.limit is not None:
        rows.append(Row("limit", run.limit / math.log(2), None, "limit"))
    return sorted(rows, key=lambda row: row.bits) if scores else []


def verdict(run: RunRecord, findings: Sequence[Finding]) -> str | None:
    """In words: between which baselines the model is, and what keeps it there; None before the run is finished."""
    rows = standing(run)
    if not rows:
        return None
    models = {row.name.split()[-1]: row for row in rows if row.kind == "model"}
    model = next(models[protocol] for protocol in PROTOCOLS if protocol in models)
    sentences = [_place(model, [row for row in rows if row.kind == "baseline"])]
    found = {finding.failure: finding for finding in findings if finding.verdict == "found"}
    if "overfitting" in found:
        best = run.curves.best
        sentences.append(f"Overfitted since step {best[0]:,}." if best else "Overfitted.")
    if "undertraining" in found:
        sentences.append("Undertrained: more steps would make it better.")
    if run.limit is not None:
        gap = model.bits - run.limit / math.log(2)
        sentences.append(f"The gap to the limit of this text, which no model passes but by chance, is {gap:.4f} bits.")
    return " ".join(sentences)


def _place(model: Row, baselines: Sequence[Row]) -> str:
    """The model's place among baselines, ascending; where an interval reaches over one, that is said."""
    name = f"By `{model.name.split()[-1]}`, "
    better = [row for row in baselines if row.bits < model.bits]
    worse = [row for row in baselines if row.bits >= model.bits]
    if not baselines:
        return (
            "Not held against any baseline: `letterloom baselines` measures them, and `letterloom report` shows them."
        )
    if not better:
        words = f"better than every baseline, {_named(worse[0])} the best of them."
    elif not worse:
        words = f"worse than every baseline, {_named(better[-1])} the last of them."
    else:
        words = f"between {_named(better[-1])} and {_named(worse[0])}."
    low, high = model.interval or (model.bits, model.bits)
    unsure = [row.name for row in baselines if low <= row.bits <= high]
    if unsure:
        words += f" Another passage of the text might place it on the other side of {' and '.join(unsure)}."
    return name + words


def _named(row: Row) -> str:
    return f"{row.name} ({row.bits:.3f} bits)"


def draw_standing(rows: Sequence[Row]) -> Figure:
    """A dot a row, the best above; the model's with its 95 % interval, and a line down from it through the others."""
    colours = {"model": COLOURS["validation"], "baseline": COLOURS["training"], "limit": COLOURS["ink"]}
    with matplotlib.style.context(["default", STYLE]):
        figure = Figure(figsize=(5.8, 0.9 + 0.27 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        for place, row in enumerate(rows):
            colour = colours[row.kind]
            if row.kind == "model":
                axes.axvline(row.bits, color=colour, linewidth=0.6, linestyle="dotted", zorder=1)
            axes.plot(row.interval or (row.bits, row.bits), [place, place], color=colour, linewidth=1.6, zorder=2)
            axes.plot([row.bits], [place], color=colour, marker="d" if row.kind == "limit" else "o", zorder=3)
            axes.annotate(f"{row.bits:.3f}", (row.bits, place), (9, 0), textcoords="offset points", va="center")
        axes.set_yticks(range(len(rows)), [row.name for row in rows], color=COLOURS["ink"])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.margins(x=0.12)
        axes.set_xlabel("bits per character of the held-out text; less is better")
        axes.grid(visible=True, axis="x")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    return figure
