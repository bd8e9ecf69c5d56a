"""The tensors of a checkpoint as torch has them: to go on training with, and to build the model from."""

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from letterloom.memory import require_memory
from letterloom.model.transformer import Transformer
from letterloom.runs.checkpoint import Checkpoint, require_same


def read_tensors(checkpoint: Checkpoint, name: str) -> dict[str, Tensor]:
    """The tensors of `model` or `optimizer`, on the CPU; a quantized model's are widened.

    Raises:
        DataMismatchError: the file is damaged.
        RunError: the optimizer of a quantized checkpoint is asked for, which has none.
    """
    if checkpoint.quantization and name == "model":
        return {name: torch.from_numpy(array) for name, array in checkpoint.arrays().items()}
    if name == "optimizer":
        checkpoint.require_trainable()
    with checkpoint.reading(name) as data:
        return safetensors.torch.load(data)


def read_model(checkpoint: Checkpoint) -> Transformer:
    """The model with the checkpoint's weights, on the CPU, in evaluation mode.

    Raises:
        DataMismatchError: the file is damaged, or of another model.
        ResourceError: the model cannot fit the memory there is.
    """
    config, vocab_size = checkpoint.config.model, checkpoint.tokenizer.vocab_size
    require_memory(config, vocab_size)
    model = Transformer(config, vocab_size)
    load_parameters(model, read_tensors(checkpoint, "model"), checkpoint.path / "model.safetensors")
    return model.eval()


@torch.no_grad()
def load_parameters(model: torch.nn.Module, tensors: Mapping[str, Tensor], source: Path) -> None:
    """Copy tensors into the parameters of the same names; every name and shape has to match.

    Raises:
        DataMismatchError: naming what is missing, left over or of another shape.
    """
    parameters = dict(model.named_parameters())
    found, expected = ({name: tuple(t.shape) for name, t in side.items()} for side in (tensors, parameters))
    require_same(found, expected, source)
    for name, parameter in parameters.items():
        parameter.copy_(tensors[name])


def serialised(tensors: Mapping[str, Tensor]) -> bytes:
    """Tensors as the bytes of a safetensors file."""
    return safetensors.torch.save({name: t.detach().cpu().contiguous() for name, t in tensors.items()})
