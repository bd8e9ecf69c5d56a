"""The only code that writes files: durable, atomic, locked.

A single file is replaced whole (`write_file`); a folder appears whole or not at all (`new_folder`), its MANIFEST.json
naming every file's size and SHA-256, so that damage is found on reading. The order is: write a temporary sibling, fsync
every file, manifest last, fsync the folder, rename, fsync the parent. A kill or power cut leaves the old or new state.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from letterloom.errors import DataMismatchError, DiskFullError, LockedError, RunError

MANIFEST = "MANIFEST.json"
FORMAT_VERSION = 1
_TEMPORARY = ".tmp-"
_ASIDE = "-aside-"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def write_file(path: Path, data: bytes | str) -> None:
    """Replace `path` with `data` (text as UTF-8), durably; readers see the old file or the new one.

    Raises:
        DiskFullError, RunError: the disk is full, or the folder cannot be written.
    """
    with _disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{_TEMPORARY}{os.getpid()}-{path.name}")
        try:
            with temporary.open("wb") as file:
                file.write(data.encode() if isinstance(data, str) else data)
                _fsync(file)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        fsync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Replace `path` with `value` as indented JSON, durably (see `write_file`)."""
    write_file(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


class LineLog:
    """An append-only file of lines. A line survives the process at once, a power cut after `sync`."""

    def __init__(self, path: Path) -> None:
        with _disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._path, self._file = path, path.open("ab")

    def append(self, line: str) -> None:
        """Add one line; no newline inside."""
        with _disk_errors(self._path):
            self._file.write(line.encode() + b"\n")
            self._file.flush()

    def sync(self) -> None:
        """Wait until every line is on the disk."""
        with _disk_errors(self._path):
            _fsync(self._file)

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):  # every line was flushed when it was appended, or has told why it could not be
            self._file.close()


@dataclass(frozen=True)
class FolderWriter:
    """Writes the files of a folder that is not visible yet; made by `new_folder`."""

    path: Path

    def write(self, name: str, data: bytes | str) -> None:
        """Write one file whole (text as UTF-8)."""
        with self.open(name) as file:
            file.write(data.encode() if isinstance(data, str) else data)

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """Open one file for binary writing; it is on the disk when the block ends."""
        with (self.path / name).open("wb") as file:
            yield file
            _fsync(file)


