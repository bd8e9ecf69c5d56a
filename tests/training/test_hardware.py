import pytest
import torch

from letterloom.config import RunConfig, build_config
from letterloom.errors import ConfigError, ResourceError
from letterloom.training.hardware import autocast, out_of_memory_told, resolve_device, resolve_hardware


def config(**training: object) -> RunConfig:
    return build_config({"training": {"max_steps": 1, **training}})


def pretend(monkeypatch: pytest.MonkeyPatch, mps: bool, cuda: int, bf16: bool = True) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": bf16})


@pytest.mark.parametrize(
    ("mps", "cuda", "bf16", "device", "precision"),
    [
        (True, 2, True, "mps", "fp32"),
        (False, 2, True, "cuda", "bf16"),
        (False, 1, False, "cuda", "fp32"),
        (False, 0, True, "cpu", "bf16"),
        (False, 0, False, "cpu", "fp32"),
    ],
)
def test_auto_prefers_mps_then_cuda_then_the_cpu(
    monkeypatch: pytest.MonkeyPatch, mps: bool, cuda: int, bf16: bool, device: str, precision: str
) -> None:
    pretend(monkeypatch, mps, cuda, bf16)
    training = resolve_hardware(config()).training
    assert (training.device, training.precision) == (device, precision)
    assert training.threads


def test_what_is_resolved_is_resolved_once() -> None:
    once = resolve_hardware(config(threads=3, precision="bf16"))
    assert resolve_hardware(once) == once
    assert (once.training.threads, once.training.precision) == (3, "bf16")


@pytest.mark.parametrize("device", ["mps", "cuda", "cuda:3"])
def test_a_device_that_is_not_here_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    pretend(monkeypatch, mps=False, cuda=0)
    with pytest.raises(ResourceError, match=f"device {device} is not here"):
        resolve_hardware(config(device=device))


@pytest.mark.parametrize("name", ["", "gpu", "cuda:x", "meta", "cpu:1"])
def test_a_name_of_no_device_is_refused(name: str) -> None:
    with pytest.raises((ConfigError, ResourceError)):
        resolve_device(name)


def test_autocast_lowers_matrix_products_only_where_asked() -> None:
    a = torch.ones(2, 2)
    found = {}
    for precision in ("fp32", "bf16", "fp16"):
        with autocast(config(device="cpu", precision=precision)):
            found[precision] = (a @ a).dtype
    assert found == {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def test_running_out_of_memory_is_one_line_with_a_way_out() -> None:
    with pytest.raises(ResourceError, match="micro_batches"), out_of_memory_told(config()):
        torch.empty(10**17)
    with pytest.raises(RuntimeError, match="shape"), out_of_memory_told(config()):
        raise RuntimeError("shape mismatch")  # a bug of ours stays one
