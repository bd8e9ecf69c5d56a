"""What drawing, searching and stopping arms share: Optuna itself, and the score of a run."""

import math
from typing import Any

from letterloom.errors import ResourceError
from letterloom.studies.directory import StudyDirectory


def require_optuna() -> Any:
    """The package, which is told to be quiet.

    Raises:
        ResourceError: it is not installed.
    """
    try:
        import optuna
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        needed = "drawn arms, searches and stop_worse need optuna"
        raise ResourceError(f"{needed}; `pip install 'letterloom[study]'` brings it") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def finished_nats(study: StudyDirectory, run: str, protocol: str) -> float | None:
    """Nats per character of the held-out text; None of a run that has no such finite number (yet)."""
    score = ((study.run(run).evaluation() or {}).get("validation") or {}).get(protocol) or {}
    nats = score.get("nats_per_character")
    return nats if isinstance(nats, float) and math.isfinite(nats) else None
