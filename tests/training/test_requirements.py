"""What is told before a run begins."""

from pathlib import Path
from typing import Any

import pytest

from letterloom.config import build_config
from letterloom.runs.directory import RunDirectory
from letterloom.text.encoding import open_corpus
from letterloom.training.ranks import Ranks
from letterloom.training.requirements import require_all


@pytest.mark.parametrize(
    ("training", "told"),
    [
        ({"max_steps": 12, "eval_interval": 12, "checkpoint_interval": 99}, []),
        (
            {"max_steps": 12, "eval_interval": 13, "checkpoint_interval": 12},
            ["nothing is validated before", "13 steps"],
        ),
        (
            {"max_steps": 12, "eval_interval": 13, "checkpoint_interval": 13},
            ["nothing is validated or saved", "12 steps"],
        ),
        ({"max_epochs": 2, "interval_unit": "epochs", "eval_interval": 2}, []),
        ({"max_epochs": 2, "eval_interval": 10**6}, ["1,000,000 steps"]),
        (
            {"max_steps": 500, "interval_unit": "epochs", "eval_interval": 250},
            ["250 epochs (", "the run has 500 steps"],
        ),
        ({"max_minutes": 2, "eval_interval": 10**6}, []),  # who knows how many steps that are
    ],
    ids=str,
)
def test_intervals_longer_than_the_run_are_told(
    tiny_text: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, training: dict[str, Any], told: list[str]
) -> None:
    config = build_config(
        {
            "text": {"corpus": [str(tiny_text)]},
            "model": {"context_length": 16, "d_model": 16, "n_layers": 1, "n_heads": 2},
            "training": {"batch_size": 4, "device": "cpu"} | training,
        }
    )
    require_all(RunDirectory(tmp_path / "run"), open_corpus(config.text), config, Ranks())
    assert len(caplog.messages) == bool(told)
    assert all(words in caplog.text for words in told), caplog.text
