import errno
import logging
import os
import pathlib
import resource
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from letterloom import api, storage
from letterloom.config import RunConfig, build_config
from letterloom.errors import DataMismatchError, ResourceError, RunError
from letterloom.model.transformer import Transformer
from letterloom.runs.checkpoint import (
    load_checkpoint,
    newest_checkpoint,
    read_checkpoint,
    remove_old_checkpoints,
    save_checkpoint,
)
from letterloom.runs.directory import RunDirectory
from letterloom.runs.tensors import load_parameters
from letterloom.text.tokenizers import CharacterTokenizer

TOKENIZER = CharacterTokenizer("\n abcdeé☃")
STATE = {"position": {"step": 3, "seconds": 0.1 + 0.2, "best_nats": None}, "learner": {"scaler": {}, "averaged": 0}}


def small_config(**model: Any) -> RunConfig:
    return build_config({"model": {"context_length": 8, "d_model": 8, "n_layers": 1, "n_heads": 2, **model}})


def build_model(seed: int = 0, **model: Any) -> Transformer:
    torch.manual_seed(seed)
    return Transformer(small_config(**model).model, TOKENIZER.vocab_size)


def save(path: Path, step: int = 3, optimizer: Mapping[str, Tensor] | None = None, **model: Any) -> None:
    """Save a checkpoint whose weights depend on its step."""
    weights = dict(build_model(step, **model).named_parameters())
    optimizer = optimizer or {f"{name}/exp_avg": torch.randn_like(weight) for name, weight in weights.items()}
    everything = {"model": weights, "optimizer": optimizer, "state": STATE, "tokenizer": TOKENIZER}
    save_checkpoint(path, step=step, config=small_config(**model), **everything)  # type: ignore[arg-type]


def save_steps(path: Path, *steps: int, best: int | None = None) -> RunDirectory:
    run = RunDirectory(path)
    for step in steps:
        save(run.checkpoint(step), step)
    if best is not None:
        storage.set_link(run.checkpoints_folder / "best", run.checkpoint(best))
    return run


def damage(checkpoint: Path) -> None:
    with (checkpoint / "model.safetensors").open("r+b") as file:
        file.seek(200)
        byte = file.read(1)[0]
        file.seek(200)
        file.write(bytes([byte ^ 1]))


def bits(tensor: Tensor) -> tuple[torch.dtype, torch.Size, bytes]:
    return tensor.dtype, tensor.shape, bytes(tensor.detach().contiguous().view(-1).view(torch.uint8).tolist())


