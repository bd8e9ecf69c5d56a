"""`letterloom report`."""

import textwrap
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from letterloom import api
from letterloom.cli.arguments import Json, RunName
from letterloom.cli.output import WIDTH, print_json, print_lines, print_table
from letterloom.errors import ConfigError


def report(
    run: RunName,
    /,
    *others: RunName,
    out: Annotated[
        Path | None, Parameter(help="Folder for the report of several runs; by default beside the first.")
    ] = None,
    json: Json = False,
) -> None:
    """Write the report of a run again, from its files alone; or one of several runs, their curves on one axis."""
    paths = [api.open_run(name).path for name in (run, *others)]
    if len(paths) == 1:
        if out is not None:
            raise ConfigError(f"the report of one run lies in the run; --out {out} is for the report of several")
        _report_one(paths[0], json)
    else:
        beside = paths[0].parent / f"comparison-{datetime.now():%Y%m%d-%H%M%S}"
        _report_several(paths, out or beside, json)


def _report_one(path: Path, json: bool) -> None:
    from letterloom.evaluation.baselines.of_run import renew_baselines
    from letterloom.reporting.report import write_report
    from letterloom.runs.directory import RunDirectory

    run = api.Run(path)
    renew_baselines(RunDirectory(path))
    findings = write_report(path)
    places, verdict = _places(path), run.verdict
    if json:
        told = {"verdict": verdict, **run.beside, "diagnosis": [finding.to_json() for finding in findings]}
        print_json({**places, **told})
        return
    if verdict:
        print(f"{textwrap.fill(verdict, WIDTH)}\n")
    for finding in findings:
        if finding.verdict == "found":
            print(f"{finding.failure}: {finding.reason} {finding.remedy}.\n")
    print_lines(places)


def _report_several(paths: list[Path], out: Path, json: bool) -> None:
    from letterloom.reporting.overlay.report import write_overlay

    table = write_overlay(paths, out)
    places = _places(out)
    if json:
        print_json({**places, **table})
        return
    for note in table["notes"]:
        print(note)
    heads = ("run", "held out, bits", "training text, bits", "diagnosis")
    rows = [(row["run"], _bits(row["held_out"]), _bits(row["training"]), row["diagnosis"]) for row in table["runs"]]
    print_table(heads, rows, "lrrl")
    print()
    print_lines(places)


def _bits(score: dict[str, Any] | None) -> str:
    return f"{score['bits_per_character']:.4f}" if score else "none"


def _places(folder: Path) -> dict[str, str]:
    files = {"report": "report.html", "markdown": "report.md", "curves": "loss.svg"}
    return {name: str(folder / file) for name, file in files.items()}
