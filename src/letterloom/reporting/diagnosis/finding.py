"""What a diagnosis says of one failure mode, and the settings that help against it."""

import math
import shlex
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from letterloom.config import RunConfig

Evidence = dict[str, float | int | None]
Verdict = Literal["found", "not found", "not measured"]


@dataclass(frozen=True)
class Finding:
    """One failure mode: whether the run shows it, why, and what to do."""

    failure: str
    verdict: Verdict
    reason: str  # the evidence in a sentence; of "not measured", what was missing
    evidence: Evidence = field(default_factory=dict)  # its figures, units in their names
    remedy: str | None = None  # of what was found; settings between backticks

    def to_json(self) -> dict[str, Any]:
        """What `report --json` prints; a figure that is not finite is null."""
        finite = {
            name: value if value is None or math.isfinite(value) else None for name, value in self.evidence.items()
        }
        return asdict(self) | {"evidence": finite}


def judged(found: bool, failure: str, reason: str, evidence: Evidence, remedy: str) -> Finding:
    """A finding of what could be measured; the remedy counts where the failure was found."""
    return Finding(failure, "found" if found else "not found", sentence(reason), evidence, remedy if found else None)


def not_measured(failure: str, reason: str) -> Finding:
    """A finding of what could not be measured, and why."""
    return Finding(failure, "not measured", sentence(reason))


def sentence(words: str) -> str:
    """The words with a capital letter and a full stop."""
    return f"{words[:1].upper()}{words[1:].rstrip('.')}."


def calmer(config: RunConfig) -> str:
    """Settings with which each step is smaller."""
    optimizer = config.optimizer
    clip = 1.0 if optimizer.gradient_clip is None else optimizer.gradient_clip / 2
    rates = {"learning-rate": optimizer.learning_rate}
    if optimizer.name == "muon":
        rates["muon-learning-rate"] = optimizer.muon_learning_rate
    if config.training.lora_rank:
        rates["lora-learning-rate"] = optimizer.lora_learning_rate
    settings = [
        *(f"`--optimizer.{name} {rate / 3:.2g}`" for name, rate in rates.items()),
        f"`--optimizer.gradient-clip {clip:g}`",
        f"`--optimizer.warmup-steps {max(100, 2 * optimizer.warmup_steps)}`",
    ]
    return f"Take smaller steps: {', '.join(settings)}"


def resumed(path: Path) -> str:
    """What ends a run that has stopped early."""
    return f"Let it go on to its end: `letterloom resume {shlex.quote(str(path))}`"


def longer(config: RunConfig, steps: int) -> str:
    """Settings with which the run is twice as long."""
    minutes = config.training.max_minutes
    limit = f"`--training.max-steps {2 * steps}`" if minutes is None else f"`--training.max-minutes {2 * minutes:g}`"
    rate = f"`--optimizer.learning-rate`, which is {config.optimizer.learning_rate:g}"
    return f"Train longer: {limit}. Where that brings little, try another {rate}"
