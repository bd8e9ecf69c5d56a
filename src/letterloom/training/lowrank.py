"""Low-rank adaptation (LoRA; Hu et al. 2021, section 4.1): matrices stay, two thin factors beside each are trained.

The matrices are those in blocks. Embedding and head are trained whole, at the rate of full finetuning: they are small
for characters, and rows of new characters have to be learned (Chen et al. 2023, "LongLoRA", section 3.3, find that this
closes the gap to full finetuning). Factors have a higher rate, and do not decay. All else is frozen, and takes neither
gradients nor optimizer state.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from letterloom.model.transformer import Transformer
from letterloom.runs.checkpoint import Checkpoint, read_checkpoint
from letterloom.runs.directory import RunDirectory

SCALE = 2.0  # of the product of the factors, whatever their rank
FACTORS = (".a", ".b")  # how the names of factors end


class LowRankLinear(nn.Module):
    """In the place of a linear map, the same one with W + SCALE * B A for its frozen W; B begins at zero.

    Its parameters are called what they were, the factors A (rank, D) and B (out, rank) `a` and `b` beside them.
    """

    def __init__(self, linear: nn.Linear, rank: int) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self.linear = linear  # computes with them; whatever it is quickened to
        self.a = nn.Parameter(torch.empty(rank, linear.in_features, device=linear.weight.device))
        self.b = nn.Parameter(torch.zeros(linear.out_features, rank, device=linear.weight.device))
        nn.init.normal_(self.a, std=linear.in_features**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) to (B, T, out)."""
        y: Tensor = self.linear(x)
        low = F.linear(x, self.a)  # (B, T, rank)
        return torch.addmm(y.flatten(0, 1), low.flatten(0, 1), self.b.T, alpha=SCALE).view_as(y)  # in one pass

    def merged(self) -> nn.Linear:
        """The linear map itself, of the same kind, with one matrix; all else is shared."""
        linear = copy.deepcopy(self.linear, {id(p): p for p in self.linear.parameters()})
        linear.weight = nn.Parameter(self.weight + SCALE * (self.b @ self.a), requires_grad=False)
        return linear


def add_factors(model: Transformer, rank: int) -> None:
    """Put factors beside each matrix in the blocks, and freeze all that is not trained."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(("embedding.", "head.")))
    for module in list(model.blocks.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Linear):
                setattr(module, name, LowRankLinear(child, rank))


def factors(model: nn.Module) -> dict[str, Tensor]:
    """The factors by name, such as `blocks.0.attention.qkv.a`."""
    return {name: parameter for name, parameter in model.named_parameters() if name.endswith(FACTORS)}


def trained(model: nn.Module) -> dict[str, Tensor]:
    """What is trained, by name: the factors, embedding and head."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


@torch.no_grad()
def merged(model: Transformer) -> Transformer:
    """A plain model that computes the same; what has no factors is shared with the one in training."""
    plain = copy.deepcopy(model, {id(p): p for p in model.parameters()})
    for module in list(plain.blocks.modules()):
        for name, child in module.named_children():
            if isinstance(child, LowRankLinear):
                setattr(module, name, child.merged())
    return plain


def frozen(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The parameters of the model that a run with factors began from, by name; the run keeps them in `base`.

    Raises:
        DataMismatchError: they are missing or damaged.
    """
    return read_checkpoint(RunDirectory(checkpoint.path.resolve().parent.parent).base_folder).tensors("model")
