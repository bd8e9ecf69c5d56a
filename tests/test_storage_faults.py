"""Faults and kills at any moment of a write: a reader finds the old state or the new one, verified."""

import errno
import os
import pathlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from letterloom import storage
from letterloom.errors import ResourceError, RunError
from storage_states import state, write_new_file, write_new_folder, write_old


class Faults:
    """Counts the calls that reach the disk, and lets the one at `fail_at` (or every one from there on) fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int, fail_at: int, *, for_good: bool = False) -> None:
        self.calls, self.failed = 0, False
        self._number, self._fail_at, self._for_good = number, fail_at, for_good
        for owner, name in ((os, "fsync"), (os, "open"), (pathlib.Path, "mkdir"), (pathlib.Path, "replace")):
            monkeypatch.setattr(owner, name, self._wrap(getattr(owner, name)))
        monkeypatch.setattr(pathlib.Path, "rename", self._wrap(pathlib.Path.rename))
        real_open = pathlib.Path.open

        def open_path(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if "w" in mode:
                self._step()
            file: Any = real_open(path, mode, *args, **kwargs)
            if "w" in mode:
                file.write = self._wrap(file.write)
            return file

        monkeypatch.setattr(pathlib.Path, "open", open_path)

    def _step(self) -> None:
        self.calls += 1
        if self.calls == self._fail_at or (self._for_good and self.calls > self._fail_at):
            self.failed = True
            raise OSError(self._number, os.strerror(self._number))

    def _wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self._step()
            return function(*args, **kwargs)

        return wrapped


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO], ids=["ENOSPC", "EDQUOT", "EIO"])
@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("write", [write_new_file, write_new_folder])
def test_a_fault_at_any_call_leaves_the_old_state_or_the_new_one(
    tmp_path: Path, write: Callable[[Path], None], number: int, for_good: bool
) -> None:
    write_old(tmp_path / "expected")
    old = state(tmp_path / "expected")
    write(tmp_path / "expected")
    new = state(tmp_path / "expected")
    expected = RunError if number == errno.EIO else ResourceError

    for fail_at in range(1, 1000):
        folder = tmp_path / str(fail_at)
        write_old(folder)
        with pytest.MonkeyPatch.context() as monkeypatch:
            faults = Faults(monkeypatch, number, fail_at, for_good=for_good)
            caught = None
            try:
                write(folder)
            except (RunError, ResourceError) as error:
                caught = error
        if not faults.failed:
            assert fail_at > 5, "the faults were not reached"
            break
        storage.remove_leftovers(folder)  # what the next holder of the lock does
        if caught is None:  # only tidying up failed
            assert state(folder) == new
        else:
            assert isinstance(caught, expected)
            assert "\n" not in str(caught)
            assert state(folder) in (old, new)
    else:
        pytest.fail("the writer never succeeded")


def test_a_fault_before_the_rename_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        Faults(monkeypatch, errno.ENOSPC, 2)
        with pytest.raises(ResourceError):
            write_new_file(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is synced and renamed from now on, in that order."""
    order: list[str] = []
    real_fsync = os.fsync

    def fsync(descriptor: int) -> None:
        order.append(f"fsync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        real_fsync(descriptor)

    def told(rename: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
        def renamed(path: Path, target: Path) -> Path:
            order.append("rename")
            return rename(path, target)

        return renamed

    monkeypatch.setattr(os, "fsync", fsync)
    for name in ("rename", "replace"):
        monkeypatch.setattr(pathlib.Path, name, told(getattr(pathlib.Path, name)))
    return order


def test_fsync_comes_before_the_rename_and_the_folder_after_it(tmp_path: Path, order: list[str]) -> None:
    write_new_folder(tmp_path)
    at = order.index("rename")
    assert order[:2] == ["fsync a.bin", "fsync b.bin"]
    assert order[2] == f"fsync {storage.MANIFEST}"
    assert order[3:at] == [f"fsync .tmp-{os.getpid()}-saved"]
    assert order[at + 1 :] == [f"fsync {tmp_path.name}"]


def test_a_replaced_file_and_a_link_are_as_durable_as_a_folder(tmp_path: Path, order: list[str]) -> None:
    write_new_file(tmp_path)
    assert order == [f"fsync .tmp-{os.getpid()}-file", "rename", f"fsync {tmp_path.name}"]
    order.clear()
    storage.set_link(tmp_path / "link", tmp_path / "file")
    assert order == ["rename", f"fsync {tmp_path.name}"]


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_old(tmp_path)
    before = state(tmp_path)
    real_rename, renames = pathlib.Path.rename, 0

    def rename(path: Path, target: Path) -> Path:
        nonlocal renames
        renames += 1
        if renames > 1:  # from here on the process does nothing any more
            raise KeyboardInterrupt
        return real_rename(path, target)

    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(pathlib.Path, "rename", rename)
        write_new_folder(tmp_path)
    storage.remove_leftovers(tmp_path)
    assert state(tmp_path) == before
