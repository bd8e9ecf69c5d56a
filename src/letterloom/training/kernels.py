"""What a CPU computes slowly as PyTorch does it: the same functions in fewer passes, or by a faster library.

Each stands in the place of a module of the model, with its parameters; tests hold each against what it replaces.
"""

import ctypes
import math
import platform
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from letterloom.config import NORM_EPS, TrainingConfig
from letterloom.model.transformer import CausalAttention, HeadNorm, Transformer

KEPT = 32 << 20  # bytes, the most that glibc takes for a threshold of mmap
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
CONVOLVED_AT_ONCE = 16  # images, from which PyTorch gives even one thread's 1 x 1 convolution to oneDNN


class ConvolvedLinear(nn.Linear):
    """A linear map of channels, written as a 1 x 1 convolution.

    It is the same product, but PyTorch has oneDNN compute it in place of MKL, which on AMD's processors leaves AVX-512
    unused and takes twice as long. Nothing is copied: the vectors are the points of channels-last images.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) to (B, T, out)."""
        if torch.is_autocast_enabled("cpu") or x.shape[0] * x.shape[1] % CONVOLVED_AT_ONCE:
            return super().forward(x)  # products in bf16 are oneDNN's anyway
        images = x.reshape(CONVOLVED_AT_ONCE, -1, x.shape[2]).transpose(1, 2).unsqueeze(2)  # (16, D, 1, B T / 16)
        y = F.conv2d(images, self.weight[:, :, None, None], self.bias)
        return y.squeeze(2).transpose(1, 2).reshape(*x.shape[:2], -1)


class _OverRootMeanSquare(torch.autograd.Function):
    """x / rms(x) over the last axis; autograd's own way takes two to ten times as long on a CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.promote_types(x.dtype, torch.float32))
        scale = (norm.square() / x.shape[-1] + NORM_EPS).rsqrt().to(x.dtype)
        y: Tensor = x * scale
        ctx.save_for_backward(y, scale)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        y, scale = ctx.saved_tensors
        mean = torch.linalg.vecdot(gradient, y).unsqueeze(-1) / y.shape[-1]
        change: Tensor = torch.addcmul(gradient, y, mean, value=-1) * scale
        return change


def over_root_mean_square(x: Tensor) -> Tensor:
    """Each vector (..., D) divided by its root mean square."""
    return cast(Tensor, _OverRootMeanSquare.apply(x))  # type: ignore[no-untyped-call]


class LeanRMSNorm(nn.RMSNorm):
    """`nn.RMSNorm` in fewer passes."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        return over_root_mean_square(x) * self.weight


class LeanHeadNorm(HeadNorm):
    """`HeadNorm` in fewer passes."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) to (..., K)."""
        return over_root_mean_square(x)


class LeanDropout(nn.Dropout):
    """`nn.Dropout` from 16 random bits a value, four values from one number; PyTorch draws a whole number for each."""

    def forward(self, x: Tensor) -> Tensor:
        """(...) to the same; the share that is dropped is that asked for, to the nearest 1 / 65,536."""
        if not self.training or self.p == 0.0:
            return x
        numbers = torch.randint(-(2**63), 2**63 - 1, (-(-x.numel() // 4),), dtype=torch.int64)
        bits = numbers.view(torch.int16)[: x.numel()].view(x.shape)
        kept = bits >= min(round(self.p * 2**16), 2**16 - 1) - 2**15
        dropped: Tensor = x * (kept.to(x.dtype) * (1 / (1 - self.p)))
        return dropped


class AttentionByProducts(CausalAttention):
    """`CausalAttention` by two batched products and a softmax, for bf16: oneDNN computes those at twice fp32's rate.

    It keeps the (B, H, T, T) weights, which PyTorch's own avoids; for the contexts of character models that is cheap.
    """

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__(dropout)
        self.drop = LeanDropout(dropout)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(B, H, T, K) each, to (B, H, T, K)."""
        t, T = q.shape[2], k.shape[2]  # noqa: N806 (T of the legend)
        later = torch.full((t, T), -math.inf, dtype=q.dtype).triu(T - t + 1)
        q, k, value = (x.flatten(0, 1) for x in (q, k, v))
        scores = torch.baddbmm(later.expand(len(q), t, T), q, k.mT, alpha=1 / math.sqrt(q.shape[-1]))
        weights: Tensor = self.drop(scores.softmax(-1))  # (B H, t, T)
        return (weights @ value).view(*v.shape[:2], t, -1)


def quicken(model: Transformer, config: TrainingConfig) -> None:
    """Put the faster ones in place, with the same parameters, in a model that is trained on a CPU as configured."""
    if torch.device(config.device).type != "cpu":
        return
    _keep_freed_memory()
    for module in list(model.modules()):
        for name, child in module.named_children():
            setattr(module, name, _quicker(child, config).train(child.training))


def _keep_freed_memory() -> None:
    """Have glibc keep the memory of freed tensors for those of the next layer; elsewhere this does nothing.

    It gives large blocks back to the system, and taking them anew, page by page, was 40 % of the time of scoring a
    text. Told so (mallopt(3)), it does not depend on which blocks it has seen freed before.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, KEPT)
        libc.mallopt(M_TRIM_THRESHOLD, 2 * KEPT)


def _quicker(module: nn.Module, config: TrainingConfig) -> nn.Module:
    if type(module) is nn.Linear and config.products == "convolution":
        convolved = ConvolvedLinear(module.in_features, module.out_features, device="meta")
        convolved.weight, convolved.bias = module.weight, module.bias
        return convolved
    if type(module) is nn.RMSNorm:
        norm = LeanRMSNorm(module.normalized_shape, module.eps, device="meta")
        norm.weight = module.weight
        return norm
    if type(module) is HeadNorm:
        return LeanHeadNorm()
    if type(module) is nn.Dropout:
        return LeanDropout(module.p)
    if type(module) is CausalAttention and config.precision == "bf16":
        return AttentionByProducts(module.dropout)
    return module


def convolution_is_faster() -> bool:
    """Whether this processor is one on which MKL leaves AVX-512 unused: AMD's that have it."""
    return torch.backends.cpu.get_cpu_capability() == "AVX512" and "AuthenticAMD" in _vendor()


def bf16_is_faster(device: torch.device) -> bool:
    """Whether the device has units for products in bf16."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _vendor() -> str:
    """The processor's vendor, as Linux and Windows tell it."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