class TestRoundTrip:
    def test_every_bit_of_every_tensor_comes_back(self, tmp_path: Path) -> None:
        torch.manual_seed(0)
        odd = {
            "scalar": torch.tensor(0.1),
            "special": torch.tensor([float("nan"), -0.0, float("inf"), 1e-45]),
            "half": torch.randn(3, 2).bfloat16(),
            "long": torch.tensor([2**62 + 1]),
            "empty": torch.empty(0, 4),
            "transposed": torch.randn(3, 5).T,
            "part": torch.randn(9)[2:7:2],
        }
        save(tmp_path / "c", 3, odd)
        checkpoint = read_checkpoint(tmp_path / "c")
        assert checkpoint.step == 3
        assert checkpoint.config == small_config()
        assert checkpoint.tokenizer == TOKENIZER
        assert repr(checkpoint.state) == repr(STATE)
        loaded = checkpoint.tensors("optimizer")
        assert {name: bits(tensor) for name, tensor in loaded.items()} == {n: bits(t) for n, t in odd.items()}
        weights = {name: bits(parameter) for name, parameter in build_model(3).named_parameters()}
        assert {name: bits(tensor) for name, tensor in checkpoint.tensors("model").items()} == weights
        assert {name: bits(parameter) for name, parameter in checkpoint.model().named_parameters()} == weights

    def test_equal_contents_give_equal_files(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            save(tmp_path / name)
        assert storage.read_manifest(tmp_path / "a") == storage.read_manifest(tmp_path / "b")

    def test_the_model_comes_back_ready_to_be_used(self, tmp_path: Path) -> None:
        save(tmp_path / "c", dropout=0.5)
        assert not read_checkpoint(tmp_path / "c").model().training

    @pytest.mark.parametrize("tied", [True, False])
    def test_a_tied_head_is_stored_once_and_stays_tied(self, tmp_path: Path, tied: bool) -> None:
        save(tmp_path / "c", tied_head=tied)
        stored = read_checkpoint(tmp_path / "c").tensors("model")
        assert ("head.weight" in stored) is not tied
        model = read_checkpoint(tmp_path / "c").model()
        assert (model.head.weight is model.embedding.weight) is tied
        distinct = {parameter.data_ptr(): parameter.numel() for parameter in model.parameters()}
        assert sum(tensor.numel() for tensor in stored.values()) == sum(distinct.values())

    def test_it_is_whole_by_itself(self, run_copy: Path, tmp_path: Path) -> None:
        expected = api.load(run_copy).generate("the", 30, seed=1)
        best = RunDirectory(run_copy).linked("best")
        assert best
        shutil.copytree(best, tmp_path / "elsewhere")
        shutil.rmtree(run_copy)
        assert api.load(tmp_path / "elsewhere").generate("the", 30, seed=1) == expected


class TestLoadParameters:
    def test_what_is_missing_is_named(self) -> None:
        tensors = dict(build_model().named_parameters())
        del tensors["norm.weight"]
        with pytest.raises(DataMismatchError, match=r"c/model\.safetensors .*norm\.weight"):
            load_parameters(build_model(), tensors, Path("c/model.safetensors"))

    def test_what_is_left_over_is_named(self) -> None:
        tensors = {**dict(build_model().named_parameters()), "stowaway": torch.zeros(1)}
        with pytest.raises(DataMismatchError, match="stowaway"):
            load_parameters(build_model(), tensors, Path("c"))

    def test_another_shape_is_named_even_where_it_could_be_broadcast(self) -> None:
        tensors = {**dict(build_model().named_parameters()), "norm.weight": torch.zeros(1)}
        with pytest.raises(DataMismatchError, match=r"norm\.weight has shape \(1,\) in place of \(8,\)"):
            load_parameters(build_model(), tensors, Path("c"))


class TestNewest:
    def test_it_is_that_of_the_latest_step(self, tmp_path: Path) -> None:
        newest = newest_checkpoint(save_steps(tmp_path, 2, 10, 9))
        assert newest
        assert newest.step == 10

    def test_damaged_ones_are_passed_over_and_told(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        run = save_steps(tmp_path, 1, 2, 3)
        damage(run.checkpoint(3))
        (run.checkpoint(2) / "state.json").unlink()
        with caplog.at_level(logging.WARNING):
            newest = newest_checkpoint(run)
        assert newest
        assert newest.step == 1
        told = [record.getMessage() for record in caplog.records]
        assert len(told) == 2
        assert str(run.checkpoint(3) / "model.safetensors") in told[0]
        assert str(run.checkpoint(2) / "state.json") in told[1]
        assert all("going on with step-000001" in message for message in told)

    def test_without_any_there_is_none(self, tmp_path: Path) -> None:
        assert newest_checkpoint(RunDirectory(tmp_path)) is None

    def test_where_all_are_damaged_each_is_named(self, tmp_path: Path) -> None:
        run = save_steps(tmp_path, 1, 2)
        for path in run.checkpoints():
            damage(path)
        with pytest.raises(DataMismatchError, match=r"step-000002.*step-000001") as caught:
            newest_checkpoint(run)
        assert caught.value.exit_code == 4


class TestLoadCheckpoint:
    def test_of_a_run_it_is_the_best(self, tmp_path: Path) -> None:
        assert load_checkpoint(save_steps(tmp_path, 1, 2, 3, best=2).path).step == 2

    def test_it_is_the_newest_where_no_best_is_linked(self, tmp_path: Path) -> None:
        assert load_checkpoint(save_steps(tmp_path, 1, 2, 3).path).step == 3

    def test_a_damaged_best_one_is_told_and_replaced(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        run = save_steps(tmp_path, 1, 2, 3, best=2)
        damage(run.checkpoint(2))
        assert load_checkpoint(tmp_path).step == 3
        assert "step-000002/model.safetensors is damaged" in caplog.text

    def test_a_checkpoint_that_is_named_is_never_replaced(self, tmp_path: Path) -> None:
        run = save_steps(tmp_path, 1, 2, best=2)
        assert load_checkpoint(run.checkpoint(1)).step == 1
        assert load_checkpoint(run.checkpoints_folder / "best").step == 2
        damage(run.checkpoint(1))
        with pytest.raises(DataMismatchError, match="step-000001"):
            load_checkpoint(run.checkpoint(1))

    def test_a_run_without_any_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="no checkpoint yet"):
            load_checkpoint(tmp_path)


class TestRemoveOld:
    def kept(self, run: RunDirectory, keep: int) -> list[int]:
        remove_old_checkpoints(run, keep)
        assert sorted(path.name for path in run.checkpoints_folder.iterdir() if not path.is_symlink()) == [
            path.name for path in run.checkpoints()
        ]
        return [int(path.name.removeprefix("step-")) for path in run.checkpoints()]

    def test_the_best_and_the_newest_are_kept(self, tmp_path: Path) -> None:
        run = save_steps(tmp_path, 1, 2, 3, 4, 5, best=2)
        assert self.kept(run, 2) == [2, 4, 5]
        assert run.linked("best") == run.checkpoint(2).resolve()

    def test_the_best_may_be_among_the_newest(self, tmp_path: Path) -> None:
        assert self.kept(save_steps(tmp_path, 1, 2, 3, best=3), 2) == [2, 3]

    def test_nothing_goes_while_there_are_few(self, tmp_path: Path) -> None:
        assert self.kept(save_steps(tmp_path, 1, 2), 2) == [1, 2]

    def test_damaged_ones_do_not_count(self, tmp_path: Path) -> None:
        run = save_steps(tmp_path, 1, 2, 3, 4, 5, best=5)
        damage(run.checkpoint(5))
        damage(run.checkpoint(3))
        assert self.kept(run, 2) == [2, 3, 4, 5]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """Let the kernel refuse what would make a file of this process longer than `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def disk_full_at(call: int) -> Iterator[list[str]]:
    """Let the `call`-th call that needs room on the disk find none; gives the names of the calls that were made."""
    calls: list[str] = []

    def failing(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            if len(calls) == call:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return function(*args, **kwargs)

        return wrapped

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in ((os, "fsync"), (pathlib.Path, "rename"), (pathlib.Path, "mkdir")):
            patch.setattr(owner, name, failing(name, getattr(owner, name)))
        yield calls


class TestDiskFull:
    @pytest.fixture
    def run(self, tmp_path: Path) -> RunDirectory:
        return save_steps(tmp_path, 1, best=1)

    def test_a_write_that_fails_anywhere_leaves_what_was_there(self, run: RunDirectory) -> None:
        before = contents(run.path)
        largest = max(file.stat().st_size for file in run.checkpoint(1).iterdir())
        for size in (0, 1, *range(64, largest, 64), largest - 1):
            with files_limited_to(size), pytest.raises(ResourceError, match="no space left to write") as caught:
                save(run.checkpoint(2), 2)
            assert caught.value.exit_code == 5
            assert "\n" not in str(caught.value)
            assert contents(run.path) == before
        assert read_checkpoint(run.checkpoint(1)).step == 1

    def test_an_fsync_or_rename_that_fails_leaves_whole_checkpoints_only(self, run: RunDirectory) -> None:
        before = contents(run.path)
        with disk_full_at(0) as calls:
            save(run.checkpoint(2), 2)
        after = contents(run.path)
        assert calls.count("fsync") == 8  # six files, their folder, and the folder they appear in
        assert calls.count("rename") == 1
        for call in range(1, len(calls) + 1):
            shutil.rmtree(run.checkpoint(2))
            with disk_full_at(call), pytest.raises(ResourceError) as caught:
                save(run.checkpoint(2), 2)
            assert caught.value.exit_code == 5
            assert contents(run.path) == (after if call == len(calls) else before)  # the last call follows the rename
            for path in run.checkpoints():
                read_checkpoint(path).model()
            save(run.checkpoint(2), 2)  # room was made
            assert contents(run.path) == after
