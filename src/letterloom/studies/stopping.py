"""Stop arms that are clearly worse before all their seeds are run (Optuna's Wilcoxon pruner, seed by seed)."""

import warnings
from collections.abc import Mapping
from statistics import mean
from typing import Any

from scipy import stats

from letterloom.studies.arms import Arm
from letterloom.studies.design import Design
from letterloom.studies.directory import StudyDirectory
from letterloom.studies.trials import finished_nats, require_optuna

LEAST_SEEDS = 3  # of an arm that is stopped


def stop_worse(study: StudyDirectory) -> None:
    """Record which arms are worse than the best one at `Design.stop_worse`; their remaining runs are not begun.

    A one-sided Wilcoxon signed-rank test of an arm against the best one, paired by seed (Wilcoxon 1945). It is made
    anew with each seed, so more arms than its p says are stopped by chance. No p is below 1 / 2^seeds. The best one is
    that by the seeds which all arms with at least three have. The baseline is never stopped, nor an arm with fewer than
    three seeds; and none in a search, which has its own way to spend no seeds on what is worse.

    Raises:
        ResourceError: Optuna is not installed.
    """
    design = study.design()
    if design.stop_worse is None or design.design == "search":
        return
    optuna = require_optuna()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        pruner = optuna.pruners.WilcoxonPruner(p_threshold=design.stop_worse, n_startup_steps=LEAST_SEEDS)
    arms = study.arms()
    nats = {arm.name: _nats(study, arm, design) for arm in arms}
    best = _best(nats)
    if best is None:
        return
    for arm in arms:
        if arm.name in (best, design.baseline or arms[0].name) or study.stopped(arm) or not _has_more_runs(study, arm):
            continue
        seeds = sorted(set(nats[arm.name]) & set(nats[best]))
        ours, theirs = ({seed: nats[side][seed] for seed in seeds} for side in (arm.name, best))
        if len(seeds) >= LEAST_SEEDS and _is_worse(pruner, ours, theirs):
            against = next(other for other in arms if other.name == best)
            study.record_stopped(arm, against, p=_p(ours, theirs), seeds=len(seeds))


def _best(nats: Mapping[str, Mapping[int, float]]) -> str | None:
    """The arm with the lowest mean over the seeds that all have; of the arms with enough of them."""
    enough = {name: by_seed for name, by_seed in nats.items() if len(by_seed) >= LEAST_SEEDS}
    shared = set.intersection(*(set(by_seed) for by_seed in enough.values())) if enough else set()
    return min(enough, key=lambda name: mean(enough[name][seed] for seed in shared)) if shared else None


def _is_worse(pruner: Any, ours: Mapping[int, float], theirs: Mapping[int, float]) -> bool:
    """Whether the pruner would stop the first of two arms that have the same seeds."""
    optuna = require_optuna()
    create_trial, running = optuna.trial.create_trial, optuna.trial.TrialState.RUNNING
    source = optuna.create_study()
    source.add_trial(create_trial(value=mean(theirs.values()), intermediate_values=dict(theirs)))
    return bool(pruner.prune(source, create_trial(state=running, intermediate_values=dict(ours))))


def _p(ours: Mapping[int, float], theirs: Mapping[int, float]) -> float:
    """What the pruner holds against its threshold, and does not tell."""
    differences = [ours[seed] - theirs[seed] for seed in ours]
    return float(stats.wilcoxon(differences, alternative="greater", zero_method="zsplit").pvalue)


def _nats(study: StudyDirectory, arm: Arm, design: Design) -> dict[int, float]:
    by_seed = {run.seed: finished_nats(study, run, design) for run in arm.runs}
    return {seed: nats for seed, nats in by_seed.items() if nats is not None}


def _has_more_runs(study: StudyDirectory, arm: Arm) -> bool:
    return any(not study.is_finished(run.name) and study.failure(run.name) is None for run in arm.runs)
