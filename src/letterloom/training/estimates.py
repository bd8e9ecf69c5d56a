"""How long a training step takes on this machine, measured once and remembered; torch is needed to measure alone."""

import hashlib
import json
import logging
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from letterloom import __version__, storage
from letterloom.accounting import Measured, usable_cores
from letterloom.config import RunConfig
from letterloom.errors import LetterloomError
from letterloom.text.corpora import cache_folder

SECONDS = 0.5  # of steps, for each configuration
DECISIVE: dict[str, Any] = {  # settings that the time of a step depends on
    "model": True,
    "optimizer": {"name", "momentum", "weight_decay"},
    "training": {"batch_size", "micro_batches", "ema_decay", "precision", "products", "compile", "device", "threads"},
}
log = logging.getLogger("letterloom")


def step_seconds(configs: Mapping[str, RunConfig], vocab_size: int, again: bool = False) -> dict[str, float]:
    """Seconds of a training step of each configuration, by its name; one that cannot be measured is told and left out.

    What was measured stays in the cache, under a key of the machine, the versions and the settings; but times that
    other work on this machine may have made longer do not.

    Args:
        configs: What to measure, by name.
        vocab_size: Of every model.
        again: Measure even what is known.
    """
    file = cache_folder() / "measured" / "steps.json"
    known = _read(file)
    machine = _machine()
    keys = {name: _key(machine, config, vocab_size) for name, config in configs.items()}
    missing = [name for name, key in keys.items() if again or key not in known]
    kept = True
    for place, name in enumerate(missing, start=1):
        log.warning("measuring %s (%d of %d) ...", name, place, len(missing))
        try:
            measured = _measure(configs[name], vocab_size)
        except LetterloomError as error:
            log.warning("%s cannot be measured here: %s", name, error)
            continue
        known[keys[name]] = measured.seconds_per_step
        if measured.disturbance and place == 1:  # later ones find the load that this makes
            log.warning("%s; they are not kept, so the next time measures again", measured.disturbance)
            kept = False
        kept = kept and _keep(file, known)
    return {name: known[key] for name, key in keys.items() if key in known}


def _measure(config: RunConfig, vocab_size: int) -> Measured:
    from letterloom.training.hardware import resolve_hardware
    from letterloom.training.measurement import measure

    return measure(resolve_hardware(config), vocab_size, SECONDS, memory=False)


def _read(file: Path) -> dict[str, float]:
    """What is remembered; a damaged file is as good as none."""
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
        return {str(key): float(seconds) for key, seconds in known.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _keep(file: Path, known: Mapping[str, float]) -> bool:
    """Remember; where that cannot be, say so."""
    try:
        storage.write_json(file, known)
    except LetterloomError as error:
        log.warning("%s; the times measured are not kept (LETTERLOOM_CACHE names another folder)", error)
        return False
    return True


def _machine() -> list[object]:
    """What of this machine the time depends on."""
    return [platform.node(), platform.machine(), usable_cores(), _gpus(), os.environ.get("CUDA_VISIBLE_DEVICES")]


def _gpus() -> str:
    """The NVIDIA GPUs of this machine by their driver, which answers sooner than torch; "" where there is none."""
    try:
        return subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, check=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""


def _key(machine: list[object], config: RunConfig, vocab_size: int) -> str:
    """A hash of all that the time depends on."""
    versions = [__version__, version("torch"), platform.python_version()]
    settings = config.model_dump(mode="json", include=DECISIVE)
    return hashlib.sha256(json.dumps([machine, versions, settings, vocab_size]).encode()).hexdigest()
