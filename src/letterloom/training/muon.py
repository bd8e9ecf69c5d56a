"""Muon: each matrix moves by its momentum with all singular values made equal (Jordan et al. 2024).

`torch.optim.Muon` does one matrix after another, which for small models is most of its time: here matrices of one shape
are computed together, the three that a fused projection holds each for itself.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from letterloom.training.descent import Optimizer
from letterloom.training.kernels import bf16_is_faster

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # Jordan et al. 2024: steepest at zero; singular values end in 0.7 to 1.2
ITERATIONS = 5


class Muon(Optimizer):
    """Nesterov momentum, orthogonalised, for matrices; a tall one's step is larger by the root of rows / columns.

    Args:
        groups: Of parameters; a group's `parts` says how many matrices each stacks along its rows.
        lr: Learning rate.
        momentum: Share of the running mean that a step keeps.
        weight_decay: Decoupled, times the learning rate.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float, momentum: float, weight_decay: float) -> None:
        super().__init__(groups, lr=lr, momentum=momentum, weight_decay=weight_decay, parts=1)

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        by_shape: dict[torch.Size, list[tuple[Tensor, Tensor, dict[str, Any]]]] = defaultdict(list)
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                matrices = parameter.unflatten(0, (group["parts"], -1))
                direction = self._direction(parameter, group["momentum"]).view_as(matrices)
                for matrix, update in zip(matrices, direction, strict=True):
                    wide = update if update.shape[0] <= update.shape[1] else update.T
                    by_shape[wide.shape].append((matrix, wide, group))
        for entries in by_shape.values():
            updates = orthogonalised(torch.stack([wide for _, wide, _ in entries]))
            for (matrix, _, group), update in zip(entries, updates, strict=True):
                rows, columns = matrix.shape
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.add_(
                    update if rows <= columns else update.T, alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5
                )

    def _direction(self, parameter: Tensor, momentum: float) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        gradient = parameter.grad
        assert gradient is not None
        state["momentum_buffer"].lerp_(gradient, 1 - momentum)
        return gradient.lerp(state["momentum_buffer"], momentum)


def orthogonalised(matrices: Tensor) -> Tensor:
    """Each of (n, rows, columns), rows <= columns, with its singular values brought near 1, by products alone.

    Newton-Schulz iterations of degree 5, in bf16 where that is faster, which is precise enough for a direction.
    """
    a, b, c = NEWTON_SCHULZ
    x: Tensor = matrices / (torch.linalg.matrix_norm(matrices, keepdim=True) + 1e-7)
    if bf16_is_faster(matrices.device):
        x = x.bfloat16()
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.to(matrices.dtype)
