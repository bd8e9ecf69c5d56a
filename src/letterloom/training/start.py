"""What a run begins from where it does not begin from scratch: the weights of another one."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from letterloom import storage
from letterloom.config import NO_FACTORS, ModelConfig, RunConfig
from letterloom.errors import ConfigError
from letterloom.model.transformer import Transformer
from letterloom.runs.checkpoint import Checkpoint, newest_checkpoint, require_same, save_checkpoint
from letterloom.runs.directory import RunDirectory
from letterloom.text.tokenizers import Tokenizer
from letterloom.training.learner import Learner


@dataclass(frozen=True)
class Start:
    """Weights, the vocabulary that they are of, and where they come from.

    They are validated before the first step, and saved as the checkpoint of step 0, so that they stay the best where
    training makes nothing better, and a run that was stopped goes on from them as from any other checkpoint.
    """

    tokenizer: Tokenizer
    parameters: Mapping[str, NDArray[Any]]  # by their names in the file format
    about: Mapping[str, Any]  # what `finetuning.json` holds
    told: str = ""  # in lines
    closing: float = 0.0  # seconds that measuring takes which follows the run

    def require_fit(self, model: ModelConfig, path: Path) -> None:
        """Check, before anything is written, that the run `path` can begin from these weights.

        Raises:
            DataMismatchError: naming what is missing, left over or of another shape.
        """
        with torch.device("meta"):
            expected = Transformer(model, self.tokenizer.vocab_size)
        found = {name: array.shape for name, array in self.parameters.items()}
        require_same(found, {name: tuple(p.shape) for name, p in expected.named_parameters()}, path)

    def keep(self, run: RunDirectory, config: RunConfig) -> None:
        """Write what the run has to know of its beginning; with factors the weights too, which no checkpoint has."""
        storage.write_json(run.finetuning_file, self.about)
        if config.training.lora_rank:
            save_checkpoint(
                run.base_folder,
                step=0,
                model=self._tensors(),
                optimizer={},
                state={},
                config=config,
                tokenizer=self.tokenizer,
            )

    def begin(self, learner: Learner, path: Path) -> None:
        """Put the weights in the place of those that were drawn; the optimizer of the run `path` is fresh."""
        learner.begin(self._tensors(), path)

    def _tensors(self) -> dict[str, Tensor]:
        return {name: torch.tensor(array) for name, array in self.parameters.items()}


def require_start(start: Start | None, config: RunConfig) -> None:
    """Refuse to train factors beside weights that nobody has trained.

    Raises:
        ConfigError: saying what to do instead.
    """
    if config.training.lora_rank and start is None:
        raise ConfigError(NO_FACTORS.format(config.training.lora_rank))


def checkpoint_to_continue(run: RunDirectory, start: Start | None) -> Checkpoint | None:
    """The newest whole checkpoint; None where the run begins now, from scratch or from `start`.

    Raises:
        RunError: the run was to begin from weights, and was stopped before it had saved them.
        DataMismatchError: see `newest_checkpoint`.
    """
    checkpoint = newest_checkpoint(run)
    if checkpoint is None and start is None:
        run.require_begun()
    return checkpoint
