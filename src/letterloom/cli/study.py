"""`letterloom study`: run one, go on with it, look at it."""

import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from letterloom.cli.arguments import Json, WholeNumber
from letterloom.cli.output import WIDTH, print_json, print_lines, print_table
from letterloom.errors import ConfigError
from letterloom.reporting.markup import duration
from letterloom.studies.design import describe_study, shipped_studies
from letterloom.study import open_study, run_study

if TYPE_CHECKING:
    from letterloom.studies.directory import State
    from letterloom.studies.supervision import Standing

_STATES: "tuple[State, ...]" = ("done", "running", "to do", "failed", "stopped")
StudyName = Annotated[str, Parameter(help="The folder of a study, or its name in `studies`.")]


@dataclass(frozen=True)
class WorkOptions:
    """How the runs of a study are done; see `letterloom.run_study`."""

    workers: Annotated[
        WholeNumber | None, Parameter(help="Runs at a time [as many as there are cores for each run's threads].")
    ] = None
    engine: Annotated[str, Parameter(help="Where runs go: processes of this machine, slurm, or dask.")] = "processes"
    option: Annotated[
        tuple[str, ...],
        Parameter(name="--option", help="Of the engine, as NAME=VALUE; may be given several times.", negative=()),
    ] = ()
    retry_failed: Annotated[bool, Parameter(help="Try again the runs that failed before.", negative=())] = False


DEFAULTS = WorkOptions()
FAILURES_SHOWN = 5  # of more the report tells
Options = Annotated[WorkOptions, Parameter(name="*")]


def run(
    study: Annotated[str, Parameter(help="A shipped study (see `letterloom study list`), or a TOML file.")],
    /,
    *,
    out: Annotated[Path | None, Parameter(help="The folder of the study [studies/NAME].")] = None,
    options: Options = DEFAULTS,
    json: Json = False,
) -> None:
    """Run a study: every arm by every seed, then statistics and a report. What is finished is not repeated."""
    _work(study, out, options, json)


def resume(study: StudyName, /, *, options: Options = DEFAULTS, json: Json = False) -> None:
    """Go on with a study where it was, as it was planned last."""
    _work(str(open_study(study).path), None, options, json)


def status(study: StudyName, /, *, json: Json = False) -> None:
    """Tell what has become of each run of a study."""
    directory = open_study(study).directory
    arms = directory.arms()  # once: a search that goes on adds more meanwhile
    states = directory.states(arms)
    planned = directory.runs(arms)
    failures = {name: failure["error"] for name in states if (failure := directory.failure(name))}
    strangers = {run.name: why for run in planned if (why := directory.stranger(run))}
    if json:
        runs = [{"arm": run.arm, "seed": run.seed, "run": run.name, "state": states[run.name]} for run in planned]
        print_json({"study": str(directory.path), "runs": runs, "failures": failures | strangers})
        return
    seeds = sorted({run.seed for arm in arms for run in arm.runs})
    rows = [
        [arm.name, *({run.seed: states[run.name] for run in arm.runs}.get(seed, "") for seed in seeds)] for arm in arms
    ]
    print_table(("arm", *(f"seed {seed}" for seed in seeds)), rows)
    for name, error in failures.items():
        print(f"\n{directory.run(name).path} failed: {error}")
    for why in strangers.values():
        print(f"\n{why}")


def report(study: StudyName, /, *, json: Json = False) -> None:
    """Write the report of a study from what is finished, and tell what it says."""
    found = open_study(study)
    _print_report(found.path, found.report(), json)


def list_studies(*, json: Json = False) -> None:
    """List the studies that come with Letterloom."""
    studies = {name: describe_study(name) for name in shipped_studies()}
    if json:
        print_json({"studies": [{"name": name, "description": told} for name, told in studies.items()]})
        return
    print_table(("study", "what it asks"), list(studies.items()))


def _work(name: str, out: Path | None, options: WorkOptions, json: bool) -> None:
    given = dict(map(_option, options.option))
    with _display() as tell:
        study = run_study(name, out, options.workers, options.engine, given, options.retry_failed, tell)
    _print_report(study.path, study.report(), json)


