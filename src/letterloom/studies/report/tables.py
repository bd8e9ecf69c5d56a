"""The numbers of a study as `letterloom study report --json` prints them; the page shows the same ones."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from letterloom.reporting.markup import plain
from letterloom.studies.arms import Arm
from letterloom.studies.notes import notes
from letterloom.studies.report.answer import answer, measure, verdict
from letterloom.studies.results import ArmResult, Measured, Results, RunResult
from letterloom.studies.scaling import Scaling
from letterloom.studies.statistics import Comparison, Summary

VERSIONS = ("letterloom", "commit", "python", "torch", "numpy")
MACHINE = ("platform", "device_name", "device", "cores", "threads")


def tables(results: Results) -> dict[str, Any]:
    """Every table; scripts rely on these keys. Intervals are 95 %; losses and differences nats per character."""
    analysis = results.analysis
    summaries = {summary.arm: summary for summary in analysis.summaries} if analysis else {}
    drawn = results.design.drawn_settings()
    return {
        "study": results.study.name,
        "question": results.design.question,
        "measure": measure(results),
        "answer": answer(results),
        "corpus": list(results.design.corpus),
        "budget": results.design.budget.given,
        "metric": results.design.metric,
        "protocol": results.design.protocol,
        "baseline": results.baseline,
        "arms": [_arm(arm, summaries.get(arm.name), drawn) for arm in _by_mean(results.compared, summaries)],
        "comparisons": [_comparison(c) for c in _by_difference(analysis.comparisons if analysis else ())],
        "noise": analysis and analysis.noise,
        "paired_noise": analysis and analysis.paired_noise,
        "least_shown": analysis and analysis.least_shown,
        "others": _others(results),
        "settings": _settings([arm.arm for arm in results.compared]),
        "scaling": results.scaling and _scaling(results.scaling),
        "trials": [_trial(arm, drawn) for arm in results.trials],
        "notes": notes(results),
        "failures": [_failure(arm, run) for arm in results.arms for run in arm.runs if run.error],
        "stopped": [{**arm.stopped, "arm": arm.name} for arm in results.arms if arm.stopped],
        "strangers": list(results.strangers),
        "runs": [_run(arm, run) for arm in results.arms for run in arm.runs],
        "environment": dict(_environment(results.measured)) | _drawn_and_judged_by(results),
    }


def interval(limits: tuple[float, float] | None) -> dict[str, float] | None:
    """Two limits by their names."""
    return limits and {"low": limits[0], "high": limits[1]}


def _by_mean(arms: Sequence[ArmResult], summaries: Mapping[str, Summary]) -> list[ArmResult]:
    """The best first, those without a number last."""
    return sorted(arms, key=lambda arm: summaries[arm.name].mean if arm.name in summaries else float("inf"))


def _by_difference(comparisons: Sequence[Comparison]) -> list[Comparison]:
    return sorted(comparisons, key=lambda comparison: comparison.difference)


def _drawn(arm: ArmResult, names: Sequence[str]) -> dict[str, Any]:
    """What was drawn for an arm, by setting."""
    settings = arm.arm.config.settings()
    return {name: settings[name] for name in names}


def _arm(arm: ArmResult, summary: Summary | None, drawn: Sequence[str]) -> dict[str, Any]:
    runs = list(arm.counted.values())
    return {
        "name": arm.name,
        "drawn": _drawn(arm, drawn),
        "mean": summary and summary.mean,
        "sd": summary and summary.sd,
        "interval": summary and interval(summary.interval),
        "seeds": {str(seed): {"run": run.record.name, "nats": run.score.nats} for seed, run in arm.counted.items()},
        "planned": len(arm.runs) - arm.confirmed,
        "parameters": runs[0].record.parameters if runs else None,
        "training_seconds": statistics.fmean(run.seconds for run in runs) if runs else None,
        "characters": round(statistics.fmean(run.characters for run in runs)) if runs else None,
        "flops": statistics.fmean(run.flops for run in runs) if runs else None,
    }


def _comparison(comparison: Comparison) -> dict[str, Any]:
    return {
        "arm": comparison.arm,
        "baseline": comparison.baseline,
        "seeds": comparison.seeds,
        "difference": comparison.difference,
        "interval": interval(comparison.interval),
        "text_interval": interval(comparison.text_interval),
        "p": comparison.p,
        "adjusted_p": comparison.adjusted_p,
        "shown": comparison.shown,
        "seeds_needed": comparison.seeds_needed,
        "verdict": verdict(comparison),
    }


def _others(results: Results) -> dict[str, float]:
    """What the same text costs methods that are no model of this kind, in nats per character, the best first."""
    if results.design.metric != "validation" or len({run.text for run in results.measured}) != 1:
        return {}
    known = max((run.record.baselines for run in results.measured), key=len)
    return {baseline.name: baseline.nats for baseline in sorted(known, key=lambda baseline: baseline.nats)}


def _settings(arms: Sequence[Arm]) -> dict[str, Any]:
    """What arms are set to: by section what all have alike, and of each arm the rest; seeds stand elsewhere."""
    told = {arm.name: arm.config.settings() for arm in arms}
    alike: dict[str, dict[str, Any]] = {}
    different: dict[str, dict[str, Any]] = {arm: {} for arm in told}
    for setting in next(iter(told.values()), {}):
        values = {arm: settings[setting] for arm, settings in told.items()}
        section, _, name = setting.partition(".")
        if len(set(map(plain, values.values()))) > 1:
            for arm, value in values.items():
                different[arm][setting] = value
        elif setting != "training.seed":
            alike.setdefault(section, {})[name] = values[arms[0].name]
    return {"alike": alike, "different": different if any(different.values()) else {}}


def _scaling(scaling: Scaling) -> dict[str, Any]:
    """The law, and what it says is best for as many operations as the costliest run took."""
    told = scaling.to_json()
    if scaling.law is None:
        return told | {"best": None}
    flops = max(6.0 * point.parameters * point.characters for point in scaling.points)
    best = scaling.law.best_split(flops)
    parameters, characters = scaling.split_intervals(flops)
    return told | {
        "best": {
            "flops": flops,
            "parameters": {"value": best.parameters, "interval": list(parameters)},
            "characters": {"value": best.characters, "interval": list(characters)},
            "measured": scaling.is_measured(best),
        }
    }


def _trial(arm: ArmResult, drawn: Sequence[str]) -> dict[str, Any]:
    """An arm that a search tried: what it went by, and what became of the arm."""
    first = arm.runs[0]
    return {
        "arm": arm.name,
        "drawn": _drawn(arm, drawn),
        "run": first.planned.name,
        "nats": first.measured.score.nats if first.measured else None,
        "state": first.state,
        "confirmed": arm.confirmed,
    }


def _failure(arm: ArmResult, run: RunResult) -> dict[str, Any]:
    return {"run": run.planned.name, "arm": arm.name, "seed": run.planned.seed, "error": run.error}


def _run(arm: ArmResult, run: RunResult) -> dict[str, Any]:
    measured = run.measured
    return {
        "run": run.planned.name,
        "arm": arm.name,
        "seed": run.planned.seed,
        "state": run.state,
        "counted": run.planned.seed in arm.counted,
        "nats": measured.score.nats if measured else None,
        "steps": measured.steps if measured else None,
        "characters": measured.characters if measured else None,
        "training_seconds": measured.seconds if measured else None,
        "report": f"runs/{run.planned.name}/report.html" if measured else None,
    }


def _drawn_and_judged_by(results: Results) -> dict[str, list[str]]:
    """Versions of what drew arms, then, and of what the statistics come from, now."""
    told = {"optuna": results.study.optuna_versions(), "scipy": [version("scipy")]}
    return {name: versions for name, versions in told.items() if versions}


def _environment(runs: Sequence[Measured]) -> Iterator[tuple[str, list[str]]]:
    """Versions, machine and number formats, each with the values that the runs have."""
    for name in (*VERSIONS, *MACHINE):
        if values := {plain(run.record.environment[name]) for run in runs if name in run.record.environment}:
            yield name, sorted(values)
    if runs:
        yield "precision", sorted({run.record.config.training.precision for run in runs})
        yield "text, SHA-256", sorted({run.record.text_sha256 for run in runs})
