"""Training through rounding: the loss is that of rounded weights, and its gradient moves the weights behind them.

So a model learns to do with the few bits that `letterloom quantize` will leave it (Jacob et al. 2018, section 3).
Rounding has no slope; gradients pass as if nothing had been rounded (Bengio, Leonard and Courville 2013, section 4).
"""

import copy

import torch
from torch import Tensor, nn
from torch.func import functional_call

from letterloom.model.transformer import Transformer
from letterloom.runs.quantized import is_narrowed, quantize_matrix

METHOD = "round"  # a search takes many times as long, and learning makes up for it


class ThroughRounding(nn.Module):
    """Computes with a model's matrices as they are in 8 or 4 bits; the model's own weights get the gradients."""

    def __init__(self, model: Transformer, bits: int) -> None:
        super().__init__()
        self.model, self.bits = model, bits

    def forward(self, ids: Tensor) -> Tensor:
        """(B, T) ids to (B, T, V) logits."""
        narrowed = _narrowed(self.model, self.bits)
        parameters = {name: narrowed[name] + (p - p.detach()) for name, p in _matrices(self.model).items()}
        logits: Tensor = functional_call(self.model, parameters, (ids,))
        return logits


@torch.no_grad()
def rounded(model: Transformer, bits: int) -> Transformer:
    """A plain model with the rounded weights, which quantizing it to as many bits leaves as they are."""
    plain = copy.deepcopy(model)
    parameters = dict(plain.named_parameters())
    for name, weights in _narrowed(model, bits).items():
        parameters[name].copy_(weights)
    return plain


def _matrices(model: Transformer) -> dict[str, Tensor]:
    return {name: p for name, p in model.named_parameters() if is_narrowed(name, p.ndim)}


@torch.compiler.disable  # type: ignore[untyped-decorator]  # numpy is not to be compiled
def _narrowed(model: Transformer, bits: int) -> dict[str, Tensor]:
    """Matrices by name, rounded by the one function that also makes the file."""
    return {
        name: torch.from_numpy(quantize_matrix(p.detach().cpu().numpy(), bits, METHOD).widened()).to(p.device)
        for name, p in _matrices(model).items()
    }
