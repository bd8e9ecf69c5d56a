"""Where and in which precision to train: `auto` is resolved once, told, and stored with the run."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch

from letterloom import accounting, memory
from letterloom.config import RunConfig, TrainingConfig
from letterloom.errors import ConfigError, ResourceError, is_out_of_memory
from letterloom.runs.environment import describe_environment
from letterloom.training.kernels import bf16_is_faster, convolution_is_faster
from letterloom.training.ranks import Ranks

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_device(name: str) -> torch.device:
    """The device of that name (cpu, mps, cuda, cuda:N); `auto` prefers MPS, then CUDA, then the CPU.

    Raises:
        ConfigError: there is no such name.
        ResourceError: it is not here.
    """
    if name == "auto":
        return torch.device(
            "mps" if torch.backends.mps.is_available() else "cuda" if torch.cuda.is_available() else "cpu"
        )
    counts = {"cpu": 1, "mps": int(torch.backends.mps.is_available()), "cuda": torch.cuda.device_count()}
    try:
        device = torch.device(name)
        count = counts[device.type]
    except (RuntimeError, KeyError):
        raise ConfigError(f"device = {name!r}: should be auto, cpu, mps, cuda or cuda:N") from None
    if (device.index or 0) >= count:
        raise ResourceError(f"device {name} is not here ({count} {device.type} devices); use auto, or another one")
    return device


def resolve_hardware(config: RunConfig) -> RunConfig:
    """The configuration with device, precision, products and threads decided.

    Raises:
        ResourceError: the device asked for is not here.
    """
    training = config.training
    device = resolve_device(training.device)
    precision = training.precision
    if precision == "auto":
        precision = "bf16" if bf16_is_faster(device) else "fp32"
    elif precision == "mixed":
        precision = "fp16" if device.type == "cuda" else "bf16"
    threads = training.threads or accounting.usable_cores()
    products = training.products
    if products == "auto":
        products = "convolution" if device.type == "cpu" and convolution_is_faster() else "matmul"
    resolved = training.model_copy(
        update={"device": str(device), "precision": precision, "threads": threads, "products": products}
    )
    return config.model_copy(update={"training": resolved})


def resolve_scoring(config: RunConfig, device: str) -> TrainingConfig:
    """How a trained model is scored on this machine: in fp32, wherever and in whatever precision it was trained.

    Raises:
        ResourceError: the device asked for is not here.
    """
    here = {"device": device, "precision": "fp32", "products": "auto"}
    return resolve_hardware(config.model_copy(update={"training": config.training.model_copy(update=here)})).training


def take_share(config: RunConfig, ranks: Ranks) -> None:
    """Give this process its share of the machine: of the CPU threads, and where there are several ranks a GPU.

    Raises:
        ConfigError: batch or device cannot be shared by so many ranks.
        ResourceError: there are fewer GPUs than ranks on this machine.
    """
    training = config.training
    torch.set_num_threads(max(1, (training.threads or 1) // ranks.local_world))
    if ranks.world == 1:
        return
    if training.batch_size % ranks.world:
        raise ConfigError(
            f"training.batch_size {training.batch_size} cannot be shared equally by {ranks.world} processes; "
            "give a multiple of their number"
        )
    device = torch.device(training.device)
    if device.type == "mps" or device.index is not None:
        raise ConfigError(f"training.device {device} cannot be shared by {ranks.world} processes; use cpu or cuda")
    if device.type == "cuda":
        if ranks.local_world > torch.cuda.device_count():
            raise ResourceError(
                f"{ranks.local_world} processes need a CUDA device each and there are {torch.cuda.device_count()}; "
                "start fewer, or use training.device cpu"
            )
        torch.cuda.set_device(ranks.local_rank)  # from here on `cuda` means this one


def device_memory(device: torch.device) -> int:
    """Bytes of memory that a device has; of the machine's, where the device has none of its own."""
    return torch.cuda.mem_get_info(device)[1] if device.type == "cuda" else memory.physical_memory()


def environment(config: RunConfig, ranks: Ranks) -> dict[str, Any]:
    """What a run is made on, as `environment.json` has it: versions, hardware, processes."""
    return describe_environment(torch.device(config.training.device)) | {"processes": ranks.world}


def autocast(config: RunConfig) -> AbstractContextManager[None]:
    """The context in which the forward pass and the loss are computed."""
    training = config.training
    dtype = AUTOCAST.get(training.precision)
    return torch.autocast(torch.device(training.device).type, dtype=dtype, enabled=dtype is not None)


@contextmanager
def out_of_memory_told(config: RunConfig) -> Iterator[None]:
    """Turn running out of memory into one line that says what to make smaller.

    Raises:
        ResourceError: in place of torch's error.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        size = f"training.batch_size {config.training.batch_size} x model.context_length {config.model.context_length}"
        raise ResourceError(
            f"out of memory on {config.training.device} ({size}); raise training.micro_batches, or make the batch, "
            "the context or the model smaller"
        ) from error
