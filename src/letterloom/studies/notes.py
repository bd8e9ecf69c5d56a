"""What makes the comparisons of a study weaker than they look."""

import statistics
from collections.abc import Callable, Iterator

from letterloom.evaluation.seeds import LEVEL
from letterloom.reporting.markup import metric, plain
from letterloom.studies.results import Measured, Results

ALIKE = 1.05  # costs that differ by less than this factor count as equal
DECISIVE = ("letterloom", "torch", "numpy", "threads", "device", "device_name")  # as `runs.environment.differences`
RESOLVED = ("precision", "products")  # settings that "auto" leaves to the machine
COSTS: dict[str, Callable[[Measured], float]] = {
    "steps": lambda run: run.steps,
    "characters": lambda run: run.characters,
    "FLOP": lambda run: run.flops,
}


def notes(results: Results) -> list[str]:
    """What weakens a comparison, in sentences."""
    return list(_notes(results))


def _notes(results: Results) -> Iterator[str]:
    arms, runs = results.compared, results.measured
    if results.design.metric == "training":
        yield "What is compared is how well arms fit the text they were trained on, not what they learned of others."
    unfinished = sum(run.measured is None for arm in arms for run in arm.runs)
    if unfinished:
        planned = sum(len(arm.runs) for arm in arms)
        yield f"{unfinished} of {planned} runs have no number; each comparison is of the seeds that both arms have."
        if any(run.state in ("to do", "running") for arm in arms for run in arm.runs):
            yield "A study ends when its plan is done: to stop when something shows would show what is not there."
    if results.earlier_looks:
        looks = f"{results.earlier_looks} earlier look{'s' * (results.earlier_looks > 1)} at these arms by other seeds"
        level = f"{LEVEL / 2**results.earlier_looks:.2g}"
        yield f"There were {looks}: so that luck does not add up, a difference is shown at {level}, not at {LEVEL}."
    yield from _unequal_costs(results)
    for name in DECISIVE:
        values = {plain(run.record.environment.get(name)) for run in runs}
        if len(values) > 1:
            yield f"The runs differ in {name} ({'; '.join(sorted(values))}), which may change last digits."
    for name in RESOLVED:
        resolved: dict[str, set[str]] = {}
        for arm in arms:
            for run in arm.measured.values():
                planned = getattr(arm.arm.config.training, name)
                resolved.setdefault(planned, set()).add(getattr(run.record.config.training, name))
        for values in resolved.values():
            if len(values) > 1:
                yield f"training.{name} came out differently on different machines ({'; '.join(sorted(values))})."
    if len({run.text for run in runs}) > 1:
        yield "The runs were scored on different texts, and differences between these show nothing; hold them apart."
    if results.design.protocol == "blocks" and len({run.score.context_length for run in runs}) > 1:
        yield "The contexts differ: protocol blocks favours long ones, which start fewer windows cold."
    if results.design.budget.minutes:
        yield "Minutes limited the runs: how far one came depends on the machine and on what else it did."
    for arm in arms:
        if arm.stopped and arm.counted:
            yield f"{arm.name} was stopped for being worse: what it costs looks greater by that than it is."
        if arm.counted and (failed := sum(run.error is not None for run in arm.runs)):
            yield f"{arm.name} failed by {failed} of {len(arm.runs)} seeds: the others may flatter it."
    if any(arm.searched for arm in arms) and not any(arm.confirmed for arm in arms):
        yield "No arm of the search is confirmed by further seeds yet: its best looks better than it is."


def _unequal_costs(results: Results) -> Iterator[str]:
    """In what one arm was given more than another; a law of scaling is about just that."""
    arms = [list(arm.counted.values()) for arm in results.compared if arm.counted]
    if len(arms) < 2 or results.design.fit == "scaling":
        return
    told = []
    for name, cost in COSTS.items():
        least, *_, most = sorted(statistics.fmean(map(cost, runs)) for runs in arms)
        if most > ALIKE * least:
            told.append(f"{metric(least, '').strip()} to {metric(most, '').strip()} {name}")
    if told:
        yield f"The arms do not cost the same ({', '.join(told)} a run): a difference may come of that."
