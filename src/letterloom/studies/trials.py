"""What drawing, searching and stopping arms share: Optuna itself, and the score of a run."""

import math
from contextlib import suppress
from typing import Any

from letterloom.errors import DataMismatchError, needing
from letterloom.studies.arms import PlannedRun
from letterloom.studies.design import Design
from letterloom.studies.directory import StudyDirectory


def require_optuna() -> Any:
    """The package, which is told to be quiet.

    Raises:
        ResourceError: it is not installed.
    """
    remedy = "`pip install 'letterloom[study]'` brings it"
    with needing("a study with drawn arms, a search or stop_worse", ("optuna",), remedy):
        import optuna
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def finished_nats(study: StudyDirectory, run: PlannedRun, design: Design) -> float | None:
    """What the design compares, in nats per character.

    None of a run that has no such finite number (yet), is damaged, or is one of other settings.
    """
    with suppress(DataMismatchError, KeyError, TypeError):
        nats = (study.run(run.name).evaluation() or {})[design.metric][design.protocol]["nats_per_character"]
        if isinstance(nats, float) and math.isfinite(nats) and not study.stranger(run):
            return nats
    return None
