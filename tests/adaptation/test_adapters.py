"""Factors are trained beside a model and kept as an adapter, which gives the finetuned model back with its base."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import letterloom
from letterloom import api
from letterloom.adaptation.adapters import merge
from letterloom.runs.checkpoint import load_checkpoint, read_checkpoint
from letterloom.runs.directory import RunDirectory
from stopping import stopped_in

SETTINGS = ("--training.device", "cpu", "--training.threads", "1", "--training.sample-characters", "20")
TRAINING = {"max_steps": 6, "sample_characters": 20, "device": "cpu", "threads": 1, "precision": "fp32"}


@pytest.fixture(scope="module")
def adapted(tiny_run: Path, greek_text: Path, tmp_path_factory: pytest.TempPathFactory) -> api.Run:
    """The tiny run, with factors of rank 2, on a text of new letters."""
    return api.finetune(
        tiny_run, greek_text, tmp_path_factory.mktemp("adapted") / "greek", training=TRAINING | {"lora_rank": 2}
    )


def assert_alike(first: Path, second: Path) -> None:
    """Checkpoints with the same parameters, to 1e-6."""
    ours, theirs = (load_checkpoint(path).arrays() for path in (first, second))
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_allclose(array, theirs[name], rtol=0, atol=1e-6, err_msg=name)


def test_a_run_with_factors_is_an_ordinary_run(adapted: api.Run, tiny_run: Path) -> None:
    model = adapted.load()
    assert model.verify().agrees
    assert set("αβψΗ·") <= set(model.checkpoint.tokenizer.decode(range(model.checkpoint.tokenizer.vocab_size)))
    before = load_checkpoint(tiny_run).arrays()
    for name, array in model.checkpoint.arrays().items():
        adapted_too = name.startswith(("blocks.", "embedding.")) and array.ndim == 2
        assert np.array_equal(array, before[name]) != adapted_too, name
    assert adapted.finetuning is not None
    assert adapted.finetuning["new"]["difference"]["nats_per_character"] < 0


def test_the_adapter_is_small_and_gives_the_finetuned_model_back(
    adapted: api.Run, tiny_run: Path, tmp_path: Path, call: Callable[..., Any]
) -> None:
    result = call("merge", tiny_run, adapted.path / "adapter", "--out", tmp_path / "merged", "--json")
    assert json.loads(result.out) == {"out": str(tmp_path / "merged")}
    assert_alike(tmp_path / "merged", adapted.path)
    assert letterloom.load(tmp_path / "merged").verify().agrees
    whole = load_checkpoint(adapted.path).path / "model.safetensors"
    size = (adapted.path / "adapter" / "adapter.safetensors").stat().st_size
    assert size < 0.8 * whole.stat().st_size  # of a tiny model; the embedding of so many letters is most of it


def test_an_adapter_of_other_weights_is_refused(
    adapted: api.Run, tiny_run: Path, tmp_path: Path, call: Callable[..., Any]
) -> None:
    result = call("merge", adapted.path, adapted.path / "adapter", "--out", tmp_path / "merged")
    assert result.exit_code == 4
    assert "belongs to other weights than those of" in result.error
    assert not (tmp_path / "merged").exists()


def test_a_damaged_adapter_and_a_place_that_is_taken_are_refused(
    adapted: api.Run, tiny_run: Path, tmp_path: Path, call: Callable[..., Any]
) -> None:
    assert "is there already" in call("merge", tiny_run, adapted.path / "adapter", "--out", tmp_path).error
    copy = shutil.copytree(adapted.path / "adapter", tmp_path / "adapter")
    (copy / "adapter.safetensors").write_bytes(b"no")
    assert "is damaged" in call("merge", tiny_run, copy, "--out", tmp_path / "merged").error
    result = call("merge", tiny_run, tmp_path / "nothing", "--out", tmp_path / "merged")
    assert (result.exit_code, (tmp_path / "merged").exists()) == (2, False)


def test_a_stopped_run_goes_on_as_if_it_never_had(
    adapted: api.Run, tiny_run: Path, greek_text: Path, tmp_path: Path
) -> None:
    with stopped_in(step=3):
        api.finetune(tiny_run, greek_text, tmp_path / "run", training=TRAINING | {"lora_rank": 2})
    api.resume(tmp_path / "run")
    ours, theirs = (RunDirectory(path) for path in (tmp_path / "run", adapted.path))
    losses = [[line["loss"] for line in run.metrics() if line["kind"] == "train"] for run in (ours, theirs)]
    assert losses[0] == losses[1]
    for name in ("model", "optimizer"):
        tensors = [read_checkpoint(run.checkpoints()[-1]).tensors(name) for run in (ours, theirs)]
        assert all(tensors[0][key].equal(tensors[1][key]) for key in tensors[1])
    assert (ours.path / "adapter" / "MANIFEST.json").exists()


def test_an_adapter_is_of_the_best_weights(tiny_run: Path, greek_text: Path, tmp_path: Path) -> None:
    training = TRAINING | {"lora_rank": 2, "eval_interval": 2}
    run = api.finetune(tiny_run, greek_text, tmp_path / "run", training=training, optimizer={"learning_rate": 20.0})
    assert load_checkpoint(run.path).step < RunDirectory(run.path).metrics()[-1]["step"]  # it became worse
    assert_alike(merge(tiny_run, run.path / "adapter", tmp_path / "merged"), run.path)


@pytest.mark.parametrize("damaged", ["adapter/adapter.safetensors", "base/model.safetensors"])
def test_verify_finds_damage_beside_the_checkpoints(
    adapted: api.Run, tmp_path: Path, call: Callable[..., Any], damaged: str
) -> None:
    run = shutil.copytree(adapted.path, tmp_path / "run", symlinks=True)
    assert call("verify", run).exit_code == 0
    data = bytearray((run / damaged).read_bytes())
    data[-1] ^= 1
    (run / damaged).write_bytes(data)
    result = call("verify", run)
    assert result.exit_code == 4
    assert damaged in result.err


def test_a_merged_model_is_known_to_be_finetuned(
    adapted: api.Run, tiny_run: Path, greek_text: Path, tmp_path: Path
) -> None:
    merged = merge(tiny_run, adapted.path / "adapter", tmp_path / "merged")
    again = api.finetune(merged, greek_text, tmp_path / "again", training=TRAINING | {"max_steps": 1})
    assert RunDirectory(again.path).config().optimizer.learning_rate == 0.0005


def test_a_longer_context_of_learned_positions_needs_more_than_factors(
    tiny_run: Path, greek_text: Path, tmp_path: Path, call: Callable[..., Any]
) -> None:
    longer = ("--model.context-length", 24, "--lora", 2)
    result = call("finetune", tiny_run, greek_text, "--out", tmp_path / "run", *longer, *SETTINGS)
    assert "a longer context has to learn its positions" in result.error
    assert not (tmp_path / "run").exists()


def test_what_is_no_adapter_is_told(adapted: api.Run, tiny_run: Path, tmp_path: Path, call: Callable[..., Any]) -> None:
    place = ("--out", tmp_path / "merged")
    assert f"its adapter is {adapted.path}/adapter" in call("merge", tiny_run, adapted.path, *place).error
    assert "was finetuned without --lora" in call("merge", tiny_run, tiny_run, *place).error
    assert "is no adapter" in call("merge", tiny_run, tmp_path, *place).error
    assert f"letterloom merge RUN {adapted.path}/adapter" in call("generate", adapted.path / "adapter").error


@pytest.mark.parametrize("rank", ["17", "0", "x"])
def test_a_rank_that_no_matrix_has_is_refused_before_anything_is_written(
    tiny_run: Path, greek_text: Path, tmp_path: Path, call: Callable[..., Any], rank: str
) -> None:
    result = call("finetune", tiny_run, greek_text, "--out", tmp_path / "run", "--lora", rank, *SETTINGS)
    assert "training.lora_rank" in result.error
    assert not (tmp_path / "run").exists()
