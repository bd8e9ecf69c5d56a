"""Keep workers at a study until it is done; needs no torch, which the workers alone import.

What there is to do, and what was done, stands in the study's folder: the supervisor looks there, and starts workers
while there is more to do than they have begun. So it does not matter who else is at the same study, or what is killed.
"""

import json
import os
import signal
import statistics
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from letterloom import storage
from letterloom.errors import Interrupted, LetterloomError, LockedError, ResourceError
from letterloom.runs.directory import RunDirectory
from letterloom.runs.finding import is_run
from letterloom.studies.directory import State, StudyDirectory
from letterloom.studies.engines import Ending, Engine, Worker, holding_file
from letterloom.training.signals import StopSignals

LOOK_SECONDS = 0.2  # between two looks at the workers
TELL_SECONDS = 1.0  # between two looks at the study
LOOK_SHARE = 0.02  # of the time that looking at a large study may take
MOST_DEATHS = 2  # of the workers at a run, until it counts as failed
MOST_EARLY_DEATHS = 3  # of workers that had not begun a run, one after the other
TAIL = 4096  # bytes at the end of a metrics log, which hold its last step


@dataclass(frozen=True)
class Standing:
    """Where a study is."""

    states: Mapping[str, State]  # by run
    progress: Mapping[str, float]  # share done, of the runs that somebody is at
    workers: int  # of ours that live
    elsewhere: int  # runs that others are at
    seconds_left: float | None  # until all is done, as far as can be told
    message: str  # what has happened to a worker, if anything has

    @property
    def counts(self) -> dict[State, int]:
        """How many runs are in each state."""
        return dict(Counter(self.states.values()))


def supervise(study: StudyDirectory, engine: Engine, workers: int, tell: Callable[[Standing], None]) -> None:
    """Work at a study with so many workers, until every run is done, failed or stopped.

    A worker that dies is replaced, and its run taken up from its last checkpoint; the run at which two have died counts
    as failed. Runs that others are at are waited for, and taken over where they are let go of.

    Args:
        study: What is to be done.
        engine: Where; it is not closed.
        workers: How many at the same time.
        tell: Is told where the study stands, about once a second.

    Raises:
        DiskFullError: there is no space left.
        Interrupted: SIGINT or SIGTERM came; the workers have saved and ended. A second signal kills them.
        ResourceError: workers die before they begin.
        LetterloomError: what no worker can go on with, such as a damaged file of the study.
    """
    crew = _Crew(study, engine, workers)
    with StopSignals() as signals:
        try:
            _until_done(study, crew, tell, signals)
        finally:
            unsaved = crew.end()
    if unsaved is not None:
        raise unsaved
    if signals.received is not None:
        counts = Counter(study.states().values())
        by, done = signal.Signals(signals.received).name, f"{counts['done']:,} of {counts.total():,}"
        told = f"stopped by {by} with {done} runs done"
        raise Interrupted(f"{told}; go on with `letterloom study resume {study.path}`", signals.received)


def _until_done(study: StudyDirectory, crew: "_Crew", tell: Callable[[Standing], None], signals: StopSignals) -> None:
    searches = study.design().design == "search"
    estimate, look_at = _Estimate(study), 0.0
    while signals.received is None:
        message = crew.look()
        if message is not None or time.monotonic() >= look_at:
            began = time.monotonic()
            idle = crew.idle()  # before the states: a run that one of these has begun since counts twice, not never
            states = study.states()
            free = [name for name, state in states.items() if state == "to do" and _is_free(study, name)]
            counts = Counter(states.values())
            taken = counts["running"] + counts["to do"] - len(free)
            elsewhere = max(0, taken - len(crew.workers))
            over = counts["done"] + counts["failed"]
            more = searches and crew.asked_at != over  # each run that ends may make a search go on
            crew.start((crew.most if more else len(free)) - idle, over)
            tell(estimate.standing(states, len(crew.workers), elsewhere, message or ""))
            if not (crew.workers or elsewhere or free or more):
                return
            look_at = time.monotonic() + max(TELL_SECONDS, (time.monotonic() - began) / LOOK_SHARE)
        time.sleep(LOOK_SECONDS)


def _is_free(study: StudyDirectory, name: str) -> bool:
    """Whether nobody is at a run, nor trains it by hand."""
    run = study.run(name)
    if not is_run(run.path):
        return True
    with suppress(LockedError), study.claimed(name), run.locked():
        return True
    return False


