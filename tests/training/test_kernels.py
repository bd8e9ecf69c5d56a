import copy
import platform
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from letterloom.config import ModelConfig, TrainingConfig
from letterloom.model.transformer import CausalAttention, HeadNorm, Transformer
from letterloom.training.kernels import (
    AttentionByProducts,
    ConvolvedLinear,
    LeanDropout,
    LeanHeadNorm,
    LeanRMSNorm,
    quicken,
)

DOUBLE = torch.float64


def compare(plain: nn.Module, quick: nn.Module, inputs: list[Tensor]) -> None:
    """Hold outputs and all gradients of the one against those of the other."""
    quick.load_state_dict(plain.state_dict())
    results = []
    for module in (plain, quick):
        own = [x.clone().requires_grad_() for x in inputs]
        y = module(*own)
        torch.manual_seed(1)
        (y * torch.randn_like(y)).sum().backward()
        results.append([y, *(x.grad for x in own), *(p.grad for p in module.parameters())])
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("batch", "length"), [(1, 1), (1, 7), (5, 3), (16, 1), (4, 8), (2, 24)])
def test_a_convolution_is_the_linear_map_and_has_its_gradients(batch: int, length: int, bias: bool) -> None:
    torch.manual_seed(0)
    linear, convolved = (kind(6, 4, bias=bias, dtype=DOUBLE) for kind in (nn.Linear, ConvolvedLinear))
    compare(linear, convolved, [torch.randn(batch, length, 6, dtype=DOUBLE)])


@pytest.mark.parametrize("scale", [1e-3, 1.0, 100.0])  # at the first, eps counts
def test_the_lean_norms_are_the_norms_and_have_their_gradients(scale: float) -> None:
    torch.manual_seed(0)
    norm = nn.RMSNorm(6, eps=1e-5, dtype=DOUBLE)
    nn.init.normal_(norm.weight)
    compare(norm, LeanRMSNorm(6, eps=1e-5, dtype=DOUBLE), [scale * torch.randn(2, 3, 6, dtype=DOUBLE)])
    compare(HeadNorm(), LeanHeadNorm(), [scale * torch.randn(2, 3, 2, 6, dtype=DOUBLE)])


@pytest.mark.parametrize("past", [0, 1, 4])
def test_attention_by_products_is_attention_and_has_its_gradients(past: int) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, t, 4, dtype=DOUBLE) for t in (5, 5 + past, 5 + past))
    compare(CausalAttention(), AttentionByProducts(), [q, k, v])


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lean_dropout_keeps_the_share_and_the_mean(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    dropout, x = LeanDropout(p), torch.ones(1001, 101, dtype=dtype).requires_grad_()  # not a multiple of four
    y = dropout(x)
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(y, x.grad)  # what is dropped in one direction is in the other
    assert y.unique().tolist() == pytest.approx([0.0, 1 / (1 - p)], rel=0.01)
    share = (y == 0).double().mean(dim=0)  # of each column
    assert share.mean().item() == pytest.approx(p, abs=5 * (p * (1 - p) / y.numel()) ** 0.5)
    assert share.std().item() == pytest.approx((p * (1 - p) / len(y)) ** 0.5, rel=0.3)  # as of independent draws
    assert torch.equal(dropout.eval()(x), x)


def test_attention_by_products_drops_weights_in_training_alone() -> None:
    q, k, v = (torch.randn(1, 1, 4, 2) for _ in range(3))
    attention = AttentionByProducts(0.5)
    torch.manual_seed(0)
    assert not torch.equal(attention(q, k, v), attention(q, k, v))
    attention.eval()
    assert torch.equal(attention(q, k, v), attention(q, k, v))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("settings", [{"products": "convolution"}, {"precision": "bf16"}, {}])
def test_a_model_keeps_its_parameters_its_tie_and_its_logits(tied: bool, settings: dict[str, Any]) -> None:
    torch.manual_seed(0)
    config = ModelConfig(
        context_length=8, d_model=8, n_layers=2, n_heads=2, tied_head=tied, norm="rmsnorm", qk_norm=True, dropout=0.5
    )
    plain = Transformer(config, 11).double().eval()  # and so it stays: nothing drops out
    quick = copy.deepcopy(plain)
    before = dict(quick.named_parameters())
    quicken(quick, TrainingConfig(max_steps=1, device="cpu", **settings))
    after = dict(quick.named_parameters())
    assert before.keys() == after.keys()
    assert all(before[name] is after[name] for name in before)
    assert (quick.head.weight is quick.embedding.weight) == tied
    ids = torch.randint(0, 11, (4, 8))
    torch.testing.assert_close(quick(ids), plain(ids), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "slow"),
    [
        ({"products": "convolution"}, (nn.Linear, nn.RMSNorm, HeadNorm)),
        ({"precision": "bf16"}, (CausalAttention, nn.RMSNorm, HeadNorm, nn.Dropout)),
    ],
)
def test_every_module_that_has_a_faster_form_is_replaced(
    settings: dict[str, Any], slow: tuple[Callable[..., nn.Module], ...]
) -> None:
    config = ModelConfig(context_length=8, d_model=8, n_layers=2, n_heads=2, norm="rmsnorm", qk_norm=True)
    model = Transformer(config, 11)
    quicken(model, TrainingConfig(max_steps=1, device="cpu", **settings))
    assert not any(type(module) in slow for module in model.modules())


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries manage memory in their own way")
def test_memory_of_freed_tensors_is_used_again() -> None:
    """A page that comes from the system is a fault: 2,048 of them for each of these tensors, if it were given back."""
    code = """
import resource, torch
from letterloom.config import ModelConfig, TrainingConfig
from letterloom.model.transformer import Transformer
from letterloom.training.kernels import quicken
model = Transformer(ModelConfig(context_length=8, d_model=8, n_layers=1, n_heads=1), 5)
quicken(model, TrainingConfig(device="cpu", max_steps=1))
faults = []
for _ in range(6):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tensors = [torch.ones(2**21) for _ in range(4)]
    del tensors
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(*faults)
"""
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    faults = [int(number) for number in printed.split()]
    assert faults[0] > 4 * 2_000
    assert faults[-1] < 2_000
