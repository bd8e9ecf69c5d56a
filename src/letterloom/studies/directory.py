"""The folder of a study: its plan, its runs, and what became of each. The folder is the queue and the memory of it all.

plan.json      the study file as it was given last, and its arms, resolved, with the names of their runs
study.toml     that study file once more, for people
arms/          arms that a search added, one JSON file each
runs/NAME/     ordinary run directories, named by the hash of their settings and text
claims/        a lock for each run: whoever holds it works at that run
workers/       one JSON file for each worker that is at a run: which one
.lock          held while the plan or the arms are written
failures/      NAME.json for each run that ended with an error
stopped/       one JSON file for each arm that was stopped before all its seeds were run
looks/         one JSON file for each list of seeds whose results a report has told
logs/          what each run told while it trained
report.html, report.md, report.json and the pictures
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from letterloom import storage
from letterloom.errors import ConfigError, DataMismatchError, LockedError
from letterloom.runs.directory import LOCK, RunDirectory, damage
from letterloom.runs.finding import is_run
from letterloom.studies.arms import Arm, PlannedRun
from letterloom.studies.design import Design, parse_design

State = Literal["done", "running", "failed", "stopped", "to do"]
Parsed = TypeVar("Parsed")


class _Plan(NamedTuple):
    source: str  # of the study file
    design: Design
    arms: tuple[Arm, ...]
    runs: frozenset[str]  # names of all of them
    optuna: str | None  # the version that drew or stops arms, where one does


class _Added(NamedTuple):
    told: dict[str, Any]  # by `add_arm`
    arm: Arm


@dataclass(frozen=True)
class StudyDirectory:
    """Paths and small files of one study.

    What reads a file raises DataMismatchError, naming it, where it is damaged. A study changes while it is looked at:
    who asks for several things of the same arms reads these once, and hands them on.
    """

    path: Path
    _parsed: dict[Path, tuple[Any, Any]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @contextmanager
    def locked(self, wait_seconds: float) -> Iterator[None]:
        """Hold the plan and the arms against everyone else who would write them.

        Raises:
            LockedError: somebody has held them all that time.
        """
        with storage.lock(self.path / LOCK, f"the study {self.path}", wait_seconds=wait_seconds):
            yield

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.path.resolve().name

    @property
    def study_file(self) -> Path:
        """A copy of the study as it was given last; what counts is `source`."""
        return self.path / "study.toml"

    @property
    def plan_file(self) -> Path:
        """The study as it was given last and the arms it makes: one file, so that they belong together."""
        return self.path / "plan.json"

    def source(self) -> str:
        """The text of the study file."""
        return self._plan().source

    def design(self) -> Design:
        """What the study file says."""
        return self._plan().design

    def write_plan(self, source: str, arms: tuple[Arm, ...], optuna: str | None = None) -> None:
        """Begin the study, or go on by another plan: keep the study file's text and the arms it makes."""
        storage.write_file(self.study_file, source)
        told = {"source": source, "arms": [arm.to_json() for arm in arms], "optuna": optuna}
        storage.write_json(self.plan_file, told)

    def optuna_versions(self) -> list[str]:
        """Those that drew arms, or stop them."""
        told = [self._plan().optuna, *(added.get("optuna") for added in self.added().values())]
        return sorted({version for version in told if version})

    def add_arm(self, number: int, arm: Arm, **about: Any) -> None:
        """Add an arm that a search found, or write it again with more seeds; under the study's lock."""
        storage.remove_leftovers(self.path / "arms")
        storage.write_json(self.path / "arms" / f"{number:05d}.json", arm.to_json() | about)

    def arms(self) -> tuple[Arm, ...]:
        """Those of the plan in its order, then those that a search added."""
        return (*self._plan().arms, *self.added_arms())

    def added_arms(self) -> tuple[Arm, ...]:
        """Those that a search added."""
        return tuple(self._added(file).arm for file in self._added_files())

    def added(self) -> dict[int, dict[str, Any]]:
        """What `add_arm` was told, by number."""
        return {int(file.stem): self._added(file).told for file in self._added_files()}

    def forget_added(self) -> None:
        """Let a search begin anew; its runs stay."""
        for file in self._added_files():
            storage.remove_file(file)

    def _added_files(self) -> list[Path]:
        return sorted((self.path / "arms").glob("[0-9]*.json"))  # and none that is being written, or was when killed

    def runs(self, arms: Sequence[Arm] | None = None) -> list[PlannedRun]:
        """Every run of some arms (None: of all).

        The first seed of all arms comes before the second: so that an unfinished study is a fair one.
        """
        by_arm = [arm.runs for arm in (self.arms() if arms is None else arms)]
        most = max(map(len, by_arm), default=0)
        return [runs[place] for place in range(most) for runs in by_arm if place < len(runs)]

    def run(self, name: str) -> RunDirectory:
        """A run's directory, whether it is there or not."""
        return RunDirectory(self.path / "runs" / name)

    def stranger(self, run: PlannedRun) -> str:
        """Why what lies under the name of a run does not count for it; nothing where it does, or nothing is there."""
        place = self.run(run.name)
        other = is_run(place.path) and run.difference(self._parse_once(place.config_file, lambda _: place.config()))
        return f"{place.path} is a run of other settings ({other}); move it away, and it is run again" if other else ""

    def strangers(self) -> list[str]:
        """Runs in the folder that are none of this study's: of earlier settings, or of another text."""
        known = {run.name for run in self.runs()}
        return sorted(
            place.name for place in (self.path / "runs").glob("*") if is_run(place) and place.name not in known
        )

    def log_file(self, name: str) -> Path:
        """What a run told while it trained."""
        return self.path / "logs" / f"{name}.log"

    @contextmanager
    def claimed(self, name: str) -> Iterator[None]:
        """Hold a run against everyone else who works at this study.

        Raises:
            LockedError: somebody holds it.
        """
        with storage.lock(self._claim_file(name), f"the run {name} of {self.path}"):
            yield

    def _claim_file(self, name: str) -> Path:
        return self.path / "claims" / f"{name}.lock"

    def is_claimed(self, name: str) -> bool:
        """Whether somebody works at the run now."""
        if not self._claim_file(name).exists():
            return False
        try:
            with self.claimed(name):
                return False
        except LockedError:
            return True

    def is_finished(self, name: str) -> bool:
        """Whether a run has its final numbers."""
        return self.run(name).evaluation_file.exists()

    def failure(self, name: str) -> dict[str, Any] | None:
        """What `record_failure` was told of a run; a damaged file says that it failed, if not why."""
        file = self.path / "failures" / f"{name}.json"
        if not file.exists():
            return None
        told = {"error": f"why is not known: {file} is damaged", "details": ""}
        with suppress(DataMismatchError):
            told |= self.read(file)
        return told

    def record_failure(self, name: str, error: str, details: str = "") -> None:
        """Keep why a run ended: one line, and what a developer wants to see."""
        storage.write_json(self.path / "failures" / f"{name}.json", {"error": error, "details": details})

    def forget_failures(self) -> None:
        """Let the runs that failed be tried again."""
        for file in (self.path / "failures").glob("[!.]*.json"):
            storage.remove_file(file)

    def stopped(self, arm: Arm) -> dict[str, Any] | None:
        """Why an arm was stopped, as `record_stopped` was told.

        None where it was not; or the study asks for another p by now, or has no more the arm that was better.
        """
        file = self._stopped_file(arm)
        if not file.exists():
            return None
        why, plan = self.read(file), self._plan()
        stop_worse, run = (why.pop(key, None) for key in ("stop_worse", "against_run"))
        return why if stop_worse == plan.design.stop_worse and (run is None or run in plan.runs) else None

    def record_stopped(self, arm: Arm, against: Arm | None = None, **why: Any) -> None:
        """Stop an arm for being worse than another one: none of its runs is begun from now on."""
        by = {"against": against.name, "against_run": against.runs[0].name} if against else {}
        told = {"arm": arm.name, **by, **why, "stop_worse": self.design().stop_worse}
        storage.write_json(self._stopped_file(arm), told)

    def _stopped_file(self, arm: Arm) -> Path:
        return self.path / "stopped" / f"{arm.runs[0].name}.json"

    def states(self, arms: Sequence[Arm] | None = None) -> dict[str, State]:
        """What has become of each run of some arms (None: of all), by its name."""
        arms = self.arms() if arms is None else arms
        stopped = {run.name for arm in arms if self.stopped(arm) for run in arm.runs}
        return {run.name: self._state(run.name, run.name in stopped) for run in self.runs(arms)}

    def _state(self, name: str, stopped: bool) -> State:
        if self.is_finished(name):
            return "done"
        if self.failure(name) is not None:
            return "failed"
        if self.is_claimed(name):
            return "running"
        return "stopped" if stopped else "to do"

    def _plan(self) -> _Plan:
        return self._parse_once(self.plan_file, self._parse_plan)

    def _parse_plan(self, file: Path) -> _Plan:
        told = self.read(file)
        source, planned = told.get("source"), told.get("arms")
        if not isinstance(planned, list):
            raise damage(file, "it lists no arms")
        if not isinstance(source, str):
            raise damage(file, "it has no source")
        try:
            design = parse_design(source, "its source")
        except ConfigError as error:
            raise damage(file, str(error)) from None
        arms = tuple(self._arm(arm, file) for arm in planned)
        runs = frozenset(run.name for arm in arms for run in arm.runs)
        return _Plan(source, design, arms, runs, told.get("optuna"))

    def _added(self, file: Path) -> _Added:
        return self._parse_once(file, self._parse_added)

    def _parse_added(self, file: Path) -> _Added:
        told = self.read(file)
        return _Added(told, self._arm(told, file))

    def _parse_once(self, file: Path, parse: Callable[[Path], Parsed]) -> Parsed:
        """What a file says, parsed again when it was written again: a plan may have thousands of arms."""
        version = None
        with suppress(OSError):
            found = file.stat()  # before it is read, so that a file which is replaced meanwhile is read once more
            version = (found.st_ino, found.st_mtime_ns, found.st_size)
        if version is None or version != self._parsed.get(file, (None,))[0]:
            self._parsed[file] = version, parse(file)
        parsed: Parsed = self._parsed[file][1]
        return parsed

    def _arm(self, told: Any, file: Path) -> Arm:
        try:
            arm = Arm.from_json(told)
            if {str(run.seed): run.name for run in arm.runs} != told["runs"]:
                raise damage(file, f"the runs of arm {arm.name!r} are not named by their settings")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise damage(file, error) from None
        except ConfigError as error:
            raise damage(file, str(error)) from None
        return arm

    def read(self, file: Path) -> dict[str, Any]:
        """What a JSON file of the study says."""
        value = None
        with suppress(ValueError, OSError):
            value = json.loads(file.read_bytes())
        if not isinstance(value, dict):
            raise damage(file, "it is not a JSON object")
        return value
