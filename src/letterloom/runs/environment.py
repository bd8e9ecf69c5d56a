"""What a run ran on: enough to know whether another one can give the same numbers."""

import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from letterloom import __version__


def describe_environment(device: torch.device) -> dict[str, Any]:
    """Versions, hardware, threads and time, as `environment.json` holds them."""
    return {
        "letterloom": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": version("numpy"),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What changed, of all that may change the last digits of a loss; each as half a sentence."""
    decisive = ("letterloom", "torch", "numpy", "processes", "threads", "device", "device_name")  # a CPU's is its model
    changed = (name for name in decisive if name in then and then[name] != now.get(name))
    return [f"{name} was {then.get(name)} and is {now.get(name)}" for name in changed]


def _processor() -> str:
    """The processor's name; Linux tells it in /proc/cpuinfo alone."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _commit() -> str | None:
    """The commit of the source tree this package is imported from; None where it is not under git."""
    here = Path(__file__).parent
    git = ["git", "-C", str(here)]
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", Path(__file__).name], capture_output=True, check=True)
        return subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, check=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
