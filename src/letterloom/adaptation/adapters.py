"""An adapter: what a finetuning with factors learned, without the matrices that stayed what they were.

It is a small folder, `adapter/` in the run: MANIFEST.json, run.toml, tokenizer.json, adapter.json (rank, scale, and the
SHA-256 of the weights it belongs to) and adapter.safetensors: the factors, and the parameters outside the blocks, whose
rows belong to the vocabulary. With the checkpoint that was finetuned it makes the finetuned model again.
"""

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from letterloom import storage
from letterloom.config import build_config
from letterloom.errors import ConfigError, DataMismatchError, RunError
from letterloom.runs.checkpoint import Checkpoint, load_checkpoint
from letterloom.runs.directory import RunDirectory
from letterloom.runs.finding import ADAPTER, find_run, is_adapter, is_run
from letterloom.training.learner import RAW
from letterloom.training.lowrank import FACTORS, SCALE

Arrays = dict[str, NDArray[Any]]
_TENSORS, _COPIED = "adapter.safetensors", ("run.toml", "tokenizer.json")


def write_adapter(run: RunDirectory) -> Path | None:
    """Write the adapter of a finetuned run's best weights; None where the run has no factors.

    Raises:
        DataMismatchError: a file of the run is damaged.
    """
    rank, about = run.config().training.lora_rank, run.finetuning()
    if rank is None or about is None:
        return None
    checkpoint = load_checkpoint(run.path)
    with checkpoint.reading("optimizer") as data:
        trained = {name.removeprefix(RAW): array for name, array in safetensors.numpy.load(data).items()}
    learned = {name: array for name, array in trained.items() if name.endswith(FACTORS)}
    learned |= {name: array for name, array in checkpoint.arrays().items() if not name.startswith("blocks.")}
    belongs = {"rank": rank, "scale": SCALE, "step": checkpoint.step, "base": about["base"]}
    with storage.new_folder(path := run.adapter_folder) as folder:
        folder.write(_TENSORS, safetensors.numpy.save(learned))
        folder.write(ADAPTER, json.dumps(belongs, indent=2) + "\n")
        for name in _COPIED:
            folder.write(name, storage.read_verified(checkpoint.path, name, checkpoint.manifest))
    return path


def merge(base: str | Path, adapter: Path, out: Path) -> Path:
    """Write the finetuned model again, as a checkpoint folder, from what was finetuned and an adapter.

    Args:
        base: The run or checkpoint that was finetuned; it is only read.
        adapter: The folder that a finetuning with factors wrote.
        out: The new folder.

    Raises:
        RunError: there is no such base, or `out` is in the way.
        DataMismatchError: the adapter is damaged, or belongs to other weights.
    """
    checkpoint = load_checkpoint(find_run(base))
    if out.exists():
        raise RunError(f"{out} is there already; choose another --out, or remove it")
    _require_adapter(adapter)
    manifest = storage.verify_folder(adapter)
    learned, about = _read(adapter, manifest)
    digest, expected = checkpoint.manifest["files"]["model.safetensors"]["sha256"], about["base"]["sha256"]
    if digest != expected:
        raise DataMismatchError(
            f"{adapter} belongs to other weights than those of {checkpoint.path} (SHA-256 {expected[:12]}, not "
            f"{digest[:12]}); it was made from {about['base']['path']}"
        )
    model = safetensors.numpy.save(merged(checkpoint, learned, about["scale"]))
    with storage.new_folder(out, step=about["step"]) as folder:
        folder.write("model.safetensors", model)
        folder.write("state.json", json.dumps({"position": {"finetuned": True}}) + "\n")
        for name in _COPIED:
            folder.write(name, storage.read_verified(adapter, name, manifest))
    return out


def merged(base: Checkpoint, learned: Arrays, scale: float) -> Arrays:
    """The parameters of the finetuned model by name: W + scale * B A for each matrix W of the blocks."""
    arrays = {name: array for name, array in base.arrays().items() if name.startswith("blocks.")}
    for name in (name for name in learned if name.endswith(".a")):
        linear = name.removesuffix("a")
        arrays[f"{linear}weight"] += np.float32(scale) * (learned[f"{linear}b"] @ learned[name])
    return arrays | {name: array for name, array in learned.items() if not name.endswith(FACTORS)}


def _require_adapter(path: Path) -> None:
    """Tell what else lies there."""
    if is_adapter(path):
        return
    inside = RunDirectory(path).adapter_folder
    if is_adapter(inside):
        raise RunError(f"{path} is a run; its adapter is {inside}")
    what = "was finetuned without --lora, so it has no adapter" if is_run(path) else "is no adapter"
    raise RunError(f"{path} {what}; name the folder `adapter` of a run that was finetuned with --lora")


def _read(adapter: Path, manifest: dict[str, Any]) -> tuple[Arrays, dict[str, Any]]:
    """The tensors of an adapter, and what it belongs to."""
    files = {name: storage.read_verified(adapter, name, manifest) for name in (_TENSORS, ADAPTER, *_COPIED)}
    try:
        build_config(tomllib.loads(files["run.toml"].decode()))
        return safetensors.numpy.load(files[_TENSORS]), json.loads(files[ADAPTER])
    except (ValueError, ConfigError, SafetensorError) as error:
        raise DataMismatchError(f"{adapter} is not an adapter this Letterloom can read: {error}") from None
