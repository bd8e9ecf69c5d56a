"""The optimizers against those of torch, and what they must not import."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from letterloom.training.descent import SGD, AdamW, Optimizer

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["sgd", "sgd with momentum", "adamw"])
def test_steps_and_state_are_those_of_torch_bit_for_bit(name: str, device: str) -> None:
    torch.manual_seed(0)
    start = [torch.randn(5, 3, device=device), torch.randn(4, device=device)]
    ours, theirs = ([nn.Parameter(value.clone()) for value in start] for _ in range(2))
    groups = [
        [{"params": side[:1], "weight_decay": 0.3}, {"params": side[1:], "weight_decay": 0.0}]
        for side in (ours, theirs)
    ]
    own: Optimizer
    reference: torch.optim.Optimizer
    if name == "adamw":
        own = AdamW(groups[0], lr=0.1, beta1=0.8, beta2=0.9, eps=1e-6)
        reference = torch.optim.AdamW(groups[1], lr=0.1, betas=(0.8, 0.9), eps=1e-6, fused=True)
    else:
        momentum = 0.9 if name == "sgd with momentum" else 0.0
        own = SGD(groups[0], lr=0.1, momentum=momentum)
        reference = torch.optim.SGD(groups[1], lr=0.1, momentum=momentum)
    for step in range(5):
        for optimizer in (own, reference):
            for group in optimizer.param_groups:
                group["lr"] = 0.1 / (1 + step)
        for mine, its in zip(ours, theirs, strict=True):
            mine.grad = its.grad = None if step == 0 and mine.ndim == 1 else torch.randn_like(mine)
        own.step()
        reference.step()
    for mine, its in zip(ours, theirs, strict=True):
        assert torch.equal(mine, its)
        kept = {key: value for key, value in reference.state[its].items() if value is not None}
        assert own.state[mine].keys() == kept.keys()
        assert all(torch.equal(own.state[mine][key], value) for key, value in kept.items())


def test_training_needs_no_compiler() -> None:
    """Its import would take longer than that of torch itself."""
    code = """
import sys
import numpy as np
from letterloom.config import build_config
from letterloom.training import loop
config = build_config({"model": {"context_length": 8, "d_model": 8, "n_layers": 1}, "optimizer": {"name": "muon"}})
ids = np.ones((2, 8), dtype=np.int64)
loop.Learner(loop.resolve_hardware(config), 11).update(ids, ids, 0, 1.0)
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
