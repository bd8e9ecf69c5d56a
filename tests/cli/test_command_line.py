"""What holds for every command: help, exit codes, streams. Real processes where the process is the point."""

import errno
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import letterloom
from letterloom import api, cli
from letterloom.errors import LetterloomError, Terminated

COMMANDS = [
    *(
        "train",
        "resume",
        "finetune",
        "merge",
        "generate",
        "repl",
        "evaluate",
        "compare",
        "score",
        "compress",
        "decompress",
        "verify",
    ),
    *("quantize", "report", "profile", "baselines", "inspect", "corpora", "recipes", "study"),
]
STUDY_COMMANDS = ["run", "resume", "status", "report", "list"]
HEAVY = {"torch", "scipy", "matplotlib", "numpy", "jinja2", "requests"}


def process(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "letterloom", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        *([command, "--help"] for command in COMMANDS),
        *(["study", command, "--help"] for command in STUDY_COMMANDS),
    ],
    ids=" ".join,
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    script = (
        "import sys; from letterloom.cli import main; code = main(sys.argv[1:]); print(*sys.modules); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    *text, modules = done.stdout.splitlines()
    assert text[0].startswith("Usage: letterloom")
    assert any(line.startswith("Example: letterloom") for line in text)
    assert done.stderr == ""
    assert not HEAVY & set(modules.split())


def test_import_letterloom_is_light() -> None:
    script = "import letterloom, sys; print('torch' in sys.modules, letterloom.__version__)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", letterloom.__version__]


def test_every_command_is_listed(call: Any) -> None:
    result = call("--help")
    assert result.exit_code == 0
    positions = [result.out.index(f" {command} ") for command in COMMANDS]
    assert positions == sorted(positions)


@pytest.mark.parametrize("flag", ["-v", "--version"])
def test_version(call: Any, flag: str) -> None:
    assert call(flag).out == "0.1.0\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian"], ["trian", "train"]),
        (["train", "--modl.n-layers", "3"], ["--modl.n-layers", "--model.n-layers"]),
        (["train", "a", "--recpe", "small"], ["--recpe", "--recipe"]),
        (["evaluate", "x", "--protcol", "blocks"], ["--protcol", "--protocol"]),
        (["generate"], ["RUN"]),
        (["generate", "a", "b"], ["b"]),
        (["resume"], ["RUN"]),
        (["resume", "a", "b"], ["b"]),
        (["verify"], ["RUN"]),
        (["report", "--jsn"], ["--jsn"]),
        (["corpora", "names"], ["names"]),
        (["recipes", "--json=maybe"], ["--json"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_usage_errors_are_one_line_that_names_the_word_and_the_nearest_one(
    call: Any, arguments: list[str], words: list[str]
) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert all(word in result.error for word in [*words, "--help"])


@pytest.mark.parametrize("command", ["resume", "generate", "repl", "evaluate", "verify", "report"])
class TestRunArgument:
    def test_a_missing_run_is_told(self, call: Any, command: str, tmp_path: Path) -> None:
        result = call(command, tmp_path / "nowhere")
        assert (result.exit_code, "nowhere" in result.error) == (2, True)

    def test_a_folder_that_is_no_run_is_told(self, call: Any, command: str, tmp_path: Path) -> None:
        result = call(command, tmp_path)
        assert (result.exit_code, "run.toml" in result.error) == (2, True)

    def test_no_latest_run_is_told(
        self, call: Any, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        result = call(command, "latest")
        assert (result.exit_code, "letterloom train" in result.error) == (2, True)


def raising(error: BaseException) -> Any:
    def function(*_: Any, **__: Any) -> Any:
        raise error

    return function


class OutOfMemoryError(RuntimeError):
    """Of the name that torch gives its own."""


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        *((cls("told"), cls.exit_code) for cls in LetterloomError.__subclasses__() if "exit_code" in vars(cls)),
        (KeyboardInterrupt(), 130),
        (Terminated(), 143),
        (MemoryError(), 5),
        (OutOfMemoryError("CUDA out of memory"), 5),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"), 5),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_end_in_their_exit_code(
    call: Any, monkeypatch: pytest.MonkeyPatch, error: BaseException, exit_code: int
) -> None:
    monkeypatch.setattr(api, "resume", raising(error))
    result = call("resume", "x")
    assert (result.exit_code, result.error != "") == (exit_code, True)


@pytest.mark.parametrize(("number", "exit_code"), [(errno.ENOSPC, 5), (errno.EACCES, 2)])
def test_errors_of_the_system_are_told(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, number: int, exit_code: int
) -> None:
    monkeypatch.setattr(cli, "_discard_output", lambda: None)
    monkeypatch.setattr(api, "resume", raising(OSError(number, "the reason", "the file")))
    assert cli.main(["resume", "x"]) == exit_code
    assert "the reason: 'the file'" in capfd.readouterr().err


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "resume", raising(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main(["resume", "x"])


def test_python_m_and_exit_codes_of_the_process() -> None:
    wrong = process("generate", "nowhere")
    _, error = wrong.communicate()
    assert wrong.returncode == 2
    assert error.startswith("letterloom: error: ")
    right = process("corpora", "--json")
    output, error = right.communicate()
    assert (right.returncode, error) == (0, "")
    assert json.loads(output)["corpora"]


def test_a_reader_that_leaves_ends_generation_cleanly(tiny_run: Path) -> None:
    writer = process("generate", str(tiny_run), "--prompt", "the loom", "-n", "1000000")
    assert writer.stdout is not None
    assert writer.stderr is not None
    assert writer.stdout.read(10).startswith("the loom")
    writer.stdout.close()
    assert writer.wait(60) == 0
    with writer.stderr as error:
        assert error.read() == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_generation_in_one_line(tiny_run: Path, number: signal.Signals) -> None:
    writer = process("generate", str(tiny_run), "--prompt", "the loom", "-n", "1000000")
    assert writer.stdout is not None
    writer.stdout.read(20)
    writer.send_signal(number)
    _, error = writer.communicate()
    assert (writer.returncode, error) == (128 + number, "letterloom: error: interrupted\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_told() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-m", "letterloom", "corpora"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (
        5,
        "letterloom: error: No space left on device: standard output; check that it is there, may be used, and has "
        "space left\n",
    )


def test_a_reader_that_leaves_ends_help_cleanly() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "letterloom", "train", "--help"], stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(("closing", "arguments", "exit_code"), [(">&-", "corpora", 0), ("2>&-", "resume nowhere", 2)])
def test_a_closed_stream_changes_no_exit_code(closing: str, arguments: str, exit_code: int) -> None:
    command = f"exec {shlex.quote(sys.executable)} -m letterloom {arguments} {closing}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (exit_code, b"", b"")
