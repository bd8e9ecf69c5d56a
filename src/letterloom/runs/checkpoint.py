"""Checkpoints: self-contained folders, verified on loading, without pickle. Reading one needs no torch."""

import json
import logging
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from letterloom import storage
from letterloom.config import RunConfig, build_config, to_toml
from letterloom.errors import ConfigError, DataMismatchError, LetterloomError, RunError
from letterloom.runs.directory import RunDirectory
from letterloom.runs.finding import is_checkpoint, is_run
from letterloom.runs.quantized import Parameter, Quantization, quantize, read_quantized, widened
from letterloom.text.tokenizers import Tokenizer, tokenizer_from_json

if TYPE_CHECKING:
    from torch import Tensor

    from letterloom.model.transformer import Transformer

Shape = tuple[int, ...]
log = logging.getLogger("letterloom")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder whose small files were read and verified; tensors are read on demand."""

    path: Path
    manifest: dict[str, Any]
    config: RunConfig
    tokenizer: Tokenizer
    state: dict[str, Any]

    @property
    def step(self) -> int:
        """Steps of training behind these weights."""
        return int(self.manifest["step"])

    @property
    def quantization(self) -> Quantization | None:
        """How the weights were quantized; None where they are those that were trained."""
        how = self.manifest.get("quantized")
        return None if how is None else Quantization(**how)

    def stored(self) -> dict[str, NDArray[Any]]:
        """The arrays of the model's file by their names there, without torch; see `runs.quantized`.

        Raises:
            DataMismatchError: the file is damaged.
        """
        with self.reading("model") as data:
            return safetensors.numpy.load(data)

    def parameters(self) -> dict[str, Parameter]:
        """The model's parameters by name as they are stored, without torch: quantized matrices, arrays of floats.

        Raises:
            DataMismatchError: the file is damaged.
        """
        stored = self.stored()
        if self.quantization is None:
            return dict(stored)
        return read_quantized(stored, self.config.model, self.path / "model.safetensors")

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The model's parameters by name as floats, without torch; what was quantized is widened.

        Raises:
            DataMismatchError: the file is damaged.
        """
        return widened(self.parameters())

    def require_trainable(self) -> None:
        """Refuse to train on from quantized weights: what a step changes is less than they can say.

        Raises:
            RunError: they are quantized; what to do instead.
        """
        if self.quantization:
            raise RunError(
                f"{self.path} is quantized ({self.quantization.bits} bits) and cannot be trained on; resume or "
                "finetune the run it was made from, and quantize that again"
            )

    def tensors(self, name: str) -> "dict[str, Tensor]":
        """The tensors of `model` or `optimizer`, on the CPU; see `runs.tensors`."""
        from letterloom.runs.tensors import read_tensors

        return read_tensors(self, name)

    def model(self) -> "Transformer":
        """The model with these weights, on the CPU, in evaluation mode; see `runs.tensors`."""
        from letterloom.runs.tensors import read_model

        return read_model(self)

    @contextmanager
    def reading(self, name: str) -> Iterator[bytes]:
        """The verified bytes of a file of tensors, to be parsed within.

        Raises:
            DataMismatchError: the file is damaged, or holds something else.
        """
        file = f"{name}.safetensors"
        try:
            yield storage.read_verified(self.path, file, self.manifest)
        except SafetensorError as error:
            raise DataMismatchError(f"{self.path / file} is not a safetensors file: {error}") from None


def save_checkpoint(
    path: Path,
    *,
    step: int,
    model: "Mapping[str, Tensor]",
    optimizer: "Mapping[str, Tensor]",
    state: Mapping[str, Any],
    config: RunConfig,
    tokenizer: Tokenizer,
) -> None:
    """Write a checkpoint folder, durably and whole; it is verified before this returns.

    Raises:
        ResourceError: the disk is full; older checkpoints are untouched.
    """
    from letterloom.runs.tensors import serialised

    with storage.new_folder(path, step=step) as folder:
        folder.write("model.safetensors", serialised(model))
        folder.write("optimizer.safetensors", serialised(optimizer))
        folder.write("state.json", json.dumps(dict(state), indent=2) + "\n")
        folder.write("run.toml", to_toml(config))
        folder.write("tokenizer.json", tokenizer.to_json())


