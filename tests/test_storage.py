import contextlib
import hashlib
import json
import multiprocessing
import shutil
from pathlib import Path
from typing import Any

import pytest

from letterloom import storage
from letterloom.errors import DataMismatchError, LockedError, RunError
from storage_states import NEW, OLD, state, write_new_folder, write_old


class TestWriteFile:
    def test_text_is_stored_as_utf8(self, tmp_path: Path) -> None:
        storage.write_file(tmp_path / "deep" / "er" / "file.txt", "naïve ☃\r\n")
        assert (tmp_path / "deep" / "er" / "file.txt").read_bytes() == "naïve ☃\r\n".encode()

    def test_json_reads_back(self, tmp_path: Path) -> None:
        value = {"☃": [1, 2.5, None, "é"]}
        storage.write_json(tmp_path / "value.json", value)
        assert json.loads((tmp_path / "value.json").read_text(encoding="utf-8")) == value

    def test_a_folder_in_the_way_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "file").mkdir()
        with pytest.raises(RunError, match="file"):
            storage.write_file(tmp_path / "file", b"")
        assert list(tmp_path.iterdir()) == [tmp_path / "file"]

    def test_a_file_in_place_of_the_parent_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "parent").write_bytes(b"")
        with pytest.raises(RunError, match="parent"):
            storage.write_file(tmp_path / "parent" / "file", b"")


class TestNewFolder:
    def test_it_appears_when_the_block_ends_and_not_before(self, tmp_path: Path) -> None:
        with storage.new_folder(tmp_path / "saved") as writer:
            writer.write("a", b"1")
            assert not (tmp_path / "saved").exists()
        assert (tmp_path / "saved" / "a").read_bytes() == b"1"

    def test_the_manifest_holds_size_and_sha256_of_every_file(self, tmp_path: Path) -> None:
        with storage.new_folder(tmp_path / "saved", step=7) as writer:
            writer.write("a.bin", NEW)
            writer.write("b.txt", "é")
        manifest = json.loads((tmp_path / "saved" / storage.MANIFEST).read_text())
        assert manifest["step"] == 7
        assert manifest["files"] == {
            "a.bin": {"bytes": len(NEW), "sha256": hashlib.sha256(NEW).hexdigest()},
            "b.txt": {"bytes": 2, "sha256": hashlib.sha256("é".encode()).hexdigest()},
        }

    def test_an_error_in_the_block_leaves_the_older_folder(self, tmp_path: Path) -> None:
        write_old(tmp_path)
        before = state(tmp_path)
        with pytest.raises(ZeroDivisionError), storage.new_folder(tmp_path / "saved") as writer:
            writer.write("a.bin", NEW)
            raise ZeroDivisionError
        assert state(tmp_path) == before

    def test_it_replaces_an_older_folder_whole(self, tmp_path: Path) -> None:
        with storage.new_folder(tmp_path / "saved") as writer:
            writer.write("only in the old one", OLD)
        with storage.new_folder(tmp_path / "saved") as writer:
            writer.write("a.bin", NEW)
        assert sorted(f.name for f in (tmp_path / "saved").iterdir()) == [storage.MANIFEST, "a.bin"]


