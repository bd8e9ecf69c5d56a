"""The report of several runs: their curves on one axis, a table of what differs, and what each of them writes."""

import logging
import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from letterloom import __version__, storage
from letterloom.errors import RunError
from letterloom.reporting.curves import image
from letterloom.reporting.diagnosis.diagnose import diagnose
from letterloom.reporting.diagnosis.finding import Finding
from letterloom.reporting.overlay.arms import SEED, Arm, differing_settings, group, notes, read_runs, setting
from letterloom.reporting.overlay.drawing import draw_bits, draw_overlay
from letterloom.reporting.page import inline, render
from letterloom.reporting.reading import RunRecord, Score
from letterloom.reporting.report import show_sample
from letterloom.runs.finding import is_run

FILES = ("loss.svg", "loss.png", "bits.svg", "bits.png", "report.md", "report.html")
SPLITS = ("training", "held out")
log = logging.getLogger("letterloom")


def write_overlay(paths: Sequence[Path], out: Path) -> dict[str, Any]:
    """Write report.html, report.md, loss.svg, loss.png, bits.svg and bits.png of several runs into the folder `out`.

    Returns:
        What the report shows, as `report --json` prints it: `runs`, `arms`, `notes`.

    Raises:
        RunError: `out` is a run, a file, or holds something else.
        And what `read_runs` raises; then nothing is written.
    """
    _require_free(out)
    runs = read_runs(paths)
    arms, differing = group(runs), differing_settings(list(runs.values()))
    table: dict[str, Any] = {
        "runs": [_run_row(name, run, differing) for name, run in runs.items()],
        "arms": [_arm_row(arm) for arm in arms],
        "notes": notes(runs),
    }
    content = table | {
        "version": __version__,
        "several_seeds": [row for row in table["arms"] if row["seeds"] > 1],
        "settings": {name: [setting(arm.runs[0], name) for arm in arms] for name in differing if name != SEED},
        "text": next(iter(runs.values())).config.text.corpus,
        "prompts": _samples(runs),
    }
    figures = {"loss": draw_overlay(arms), "bits": draw_bits(arms)}
    pictures = {name: image(figure, "svg") for name, figure in figures.items()}
    told = {"loss": "Loss curves of several runs", "bits": "Bits per character of training and held-out text"}
    page = {name: inline(svg, told[name]) for name, svg in pictures.items()}
    for name, figure in figures.items():
        storage.write_file(out / f"{name}.svg", pictures[name])
        storage.write_file(out / f"{name}.png", image(figure, "png"))
    storage.write_file(out / "report.md", render("overlay/overlay.md.jinja", content | {"pictures": pictures}))
    storage.write_file(out / "report.html", render("overlay/overlay.html.jinja", content | {"pictures": page}))
    return table


def _require_free(out: Path) -> None:
    if out.is_file():
        raise RunError(f"{out} is a file; choose another --out")
    if is_run(out):
        raise RunError(f"{out} is a run, whose own report lies there; choose another --out")
    found = list(out.iterdir()) if out.exists() else []
    if any(file.name not in FILES or file.is_dir() for file in found):
        raise RunError(f"{out} holds something else; choose another --out")
    if found:
        log.warning("%s held a report of several runs; it is replaced", out)


def _run_row(name: str, run: RunRecord, differing: Sequence[str]) -> dict[str, Any]:
    """A run as a row of the table, units in the names."""
    findings = diagnose(run)
    return {
        "run": name,
        "path": str(run.directory.path),
        "seed": run.config.training.seed,
        "settings": {key: setting(run, key) for key in differing},
        "parameters": run.parameters,
        "steps": run.progress.step if run.progress else 0,
        "characters_read": run.progress.characters if run.progress else 0,
        "training_seconds": run.progress.seconds if run.progress else 0.0,
        "training_memory_bytes": sum(run.memory().values()),
        **{f"{split.replace(' ', '_')}": _score(run.score(split)) for split in SPLITS},
        "found": [finding.failure for finding in findings if finding.verdict == "found"],
        "not_measured": [finding.failure for finding in findings if finding.verdict == "not measured"],
        "diagnosis": _diagnosis(findings),
    }


def _diagnosis(findings: Sequence[Finding]) -> str:
    """The failure modes that were found; a run that nothing could be measured of has not been found healthy."""
    verdicts = Counter(finding.verdict for finding in findings)
    found = ", ".join(finding.failure for finding in findings if finding.verdict == "found")
    if not (found or verdicts["not found"]):
        return "not measured"
    lacking = f"; {verdicts['not measured']} of {len(findings)} not measured" if verdicts["not measured"] else ""
    return (found or "nothing found") + lacking


def _score(score: Score | None) -> dict[str, Any] | None:
    if score is None:
        return None
    interval = score.interval and {"low": score.interval[0], "high": score.interval[1]}
    return {"bits_per_character": score.bits, "interval_bits": interval, "characters": score.characters}


def _arm_row(arm: Arm) -> dict[str, Any]:
    """Runs that differ in the seed alone: mean, standard deviation (n - 1), least and greatest of their bits."""
    row: dict[str, Any] = {"arm": arm.label, "runs": len(arm.runs), "seeds": arm.seeds}
    for split in SPLITS:
        bits = arm.bits(split)
        row[split.replace(" ", "_")] = bits and {
            "finished_runs": len(bits),
            "mean_bits": statistics.fmean(bits),
            "sd_bits": statistics.stdev(bits) if len(bits) > 1 else None,
            "min_bits": min(bits),
            "max_bits": max(bits),
        }
    return row


def _samples(runs: dict[str, RunRecord]) -> list[tuple[str, list[tuple[str, dict[str, Any]]]]]:
    """What each run wrote last, or its finished model did, by prompt."""
    by_prompt: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for name, run in runs.items():
        for sample in run.final_samples:
            by_prompt.setdefault(sample.prompt, []).append((name, show_sample(sample)))
    return list(by_prompt.items())
