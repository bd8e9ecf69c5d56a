"""Where a run stands, and what share of it is done."""

from dataclasses import dataclass
from typing import Self

from letterloom.config import TrainingConfig
from letterloom.errors import DataMismatchError
from letterloom.runs.checkpoint import Checkpoint


@dataclass
class Position:
    """Stored in each checkpoint; with the seed it decides everything that is still to come."""

    step: int = 0  # finished steps
    seconds: float = 0.0  # of training, before and after every stop
    reserved: float = 0.0  # seconds of the minutes given that are not for training: the beginning's and the end's
    best_nats: float | None = None  # nats per character of the best validation
    best_step: int = 0
    stale: int = 0  # validations since the best
    finetuned: bool = False  # whether it began from trained weights

    @classmethod
    def restored(cls, checkpoint: Checkpoint) -> Self:
        """Where a checkpoint was saved.

        Raises:
            DataMismatchError: another version of Letterloom wrote it.
        """
        try:
            return cls(**checkpoint.state["position"])
        except (KeyError, TypeError) as error:
            file = checkpoint.path / "state.json"
            raise DataMismatchError(
                f"{file} is of another version of Letterloom ({error}); continue with that"
            ) from None

    def progress(self, limits: TrainingConfig, steps_per_epoch: float) -> float:
        """Share of the run that is done, by whichever limit is nearest; 1 or more at its end."""
        return max(
            self.step / limits.max_steps if limits.max_steps else 0.0,
            self.step / steps_per_epoch / limits.max_epochs if limits.max_epochs else 0.0,
            self.seconds / max(60.0 * limits.max_minutes - self.reserved, 1e-9) if limits.max_minutes else 0.0,
        )

    def out_of_patience(self, limits: TrainingConfig) -> bool:
        """Whether too many validations have passed without a new best."""
        return limits.patience is not None and self.stale >= limits.patience

    def validated(self, nats: float) -> bool:
        """Take note of a validation (nats per character); whether it is the best so far."""
        best = self.best_nats is None or nats < self.best_nats
        if best:
            self.best_nats, self.best_step, self.stale = nats, self.step, 0
        else:
            self.stale += 1
        return best
