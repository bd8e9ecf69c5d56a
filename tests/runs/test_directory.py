import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from letterloom import storage
from letterloom.config import RunConfig
from letterloom.errors import DataMismatchError, LockedError, RunError
from letterloom.runs.directory import RunDirectory
from letterloom.runs.finding import find_run, is_run
from letterloom.text.tokenizers import CharacterTokenizer

TOKENIZER = CharacterTokenizer("ab")
SMALL_FILES = {"held-out.txt", "tokenizer.json", "corpus.json", "environment.json", "run.toml"}
HOLD = "import sys; from pathlib import Path; from letterloom.runs.directory import RunDirectory\n"
HOLD += "with RunDirectory(Path(sys.argv[1])).locked(): print('held', flush=True); sys.stdin.read()"


def create(path: Path) -> RunDirectory:
    run = RunDirectory(path)
    run.create(RunConfig(), TOKENIZER, {"characters": 5}, {"python": "3"}, "held\r\nout")
    return run


def write_lines(run: RunDirectory, *lines: Any, torn: str = "") -> None:
    run.metrics_file.write_text("".join(json.dumps(line) + "\n" for line in lines) + torn, encoding="utf-8")


@contextmanager
def another_process_holding(path: Path) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        try:
            yield holder
        finally:
            holder.kill()


class TestCreate:
    def test_what_is_written_reads_back(self, tmp_path: Path) -> None:
        run = create(tmp_path / "run")
        assert run.config() == RunConfig()
        assert run.tokenizer() == TOKENIZER
        assert run.corpus() == {"characters": 5}
        assert run.environment() == {"python": "3"}
        assert run.held_out() == "held\r\nout"
        assert run.evaluation() is None
        assert run.metrics() == []
        assert run.checkpoints() == []
        assert run.linked("best") is None

    def test_a_run_that_lost_its_held_out_text_is_still_read(self, tmp_path: Path) -> None:
        run = create(tmp_path / "run")
        (run.path / "held-out.txt").write_bytes(b"\xff")
        assert run.held_out() is None
        (run.path / "held-out.txt").unlink()
        assert run.held_out() is None

    @pytest.mark.parametrize("written", range(len(SMALL_FILES)))
    def test_it_is_no_run_before_its_last_file_is_there(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
    ) -> None:
        write_file, left = storage.write_file, written

        def write_until_killed(path: Path, data: bytes | str) -> None:
            nonlocal left
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            write_file(path, data)

        monkeypatch.setattr(storage, "write_file", write_until_killed)
        with pytest.raises(KeyboardInterrupt):
            create(tmp_path)
        assert len(list(tmp_path.iterdir())) == written
        assert not is_run(tmp_path)
        RunDirectory(tmp_path).require_free()

    @pytest.mark.parametrize("name", ["corpus.json", "environment.json"])
    @pytest.mark.parametrize("text", ["{", "[]", "null", ""])
    def test_a_damaged_file_is_named(self, tmp_path: Path, name: str, text: str) -> None:
        run = create(tmp_path)
        (tmp_path / name).write_text(text, encoding="utf-8")
        with pytest.raises(DataMismatchError, match=name):
            run.corpus() if name == "corpus.json" else run.environment()

    def test_a_damaged_tokenizer_is_named(self, tmp_path: Path) -> None:
        run = create(tmp_path)
        (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
        with pytest.raises(DataMismatchError, match=r"tokenizer\.json: "):
            run.tokenizer()

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        run = create(tmp_path)
        (tmp_path / "tokenizer.json").unlink()
        with pytest.raises(DataMismatchError, match=r"tokenizer\.json: No such file or directory; restore it"):
            run.tokenizer()

    def test_a_log_that_is_a_folder_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "metrics.jsonl").mkdir()
        with pytest.raises(DataMismatchError, match=r"cannot read .*metrics\.jsonl: Is a directory"):
            RunDirectory(tmp_path).metrics()

    @pytest.mark.parametrize(
        ("text", "told"), [("", "it lacks model"), ("[model", "not valid TOML"), ("training = 3", "it lacks model")]
    )
    def test_damaged_settings_are_named_once(self, tmp_path: Path, text: str, told: str) -> None:
        run = create(tmp_path)
        run.config_file.write_text(text)
        with pytest.raises(DataMismatchError, match=told) as caught:
            run.config()
        assert str(caught.value).count(str(run.config_file)) == 1
        assert str(caught.value).endswith("restore it from a copy")


