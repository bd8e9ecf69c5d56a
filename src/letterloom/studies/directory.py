"""The folder of a study: its plan, its runs, and what became of each. The folder is the queue and the memory of it all.

study.toml     the study file as it was given last
plan.json      the arms, resolved, with the names of their runs
arms/          arms that a search added, one JSON file each
runs/NAME/     ordinary run directories, named by the hash of their settings and text
claims/        a lock for each run: whoever holds it works at that run
failures/      NAME.json for each run that ended with an error
stopped/       one JSON file for each arm that was stopped before all its seeds were run
logs/          what each run told while it trained
report.html, report.md, report.json and the pictures
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from letterloom import storage
from letterloom.errors import ConfigError, LockedError, RunError, nearest
from letterloom.runs.directory import RunDirectory, damage, is_run
from letterloom.studies.arms import Arm, PlannedRun
from letterloom.studies.design import Design, parse_design

State = Literal["done", "running", "failed", "stopped", "to do"]


@dataclass(frozen=True)
class StudyDirectory:
    """Paths and small files of one study.

    What reads a file raises DataMismatchError, naming it, where it is damaged.
    """

    path: Path

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.path.resolve().name

    @property
    def study_file(self) -> Path:
        """The study as it was given last."""
        return self.path / "study.toml"

    @property
    def plan_file(self) -> Path:
        """Its arms and the names of their runs."""
        return self.path / "plan.json"

    def design(self) -> Design:
        """What the study file says."""
        try:
            return parse_design(self.study_file.read_text(encoding="utf-8"), str(self.study_file))
        except (OSError, UnicodeDecodeError, ConfigError) as error:
            raise damage(self.study_file, str(error)) from None

    def write_plan(self, source: str, arms: tuple[Arm, ...]) -> None:
        """Begin the study, or go on by another plan: keep the study file's text and the arms it makes."""
        storage.write_file(self.study_file, source)
        storage.write_json(self.plan_file, {"arms": [arm.to_json() for arm in arms]})

    def add_arm(self, number: int, arm: Arm, **about: Any) -> None:
        """Add an arm that a search found, or write it again with more seeds."""
        storage.write_json(self.path / "arms" / f"{number:05d}.json", arm.to_json() | about)

    def arms(self) -> tuple[Arm, ...]:
        """Those of the plan in its order, then those that a search added."""
        planned = self._read(self.plan_file).get("arms")
        if not isinstance(planned, list):
            raise damage(self.plan_file, "it lists no arms")
        return (*(self._arm(told, self.plan_file) for told in planned), *self.added_arms())

    def added_arms(self) -> tuple[Arm, ...]:
        """Those that a search added."""
        return tuple(self._arm(self._read(file), file) for file in self._added_files())

    def added(self) -> dict[int, dict[str, Any]]:
        """What `add_arm` was told, by number."""
        return {int(file.stem): self._read(file) for file in self._added_files()}

    def forget_added(self) -> None:
        """Let a search begin anew; its runs stay."""
        for file in self._added_files():
            storage.remove_file(file)

    def _added_files(self) -> list[Path]:
        return sorted((self.path / "arms").glob("*.json"))

    def runs(self) -> list[PlannedRun]:
        """Every run, the first seed of all arms before the second: so that an unfinished study is a fair one."""
        by_arm = [arm.runs for arm in self.arms()]
        most = max(map(len, by_arm), default=0)
        return [runs[place] for place in range(most) for runs in by_arm if place < len(runs)]

    def run(self, name: str) -> RunDirectory:
        """A run's directory, whether it is there or not."""
        return RunDirectory(self.path / "runs" / name)

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
        with storage.lock(self.path / "claims" / f"{name}.lock", f"the run {name} of {self.path}"):
            yield

    def is_claimed(self, name: str) -> bool:
        """Whether somebody works at the run now."""
        try:
            with self.claimed(name):
                return False
        except LockedError:
            return True

    def is_finished(self, name: str) -> bool:
        """Whether a run has its final numbers."""
        return self.run(name).evaluation_file.exists()

    def failure(self, name: str) -> dict[str, Any] | None:
        """What `record_failure` was told of a run."""
        return self._read_if_there(self.path / "failures" / f"{name}.json")

    def record_failure(self, name: str, error: str, details: str = "") -> None:
        """Keep why a run ended: one line, and what a developer wants to see."""
        storage.write_json(self.path / "failures" / f"{name}.json", {"error": error, "details": details})

    def forget_failures(self) -> None:
        """Let the runs that failed be tried again."""
        for file in (self.path / "failures").glob("*.json"):
            storage.remove_file(file)

    def stopped(self, arm: Arm) -> dict[str, Any] | None:
        """Why an arm was stopped, as `record_stopped` was told."""
        return self._read_if_there(self._stopped_file(arm))

    def record_stopped(self, arm: Arm, **why: Any) -> None:
        """Stop an arm: none of its runs is begun from now on."""
        storage.write_json(self._stopped_file(arm), {"arm": arm.name, **why})

    def _stopped_file(self, arm: Arm) -> Path:
        return self.path / "stopped" / f"{arm.runs[0].name}.json"

    def states(self) -> dict[str, State]:
        """What has become of each run, by its name."""
        stopped = {run.name for arm in self.arms() if self.stopped(arm) for run in arm.runs}
        return {run.name: self._state(run.name, run.name in stopped) for run in self.runs()}

    def _state(self, name: str, stopped: bool) -> State:
        if self.is_finished(name):
            return "done"
        if self.failure(name):
            return "failed"
        if self.is_claimed(name):
            return "running"
        return "stopped" if stopped else "to do"

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

    def _read_if_there(self, file: Path) -> dict[str, Any] | None:
        return self._read(file) if file.exists() else None

    def _read(self, file: Path) -> dict[str, Any]:
        value = None
        with suppress(ValueError, OSError):
            value = json.loads(file.read_bytes())
        if not isinstance(value, dict):
            raise damage(file, "it is not a JSON object")
        return value


def find_study(name: str) -> StudyDirectory:
    """The study in a folder, or of that name in `studies`.

    Raises:
        RunError: there is none.
    """
    places = [Path(name), Path("studies") / name]
    for place in places:
        if (place / "plan.json").is_file():
            return StudyDirectory(place)
    there = [found.parent.name for found in Path("studies").glob("*/plan.json")]
    told = f"there is no study in {places[0]} or {places[1]}{nearest(name, there)}"
    raise RunError(f"{told}; begin one with `letterloom study run NAME|FILE`")