class _Crew:
    """The workers that this supervisor has started."""

    def __init__(self, study: StudyDirectory, engine: Engine, most: int) -> None:
        self.workers: dict[str, Worker] = {}
        self.most = most
        self.asked_at: int | None = None  # how many runs were over when a worker began that found nothing to do
        self._begun_at: dict[str, int] = {}  # how many were, by worker
        self._study, self._engine = study, engine
        self._name, self._started = uuid.uuid4().hex[:8], 0
        self._deaths: Counter[str] = Counter()  # by run
        self._early_deaths = 0

    def idle(self) -> int:
        """How many workers hold no run: they have just begun, or are between two."""
        return sum(self._held_by(name) is None for name in self.workers)

    def start(self, wanted: int, over: int) -> None:
        """Start so many workers, or as many as are still allowed, at a study of which so many runs are over."""
        for _ in range(min(wanted, self.most - len(self.workers))):
            self._started += 1
            name = f"{self._name}-{self._started}"
            self.workers[name], self._begun_at[name] = self._engine.start(name), over

    def look(self) -> str | None:
        """See which workers have ended, and tell what has happened to them; None where none has.

        Raises:
            LetterloomError: what a worker ended with, where no other could go on.
        """
        told = [self._explain(ending, held) for ending, held in self._ended()]
        return "; ".join(filter(None, told)) if told else None

    def end(self) -> LetterloomError | None:
        """Ask every worker to save and end, and wait for that; a signal in the meantime kills them.

        Returns:
            Why one of them could not.
        """
        asked = {name: self._held_by(name) for name in self.workers}
        for worker in self.workers.values():
            worker.stop()
        unsaved = None
        with StopSignals() as signals:
            while self.workers:
                for name, worker in self.workers.items():
                    held = self._held_by(name)
                    if signals.received is not None:
                        worker.kill()
                    elif held not in (None, asked[name]):  # it was saving its last step, when no signal is heeded
                        asked[name] = held
                        worker.stop()
                time.sleep(LOOK_SECONDS)
                for ending, _ in self._ended():
                    if not isinstance(ending.error, Interrupted):
                        unsaved = ending.error or unsaved
        return unsaved

    def _ended(self) -> list[tuple[Ending, str | None]]:
        """The workers that have ended since the last time: how, and which run they left."""
        ended = []
        for name, worker in list(self.workers.items()):
            ending = worker.ended()
            if ending is not None:
                ended.append((ending, self._held_by(name)))
                storage.remove_file(holding_file(self._study.path, name))
                del self.workers[name]
                begun_at = self._begun_at.pop(name)
                if ending == Ending():
                    self.asked_at = begun_at  # and not at more: what ended since, it may not have seen
        return ended

    def _explain(self, ending: Ending, held: str | None) -> str:
        """What an ending means for the study, in words."""
        if ending.error is not None and not isinstance(ending.error, Interrupted):
            raise ending.error
        if not ending.killed:
            self._early_deaths = 0
            return ""
        if held is None:
            return self._died_early(ending.killed)
        self._early_deaths = 0
        self._deaths[held] += 1
        if self._deaths[held] < MOST_DEATHS:
            return f"the worker at {held} died ({ending.killed}); another one goes on from its last checkpoint"
        told = f"its process was killed twice ({ending.killed})"
        advice = "where memory ran out, make the model or the batch smaller, or use fewer workers"
        self._study.record_failure(held, f"{told}; {advice}")
        return f"the run {held} failed: {told}"

    def _died_early(self, by: str) -> str:
        self._early_deaths += 1
        if self._early_deaths == MOST_EARLY_DEATHS:
            told = f"{MOST_EARLY_DEATHS} workers in a row died before they had begun a run ({by})"
            raise ResourceError(f"{told}; see what they printed, and how much memory is free")
        return f"a worker died ({by}); another one takes its place"

    def _held_by(self, worker: str) -> str | None:
        with suppress(OSError, ValueError, KeyError):
            return str(json.loads(holding_file(self._study.path, worker).read_bytes())["run"])
        return None


class _Estimate:
    """How long a study will take, from the runs that are done and those under way."""

    def __init__(self, study: StudyDirectory) -> None:
        self._study = study
        self._seconds: dict[str, float] = {}  # that a run took

    def standing(self, states: Mapping[str, State], workers: int, elsewhere: int, message: str) -> Standing:
        """Where the study is now."""
        steps = {name: _last_step(self._study.run(name)) for name, state in states.items() if state == "running"}
        progress = {name: step.progress if step else 0.0 for name, step in steps.items()}
        for name, state in states.items():
            if state == "done" and name not in self._seconds:
                self._seconds[name] = _seconds(self._study.run(name))
        seconds = [taken for taken in self._seconds.values() if taken] or [
            step.seconds / step.progress for step in steps.values() if step and step.progress
        ]
        left = [1.0] * sum(state == "to do" for state in states.values()) + [1.0 - share for share in progress.values()]
        several = max(1, min(len(left), max(workers, len(steps))))
        seconds_left = sum(left) / several * statistics.fmean(seconds) if seconds else None
        return Standing(states, progress, workers, elsewhere, seconds_left, message)


def _seconds(run: RunDirectory) -> float:
    """What a finished run took: its training, and its end; 0 where its files do not tell."""
    step = _last_step(run)
    with suppress(OSError):
        end = run.evaluation_file.stat().st_mtime - run.metrics_file.stat().st_mtime
        return step.seconds + max(0.0, end) if step else 0.0
    return 0.0


class _Step(NamedTuple):
    seconds: float
    progress: float  # share of the training


def _last_step(run: RunDirectory) -> _Step | None:
    """The newest step of a training, without reading the log from its beginning; None where that does not tell."""
    with suppress(OSError, ValueError, KeyError, TypeError), run.metrics_file.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
        for line in reversed(file.read().split(b"\n")[:-1]):  # after the last newline: nothing, or a torn line
            event = json.loads(line)
            if event["kind"] == "train":
                return _Step(float(event["seconds"]), float(event["progress"]))
    return None