class TestCheckpoints:
    def test_they_are_in_the_order_of_their_steps(self, tmp_path: Path) -> None:
        run = RunDirectory(tmp_path)
        for name in ("step-1000000", "step-000002", "step-000010", "step-new", "other", ".tmp-1-step-000003"):
            (run.checkpoints_folder / name).mkdir(parents=True)
        assert run.checkpoints() == [run.checkpoint(step) for step in (2, 10, 1_000_000)]

    def test_links_are_followed_and_dangling_ones_are_none(self, tmp_path: Path) -> None:
        run = RunDirectory(tmp_path)
        run.checkpoint(2).mkdir(parents=True)
        storage.set_link(run.checkpoints_folder / "best", run.checkpoint(2))
        storage.set_link(run.checkpoints_folder / "last", run.checkpoint(3))
        assert run.linked("best") == run.checkpoint(2).resolve()
        assert run.linked("last") is None


class TestMetrics:
    def test_a_last_line_that_was_cut_short_is_left_out(self, tmp_path: Path) -> None:
        run = RunDirectory(tmp_path)
        whole = {"step": 2, "note": "naïve"}
        for length in range(len(json.dumps(whole, ensure_ascii=False).encode()) + 1):
            torn = json.dumps(whole, ensure_ascii=False).encode()[:length]
            run.metrics_file.write_bytes(b'{"step": 1}\n' + torn)
            assert run.metrics() == [{"step": 1}]

    @pytest.mark.parametrize("line", ["{", "\0" * 50, "", "[]", "7", "null", "{}", '{"stfp": 2}', '{"step": "2"}'])
    def test_a_damaged_line_is_told(self, tmp_path: Path, line: str) -> None:
        run = RunDirectory(tmp_path)
        run.metrics_file.write_text(f'{{"step": 1}}\n{line}\n{{"step": 3}}\n', encoding="utf-8")
        with pytest.raises(DataMismatchError, match=r"metrics\.jsonl is damaged: line 2"):
            run.metrics()

    def test_trimming_drops_what_comes_after_the_step(self, tmp_path: Path) -> None:
        run = RunDirectory(tmp_path)
        lines = [{"step": step, "kind": kind, "loss": 0.1 + step} for step in (1, 2, 3) for kind in ("train", "é")]
        write_lines(run, *lines, torn='{"step": 4')
        run.trim_metrics(2)
        assert run.metrics() == lines[:4]
        assert run.metrics_file.read_bytes().endswith(b"}\n")
        run.trim_metrics(0)
        assert run.metrics_file.read_bytes() == b""

    def test_trimming_keeps_every_bit_of_a_number(self, tmp_path: Path) -> None:
        run = RunDirectory(tmp_path)
        numbers = [0.1 + 0.2, 1e-310, 1.7976931348623157e308, -0.0, 2**70]
        write_lines(run, {"step": 1, "numbers": numbers})
        run.trim_metrics(1)
        assert repr(run.metrics()[0]["numbers"]) == repr(numbers)