def save_quantized(path: Path, checkpoint: Checkpoint, how: Quantization) -> None:
    """Write a checkpoint again with narrower weights, without what training needs, durably and whole.

    Raises:
        NonFiniteError: a weight is NaN or infinite.
        ConfigError: a weight is too large for the scales.
        ResourceError: the disk is full.
    """
    model = safetensors.numpy.save(quantize(checkpoint.arrays(), how))
    with storage.new_folder(path, step=checkpoint.step, quantized=asdict(how)) as folder:
        folder.write("model.safetensors", model)
        for name in ("state.json", "run.toml", "tokenizer.json"):
            folder.write(name, storage.read_verified(checkpoint.path, name, checkpoint.manifest))


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint folder, every file verified against its manifest.

    Raises:
        DataMismatchError: naming the file that is missing or damaged, or what does not belong together.
    """
    manifest = storage.verify_folder(path)
    try:
        small = {
            name: storage.read_verified(path, name, manifest).decode()
            for name in ("run.toml", "tokenizer.json", "state.json")
        }
        config = build_config(tomllib.loads(small["run.toml"]))
        return Checkpoint(
            path, manifest, config, tokenizer_from_json(small["tokenizer.json"]), json.loads(small["state.json"])
        )
    except (ValueError, KeyError, ConfigError) as error:
        raise DataMismatchError(f"{path} is not a checkpoint this Letterloom can read: {error}") from None


def newest_checkpoint(run: RunDirectory) -> Checkpoint | None:
    """The newest checkpoint that verifies, telling of those that do not; None where none was saved yet.

    Raises:
        DataMismatchError: there are checkpoints, and every one is damaged or of another run.
    """
    problems = []
    for path in reversed(run.checkpoints()):
        try:
            checkpoint = read_checkpoint(path)
            _require_own(run, checkpoint)
        except LetterloomError as error:
            problems.append(str(error))
            continue
        for problem in problems:
            log.warning("%s; going on with %s", problem, path.name)
        return checkpoint
    if problems:
        raise DataMismatchError(f"no checkpoint of {run.path} can be used: {'; '.join(problems)}")
    return None


def remove_old_checkpoints(run: RunDirectory, keep: int) -> None:
    """Remove all but the best checkpoint and the `keep` newest whole ones; a damaged one does not count."""
    best, whole = run.linked("best"), 0
    for path in reversed(run.checkpoints()):
        if whole >= keep and path.resolve() != best:
            storage.remove_folder(path)
        elif whole < keep and _is_whole(path):
            whole += 1


def load_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint a user means by a path: a checkpoint folder itself, or of a run the best one that is whole.

    Raises:
        RunError: the run has no checkpoint yet.
        LockedError: likewise, and another process is training it.
        DataMismatchError: the checkpoint, or each one of the run, is damaged.
    """
    if is_checkpoint(path):
        return read_checkpoint(path)
    run = RunDirectory(path)
    best = run.linked("best")
    if best is not None:
        try:
            return read_checkpoint(best)
        except LetterloomError as error:
            log.warning("%s; the newest whole checkpoint is used in its place", error)
    newest = newest_checkpoint(run)
    if newest is None:
        with run.locked():  # where another process trains, that is what to tell
            run.require_begun()
        raise RunError(f"the run {path} has no checkpoint yet; continue it with `letterloom resume {path}`")
    return newest


def require_same(found: Mapping[str, Shape], expected: Mapping[str, Shape], source: Path) -> None:
    """Refuse tensors that are not those of a model, by their names and shapes.

    Raises:
        DataMismatchError: naming what is missing, left over or of another shape.
    """
    unlike = sorted(found.keys() ^ expected.keys())
    if unlike:
        raise DataMismatchError(f"{source} does not fit its run.toml: {', '.join(unlike[:5])} on one side only")
    for name, shape in expected.items():
        if found[name] != shape:
            shapes = f"{found[name]} in place of {shape}"
            raise DataMismatchError(f"{source} does not fit its run.toml: {name} has shape {shapes}")


def _require_own(run: RunDirectory, checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint of another run: checkpoints have the same names in all of them."""
    if not is_run(run.path):
        return
    if (checkpoint.config.model, checkpoint.tokenizer) != (run.config().model, run.tokenizer()):
        raise DataMismatchError(
            f"{checkpoint.path} is of another run: its model or vocabulary is not that of {run.config_file}; move it "
            "to where it belongs"
        )


def _is_whole(path: Path) -> bool:
    try:
        storage.verify_folder(path)
    except DataMismatchError:
        return False
    return True
