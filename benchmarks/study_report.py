"""How long a study of many finished runs waits for its report."""

import json
import math
import random
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from letterloom.config import build_config
from letterloom.runs.directory import RunDirectory
from letterloom.studies.arms import Arm
from letterloom.studies.directory import StudyDirectory
from letterloom.text.tokenizers import CharacterTokenizer
from measurement import Measurement, seconds, tell

ARMS, SEEDS, STEPS = 40, 5, 300
TEXT = {"corpus": ["play.txt"], "sha256": "86c4" * 16, "characters": 1_115_394, "ids": 1_115_394, "sources": []}
REPORT = """
import sys
from pathlib import Path
from letterloom.studies.directory import StudyDirectory
from letterloom.studies.report.report import write_report
write_report(StudyDirectory(Path(sys.argv[1])))
"""


def measure_study_report(quick: bool) -> list[Measurement]:
    """Seconds of a whole process that reports a study of 40 arms and 5 seeds, each run with 300 logged steps.

    Limit: small files parsed; the interpreter and its imports are a second of it, or two.
    """
    with tempfile.TemporaryDirectory() as folder:
        tell(f"{ARMS * SEEDS} runs written by hand")
        study = StudyDirectory(Path(folder) / "study")
        _write(study)
        rounds = 1 if quick else 5
        tell(f"their report, {rounds} times")
        report = partial(subprocess.run, [sys.executable, "-c", REPORT, str(study.path)], check=True)
        times = tuple(seconds(report) for _ in range(rounds))
    return [Measurement(f"report of {ARMS * SEEDS} runs", "s", times, "< 10")]


def _write(study: StudyDirectory) -> None:
    dice = random.Random(0)
    text = {"text": {"corpus": TEXT["corpus"]}}
    arms = tuple(
        Arm(f"d_model {d}", build_config(text, {"model": {"d_model": d}}), str(TEXT["sha256"]), tuple(range(SEEDS)))
        for d in range(64, 64 + 4 * ARMS, 4)
    )
    study.write_plan('corpus = ["play.txt"]\nbaseline = "d_model 64"\narms = { "d_model 64" = {} }\n', arms)
    for run in study.runs():
        made = study.run(run.name)
        made.create(run.config, CharacterTokenizer("".join(map(chr, range(32, 97)))), TEXT, {"torch": "2"}, "held out")
        _finish(made, 1.8 + dice.gauss(0.0, 0.003))


def _finish(run: RunDirectory, nats: float) -> None:
    train: list[dict[str, Any]] = [
        {"kind": "train", "step": step, "loss": nats + 1 / step, "bits_per_character": (nats + 1 / step) / math.log(2)}
        | {"learning_rate": 1e-3, "gradient_norm": 0.5, "characters": 768 * step, "seconds": step / 10, "progress": 0.1}
        for step in range(1, STEPS + 1)
    ]
    validation = [
        {"kind": "validation", "step": step, "nats_per_character": nats + 1 / step, "protocol": "blocks"}
        for step in range(30, STEPS + 1, 30)
    ]
    run.metrics_file.write_text("".join(json.dumps(line) + "\n" for line in train + validation), encoding="utf-8")
    score = {"nats_per_character": nats, "interval": {"low": nats - 0.02, "high": nats + 0.02}, "characters": 111_540}
    score |= {"protocol": "blocks", "context_length": 64, "seconds": 8.0, "parts": [[5577 * nats, 5577]] * 20}
    run.evaluation_file.write_text(json.dumps({"validation": {"blocks": score}}), encoding="utf-8")
    (run.path / "report.html").write_text("its report", encoding="utf-8")