@contextmanager
def new_folder(path: Path, **manifest: Any) -> Iterator[FolderWriter]:
    """Fill a temporary folder and make it appear as `path`, verified, when the block ends well.

    An older folder of that name is replaced. `manifest` is stored with the file list.

    Raises:
        DiskFullError: the disk is full; nothing is left behind, an older folder is untouched.
        RunError: the parent cannot be written.
    """
    with _disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{_TEMPORARY}{os.getpid()}-{path.name}")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        try:
            yield (writer := FolderWriter(temporary))
            files = {f.name: {"bytes": f.stat().st_size, "sha256": sha256_file(f)} for f in sorted(temporary.iterdir())}
            writer.write(MANIFEST, _manifest_text({"format": FORMAT_VERSION, **manifest, "files": files}))
            fsync_folder(temporary)
            _put_in_place(temporary, path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        fsync_folder(path.parent)
    verify_folder(path)


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a folder made by `new_folder`; its own bytes are checked, the files' are not.

    Raises:
        DataMismatchError: it is missing, damaged, or of a newer format.
    """
    file = path / MANIFEST
    try:
        text = file.read_text(encoding="utf-8")
        manifest = json.loads(text)
        intact = text == _manifest_text(manifest) and all(Path(name).name == name for name in manifest["files"])
    except FileNotFoundError:
        raise DataMismatchError(f"{path} has no {MANIFEST}: Letterloom did not save it, or not to its end") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        intact = False
    if not intact:
        raise DataMismatchError(f"{file} is damaged (it is not as it was saved); use another checkpoint or a copy")
    if manifest["format"] > FORMAT_VERSION:
        raise DataMismatchError(f"{path} has the newer format {manifest['format']}; upgrade Letterloom")
    return dict(manifest)


def read_verified(path: Path, name: str, manifest: dict[str, Any]) -> bytes:
    """The bytes of one file of a folder, checked against its manifest.

    Raises:
        DataMismatchError: the file is missing, truncated or altered.
    """
    with _reading(path / name):
        data = (path / name).read_bytes()
    _check(path / name, len(data), hashlib.sha256(data).hexdigest(), manifest)
    return data


def verify_folder(path: Path) -> dict[str, Any]:
    """Check every file of a folder against its manifest, which is returned.

    Raises:
        DataMismatchError: naming the first file that is missing, truncated or altered.
    """
    manifest = read_manifest(path)
    for name in manifest["files"]:
        with _reading(path / name):
            size, digest = (path / name).stat().st_size, sha256_file(path / name)
        _check(path / name, size, digest, manifest)
    return manifest


def remove_folder(path: Path) -> None:
    """Remove a folder so that no half-removed one is ever seen under its name."""
    with _disk_errors(path):
        doomed = path.with_name(f"{_TEMPORARY}{os.getpid()}-old-{path.name}")
        path.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def remove_file(path: Path) -> None:
    """Remove a file, if it is there."""
    with _disk_errors(path):
        path.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed writers left in `folder`, after putting back what one had moved aside; needs its lock."""
    for leftover in folder.glob(f"{_TEMPORARY}*"):
        name = leftover.name.partition(_ASIDE)[2]
        if name and not (folder / name).exists():
            leftover.rename(folder / name)
        elif leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def set_link(link: Path, target: Path) -> None:
    """Point the symbolic link `link` at `target` (stored relative), replacing an older link at once."""
    with _disk_errors(link):
        temporary = link.with_name(f"{_TEMPORARY}{os.getpid()}-{link.name}")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(os.path.relpath(target, link.parent))
        temporary.replace(link)
        fsync_folder(link.parent)


@contextmanager
def lock(path: Path, holder: str, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold an exclusive lock on the file `path`; the kernel frees it however the process ends.

    Raises:
        LockedError: another process holds it after `wait_seconds`; the message begins with `holder`.
    """
    with _disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        held = FileLock(path)
        try:
            held.acquire(timeout=wait_seconds)
        except Timeout:
            raise LockedError(f"{holder} is in use by another process; wait for it, or choose another place") from None
    try:
        yield
    finally:
        held.release()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fsync_folder(path: Path) -> None:
    """Make the names in a folder durable; without it a rename may be lost in a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fsync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _put_in_place(folder: Path, path: Path) -> None:
    """Rename a folder to `path`; an older one there is kept aside until the new one is in its place."""
    aside = path.with_name(f"{_TEMPORARY}{os.getpid()}{_ASIDE}{path.name}")
    if path.exists():
        path.rename(aside)
    try:
        folder.rename(path)
    except BaseException:
        if aside.exists():
            aside.rename(path)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _manifest_text(manifest: dict[str, Any]) -> str:
    """The manifest in the one spelling that is accepted, ending in a checksum of itself."""
    body = {key: value for key, value in manifest.items() if key != "checksum"}
    digest = hashlib.sha256(json.dumps(body, indent=2).encode()).hexdigest()
    return json.dumps({**body, "checksum": digest}, indent=2) + "\n"


def _check(file: Path, size: int, digest: str, manifest: dict[str, Any]) -> None:
    expected = manifest["files"].get(file.name)
    if expected is None:
        raise DataMismatchError(f"{file} is not listed in {MANIFEST}; it does not belong to this folder")
    if (size, digest) != (expected["bytes"], expected["sha256"]):
        told = f"{size} bytes in place of {expected['bytes']}" if size != expected["bytes"] else "its SHA-256 differs"
        raise DataMismatchError(f"{file} is damaged ({told}); use another checkpoint or a copy")


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Turn the errors of reading `file` into one clear line."""
    try:
        yield
    except OSError as error:
        raise DataMismatchError(f"{file} cannot be read ({error.strerror}); use another checkpoint or a copy") from None


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """Turn the errors of writing below `path` into one clear line."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            folder = next(parent for parent in path.absolute().parents if parent.exists())
            told = f"no space left to write {path} ({error.strerror}; {shutil.disk_usage(folder).free:,} bytes free)"
            raise DiskFullError(f"{told}; make some and start again, what was saved before is intact") from None
        raise RunError(f"cannot write {path}: {error.strerror or error}; check the path and its permissions") from None
