"""The layout of a run directory."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from letterloom import storage
from letterloom.config import RunConfig, build_config, to_toml
from letterloom.errors import ConfigError, DataMismatchError, RunError
from letterloom.sections import read_toml
from letterloom.text.tokenizers import Tokenizer, tokenizer_from_json

LOCK = ".lock"


@dataclass(frozen=True)
class RunDirectory:
    """Paths and small files of one run. `run.toml` is written last, so where it is, the others are too.

    What reads a file raises DataMismatchError, naming it, where it is missing, damaged or cannot be read.
    """

    path: Path

    @property
    def config_file(self) -> Path:
        """Every setting, resolved."""
        return self.path / "run.toml"

    @property
    def metrics_file(self) -> Path:
        """One JSON object a line, for each step and validation."""
        return self.path / "metrics.jsonl"

    @property
    def evaluation_file(self) -> Path:
        """The final numbers, by split and protocol."""
        return self.path / "evaluation.json"

    @property
    def baselines_file(self) -> Path:
        """What other methods need for the held-out text; where they were measured."""
        return self.path / "baselines.json"

    @property
    def copying_file(self) -> Path:
        """How much of the last samples stands in the training text."""
        return self.path / "copying.json"

    @property
    def finetuning_file(self) -> Path:
        """What a finetuned run began from, and what that cost; `adaptation.finetuning` writes it."""
        return self.path / "finetuning.json"

    @property
    def base_folder(self) -> Path:
        """The checkpoint that a finetuning began from which trains factors alone, whose matrices stay what they are."""
        return self.path / "base"

    @property
    def samples_folder(self) -> Path:
        """Text drawn during training, by step."""
        return self.path / "samples"

    @property
    def adapter_folder(self) -> Path:
        """What a finetuning that trains factors alone learned, by itself."""
        return self.path / "adapter"

    @property
    def quantized_folder(self) -> Path:
        """Checkpoints of this run in fewer bits."""
        return self.path / "quantized"

    @property
    def checkpoints_folder(self) -> Path:
        """Step folders, and the links `best` and `last`."""
        return self.path / "checkpoints"

    def checkpoint(self, step: int) -> Path:
        """The folder of one step's checkpoint."""
        return self.checkpoints_folder / f"step-{step:06d}"

    def checkpoints(self) -> list[Path]:
        """Checkpoint folders, oldest step first; not verified."""
        found = [(_step(folder), folder) for folder in self.checkpoints_folder.glob("step-*")]
        return [folder for _, folder in sorted((step, folder) for step, folder in found if step is not None)]

    def verifiable(self) -> list[Path]:
        """Every folder with a manifest: checkpoints, and with factors base and adapter, and what was quantized."""
        found = (self.base_folder, self.adapter_folder, *sorted(self.quantized_folder.glob("[!.]*")))
        return [*self.checkpoints(), *filter(Path.is_dir, found)]

    def sample(self, step: int, number: int) -> Path:
        """The file of the sample drawn after a step, from the prompt of that number (the first is 1)."""
        return self.samples_folder / f"step-{step:06d}-{number}.txt"

    def samples(self) -> dict[int, list[Path]]:
        """The sample files by step, oldest first, in the order of their prompts."""
        found: dict[int, dict[int, Path]] = {}
        for file in self.samples_folder.glob("step-*-*.txt"):
            _, step, number = file.stem.split("-", 2)
            if step.isdecimal() and number.isdecimal():
                found.setdefault(int(step), {})[int(number)] = file
        return {step: [files[number] for number in sorted(files)] for step, files in sorted(found.items())}

    def held_out(self) -> str | None:
        """The beginning of the validation split: text of people, to hold the samples against; None where it is lost."""
        with suppress(OSError, UnicodeDecodeError):
            return (self.path / "held-out.txt").read_bytes().decode()  # read_text would drop carriage returns
        return None

    def linked(self, name: str) -> Path | None:
        """The checkpoint the link `best` or `last` points to, where there is one."""
        link = self.checkpoints_folder / name
        return link.resolve() if link.exists() else None

    def linked_step(self, name: str) -> int | None:
        """The step of that checkpoint."""
        checkpoint = self.linked(name)
        return None if checkpoint is None else _step(checkpoint)

    def config(self) -> RunConfig:
        """The run's settings, every one of which was written: an emptied file is no run of default settings."""
        try:
            written = read_toml(self.config_file)
        except ConfigError as error:  # which names the file
            raise DataMismatchError(f"{error}; restore it from a copy") from None
        lacking = sorted(set(RunConfig.model_fields) - set(written))
        if lacking:
            raise damage(self.config_file, f"it lacks {', '.join(lacking)}")
        try:
            return build_config(written)
        except ConfigError as error:
            raise damage(self.config_file, str(error)) from None

    def tokenizer(self) -> Tokenizer:
        """The run's tokenizer."""
        file = self.path / "tokenizer.json"
        written = _read(file)
        try:
            return tokenizer_from_json(written.decode())
        except UnicodeDecodeError:
            raise damage(file, "it is not UTF-8") from None
        except DataMismatchError as error:
            raise DataMismatchError(f"{file}: {error}") from None

    def corpus(self) -> dict[str, Any]:
        """What `corpus.json` tells of the text."""
        return self._read_json("corpus.json")

    def environment(self) -> dict[str, Any]:
        """Versions and hardware of the run."""
        return self._read_json("environment.json")

    def evaluation(self) -> dict[str, Any] | None:
        """Final numbers by split and protocol; None while the run is not finished."""
        return self._read_json("evaluation.json") if self.evaluation_file.exists() else None

    def baselines(self) -> dict[str, Any] | None:
        """The baselines and notes on them; None where they were not measured."""
        return self._read_json("baselines.json") if self.baselines_file.exists() else None

    def copying(self) -> dict[str, Any] | None:
        """The samples beside passages of people; None where they were not held against them."""
        return self._read_json("copying.json") if self.copying_file.exists() else None

    def finetuning(self) -> dict[str, Any] | None:
        """What the run began from; None where that was nothing."""
        return self._read_json("finetuning.json") if self.finetuning_file.exists() else None

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of the metrics log; a last line that a kill cut short is left out."""
        if not self.metrics_file.exists():
            return []
        lines = _read(self.metrics_file).split(b"\n")[:-1]  # after the last newline: nothing, or a torn line
        return [self._event(number, line) for number, line in enumerate(lines, start=1)]

    def trim_metrics(self, step: int) -> None:
        """Drop what was logged after `step`, which is about to be done again."""
        kept = [json.dumps(line) + "\n" for line in self.metrics() if line["step"] <= step]
        storage.write_file(self.metrics_file, "".join(kept))

    def create(
        self,
        config: RunConfig,
        tokenizer: Tokenizer,
        corpus: dict[str, Any],
        environment: dict[str, Any],
        held_out: str,
    ) -> None:
        """Write the small files; call under `locked`."""
        storage.write_file(self.path / "held-out.txt", held_out)
        storage.write_file(self.path / "tokenizer.json", tokenizer.to_json())
        storage.write_json(self.path / "corpus.json", corpus)
        storage.write_json(self.path / "environment.json", environment)
        storage.write_file(self.config_file, to_toml(config))

    def forget_beginning(self) -> None:
        """Remove what a run began from that was killed before it was one; needs the lock."""
        storage.remove_file(self.finetuning_file)
        if self.base_folder.exists():
            storage.remove_folder(self.base_folder)

    def require_begun(self) -> None:
        """Check that a finetuned run has kept what it begins from.

        Raises:
            RunError: it was stopped before that.
        """
        if self.finetuning_file.exists() and not self.checkpoints():
            told = f"{self.path} was stopped before it had saved what it begins from"
            raise RunError(f"{told}; remove it, and finetune again")

    def require_free(self) -> None:
        """Check that a new run may be written here.

        Raises:
            LockedError: another process is training here.
            RunError: a run, or something else, is in the way.
        """
        # What is there of a run that was killed while it was created.
        beginnings = {LOCK, "base", "finetuning.json", "held-out.txt", "tokenizer.json", "corpus.json"}
        beginnings |= {"environment.json"}
        try:
            str(self.path).encode()
        except UnicodeEncodeError:
            raise RunError(f"the name {str(self.path)!r} is not UTF-8; choose another --out") from None
        if self.config_file.exists():
            with self.locked():  # where another process trains, that is what to tell
                self.require_begun()
                already = f"{self.path} already holds a run"
                raise RunError(f"{already}; choose another --out, or `letterloom resume {self.path}`")
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path} is a file; choose another --out")
        if self.path.exists() and any(
            f.name not in beginnings and not f.name.startswith(".tmp-") for f in self.path.iterdir()
        ):
            raise RunError(f"{self.path} is not empty and holds no run; choose another --out")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run directory for one process, and clear away what a killed one left behind.

        Raises:
            LockedError: another process is training here.
        """
        with storage.lock(self.path / LOCK, f"the run {self.path}"):
            for folder in (self.path, self.checkpoints_folder, self.samples_folder, self.quantized_folder):
                storage.remove_leftovers(folder)
            yield

    def _event(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            event: dict[str, Any] = json.loads(line)
            if isinstance(event["step"], int):
                return event
        except (ValueError, TypeError, KeyError):
            pass
        raise DataMismatchError(
            f"{self.metrics_file} is damaged: line {number} is not an event; remove that line, or restore the file"
        )

    def _read_json(self, name: str) -> dict[str, Any]:
        value = None
        with suppress(ValueError):
            value = json.loads(_read(self.path / name))
        if not isinstance(value, dict):
            raise damage(self.path / name, "it is not a JSON object")
        return value


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataMismatchError(f"cannot read {file}: {error.strerror}; restore it from a copy") from None


def damage(file: Path, reason: str | Exception) -> DataMismatchError:
    """The error of a file that a run wrote otherwise; an exception is one that reading its values raised."""
    if isinstance(reason, Exception):
        reason = f"it has no {reason}" if isinstance(reason, KeyError) else f"it holds another kind of value ({reason})"
    return DataMismatchError(f"{file} is damaged: {reason}; restore it from a copy")


def _step(checkpoint: Path) -> int | None:
    """The step in the name of a checkpoint folder; None where it has another name."""
    digits = checkpoint.name[len("step-") :]
    return int(digits) if digits.isdecimal() else None
