"""Matrix products on a CPU, by the library that computes them fastest."""

import platform
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvolvedLinear(nn.Linear):
    """A linear map of channels, written as a 1 x 1 convolution.

    It is the same product, but PyTorch has oneDNN compute it in place of MKL, which on AMD's processors leaves AVX-512
    unused and takes twice as long. Nothing is copied: (B, T, D) is a channels-last image of B x 1 x T points.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) to (B, T, out)."""
        image = x.transpose(1, 2).unsqueeze(2)  # (B, D, 1, T)
        return F.conv2d(image, self.weight[:, :, None, None], self.bias).squeeze(2).transpose(1, 2)


def convolve_linears(model: nn.Module) -> None:
    """Put a `ConvolvedLinear` in the place of every linear map, with the same parameters."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Linear:
                convolved = ConvolvedLinear(child.in_features, child.out_features, device="meta")
                convolved.weight, convolved.bias = child.weight, child.bias
                setattr(module, name, convolved)


def convolution_is_faster() -> bool:
    """Whether this processor is one on which MKL leaves AVX-512 unused: AMD's that have it."""
    return torch.backends.cpu.get_cpu_capability() == "AVX512" and "AuthenticAMD" in _vendor()


def _vendor() -> str:
    """The processor's vendor, as Linux and Windows tell it."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
