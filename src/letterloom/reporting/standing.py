"""Where a model stands: its bits per character among those of methods that are no model of its kind, and its limit."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import matplotlib.style
from matplotlib.figure import Figure

from letterloom.reporting.curves import COLOURS, STYLE
from letterloom.reporting.diagnosis.finding import Finding
from letterloom.reporting.reading import Baseline, RunRecord, Score

PROTOCOLS = ("sliding", "blocks")  # the first that the whole was scored by: baselines know what came before, too
LIMIT = "limit"
NEAR = 0.03  # bits per character: so near its limit a model has learned what there is
PICTURED = "Bits per character of the model, of baselines and, where it is known, of the limit"


class Row(NamedTuple):
    """One line of the picture."""

    name: str
    bits: float  # per character
    interval: tuple[float, float] | None  # 95 %
    protocol: str | None = None  # of a model's score


def standing(run: RunRecord) -> list[Row]:
    """The model by each protocol, the baselines and the limit, the best first; none before the run is finished."""
    scores = [score for score in run.scores if score.split == "held out"]
    rows = [Row(f"this model, {score.protocol}", score.bits, score.interval, score.protocol) for score in scores]
    rows += [Row(baseline.name, baseline.bits, None) for baseline in run.baselines]
    rows += [Row(LIMIT, limit / math.log(2), None) for limit in {score.limit for score in scores} if limit is not None]
    return sorted(rows, key=lambda row: row.bits) if scores else []


def verdict(run: RunRecord, findings: Sequence[Finding]) -> str | None:
    """In words: between which baselines the model is, and what keeps it there; None before the run is finished."""
    scores = [score for score in run.scores if score.split == "held out"]
    if not scores:
        return None
    most = max(score.characters for score in scores)
    whole = {score.protocol: score for score in scores if score.characters == most}
    score = next(whole[protocol] for protocol in PROTOCOLS if protocol in whole)
    sentences = [_place(score, sorted(run.baselines, key=lambda baseline: baseline.nats))]
    found = {finding.failure: finding for finding in findings if finding.verdict == "found"}
    if "overfitting" in found:
        best = run.curves.best
        sentences.append(f"Overfitted since step {best[0]:,}." if best else "Overfitted.")
    gap = math.inf if score.limit is None else score.bits - score.limit / math.log(2)
    if "undertraining" in found and gap > NEAR:
        sentences.append("Undertrained: more steps would make it better.")
    if score.limit is not None:
        sentences.append(f"The gap to the limit of this text, which no model passes but by chance, is {gap:.4f} bits.")
    return " ".join(sentences)


def _place(model: Score, baselines: Sequence[Baseline]) -> str:
    """The model's place among baselines, ascending; where an interval reaches over one, that is said."""
    better = [baseline for baseline in baselines if baseline.bits < model.bits]
    worse = [baseline for baseline in baselines if baseline.bits >= model.bits]
    if not baselines:
        return (
            "Not held against any baseline: `letterloom baselines` measures them, and `letterloom report` shows them."
        )
    if not better:
        words = f"better than each of the {len(worse)} baselines measured, {_named(worse[0])} the best of them."
    elif not worse:
        words = f"worse than each of the {len(better)} baselines measured, {_named(better[-1])} the last of them."
    else:
        words = f"between {_named(better[-1])} and {_named(worse[0])}."
    low, high = model.interval or (model.bits, model.bits)
    unsure = [baseline.name for baseline in baselines if low <= baseline.bits <= high]
    if unsure:
        words += f" Its interval, of other passages of such text, reaches over {'; '.join(unsure)}."
    return f"By `{model.protocol}`, {words}"


def _named(baseline: Baseline) -> str:
    return f"{baseline.name} ({baseline.bits:.3f} bits)"


def draw_standing(rows: Sequence[Row]) -> Figure:
    """A dot a row, the best above; the model's with its 95 % interval, and a line down from it through the others."""
    with matplotlib.style.context(["default", STYLE]):
        figure = Figure(figsize=(5.8, 0.9 + 0.27 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        for place, row in enumerate(rows):
            colour = COLOURS["validation" if row.protocol else "ink" if row.name == LIMIT else "training"]
            if row.protocol:
                axes.axvline(row.bits, color=colour, linewidth=0.6, linestyle="dotted", zorder=1)
            axes.plot(row.interval or (row.bits, row.bits), [place, place], color=colour, linewidth=1.6, zorder=2)
            axes.plot([row.bits], [place], color=colour, marker="d" if row.name == LIMIT else "o", zorder=3)
            right = row.interval[1] if row.interval else row.bits
            axes.annotate(f"{row.bits:.3f}", (right, place), (9, 0), textcoords="offset points", va="center")
        axes.set_yticks(range(len(rows)), [row.name for row in rows], color=COLOURS["ink"])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.margins(x=0.12)
        axes.set_xlabel("bits per character of the held-out text; less is better")
        axes.grid(visible=True, axis="x")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    return figure
