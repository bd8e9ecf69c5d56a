"""Whatever happens to the files of a checkpoint, nothing that was not saved is ever loaded."""

import itertools
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from letterloom import storage
from letterloom.errors import DataMismatchError, RunError
from letterloom.runs.checkpoint import load_checkpoint, read_checkpoint
from letterloom.runs.directory import RunDirectory
from letterloom.runs.finding import find_run
from letterloom.training.loop import resume

FLIPS = 10_000
PAGE = 4096
NAMES = ["MANIFEST.json", "model.safetensors", "optimizer.safetensors", "run.toml", "state.json", "tokenizer.json"]


@pytest.fixture
def checkpoint(run_copy: Path) -> Path:
    """The newest checkpoint of a run that was really trained."""
    path = RunDirectory(run_copy).checkpoints()[-1]
    assert sorted(file.name for file in path.iterdir()) == NAMES
    read_checkpoint(path)
    return path


@contextmanager
def overwritten(file: Path, offset: int, data: bytes) -> Iterator[None]:
    """Put other bytes in the place of some, and put those back afterwards."""
    with file.open("r+b", buffering=0) as stream:
        stream.seek(offset)
        sound = stream.read(len(data))
        assert len(sound) == len(data)
        assert sound != data
        stream.seek(offset)
        stream.write(data)
        try:
            yield
        finally:
            stream.seek(offset)
            stream.write(sound)


