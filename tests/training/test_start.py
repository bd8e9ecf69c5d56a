"""A run that begins from weights goes on exactly as one that was resumed from them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from letterloom.config import RunConfig, build_config
from letterloom.errors import ConfigError, DataMismatchError, RunError, UnknownCharacterError
from letterloom.evaluation.loss import evaluate
from letterloom.runs.checkpoint import load_checkpoint, read_checkpoint
from letterloom.runs.directory import RunDirectory
from letterloom.text.encoding import open_corpus
from letterloom.text.tokenizers import CharacterTokenizer
from letterloom.training import loop
from letterloom.training.start import Start
from stopping import stopped_in

BASE = {
    "model": {"context_length": 16, "d_model": 16, "n_layers": 1, "n_heads": 2, "dropout": 0.1},
    "optimizer": {"warmup_steps": 2},
    "training": {
        "batch_size": 4,
        "max_steps": 8,
        "eval_interval": 3,
        "checkpoint_interval": 3,
        "sample_interval": 6,
        "sample_characters": 20,
        "device": "cpu",
        "threads": 1,
    },
}


ABOUT = {
    "base": {"path": "somewhere", "step": 8, "sha256": "0"},
    "characters": {"new": [], "dropped": ""},
    "context": {"before": 16, "positions": ""},
    "new": {"before": {"nats_per_character": 3.0}},
    "old": {"skipped": "there is none"},
}


def config(text: Path, **sections: dict[str, Any]) -> RunConfig:
    return build_config({"text": {"corpus": [str(text)]}}, BASE, sections)


def start_of(run: Path) -> Start:
    checkpoint = load_checkpoint(run)
    return Start(checkpoint.tokenizer, checkpoint.arrays(), ABOUT)


@pytest.fixture(scope="module")
def base(tiny_text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return loop.train(config(tiny_text), tmp_path_factory.mktemp("start") / "base").path


def tensors(checkpoint: Path) -> dict[str, Any]:
    found = read_checkpoint(checkpoint)
    return {f"{kind}/{name}": t for kind in ("model", "optimizer") for name, t in found.tensors(kind).items()}


@pytest.mark.parametrize("ema", [None, 0.9])
def test_step_0_holds_the_weights_and_their_validation(base: Path, tiny_text: Path, tmp_path: Path, ema: Any) -> None:
    run = loop.train(
        config(tiny_text, training={"keep_checkpoints": 9, "ema_decay": ema}), tmp_path / "run", start=start_of(base)
    )
    first, given = read_checkpoint(run.checkpoint(0)), load_checkpoint(base)
    for name, array in given.arrays().items():
        np.testing.assert_array_equal(first.arrays()[name], array)
    assert not any("exp_avg" in name for name in first.tensors("optimizer"))  # a fresh optimizer
    zero, *others = run.metrics()
    corpus = open_corpus(given.config.text, given.tokenizer)
    expected = evaluate(given.model(), corpus.tokenizer, corpus.validation, max_characters=20_000)
    assert (zero["kind"], zero["step"], zero["best"]) == ("validation", 0, True)
    assert zero["nats_per_character"] == pytest.approx(expected.nats_per_character, abs=1e-6)
    assert [line["step"] for line in others if line["kind"] == "train"] == list(range(1, 9))
    assert json.loads(run.finetuning_file.read_text()) == ABOUT


@pytest.mark.parametrize("step", [0, 1, 5])
def test_a_stopped_run_goes_on_bit_for_bit(base: Path, tiny_text: Path, tmp_path: Path, step: int) -> None:
    whole = loop.train(config(tiny_text), tmp_path / "whole", start=start_of(base))
    with stopped_in(step):
        loop.train(config(tiny_text), tmp_path / "parts", start=start_of(base))
    parts = loop.resume(tmp_path / "parts")
    expected, found = (tensors(run.checkpoint(8)) for run in (whole, parts))
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert [line["step"] for line in parts.metrics()] == [line["step"] for line in whole.metrics()]


def test_what_a_run_began_from_stays_the_best_where_training_makes_it_worse(
    base: Path, tiny_text: Path, tmp_path: Path
) -> None:
    harmful: dict[str, dict[str, Any]] = {
        "optimizer": {"learning_rate": 10.0},
        "training": {"patience": 2, "max_steps": 30, "precision": "fp32"},
    }
    run = loop.train(config(tiny_text, **harmful), tmp_path / "run", start=start_of(base))
    assert run.linked_step("best") == 0
    assert run.metrics()[-1]["step"] == 6  # two validations without a new best


def test_weights_of_another_shape_are_refused_before_anything_is_written(
    base: Path, tiny_text: Path, tmp_path: Path
) -> None:
    for model in ({"n_layers": 2}, {"context_length": 8}):
        with pytest.raises(DataMismatchError, match=r"position.weight has shape|on one side only"):
            loop.train(config(tiny_text, model=model), tmp_path / "run", start=start_of(base))
    assert not (tmp_path / "run").exists()


def test_a_character_that_the_vocabulary_lacks_is_refused(base: Path, tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("ZZZZ" * 100)
    with pytest.raises(UnknownCharacterError, match="'Z'"):
        loop.train(config(tmp_path / "other.txt"), tmp_path / "run", start=start_of(base))
    assert not (tmp_path / "run").exists()


def test_a_run_killed_before_its_first_checkpoint_does_not_begin_from_scratch(
    base: Path, tiny_text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Start, "begin", killed)
        with pytest.raises(KeyboardInterrupt):
            loop.train(config(tiny_text), tmp_path / "run", start=start_of(base))
    with pytest.raises(RunError, match="finetune again"):
        loop.resume(tmp_path / "run")


def test_a_vocabulary_of_its_own_goes_into_every_file(base: Path, tiny_text: Path, tmp_path: Path) -> None:
    given = start_of(base)
    assert isinstance(given.tokenizer, CharacterTokenizer)
    tokenizer = CharacterTokenizer(given.tokenizer.characters + "!")
    wider = {
        name: np.pad(a, ((0, 1), (0, 0))) if name == "embedding.weight" else a for name, a in given.parameters.items()
    }
    run: RunDirectory = loop.train(config(tiny_text), tmp_path / "run", start=Start(tokenizer, wider, ABOUT))
    assert run.tokenizer() == tokenizer
    assert load_checkpoint(run.path).tokenizer == tokenizer


def test_what_is_measured_afterwards_takes_its_share_of_the_minutes(
    base: Path, tiny_text: Path, tmp_path: Path
) -> None:
    start = replace(start_of(base), closing=1000.0)
    with pytest.raises(ConfigError, match=r"max_minutes"):
        loop.train(config(tiny_text, training={"max_minutes": 10.0}), tmp_path / "run", start=start)
    assert not (tmp_path / "run").exists()
