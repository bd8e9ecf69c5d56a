"""Write the report of a study, finished or not, from the files of its folder alone."""

import statistics
from collections.abc import Callable
from typing import Any

from matplotlib.figure import Figure

from letterloom import __version__, storage
from letterloom.errors import RunError
from letterloom.reporting import markup
from letterloom.reporting.curves import image
from letterloom.reporting.overlay.arms import Arm
from letterloom.reporting.page import inline, render
from letterloom.reporting.report import write_report as write_run_report
from letterloom.studies.directory import StudyDirectory
from letterloom.studies.looks import record_look
from letterloom.studies.notes import ALIKE
from letterloom.studies.report import drawing
from letterloom.studies.report.answer import METHOD, limits_of_repeating
from letterloom.studies.report.drawing import Cost
from letterloom.studies.report.tables import tables
from letterloom.studies.results import Measured, Results, read_results

PICTURES = {
    "differences": "Differences from the baseline with their intervals",
    "curves": "Validation loss against steps, a line an arm",
    "time": "Loss against seconds of training",
    "parameters": "Loss against parameters",
    "scaling": "Loss against parameters and characters, measured and fitted",
}
FILES = ("report.html", "report.md", "report.json", *(f"{name}.svg" for name in PICTURES))
NAMED = 14  # points of a picture that have names; of more, the frontier and the baseline


def write_report(study: StudyDirectory) -> dict[str, Any]:
    """Write report.html, report.md, report.json and the pictures (SVG) into the folder of a study, finished or not.

    The same files give the same bytes. report.html stands alone, but for links to the reports of the runs.

    Returns:
        What report.json holds; see `tables`.

    Raises:
        RunError: a folder lies where a file of the report belongs.
        DataMismatchError: a file of the study itself is damaged.
    """
    for folder in (study.path / name for name in FILES if (study.path / name).is_dir()):
        raise RunError(f"{folder} is a folder where the report has a file; move it away")
    results = read_results(study)
    if results.analysis and any(comparison.p is not None for comparison in results.analysis.comparisons):
        record_look(study, [arm.arm for arm in results.compared], results.design.seeds)
    for run in results.measured:
        if not (run.record.directory.path / "report.html").exists():  # its worker was killed before the last line
            write_run_report(run.record.directory.path)
    told = tables(results)
    figures, reasons = _figures(results)
    pictures = {name: image(figure, "svg") for name, figure in figures.items()}
    content = told | {
        "version": __version__,
        "missing": reasons,
        "limits_of_repeating": limits_of_repeating(results.design),
        "method": METHOD,
        "source": study.source(),
        "curves_shown": (min(len(told["arms"]), drawing.CURVES_SHOWN), len(told["arms"])),
    }
    for name in PICTURES:
        if name in pictures:
            storage.write_file(study.path / f"{name}.svg", pictures[name])
        else:
            storage.remove_file(study.path / f"{name}.svg")  # of an earlier report
    drawn = {name: inline(pictures[name], words) if name in pictures else None for name, words in PICTURES.items()}
    content["pictures"] = drawn
    storage.write_json(study.path / "report.json", told)
    storage.write_file(study.path / "report.md", render("study.md.jinja", content, __package__))
    storage.write_file(study.path / "report.html", render("study.html.jinja", content, __package__))
    return told


def _figures(results: Results) -> tuple[dict[str, Figure], dict[str, str]]:
    """The pictures that say something, and of the others why they do not."""
    figures: dict[str, Figure] = {}
    missing = dict.fromkeys(PICTURES, "")
    analysis, baseline = results.analysis, results.baseline or ""
    if analysis is None or not analysis.comparisons:
        missing["differences"] = "There is nothing to hold against the baseline yet."
    else:
        figures["differences"] = drawing.draw_differences(analysis.comparisons, baseline)
    if arms := _curves(results):
        figures["curves"] = drawing.draw_learning(arms, baseline)
    else:
        missing["curves"] = "No run is finished yet, so there are no curves."
    costs: dict[str, tuple[str, Callable[[Measured], float]]] = {
        "time": ("seconds of training", lambda run: run.seconds),
        "parameters": ("parameters", lambda run: float(run.record.parameters)),
    }
    for name, (unit, cost) in costs.items():
        points = _points(results, cost)
        values = [point.cost for point in points]
        if len(values) > 1 and max(values) > ALIKE * min(values):
            best = {point.arm for point in drawing.frontier(points)} | {baseline}
            named = [point.arm for point in points if len(points) <= NAMED or point.arm in best]
            figures[name] = drawing.draw_cost(points, unit, named)
        elif values:
            least, most = (markup.metric(value, "").strip() for value in (min(values), max(values)))
            about = least if least == most else f"{least} to {most}"
            missing[name] = f"Not drawn against {unit}: all arms are alike in it ({about})."
    if results.scaling and results.scaling.points:
        figures["scaling"] = drawing.draw_scaling(results.scaling.points, results.scaling.law)
    return figures, missing


def _curves(results: Results) -> list[Arm]:
    """The arms whose curves are drawn: the baseline, and the best of the others."""
    means = {summary.arm: summary.mean for summary in results.analysis.summaries} if results.analysis else {}
    ranked = sorted(
        (arm for arm in results.compared if arm.counted),
        key=lambda arm: (arm.name != results.baseline, means.get(arm.name, 0.0)),
    )
    return [Arm(arm.name, tuple(run.record for run in arm.counted.values())) for arm in ranked[: drawing.CURVES_SHOWN]]


def _points(results: Results, cost: Callable[[Measured], float]) -> list[Cost]:
    """Each arm that has a mean, with the mean cost of its runs."""
    arms = {arm.name: arm for arm in results.compared}
    return [
        Cost(summary.arm, statistics.fmean(cost(run) for run in arms[summary.arm].counted.values()), summary)
        for summary in (results.analysis.summaries if results.analysis else ())
    ]
