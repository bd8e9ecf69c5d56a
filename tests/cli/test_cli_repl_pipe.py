"""The REPL as a process at the end of a pipe."""

import signal
import subprocess
import sys
from pathlib import Path

from letterloom import api

N = 30


def process(run: Path, *begin: str) -> subprocess.Popen[bytes]:
    script = "; ".join(["import sys", *begin, "from letterloom.cli import main; sys.exit(main())"])
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", script, "repl", str(run), "-n", str(N)]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)


def test_a_pipe_needs_no_prompt_toolkit(tiny_run: Path) -> None:
    out, err = (piped := process(tiny_run, "sys.modules['prompt_toolkit'] = None")).communicate(b"the\r\n")
    assert (out.decode(), err, piped.returncode) == (api.load(tiny_run).generate("the", N) + "\n", b"", 0)


def test_bytes_that_are_no_utf8_are_told_and_come_out_as_they_came(tiny_run: Path, tmp_path: Path) -> None:
    lines = [b"\xff", b"/unknown skip", b"\xffthe", f"/save {tmp_path / 'a.txt'}".encode()]
    out, err = process(tiny_run).communicate(b"\n".join(lines))
    assert b"U+DCFF" in err
    assert out.startswith(b"\xffthe")
    assert b"\n" + out.removesuffix(b"\n") in (tmp_path / "a.txt").read_bytes()


def test_an_interrupt_ends_a_pipe(tiny_run: Path) -> None:
    piped = process(tiny_run)
    assert piped.stdin is not None
    assert piped.stdout is not None
    piped.stdin.write(b"/length 1000000\nthe\na\n")
    piped.stdin.flush()
    assert piped.stdout.read(N).startswith(b"the")  # although more lines may come
    piped.send_signal(signal.SIGINT)
    _, err = piped.communicate()
    assert (piped.returncode, err.splitlines()[-1]) == (130, b"letterloom: error: interrupted")


def test_the_help_of_the_command_imports_neither_torch_nor_prompt_toolkit() -> None:
    script = "import sys; from letterloom.cli import main; main(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script, "repl", "--help"], capture_output=True, text=True, check=True)
    assert "--temperature" in done.stdout
    assert not {"torch", "prompt_toolkit"} & set(done.stdout.splitlines()[-1].split())
