"""Studies written by hand: plans without a text, and finished runs with numbers that are known."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomlkit

from letterloom.config import build_config
from letterloom.runs.directory import RunDirectory
from letterloom.studies.arms import Arm, PlannedRun
from letterloom.studies.directory import StudyDirectory
from letterloom.text.tokenizers import CharacterTokenizer

ALPHABET = "".join(map(chr, range(32, 97)))  # 65 characters
TEXT = "86c4" * 16
CORPUS = {"corpus": ["play.txt"], "sha256": TEXT, "characters": 1000, "ids": 1000, "sources": []}
ENVIRONMENT = {"letterloom": "0.1.0", "python": "3.11.9", "torch": "2.13.0", "numpy": "2.4.6", "threads": 1}
BASE = {
    "model": {"context_length": 64, "d_model": 128},
    "text": {"corpus": ["play.txt"]},
    "training": {"max_steps": 90},
}
STRETCHES = 20


def written_study(
    path: Path, arms: Mapping[str, Mapping[str, Any]], seeds: Sequence[int] = (0, 1, 2), **design: Any
) -> StudyDirectory:
    """A planned study of which nothing is run yet; the first arm is the baseline unless `design` says otherwise."""
    study = StudyDirectory(path)
    told = {
        "question": "Which?",
        "corpus": ["play.txt"],
        "seeds": list(seeds),
        "baseline": next(iter(arms), None),
    } | design
    table = {} if "factors" in design else {"arms": {name: dict(settings) for name, settings in arms.items()}}
    source = tomlkit.dumps({name: value for name, value in (told | table).items() if value is not None})
    study.write_plan(source, tuple(arm(name, settings, seeds) for name, settings in arms.items()))
    return study


def arm(name: str, settings: Mapping[str, Any], seeds: Sequence[int]) -> Arm:
    return Arm(name, build_config(BASE, settings), TEXT, tuple(seeds))


def runs_of(study: StudyDirectory, name: str) -> dict[int, PlannedRun]:
    """The planned runs of an arm by seed."""
    return {run.seed: run for run in study.runs() if run.arm == name}


def finish(
    study: StudyDirectory,
    run: PlannedRun,
    nats: float,
    *,
    seconds: float = 9.0,
    characters: int = 2000,
    sizes: Sequence[int] = (100,) * STRETCHES,
    environment: Mapping[str, Any] = ENVIRONMENT,
    corpus: Mapping[str, Any] = CORPUS,
    precision: str | None = None,
) -> RunDirectory:
    """Write a run as if it had been trained to this loss by blocks; by sliding, of a quarter of it, it is 0.1 less.

    The training text costs 0.3 less by blocks.

    Stretch i of the text is (i + 1) % 3 - 1 hundredths harder than the whole.
    """
    made, config = study.run(run.name), run.config
    if precision:
        config = build_config(config.model_dump(), {"training": {"precision": precision}})
    made.create(config, CharacterTokenizer(ALPHABET), dict(corpus), dict(environment), "held out")
    per_step = config.training.batch_size * config.model.context_length
    steps = config.training.max_steps or 90
    lines: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        loss = nats + 2 / step
        lines.append(
            {"kind": "train", "step": step, "loss": loss, "bits_per_character": loss / math.log(2)}
            | {"characters": per_step * step, "seconds": seconds * step / steps, "gradient_norm": 1.0}
        )
        if step % (steps // 3) == 0:
            lines.append({"kind": "validation", "step": step, "nats_per_character": loss, "protocol": "blocks"})
    made.metrics_file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    scores: dict[str, dict[str, Any]] = {"validation": {}, "training": {}}
    for split, protocol, value, share in (
        ("validation", "blocks", nats, 1),
        ("validation", "sliding", nats - 0.1, 4),
        ("training", "blocks", nats - 0.3, 1),
    ):
        cut = [size // share for size in sizes]
        parts = [[size * (value + ((i + 1) % 3 - 1) / 100), size] for i, size in enumerate(cut)]
        scores[split][protocol] = {
            "nats_per_character": value,
            "interval": None,
            "characters": characters // share,
            "protocol": protocol,
            "context_length": config.model.context_length,
            "seconds": 1.0,
            "parts": parts,
        }
    made.evaluation_file.write_text(json.dumps(scores), encoding="utf-8")
    return made