def refused(checkpoint: Path, name: str) -> None:
    with pytest.raises(DataMismatchError) as caught:
        read_checkpoint(checkpoint)
    assert str(checkpoint / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def rewrite_manifest(checkpoint: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest as a forger would, with a checksum that fits."""
    manifest = storage.read_manifest(checkpoint)
    change(manifest)
    (checkpoint / storage.MANIFEST).write_text(storage._manifest_text(manifest), encoding="utf-8")


def test_no_flipped_bit_is_ever_loaded(checkpoint: Path) -> None:
    draw = random.Random(0)
    for flip in range(FLIPS):
        file = checkpoint / NAMES[flip % len(NAMES)]  # in turn, since by size nearly all would hit the tensors
        bit = draw.randrange(8 * file.stat().st_size)
        byte = file.read_bytes()[bit // 8]
        with overwritten(file, bit // 8, bytes([byte ^ 1 << bit % 8])):
            refused(checkpoint, file.name)
    read_checkpoint(checkpoint).model()


@pytest.mark.parametrize("name", NAMES)
def test_no_truncated_file_is_ever_loaded(checkpoint: Path, name: str) -> None:
    file = checkpoint / name
    sound = file.read_bytes()
    lengths = {0, *range(0, len(sound), PAGE), *range(max(0, len(sound) - PAGE), len(sound))}
    for length in sorted(lengths, reverse=True):
        os.truncate(file, length)
        refused(checkpoint, name)
    file.write_bytes(sound + b"\0")
    refused(checkpoint, name)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors"])
def test_no_lost_or_misplaced_page_is_ever_loaded(checkpoint: Path, name: str) -> None:
    file = checkpoint / name
    sound = file.read_bytes()
    pages = [sound[start : start + PAGE] for start in range(0, len(sound), PAGE)]
    assert len(pages) > 3
    for number, page in enumerate(pages):
        with overwritten(file, number * PAGE, bytes(len(page))):
            refused(checkpoint, name)
    for number, (first, second) in enumerate(itertools.pairwise(pages)):
        with overwritten(file, number * PAGE, second + first):
            refused(checkpoint, name)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file_is_named(checkpoint: Path, name: str) -> None:
    (checkpoint / name).unlink()
    with pytest.raises(DataMismatchError, match=name):
        read_checkpoint(checkpoint)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_a_folder_is_named(checkpoint: Path, name: str) -> None:
    (checkpoint / name).unlink()
    (checkpoint / name).mkdir()
    refused(checkpoint, name)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json", "MANIFEST.json"])
def test_files_of_two_steps_do_not_mix(checkpoint: Path, name: str) -> None:
    older = RunDirectory(checkpoint.parents[1]).checkpoints()[-2]
    shutil.copy(older / name, checkpoint / name)
    with pytest.raises(DataMismatchError, match=str(checkpoint)):
        read_checkpoint(checkpoint)


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(NAMES, 2)))
def test_two_files_of_a_checkpoint_cannot_change_places(checkpoint: Path, first: str, second: str) -> None:
    (checkpoint / first).rename(checkpoint / "between")
    (checkpoint / second).rename(checkpoint / first)
    (checkpoint / "between").rename(checkpoint / second)
    with pytest.raises(DataMismatchError, match=str(checkpoint)):
        read_checkpoint(checkpoint)


@pytest.mark.parametrize("name", ["model", "optimizer"])
def test_damage_between_verifying_and_reading_is_found(checkpoint: Path, name: str) -> None:
    read = read_checkpoint(checkpoint)
    file = checkpoint / f"{name}.safetensors"
    last = file.stat().st_size - 1
    with overwritten(file, last, bytes([file.read_bytes()[-1] ^ 1])), pytest.raises(DataMismatchError, match=name):
        read.tensors(name)


class TestForeign:
    def test_a_folder_that_is_no_checkpoint(self, tmp_path: Path) -> None:
        (tmp_path / "model.pt").write_bytes(b"PK")
        with pytest.raises(DataMismatchError, match=storage.MANIFEST):
            read_checkpoint(tmp_path)
        with pytest.raises(RunError, match="neither a run directory nor a checkpoint"):
            find_run(tmp_path)

    def test_weights_without_a_manifest(self, tmp_path: Path) -> None:
        (tmp_path / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
        with pytest.raises(DataMismatchError, match=storage.MANIFEST):
            load_checkpoint(find_run(tmp_path))

    def test_another_folder_saved_by_letterloom(self, tmp_path: Path) -> None:
        with storage.new_folder(tmp_path / "ids", key="k") as writer:
            writer.write("ids.uint8", b"\0\1")
        with pytest.raises(DataMismatchError, match=r"run\.toml"):
            read_checkpoint(tmp_path / "ids")

    def test_a_newer_format(self, checkpoint: Path) -> None:
        rewrite_manifest(checkpoint, lambda manifest: manifest.update(format=storage.FORMAT_VERSION + 1))
        with pytest.raises(DataMismatchError, match="newer format"):
            read_checkpoint(checkpoint)

    @pytest.mark.parametrize("name", ["../model.safetensors", "/etc/hostname", "./model.safetensors", "..", ".", ""])
    def test_a_manifest_that_names_files_elsewhere(self, checkpoint: Path, name: str) -> None:
        """Also where such a file is there, and is as the manifest says."""
        shutil.copy(checkpoint / "model.safetensors", checkpoint.parent / "model.safetensors")
        rewrite_manifest(checkpoint, lambda m: m["files"].update({name: m["files"]["model.safetensors"]}))
        with pytest.raises(DataMismatchError, match=str(checkpoint)):
            read_checkpoint(checkpoint)

    def test_a_file_the_manifest_does_not_list(self, checkpoint: Path) -> None:
        rewrite_manifest(checkpoint, lambda manifest: manifest["files"].pop("state.json"))
        with pytest.raises(DataMismatchError, match=r"state\.json is not listed"):
            read_checkpoint(checkpoint)


def test_training_goes_on_from_the_newest_whole_one_and_makes_the_damaged_one_again(
    checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = RunDirectory(checkpoint.parents[1])
    files, losses = storage.read_manifest(checkpoint)["files"], [line.get("loss") for line in run.metrics()]
    os.truncate(checkpoint / "optimizer.safetensors", 1000)
    resume(run.path)
    assert f"{checkpoint / 'optimizer.safetensors'} is damaged" in caplog.text
    assert "going on with step-000008" in caplog.text
    again = read_checkpoint(checkpoint).manifest["files"]
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert again[name] == files[name]
    assert [line.get("loss") for line in run.metrics()] == losses
    assert run.linked("last") == checkpoint.resolve()


def test_a_run_whose_checkpoints_are_all_damaged_is_left_as_it_is(checkpoint: Path) -> None:
    run = RunDirectory(checkpoint.parents[1])
    for path in run.checkpoints():
        os.truncate(path / "model.safetensors", 1000)
    metrics = run.metrics_file.read_bytes()
    with pytest.raises(DataMismatchError, match="no checkpoint of"):
        resume(run.path)
    assert run.metrics_file.read_bytes() == metrics