class TestRequireFree:
    def test_a_new_place_an_empty_folder_and_own_beginnings_are_free(self, tmp_path: Path) -> None:
        run = RunDirectory(tmp_path / "run")
        run.require_free()
        run.path.mkdir()
        run.require_free()
        for name in (".lock", "tokenizer.json", "corpus.json", "environment.json", ".tmp-7-run.toml"):
            (run.path / name).touch()
        run.require_free()

    def test_a_run_is_not_and_how_to_go_on_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="letterloom resume"):
            create(tmp_path).require_free()

    @pytest.mark.parametrize("name", ["thesis.txt", "checkpoints", "metrics.jsonl"])
    def test_foreign_files_are_not(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).touch()
        with pytest.raises(RunError, match="not empty"):
            RunDirectory(tmp_path).require_free()

    def test_a_name_that_is_not_utf8_is_not(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="not UTF-8"):
            RunDirectory(tmp_path / "run\udce9").require_free()

    def test_a_file_is_not(self, tmp_path: Path) -> None:
        (tmp_path / "run").touch()
        with pytest.raises(RunError, match="is a file"):
            RunDirectory(tmp_path / "run").require_free()


class TestLocked:
    def test_a_second_process_is_refused_until_the_first_is_killed(self, tmp_path: Path) -> None:
        run = RunDirectory(tmp_path / "run")
        with another_process_holding(run.path) as holder:
            with pytest.raises(LockedError, match="in use by another process") as refused, run.locked():
                pass
            assert refused.value.exit_code == 3
            holder.kill()
            holder.wait()
            with run.locked():
                pass

    def test_what_a_killed_process_left_is_cleared_only_under_the_lock(self, tmp_path: Path) -> None:
        run = create(tmp_path / "run")
        leftovers = [run.path / ".tmp-7-report.md", run.checkpoints_folder / ".tmp-7-step-000002"]
        leftovers.append(run.samples_folder / ".tmp-7-step-000002.txt")
        with another_process_holding(run.path):
            for leftover in leftovers:
                leftover.mkdir(parents=True)
            with pytest.raises(LockedError), run.locked():
                pass
            assert all(leftover.exists() for leftover in leftovers)
        with run.locked():
            assert not any(leftover.exists() for leftover in leftovers)
        assert run.config() == RunConfig()


class TestFindRun:
    def test_a_run_and_a_checkpoint_are_found_as_they_are(self, tiny_run: Path) -> None:
        checkpoint = RunDirectory(tiny_run).checkpoints()[0]
        link = tiny_run / "checkpoints" / "last"
        assert [find_run(str(path)) for path in (tiny_run, checkpoint, link)] == [tiny_run, checkpoint, link]

    def test_latest_is_the_newest_run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for age, name in enumerate(("b", "c", "a")):
            run = create(tmp_path / "runs" / name)
            os.utime(run.config_file, (1_000_000 - age, 1_000_000 - age))
        (tmp_path / "runs" / "newer but no run").mkdir()
        monkeypatch.chdir(tmp_path)
        assert find_run("latest").resolve() == tmp_path / "runs" / "b"
        assert find_run(tmp_path / "runs" / "latest") == tmp_path / "runs" / "b"

    def test_a_folder_of_that_name_is_meant_where_there_is_one(self, tmp_path: Path) -> None:
        for name in ("latest", "newer"):
            create(tmp_path / name)
        assert find_run(tmp_path / "latest") == tmp_path / "latest"

    @pytest.mark.parametrize("name", ["latest", "runs/latest", "elsewhere/latest"])
    def test_no_run_at_all_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(RunError, match="letterloom train"):
            find_run(name)

    def test_a_missing_one_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="no run at"):
            find_run(tmp_path / "nothing")

    def test_something_else_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "run.txt").touch()
        for path in (tmp_path, tmp_path / "run.txt"):
            with pytest.raises(RunError, match="neither"):
                find_run(path)


class TestSamples:
    def test_by_step_and_in_the_order_of_the_prompts(self, tmp_path: Path) -> None:
        run = RunDirectory(tmp_path)
        written = [run.sample(step, number) for step in (9, 1_000_000) for number in (1, 2, 10)]
        for file in [*reversed(written), run.samples_folder / "step-1.txt", run.samples_folder / "step-x-y.txt"]:
            storage.write_file(file, "")
        assert run.samples() == {9: written[:3], 1_000_000: written[3:]}