class TestDamage:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        with storage.new_folder(tmp_path / "saved", step=3) as writer:
            writer.write("a.bin", bytes(range(40)))
        return tmp_path / "saved"

    @pytest.mark.parametrize("name", ["a.bin", storage.MANIFEST])
    def test_every_flipped_bit_is_found(self, folder: Path, name: str) -> None:
        sound = (folder / name).read_bytes()
        for bit in range(8 * len(sound)):
            flipped = bytearray(sound)
            flipped[bit // 8] ^= 1 << bit % 8
            (folder / name).write_bytes(flipped)
            with pytest.raises(DataMismatchError, match=name):
                storage.verify_folder(folder)

    @pytest.mark.parametrize("name", ["a.bin", storage.MANIFEST])
    def test_every_truncation_is_found(self, folder: Path, name: str) -> None:
        sound = (folder / name).read_bytes()
        for length in range(len(sound)):
            (folder / name).write_bytes(sound[:length])
            with pytest.raises(DataMismatchError, match=name):
                storage.verify_folder(folder)

    @pytest.mark.parametrize("name", ["a.bin", storage.MANIFEST])
    def test_a_missing_file_is_named(self, folder: Path, name: str) -> None:
        (folder / name).unlink()
        with pytest.raises(DataMismatchError, match=name):
            storage.verify_folder(folder)

    @pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"format": 1}', "[" * 100_000, "NaN", "\ud800"])
    def test_a_foreign_manifest_is_told(self, folder: Path, text: str) -> None:
        (folder / storage.MANIFEST).write_bytes(text.encode(errors="surrogatepass"))
        with pytest.raises(DataMismatchError, match=storage.MANIFEST):
            storage.verify_folder(folder)

    def test_a_newer_format_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as newer:
            newer.setattr(storage, "FORMAT_VERSION", storage.FORMAT_VERSION + 1)
            write_new_folder(tmp_path)
        with pytest.raises(DataMismatchError, match="newer"):
            storage.verify_folder(tmp_path / "saved")

    def test_files_of_two_folders_do_not_mix(self, folder: Path, tmp_path: Path) -> None:
        with storage.new_folder(tmp_path / "other", step=4) as writer:
            writer.write("a.bin", bytes(range(1, 41)))
        shutil.copy(tmp_path / "other" / "a.bin", folder / "a.bin")
        with pytest.raises(DataMismatchError, match="SHA-256"):
            storage.read_verified(folder, "a.bin", storage.read_manifest(folder))

    def test_a_file_that_is_not_listed_is_not_read(self, folder: Path) -> None:
        (folder / "stray").write_bytes(b"")
        with pytest.raises(DataMismatchError, match="stray"):
            storage.read_verified(folder, "stray", storage.read_manifest(folder))


def test_log_lines_are_appended_and_survive(tmp_path: Path) -> None:
    for line in ("first", "zweité"):
        log = storage.LineLog(tmp_path / "logs" / "log.jsonl")
        log.append(line)
        assert (tmp_path / "logs" / "log.jsonl").read_text(encoding="utf-8").endswith(line + "\n")
        log.sync()
        log.close()
    assert (tmp_path / "logs" / "log.jsonl").read_text(encoding="utf-8") == "first\nzweité\n"


def test_a_link_is_relative_and_moves_with_its_folder(tmp_path: Path) -> None:
    (tmp_path / "run" / "step-1").mkdir(parents=True)
    (tmp_path / "run" / "step-2").mkdir()
    storage.set_link(tmp_path / "run" / "best", tmp_path / "run" / "step-1")
    storage.set_link(tmp_path / "run" / "best", tmp_path / "run" / "step-2")
    (tmp_path / "run").rename(tmp_path / "moved")
    assert (tmp_path / "moved" / "best").resolve() == (tmp_path / "moved" / "step-2").resolve()


def test_remove_leftovers_keeps_what_is_whole(tmp_path: Path) -> None:
    write_old(tmp_path)
    before = state(tmp_path)
    (tmp_path / ".tmp-123-file").write_bytes(b"half")
    (tmp_path / ".tmp-123-saved").mkdir()
    (tmp_path / ".tmp-123-saved" / "a.bin").write_bytes(b"half")
    (tmp_path / ".tmp-123-best").symlink_to("nowhere")
    storage.remove_leftovers(tmp_path)
    assert state(tmp_path) == before


def _hold(path: Path, held: Any, release: Any) -> None:
    with storage.lock(path, "it"):
        held.set()
        release.wait(60)


class TestLock:
    def test_a_second_process_is_refused_and_a_killed_holder_frees_it(self, tmp_path: Path) -> None:
        context = multiprocessing.get_context("spawn")
        held, release = context.Event(), context.Event()
        holder = context.Process(target=_hold, args=(tmp_path / "lock", held, release), daemon=True)
        holder.start()
        assert held.wait(60)
        with pytest.raises(LockedError, match="the run x is in use"), storage.lock(tmp_path / "lock", "the run x"):
            pass
        holder.kill()
        holder.join()
        with storage.lock(tmp_path / "lock", "the run x"):
            pass

    def test_it_is_freed_by_an_error(self, tmp_path: Path) -> None:
        with contextlib.suppress(ZeroDivisionError), storage.lock(tmp_path / "lock", "x"):
            raise ZeroDivisionError
        with storage.lock(tmp_path / "lock", "x"):
            pass
