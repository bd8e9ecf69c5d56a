"""What a study says, in sentences made from its numbers; no difference is called one that was not shown."""

from collections import Counter
from collections.abc import Iterator, Sequence

from letterloom.reporting.markup import duration, metric
from letterloom.reporting.report import PROTOCOLS
from letterloom.studies.design import Budget, Design
from letterloom.studies.results import Results, RunResult
from letterloom.studies.statistics import Comparison, Summary

METHOD = (
    "Each arm is compared with the baseline alone, paired by seed, by Student's t; how the others stand to one another "
    "is not tested. The p values are adjusted for the number of arms (Benjamini and Hochberg 1995), doubled for each "
    "earlier look at these arms by other seeds, and a difference is shown where the adjusted one is at most 0.05. "
    "The intervals are 95 % and not corrected: over seeds, for other seeds on this text; over text, for these very "
    "models on other text like it. The least difference that such a study would show goes by the noise pooled over "
    "all arms, and by 0.05 divided by the number of comparisons, which is the worst case of that adjustment; how many "
    "seeds a new study would take, by the same, but for an arm that varies more by its own noise."
)
NAMED = 4  # arms in one sentence; of more the first are named, and the others counted


def answer(results: Results) -> list[str]:
    """The answer to the question, in a few sentences, and before them what has become of runs that have no number."""
    runs = [run for arm in results.compared for run in arm.runs]
    told = list(_standing(runs))
    if not any(run.measured for run in runs):
        return [*told, f"None of {len(runs)} runs has a number, so there is no answer."]
    if results.analysis is None:
        return [*told, f"Nothing can be compared: {_quoted(results.baseline)}, the baseline, has no finished run."]
    comparisons = sorted(results.analysis.comparisons, key=lambda comparison: comparison.difference)
    if not comparisons:
        return [*told, _alone(results.analysis.summaries, results.baseline)]
    return [*told, *_scaled(results), *_shown(comparisons), *_not_shown(comparisons), *_apart(comparisons)]


def measure(results: Results) -> str:
    """What the numbers of a study are: of which text, how scored, after what."""
    design = results.design
    scored = sorted({run.score.characters for run in results.measured})
    of = f", {' or '.join(f'{number:,}' for number in scored)} characters of it" if scored else ""
    text = f"{'held-out' if design.metric == 'validation' else 'training'} text{of}"
    protocol = f"protocol {design.protocol} ({PROTOCOLS[design.protocol]})"
    return f"Nats per character of {text}, by {protocol}; {budget(design.budget)}. Less is better."


def budget(given: Budget) -> str:
    """What a run may cost, in words."""
    told = {
        "flops": lambda value: f"budget {metric(value, 'FLOP')} a run",
        "minutes": lambda value: f"budget {duration(60 * value)} a run",
    }
    for name, value in given.given.items():
        return told[name](value) if name in told else f"budget {value:,} {name} a run"
    return "no budget: each arm costs what its settings say"


def limits_of_repeating(design: Design) -> str:
    """What another study by the same file may have otherwise, though each of its runs can be repeated."""
    told = []
    if design.design in ("random", "search"):
        told.append("Optuna drew the arms: another version of it may draw others.")
    if design.design == "search":
        told.append(
            "A search goes by what is finished when it draws, so that runs in another order may lead it elsewhere."
        )
    if design.stop_worse is not None:
        told.append("Which arms are stopped, and after how many seeds, depends on the order in which runs end.")
    return " ".join(told)


def verdict(comparison: Comparison) -> str:
    """What a comparison shows, in a few words; of one seed, or of different texts, that is nothing."""
    if not comparison.same_text:
        return "different text"
    if comparison.shown:
        return "better, shown" if comparison.difference < 0 else "worse, shown"
    if comparison.seeds == 1:
        return "one seed: nothing shown"
    return "no difference shown"


def nats(value: float, sign: str = "") -> str:
    """Nats per character for a sentence: two digits that count, where the value is small."""
    return f"{value:{sign}.{4 if abs(value) < 0.01 else 3}f}"


def _standing(runs: Sequence[RunResult]) -> Iterator[str]:
    """How many runs are finished while some are to come, and what has become of those that never will have a number."""
    states, done = Counter(run.state for run in runs), sum(run.measured is not None for run in runs)
    if done and (states["to do"] or states["running"]):
        yield f"{done} of {len(runs)} runs are finished; this is what they say so far."
    stopped = "of stopped arms was not begun" if states["stopped"] == 1 else "of stopped arms were not begun"
    for fate, number in {
        "failed": states["failed"],
        "ended without a number that counts": states["done"] - done,
        stopped: states["stopped"],
    }.items():
        if number:
            yield f"{number} run{'s' * (number != 1)} {fate}."


