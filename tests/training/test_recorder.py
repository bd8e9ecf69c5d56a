import json
import math
from pathlib import Path

import pytest

from letterloom.training.recorder import MetricsLog, TensorBoard


def test_the_log_is_json_a_line_and_keeps_every_digit(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.record({"kind": "train", "step": 1, "loss": 0.1 + 0.2, "gradient_norm": math.inf})
    log.sync()
    log.record({"kind": "train", "step": 2, "loss": math.nan, "gradient_norm": 1.0})
    log.close()
    first, second = map(json.loads, (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    assert first == {"kind": "train", "step": 1, "loss": 0.1 + 0.2, "gradient_norm": None}
    assert second["loss"] is None


def test_tensorboard_gets_the_same_numbers(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    writer = TensorBoard(tmp_path, first_step=0)
    for step in (1, 2):
        writer.record({"kind": "train", "step": step, "loss": step / 4, "seconds": 1.0})
    writer.close()
    events = accumulator.EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(1, 0.25), (2, 0.5)]
    assert events.Tags()["scalars"] == ["train/loss"]
