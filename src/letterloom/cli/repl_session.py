"""What a REPL keeps from line to line: the model, how its texts are drawn, and what it has written."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from letterloom import api, storage, trained
from letterloom.cli.arguments import GenerationOptions
from letterloom.errors import ConfigError
from letterloom.generation.terminal import escape_controls


@dataclass
class Session:
    """A model and the texts it has written.

    Attributes:
        model: what continues the prompts.
        device: where models are loaded (see `api.load`).
        options: how texts are drawn.
        sample: number of the next text of the seed, so that a prompt given twice has two texts.
        open: whether there is to be another line.

    Raises:
        ConfigError: an option is out of range.
    """

    model: trained.Model
    device: str
    options: GenerationOptions
    sample: int = 0
    open: bool = True
    _turns: list[list[str]] = field(default_factory=list)  # each: a line that tells how, the prompt, pieces of the text
    _saved: set[Path] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.set()

    def write(self, prompt: str) -> Iterator[str]:
        """The text after a prompt, piece by piece; what was drawn of it is kept for `save`.

        Raises:
            UnknownCharacterError: (at the call) the prompt has a character the model does not know.
            NonFiniteError: (while drawing) the model gives NaN or infinity.
        """
        pieces = self.model.stream(prompt, sample=self.sample, **asdict(self.options))
        turn = [f"=== {self._how(prompt)} ===\n", prompt]
        self._turns.append(turn)
        self.sample += 1
        return _kept(pieces, turn)

    def set(self, **changes: Any) -> None:
        """Change options; a new seed begins at its first sample.

        Raises:
            ConfigError: one is out of range; nothing is changed.
        """
        options = replace(self.options, **changes)
        self.model.stream(**asdict(options))  # which checks them at the call, and draws nothing before it is read
        self.options = options
        if "seed" in changes:
            self.sample = 0

    def load(self, run: Path) -> None:
        """Go on with another model; where it cannot be loaded, with the one there is.

        Raises:
            LetterloomError: what `api.load` raises.
        """
        self.model = api.load(run, self.device)

    def save(self, path: Path) -> int:
        """Write all prompts and texts to a file, each pair under a line that tells how it was drawn; how many.

        Raises:
            ConfigError: there is nothing to save, or the path is a folder, or a file from before the session.
            LetterloomError: what `storage.write_file` raises.
        """
        if not self._turns:
            raise ConfigError("there is nothing to save yet")
        if path.is_dir():
            raise ConfigError(f"{path} is a folder; name a file in it")
        if path.exists() and path.resolve() not in self._saved:
            raise ConfigError(f"{path} exists, and was not saved in this session; choose another name, or remove it")
        text = "\n\n".join("".join(turn) for turn in self._turns) + "\n"
        storage.write_file(path, text.encode(errors="surrogateescape"))  # a prompt that was no UTF-8, as it came
        self._saved.add(path.resolve())
        return len(self._turns)

    def _how(self, prompt: str) -> str:
        """How a text is drawn, on one line, whatever the prompt."""
        told = {"model": self.model.checkpoint.path, "sample": self.sample, **asdict(self.options), "prompt": (prompt,)}
        return ", ".join(f"{name} {shown(value)}" for name, value in told.items())


def shown(value: object) -> str:
    """The value of an option as a command takes it: strings as in JSON, and none of what a terminal would obey."""
    if isinstance(value, tuple):
        return " ".join(json.dumps(text, ensure_ascii=escape_controls(text) != text) for text in value) or "off"
    return "off" if value is None else str(value)


def _kept(pieces: Iterator[str], turn: list[str]) -> Iterator[str]:
    for piece in pieces:
        turn.append(piece)
        yield piece
