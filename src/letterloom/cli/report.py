"""`letterloom report`."""

from letterloom import api
from letterloom.cli.arguments import Json, RunName
from letterloom.cli.output import print_json, print_lines


def report(run: RunName, /, *, json: Json = False) -> None:
    """Write report.html, report.md and the curves of a run again, from its files alone."""
    path = api.open_run(run).path
    from letterloom.reporting.report import write_report

    write_report(path)
    places = {
        "report": str(path / "report.html"),
        "markdown": str(path / "report.md"),
        "curves": str(path / "loss.svg"),
    }
    if json:
        print_json(places)
    else:
        print_lines(places)
