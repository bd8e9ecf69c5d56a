"""Run directories written by hand, with numbers that are known."""

import json
import math
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from letterloom.config import build_config
from letterloom.runs.directory import RunDirectory
from letterloom.text.tokenizers import CharacterTokenizer

ALPHABET = "".join(map(chr, range(32, 97)))  # 65 characters
SETTINGS = {
    "model": {"context_length": 64, "d_model": 128},
    "text": {"corpus": ["play.txt"]},
    "training": {"max_steps": 90, "seed": 7},
}
ENVIRONMENT = {"letterloom": "0.1.0", "commit": None, "python": "3.11.9", "torch": "2.13.0", "threads": 2}
CORPUS = {
    "corpus": ["play.txt"],
    "licence": "public domain",
    "sha256": "86c4" * 16,
    "characters": 1115394,
    "ids": 1115394,
    "split": {"train": {"characters": 1003854}, "validation": {"characters": 111540}},
    "notes": ["CRLF line ends are kept"],
}
VALIDATION: dict[str, dict[str, Any]] = {
    "sliding": {
        "nats_per_character": 1.8622,
        "bits_per_character": 1.8622 / math.log(2),
        "interval": None,
        "characters": 111540,
        "protocol": "sliding",
        "context_length": 64,
        "seconds": 75.2,
    },
    "blocks": {
        "nats_per_character": 1.8979,
        "bits_per_character": 1.8979 / math.log(2),
        "interval": {"low": 1.8801, "high": 1.9157},
        "characters": 111540,
        "protocol": "blocks",
        "context_length": 64,
        "seconds": 8.25,
    },
}
TRAINING = VALIDATION["blocks"] | {
    "nats_per_character": 1.5,
    "bits_per_character": 1.5 / math.log(2),
    "interval": {"low": 1.4, "high": 1.6},
}
EVALUATION: dict[str, dict[str, dict[str, Any]]] = {"validation": VALIDATION, "training": {"blocks": TRAINING}}


def new_run(
    path: Path, corpus: dict[str, Any] = CORPUS, alphabet: str = ALPHABET, held_out: str = "", **settings: Any
) -> RunDirectory:
    """A run that has been created and has not made a step."""
    run = RunDirectory(path)
    run.create(build_config(SETTINGS, settings), CharacterTokenizer(alphabet), corpus, ENVIRONMENT, held_out)
    return run


def log(run: RunDirectory, steps: int, validate: bool, characters_per_step: int = 768) -> None:
    """Write `steps` lines of training, and a validation every 30."""
    lines: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        bits = 2.5 + 4 / step
        lines.append(
            {"kind": "train", "step": step, "loss": bits * math.log(2), "bits_per_character": bits}
            | {"characters": characters_per_step * step, "seconds": 1.5 * step}
        )
        if validate and step % 30 == 0:
            lines.append(
                {
                    "kind": "validation",
                    "step": step,
                    "nats_per_character": 2 + abs(step - 60) / 100,
                    "protocol": "blocks",
                }
            )
    run.metrics_file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def finished_run(path: Path, **changes: Any) -> RunDirectory:
    run = new_run(path, **changes)
    log(run, 90, validate=True)
    run.evaluation_file.write_text(json.dumps(EVALUATION), encoding="utf-8")
    run.samples_folder.mkdir()
    for step in (30, 60, 90):
        (run.samples_folder / f"step-{step:06d}-1.txt").write_text(f"\nROMEO {step}", encoding="utf-8")
    return run


class Page(HTMLParser):
    """What a browser would see: tags with attributes, the text of each <pre>, the rows of tables."""

    def __init__(self, folder: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.blocks: list[str] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed((folder / "report.html").read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "pre":
            self.blocks.append("")
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.text += data
        if "pre" in self._open:
            self.blocks[-1] += data
        if self.rows and {"td", "th"} & set(self._open):
            self.rows[-1][-1] += data

    def row(self, *beginning: str) -> list[str]:
        (row,) = [row for row in self.rows if tuple(row[: len(beginning)]) == beginning]
        return row