@contextmanager
def _display() -> "Iterator[Callable[[Standing], None]]":
    """A bar on a terminal, elsewhere a line whenever a run has ended; on standard error."""
    console = Console(stderr=True, highlight=False)
    columns = (BarColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)
        shown = ""

        def tell(standing: "Standing") -> None:
            nonlocal shown
            told, whole = _standing(standing), len(standing.states)
            ended = whole - sum(standing.counts.get(state, 0) for state in ("to do", "running"))
            if standing.message:
                console.print(standing.message, markup=False, soft_wrap=True)
            bar.update(task, total=whole, completed=ended + sum(standing.progress.values()), description=told)
            if not console.is_terminal and (key := str(standing.counts)) != shown:
                console.print(told, markup=False, soft_wrap=True)
                shown = key

        yield tell


def _standing(standing: "Standing") -> str:
    counts = "  ".join(f"{standing.counts[state]} {state}" for state in _STATES if standing.counts.get(state))
    left = "" if standing.seconds_left is None else f"  {duration(standing.seconds_left)} left"
    return counts + left


def _option(told: str) -> tuple[str, Any]:
    """NAME=VALUE, the value a number where it looks like one."""
    name, equals, value = told.partition("=")
    if not (name and equals):
        raise ConfigError(f"--option {told}: should be NAME=VALUE")
    for kind in (int, float):
        try:
            return name, kind(value)
        except ValueError:
            continue
    return name, value


def _print_report(path: Path, told: dict[str, Any], json: bool) -> None:
    """What a study found, and where its report lies."""
    places = {"study": str(path), "report": str(path / "report.html"), "markdown": str(path / "report.md")}
    if json:
        print_json({**places, **told})
        return
    if told["question"]:
        print(textwrap.fill(told["question"], WIDTH))
    print(f"{textwrap.fill(told['measure'], WIDTH)}\n")
    compared = {comparison["arm"]: comparison for comparison in told["comparisons"]}
    rows = [_row(arm, compared.get(arm["name"])) for arm in told["arms"]]
    print_table(("arm", "nats", "sd", "seeds", "minus baseline", "95 %", "verdict"), rows, "lrrrrrl")
    print()
    if drawn := {arm["name"]: _drawn(arm["drawn"]) for arm in told["arms"] if arm["drawn"]}:
        print_lines(drawn)
        print()
    for line in told["answer"]:
        print(textwrap.fill(line, WIDTH))
    for line in _caveats(told):
        print(textwrap.fill(f"- {line}", WIDTH, subsequent_indent="  "))
    print()
    print_lines(places)


def _caveats(told: dict[str, Any]) -> Iterator[str]:
    """What makes the answer weaker, which is not to be read without it."""
    yield from told["notes"]
    failures = [f"{row['arm']}, seed {row['seed']}, has no number: {row['error']}" for row in told["failures"]]
    yield from failures[:FAILURES_SHOWN]
    if more := failures[FAILURES_SHOWN:]:
        yield f"{len(more)} more runs have no number; the report says why."
    if strangers := len(told["strangers"]):
        yield f"{strangers} run{'s' * (strangers > 1)} in the folder of other settings or another text: left out."


def _drawn(settings: dict[str, Any]) -> str:
    told = {name: format(value, ".4g") if isinstance(value, float) else str(value) for name, value in settings.items()}
    return ", ".join(f"{name} {value}" for name, value in told.items())


def _row(arm: dict[str, Any], comparison: dict[str, Any] | None) -> list[str]:
    """Nats per character of an arm, and its difference from the baseline."""
    mean, sd = (format(value, ".4f") if value is not None else "" for value in (arm["mean"], arm["sd"]))
    row = [arm["name"], mean, sd, f"{len(arm['seeds'])} of {arm['planned']}"]
    if comparison is None:
        return [*row, "", "", ""]
    interval = "{low:+.4f} to {high:+.4f}".format(**comparison["interval"]) if comparison["interval"] else ""
    return [*row, f"{comparison['difference']:+.4f}", interval, comparison["verdict"]]
