"""What a study found: the runs of each arm, and what the finished ones measured."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from letterloom import accounting
from letterloom.errors import DataMismatchError, RunError
from letterloom.reporting.reading import SPLITS, RunRecord, Score, read_run
from letterloom.studies.arms import Arm, PlannedRun
from letterloom.studies.design import Design
from letterloom.studies.directory import State, StudyDirectory
from letterloom.studies.looks import earlier_looks
from letterloom.studies.scaling import Point, Scaling, fit_scaling
from letterloom.studies.statistics import Analysis, analyse


@dataclass(frozen=True)
class Measured:
    """A finished run and its score by the study's metric and protocol."""

    record: RunRecord
    score: Score

    @property
    def seconds(self) -> float:
        """Of training."""
        return self.record.progress.seconds if self.record.progress else 0.0

    @property
    def steps(self) -> int:
        """Updates made."""
        return self.record.progress.step if self.record.progress else 0

    @property
    def characters(self) -> int:
        """Trained on, repetitions included."""
        return self.record.progress.characters if self.record.progress else 0

    @property
    def text(self) -> Hashable:
        """What tells the scored text from others: its length, and of a part of a text, what it depends on.

        By `sliding`, where `final_eval_characters` says so, and of what was trained on a part is scored, in windows
        spread by the context.
        """
        score, config = self.score, self.record.config
        blocks = (s for s in self.record.scores if (s.split, s.protocol) == ("held out", "blocks"))
        whole = score.split == "held out" and config.training.final_eval_characters is None
        if whole and score.characters in (s.characters for s in blocks):
            return score.characters  # into whatever stretches a tokenizer cuts it
        trained = () if score.split == "held out" else (config.text.train_share, config.text.replay_share)
        return score.characters, score.context_length, tuple(size for _, size in score.parts), *trained

    @property
    def flops(self) -> float:
        """Operations of all forward and backward passes, by `accounting`."""
        model, sequences = self.record.config.model, self.record.config.training.batch_size * self.steps
        return float(sequences * accounting.training_flops(model, self.record.vocab_size, model.context_length))


@dataclass(frozen=True)
class RunResult:
    """A run of the plan and what became of it."""

    planned: PlannedRun
    state: State
    measured: Measured | None = None  # None unless it is done and whole
    error: str | None = None  # why it failed, or why what it left does not count


@dataclass(frozen=True)
class ArmResult:
    """An arm and its runs, in the order of the seeds."""

    arm: Arm
    runs: tuple[RunResult, ...]
    stopped: Mapping[str, Any] | None = None  # why it was, as `StudyDirectory.record_stopped` was told
    searched: bool = False  # whether a search found it
    confirmed: bool = False  # whether a search chose it, to be run with seeds that it did not look at

    @property
    def name(self) -> str:
        """The arm's."""
        return self.arm.name

    @cached_property
    def measured(self) -> dict[int, Measured]:
        """The finished runs by seed."""
        return {run.planned.seed: run.measured for run in self.runs if run.measured}

    @cached_property
    def counted(self) -> dict[int, Measured]:
        """The finished runs that statistics count: of an arm that a search chose by its first seed, the others."""
        return {seed: run for seed, run in self.measured.items() if not (self.confirmed and seed == self.arm.seeds[0])}

    @property
    def nats(self) -> dict[int, float]:
        """Nats per character by seed, of the runs that count."""
        return {seed: run.score.nats for seed, run in self.counted.items()}


@dataclass(frozen=True)
class Results:
    """All that the files of a study tell."""

    study: StudyDirectory
    design: Design
    arms: tuple[ArmResult, ...]
    baseline: str | None  # the arm that the others are held against; None while there is none
    analysis: Analysis | None  # None while the baseline has no finished run
    scaling: Scaling | None  # where the design asks for it
    strangers: tuple[str, ...]  # runs in the folder that are none of this study's
    earlier_looks: int  # reports on these arms by other seeds

    @property
    def compared(self) -> tuple[ArmResult, ...]:
        """The arms that statistics are about: once a search has chosen, those that it chose."""
        return _compared(self.arms)

    @property
    def trials(self) -> tuple[ArmResult, ...]:
        """The arms that a search tried, best first; those without a number last."""
        return tuple(sorted((arm for arm in self.arms if arm.searched), key=_searched_nats))

    @property
    def measured(self) -> list[Measured]:
        """Every finished run."""
        return [run for arm in self.arms for run in arm.measured.values()]


