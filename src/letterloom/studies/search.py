"""Draw arms from factors: evenly for a random study, by what the arms before have shown for a search.

A search has no memory but the study's folder: an Optuna study is made anew from it for each draw, so that any number of
workers, on several machines, search together, and a killed search goes on.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple, get_args

from letterloom.config import RunConfig
from letterloom.errors import ConfigError, DataMismatchError
from letterloom.studies.arms import Arm, build_arm
from letterloom.studies.design import Design, Factor
from letterloom.studies.directory import StudyDirectory
from letterloom.studies.trials import finished_nats, require_optuna
from letterloom.text.encoding import open_corpus

_DRAWS = 200  # in a row that give nothing new until there is taken to be nothing more
_WAIT_SECONDS = 600.0  # while another worker draws, which opens a text
log = logging.getLogger("letterloom")


class _Trial(NamedTuple):
    """An arm that the search added, and what it came from."""

    number: int
    arm: Arm
    params: Mapping[str, Any]  # the level's name, or the number, by factor
    nats: float | None  # per character, of its first seed
    failed: bool
    optuna: str | None  # the version that drew it


def draw(design: Design) -> list[dict[str, Any]]:
    """Settings by section of `design.trials` different arms, drawn evenly; of fewer where there are no more.

    The first seed of the design seeds the draw. What cannot be built is drawn again.

    Raises:
        ConfigError: a factor's range is none of whole numbers or is of a setting that is no number; or nothing that is
            drawn can be built.
        ResourceError: Optuna is not installed.
    """
    sampler = require_optuna().samplers.RandomSampler(seed=design.seeds[0])
    drawer = _Drawer(design)
    drawn: list[dict[str, Any]] = []
    while len(drawn) < design.trials and (found := drawer.new_arm(len(drawn) + 1, sampler)):
        drawn.append(drawer.settings(found[1]))
    if len(drawn) < design.trials:
        drawer.tell_end(len(drawn))
    drawer.tell_refused()
    return drawn


def extend(study: StudyDirectory) -> bool:
    """Add the next arm of a search, with the first seed; or, once all are in, further seeds of the best ones.

    The next is drawn by a tree-structured Parzen estimator (Bergstra et al. 2011), which takes arms that others still
    run for bad ones, and so does not draw beside them ("constant liar", Ginsbourger et al. 2010).

    The best of many draws owes part of its lead to the luck of its seed. So `design.confirm` of them are run with every
    seed, and marked with `confirmed`: statistics are to leave out the first seed of these, which the search went by.

    Returns:
        Whether there is something new to run.

    Raises:
        ConfigError: as `draw`.
        ResourceError: Optuna is not installed.
        LockedError: another worker does not get done with its draw.
    """
    optuna = require_optuna()
    samplers = optuna.samplers
    with study.locked(_WAIT_SECONDS):
        design = study.design()
        trials = _read_trials(study, design)
        drawer = _Drawer(design, trials)
        if len(trials) < design.trials:
            number = max((trial.number for trial in trials), default=0) + 1
            found = drawer.new_arm(number, samplers.TPESampler(seed=number, constant_liar=True), draws=1)
            found = found or drawer.new_arm(number, samplers.RandomSampler(seed=number))  # it was known, or is refused
            if found:
                arm, params = found
                if trials and trials[0].arm.text_sha256 != arm.text_sha256:
                    told = f"the text of the search {study.path} has changed since its first trial"
                    raise DataMismatchError(f"{told}; bring it back, or begin another study with --out")
                study.add_arm(number, arm, params=params, optuna=optuna.__version__)
                drawer.tell_refused()
                return True
        if any(trial.nats is None and not trial.failed for trial in trials):
            return False
        if len(trials) < design.trials:
            drawer.tell_end(len(trials))
        return _confirm(study, design, trials)


def _confirm(study: StudyDirectory, design: Design, trials: Sequence[_Trial]) -> bool:
    """Give the best arms every seed; the one that the search went by stays the first."""
    ranked = sorted((trial.nats, trial.number, trial) for trial in trials if trial.nats is not None)
    added = False
    for _, number, trial in ranked[: design.confirm]:
        searched = trial.arm.seeds[0]
        seeds = (searched, *(seed for seed in design.seeds if seed != searched))
        if trial.arm.seeds != seeds:
            found = replace(trial.arm, seeds=seeds)
            study.add_arm(number, found, params=trial.params, optuna=trial.optuna, confirmed=True)
            added = True
    return added


def _read_trials(study: StudyDirectory, design: Design) -> list[_Trial]:
    trials = []
    for (number, told), arm in zip(study.added().items(), study.added_arms(), strict=True):
        run = arm.runs[0]
        nats = finished_nats(study, run, design)
        failed = nats is None and (study.is_finished(run.name) or study.failure(run.name) is not None)
        trials.append(_Trial(number, arm, told.get("params", {}), nats, failed, told.get("optuna")))
    return trials


class _Drawer:
    """Draws arms that are not there yet from the factors of a design, by an Optuna study."""

    def __init__(self, design: Design, trials: Sequence[_Trial] = ()) -> None:
        self._design, self._source = design, require_optuna().create_study()
        self._levels = {f.name: {level.name: level for level in f.levels} for f in design.read_factors()}
        self._space = {factor.name: _distribution(factor) for factor in design.read_factors()}
        self._open_text = cache(open_corpus)
        self._refused: list[ConfigError] = []
        self._seen = {trial.arm.runs[0].name for trial in trials}
        for trial in trials:
            self._learn(trial)

    def new_arm(self, number: int, sampler: Any, draws: int = _DRAWS) -> tuple[Arm, dict[str, Any]] | None:
        """An arm and what was drawn for it; None where so many draws in a row give nothing new."""
        self._source.sampler = sampler
        for _ in range(draws):
            trial = self._source.ask(self._space)
            self._source.tell(trial, state=require_optuna().trial.TrialState.FAIL)  # what it gives, the folder will say
            layers, seeds = [self.settings(trial.params)], self._design.seeds[:1]
            try:
                arm = build_arm(self._design, f"{self._word} {number}", layers, seeds, self._open_text)
            except ConfigError as error:
                self._refused.append(error)
                continue
            if arm.runs[0].name not in self._seen:
                self._seen.add(arm.runs[0].name)
                return arm, trial.params
        return None

    def tell_refused(self) -> None:
        """Say what was drawn again, since a value that nothing goes with would be missing without a word."""
        if self._refused:
            log.warning("%d draws cannot be built, so others were made; %s", len(self._refused), self._refused[-1])

    def tell_end(self, there: int) -> None:
        """Say why there are no more arms.

        Raises:
            ConfigError: there are none at all.
        """
        if not there:
            raise ConfigError(
                f"none of {_DRAWS} draws gives an arm that can be built; the last one: {self._refused[-1]}"
            )
        told = "%d of %d trials: everything else that was drawn is one of them, or cannot be built"
        log.warning(told, there, self._design.trials)

    def settings(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """What was drawn, as settings by section."""
        merged: dict[str, Any] = {}
        for name, value in params.items():
            level, (setting, _, key) = self._levels[name].get(value), name.partition(".")
            for section, values in (level.settings if level else {setting: {key: value}}).items():
                merged[section] = {**merged.get(section, {}), **values} if isinstance(values, Mapping) else values
        return merged

    @property
    def _word(self) -> str:
        return "trial" if self._design.design == "search" else "draw"

    def _learn(self, trial: _Trial) -> None:
        """Show a trial to the Optuna study; one that other factors or ranges gave tells nothing."""
        create_trial, states = require_optuna().trial.create_trial, require_optuna().trial.TrialState
        state = states.FAIL if trial.failed else states.RUNNING if trial.nats is None else states.COMPLETE
        with suppress(ValueError):
            told = create_trial(state=state, value=trial.nats, params=dict(trial.params), distributions=self._space)
            self._source.add_trial(told)


def _distribution(factor: Factor) -> Any:
    """Where Optuna draws a factor from.

    Raises:
        ConfigError: see `draw`.
    """
    distributions = require_optuna().distributions
    if factor.range is None:
        return distributions.CategoricalDistribution(list(dict.fromkeys(level.name for level in factor.levels)))
    section, _, key = factor.name.partition(".")
    settings: Any = RunConfig.model_fields[section].annotation
    kind = settings.model_fields[key].annotation
    kinds = get_args(kind) or (kind,)  # of those that may be absent, more than one
    low, high, log_scale = factor.range.low, factor.range.high, factor.range.log
    if float in kinds:
        return distributions.FloatDistribution(low, high, log=log_scale)
    if int not in kinds:
        raise ConfigError(f"factors.{factor.name} has a range, but takes no numbers; list its values")
    if math.ceil(low) > math.floor(high):
        raise ConfigError(f"factors.{factor.name} has no whole number between {low:g} and {high:g}; widen its range")
    return distributions.IntDistribution(math.ceil(low), math.floor(high), log=log_scale)
