"""The optimizers of PyTorch by their functions, with the state that its classes keep.

The classes themselves import `torch._dynamo`, a compiler that is not used here and takes longer to import than torch.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd


class Optimizer:
    """Groups of parameters, each with its settings, and the state of every parameter; what `GradScaler` works with.

    Args:
        groups: `params` and settings of their own.
        settings: Of all groups that say nothing else.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], **settings: float) -> None:
        self.param_groups = [settings | group for group in groups]
        self.state: dict[Tensor, dict[str, Tensor]] = defaultdict(dict)

    def step(self) -> None:
        """Move every parameter that has a gradient."""
        raise NotImplementedError


class SGD(Optimizer):
    """Gradient descent with momentum; groups have `lr`, `momentum` and `weight_decay`."""

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            moved, gradients = with_gradients(group)
            momenta = [self.state[parameter].get("momentum_buffer") for parameter in moved]
            sgd(
                moved,
                gradients,
                momenta,
                weight_decay=group["weight_decay"],
                momentum=group["momentum"],
                lr=group["lr"],
                dampening=0.0,
                nesterov=False,
                maximize=False,
            )
            for parameter, momentum in zip(moved, momenta, strict=True):  # the function makes those of the first step
                if momentum is not None:
                    self.state[parameter]["momentum_buffer"] = momentum


class AdamW(Optimizer):
    """Adam with decoupled weight decay; groups have `lr`, `beta1`, `beta2`, `eps` and `weight_decay`."""

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            moved, gradients = with_gradients(group)
            for parameter in moved:
                if not self.state[parameter]:
                    self.state[parameter] = {
                        "step": torch.zeros((), device=parameter.device),
                        "exp_avg": torch.zeros_like(parameter),
                        "exp_avg_sq": torch.zeros_like(parameter),
                    }
            states = [self.state[parameter] for parameter in moved]
            adamw(
                moved,
                gradients,
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                max_exp_avg_sqs=[],
                state_steps=[state["step"] for state in states],
                fused=True,
                amsgrad=False,
                beta1=group["beta1"],
                beta2=group["beta2"],
                lr=group["lr"],
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                maximize=False,
            )


def with_gradients(group: dict[str, Any]) -> tuple[list[Tensor], list[Tensor]]:
    """The parameters of a group that have gradients, and these."""
    moved = [parameter for parameter in group["params"] if parameter.grad is not None]
    return moved, [parameter.grad for parameter in moved]