def read_results(study: StudyDirectory) -> Results:
    """Read a study's folder, finished or not.

    Raises:
        DataMismatchError: a file of the study itself is damaged; a run with a damaged file is left out, and told.
    """
    design, planned = study.design(), study.arms()
    states = study.states(planned)  # of these: a search that goes on may add more meanwhile
    confirmed = {told["name"]: bool(told.get("confirmed")) for told in study.added().values()}
    arms = tuple(
        ArmResult(
            arm,
            tuple(_read(study, arm, run, states[run.name], design) for run in arm.runs),
            stopped=study.stopped(arm),
            searched=arm.name in confirmed,
            confirmed=confirmed.get(arm.name, False),
        )
        for arm in planned
    )
    compared = _compared(arms)
    baseline = design.baseline or _first(compared)
    scaling = fit_scaling(_points(compared)) if design.fit == "scaling" else None
    looks = earlier_looks(study, [arm.arm for arm in compared], design.seeds)
    analysis = _analyse(compared, baseline, looks)
    return Results(study, design, arms, baseline, analysis, scaling, tuple(study.strangers()), looks)


def _read(study: StudyDirectory, arm: Arm, run: PlannedRun, state: State, design: Design) -> RunResult:
    if state != "done":
        failure = study.failure(run.name)
        return RunResult(run, state, error=str(failure.get("error")) if state == "failed" and failure else None)
    place = study.run(run.name)
    try:
        record = read_run(place.path)
    except (DataMismatchError, RunError) as error:
        return RunResult(run, state, error=str(error))
    compared = (SPLITS[design.metric], design.protocol)
    score = next((s for s in record.scores if (s.split, s.protocol) == compared), None)
    if stranger := study.stranger(run):
        return RunResult(run, state, error=stranger)
    if record.text_sha256 != arm.text_sha256:
        return RunResult(run, state, error=f"{place.path} is a run of another text; move it away, and it is run again")
    if score is None or not math.isfinite(score.nats):
        told = f"{place.evaluation_file} has no finite score of the {compared[0]} text by protocol {compared[1]}"
        return RunResult(run, state, error=told)
    return RunResult(run, state, Measured(record, score))


def _compared(arms: Sequence[ArmResult]) -> tuple[ArmResult, ...]:
    return tuple(arm for arm in arms if arm.confirmed) or tuple(arms)


def _first(arms: Sequence[ArmResult]) -> str | None:
    """The first arm, or the best one by the seed that its search looked at."""
    return min(arms, key=_searched_nats).name if arms else None


def _searched_nats(arm: ArmResult) -> float:
    """What a search went by: the score of the first seed; none of an arm that was planned."""
    first = arm.measured.get(arm.arm.seeds[0]) if arm.searched else None
    return first.score.nats if first else math.inf


def _analyse(arms: Sequence[ArmResult], baseline: str | None, looks: int) -> Analysis | None:
    nats = {arm.name: arm.nats for arm in arms if arm.nats}
    if baseline is None or baseline not in nats:
        return None
    parts = {
        arm.name: {seed: np.array(run.score.parts) for seed, run in arm.counted.items() if run.score.parts}
        for arm in arms
    }
    texts = {arm.name: {seed: run.text for seed, run in arm.counted.items()} for arm in arms}
    return analyse(nats, baseline, parts, texts, looks)


def _points(arms: Sequence[ArmResult]) -> list[Point]:
    return [
        Point(run.record.parameters, run.characters, run.score.nats) for arm in arms for run in arm.counted.values()
    ]
