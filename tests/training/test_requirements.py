"""What is told before a run begins, and what is refused."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from letterloom import accounting, memory
from letterloom.config import RunConfig, build_config
from letterloom.errors import DiskFullError, ResourceError
from letterloom.runs.directory import RunDirectory
from letterloom.text.encoding import open_corpus
from letterloom.training.ranks import Ranks
from letterloom.training.requirements import require_all


def configuration(text: Path, training: dict[str, Any], d_model: int = 16) -> RunConfig:
    return build_config(
        {
            "text": {"corpus": [str(text)]},
            "model": {"context_length": 16, "d_model": d_model, "n_layers": 1, "n_heads": 2},
            "training": {"batch_size": 4, "device": "cpu"} | training,
        }
    )


def state_bytes(config: RunConfig, vocab_size: int) -> int:
    return accounting.state_bytes(config.model, vocab_size, config.optimizer, config.training.lora_rank)


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
    config = configuration(tiny_text, training)
    require_all(RunDirectory(tmp_path / "run"), open_corpus(config.text), config, Ranks())
    assert len(caplog.messages) == bool(told)
    assert all(words in caplog.text for words in told), caplog.text


@pytest.mark.parametrize("short", ["memory", "disk"])
def test_what_has_no_place_for_full_training_may_have_it_for_factors(
    tiny_text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: str
) -> None:
    full, thin = (configuration(tiny_text, {"max_steps": 999, "lora_rank": rank}, d_model=256) for rank in (None, 4))
    corpus, run = open_corpus(full.text), RunDirectory(tmp_path / "run")
    needed = state_bytes(full, corpus.tokenizer.vocab_size)
    if short == "memory":
        monkeypatch.setattr(memory, "physical_memory", lambda: needed // 2)
    else:
        checkpoints = full.training.keep_checkpoints + 2
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=checkpoints * needed // 2))
    require_all(run, corpus, thin, Ranks())
    with pytest.raises(DiskFullError if short == "disk" else ResourceError, match=r"are free|takes at least"):
        require_all(run, corpus, full, Ranks())