def _alone(summaries: Sequence[Summary], baseline: str | None) -> str:
    """What can be said where no arm has a seed in common with the baseline."""
    if len(summaries) > 1:
        return f"Nothing can be compared: no arm has a finished seed in common with {_quoted(baseline)}, the baseline."
    (only,) = summaries
    return f"{_quoted(only.arm)} costs {nats(only.mean)} nats per character; no other arm has a number."


def _scaled(results: Results) -> Iterator[str]:
    """What the fit found of the exponents, where one was asked for."""
    if results.scaling and results.scaling.law:
        law = results.scaling.law
        told = [
            f"{name} {value:.3f} (95 % {low:.3f} to {high:.3f})"
            for name, value in (("alpha", law.alpha), ("beta", law.beta), ("E", law.E))
            for low, high in [results.scaling.interval(name)]
        ]
        yield f"The loss falls by E + A / parameters^alpha + B / characters^beta, with {', '.join(told)}."
    elif results.scaling:
        yield f"No law of scaling can be told: {results.scaling.why_not}."


def _shown(comparisons: Sequence[Comparison]) -> Iterator[str]:
    """One sentence on what is better, one on what is worse."""
    baseline = _quoted(comparisons[0].baseline)
    shown = [comparison for comparison in comparisons if comparison.shown]
    sides = {
        "less": [comparison for comparison in shown if comparison.difference < 0],
        "more": [comparison for comparison in reversed(shown) if comparison.difference > 0],
    }
    for side, arms in sides.items():
        if arms:
            first, *others = arms
            listed = _listed([_quoted_by(c, _limits(c)) for c in others]) if others else ""
            also = f" Also shown to cost {side}: {listed}." if others else ""
            cost = f"costs {nats(abs(first.difference))} nats per character {side} than {baseline}"
            yield f"{_quoted(first.arm)} {cost} ({_sure(first)}): shown.{also}"


def _not_shown(comparisons: Sequence[Comparison]) -> Iterator[str]:
    left = [comparison for comparison in comparisons if comparison.same_text and not comparison.shown]
    baseline = _quoted(comparisons[0].baseline)
    if len(left) == 1:
        (only,) = left
        difference = f"{nats(only.difference, '+')}{_limits(only)}; {_seeds(only)}{_would_need(only)}"
        yield f"No difference shown between {baseline} and {_quoted(only.arm)} ({difference})."
    elif left:
        soonest = sorted(left, key=lambda comparison: comparison.seeds_needed or 10**12)
        told = [_quoted_by(c, _would_need(c, brief=place > 0)) for place, c in enumerate(soonest)]
        yield f"No difference from {baseline} shown for {_listed(told)}."


def _apart(comparisons: Sequence[Comparison]) -> Iterator[str]:
    if apart := [_quoted_by(comparison) for comparison in comparisons if not comparison.same_text]:
        baseline = _quoted(comparisons[0].baseline)
        yield f"Scored on different text than {baseline}, so nothing is shown of {_listed(apart)}."


def _would_need(comparison: Comparison, brief: bool = False) -> str:
    if comparison.seeds_needed is None:
        return ""
    if brief:
        return f"; about {comparison.seeds_needed:,} seeds"
    told = f"a new study with about {comparison.seeds_needed:,} seeds of each arm would show it in 4 of 5 cases"
    return f"; if that is the true difference, {told}"


def _limits(comparison: Comparison) -> str:
    if comparison.interval is None:
        return ""
    low, high = comparison.interval
    return f"; 95 % {nats(low, '+')} to {nats(high, '+')}"


def _sure(comparison: Comparison) -> str:
    if comparison.interval is None:
        return _seeds(comparison)
    low, high = sorted(map(abs, comparison.interval))
    return f"95 % {nats(low)} to {nats(high)}, {_seeds(comparison)}"


def _seeds(comparison: Comparison) -> str:
    return f"{comparison.seeds} seed{'s' * (comparison.seeds != 1)}"


def _quoted(name: str | None) -> str:
    return f'"{name}"'


def _quoted_by(comparison: Comparison, more: str = "") -> str:
    return f"{_quoted(comparison.arm)} ({nats(comparison.difference, '+')}{more})"


def _listed(names: Sequence[str]) -> str:
    shown = list(names[:NAMED])
    if len(names) > NAMED:
        shown.append(f"{len(names) - NAMED:,} more")
    *first, last = shown
    return f"{', '.join(first)} and {last}" if first else last
