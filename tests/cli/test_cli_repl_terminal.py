"""The REPL at a keyboard: a real process on a real pseudo-terminal, judged by what an emulator shows of it."""

import os
import re
import select
import stat
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyte
import pytest

from letterloom import api
from letterloom.generation.terminal import escape_controls

N = 30
CTRL_C, CTRL_D, CTRL_L, UP, ALT_ENTER = "\x03", "\x04", "\x0c", "\x1b[A", "\x1b\r"
TAKE_TERMINAL = "import fcntl, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)"  # Ctrl-C then signals this process
LETTERLOOM = "from letterloom.cli import main; sys.exit(main())"


class Terminal:
    """A terminal of 24 lines and 80 columns with `letterloom repl` in it."""

    def __init__(self, *arguments: Any, cache: Path, begin: str = TAKE_TERMINAL, **streams: Any) -> None:
        self._keyboard, inside = os.openpty()
        termios.tcsetwinsize(inside, (24, 80))
        self._screen = pyte.Screen(80, 24)
        self._stream = pyte.ByteStream(self._screen)
        self._unseen = b""  # what was written and is not on the screen yet
        command = [sys.executable, "-c", f"{begin}; {LETTERLOOM}", "repl", *map(str, arguments)]
        environment = os.environ | {"TERM": "xterm-256color", "LETTERLOOM_CACHE": str(cache)}
        environment["PROMPT_TOOLKIT_NO_CPR"] = "1"  # no questions to the terminal, whose answers could come late
        streams = {"stdin": inside, "stdout": inside, "stderr": inside} | streams
        self.process = subprocess.Popen(command, start_new_session=True, env=environment, **streams)
        os.close(inside)

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip()

    def type(self, keys: str) -> None:
        os.write(self._keyboard, keys.encode())

    def until(self, pattern: str) -> str:
        """What is on the screen as soon as the pattern is found there; what comes later is not shown before it."""
        end = time.monotonic() + 60
        while not re.search(pattern, self.text):
            if not self._unseen:
                ready, _, _ = select.select([self._keyboard], [], [], max(0, end - time.monotonic()))
                assert ready, f"{pattern!r} does not come; the screen is\n{self.text}"
                self._unseen = os.read(self._keyboard, 1 << 16)
            line, end_of_line, self._unseen = self._unseen.partition(b"\n")
            self._stream.feed(line + end_of_line)
        return self.text

    def fresh(self) -> None:
        """An empty line on an empty screen."""
        self.type(CTRL_C + CTRL_L)
        self.until(r"\A>\Z")

    def enter(self, line: str) -> str:
        """Type a line on an empty screen; the screen when the next one may be typed."""
        self.fresh()
        self.type(line)
        self.until(r"\A> .")
        self.type("\r")
        return self.until(r"\n>\Z").removesuffix("\n>")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._keyboard)


@pytest.fixture(scope="module")
def repl(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """A session that all these tests share."""
    terminal = Terminal(tiny_run, "-n", N, cache=tmp_path_factory.mktemp("cache"))
    terminal.until(r"\n>")
    yield terminal
    terminal.close()


@pytest.fixture
def open_repl(tiny_run: Path, tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Opens sessions of a test's own, which have a history in common."""
    opened = []

    def start(run: Path = tiny_run, **options: Any) -> Terminal:
        opened.append(Terminal(run, "-n", N, cache=tmp_path / "cache", **options))
        return opened[-1]

    yield start
    for terminal in opened:
        terminal.close()


@pytest.fixture(scope="module")
def byte_run(tiny_text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of bytes that has learned nothing, and so writes control characters."""
    path = tmp_path_factory.mktemp("runs") / "bytes"
    model = {"context_length": 8, "d_model": 8, "n_layers": 1, "n_heads": 1}
    training = {"max_steps": 1, "device": "cpu", "threads": 1}
    text = {"tokenizer": "bytes"}
    return api.train(tiny_text, recipe="nanogpt-cpu", out=path, model=model, training=training, text=text).path


def shown(text: str) -> str:
    """What a terminal shows of a text, but for the blanks at the ends of lines."""
    return "\n".join(line.rstrip() for line in text.split("\n")).rstrip()


def test_the_text_goes_on_behind_the_prompt(repl: Terminal, tiny_run: Path) -> None:
    repl.enter("/seed 5")
    text = api.load(tiny_run).generate("the loom", N, seed=5)
    assert repl.enter("the loom") == shown(f"> {text}")


@pytest.mark.parametrize(
    "keys",
    [f"the{ALT_ENTER}loom", "the\x1b\x1b\rloom", "the\\\rloom", "\x1b[200~the\r\nloom\x1b[201~"],
    ids=["Alt-Enter", "Esc Esc-Enter", "backslash", "paste"],
)
def test_a_prompt_of_two_lines(repl: Terminal, tiny_run: Path, keys: str) -> None:
    repl.enter("/seed 5")
    text = api.load(tiny_run).generate("the\nloom", N, seed=5)
    repl.fresh()
    repl.type(keys)
    assert repl.until("loom") == "> the\n  loom"
    repl.type("\r")
    assert repl.until(r"\n>\Z") == shown(f"> {text}") + "\n>"


def test_ctrl_c_stops_a_text_that_is_being_written_and_nothing_else(repl: Terminal) -> None:
    repl.enter("/length 1000000")
    repl.fresh()
    repl.type("the\r")
    repl.until(r"\A> the[^\n]*\n[^\n]*\n")  # text is there before its end
    repl.type(CTRL_C * 3)
    assert "stopped" in repl.until(r"\n>\Z")
    assert repl.enter(f"/length {N}").endswith(f"length  {N}")


def test_ctrl_c_clears_what_is_being_typed(repl: Terminal) -> None:
    repl.fresh()
    repl.type("/quit")
    repl.until("> /quit")
    repl.type(CTRL_C)
    repl.until(r"\A>\Z")
    assert "seed  7" in repl.enter("/seed 7")


def test_up_brings_back_what_was_typed(repl: Terminal) -> None:
    repl.enter("/seed 41")
    repl.enter("/seed 42")
    repl.fresh()
    repl.type(UP)
    repl.until("> /seed 42")
    repl.type(UP)
    repl.until("> /seed 41")


@pytest.mark.parametrize(
    ("begun", "completed"),
    [
        ("/temp", "/temperature"),
        ("/unknown repl", "/unknown replace"),
        ("/load late", "/load latest"),
        ("/load {}/check", "/load {}/checkpoints"),
        ("/save {}/metr", "/save {}/metrics.jsonl"),
    ],
)
def test_tab_completes(repl: Terminal, tiny_run: Path, begun: str, completed: str) -> None:
    place = os.path.relpath(tiny_run)
    repl.fresh()
    repl.type(begun.format(place))
    repl.until(re.escape(begun.format(place)))
    repl.type("\t")
    repl.until(re.escape(completed.format(place)) + r"\Z")


def test_tab_shows_what_there_is_to_choose_from(repl: Terminal) -> None:
    repl.fresh()
    repl.type("/s")
    repl.until("> /s")
    repl.type("\t")
    assert re.findall(r"^ +(/\S+)", repl.until("(?s)/seed.*/stop.*/save"), re.MULTILINE) == [
        "/seed",
        "/stop",
        "/settings",
        "/save",
    ]


@pytest.mark.parametrize(("line", "word"), [("/temprature 1", "/temperature"), ("the z", "U+007A")])
def test_a_mistake_stands_below_what_was_typed(repl: Terminal, line: str, word: str) -> None:
    first, *error = repl.enter(line).split("\n")
    assert first == f"> {line}"
    assert error[0].startswith("letterloom: error: ")
    assert word in "".join(error)


def test_control_characters_are_written_out(open_repl: Callable[..., Terminal], byte_run: Path) -> None:
    escaped = re.compile(r"\\x[0-9a-f]{2}")
    controls = escaped.findall(escape_controls(api.load(byte_run).generate("", N)))
    assert controls
    repl = open_repl(run=byte_run)
    repl.until(r"\n>")
    repl.fresh()
    repl.type("\r")
    assert escaped.findall(repl.until(r"\n>\Z")) == controls


def test_ctrl_d_leaves_and_the_next_session_knows_the_history(
    open_repl: Callable[..., Terminal], tmp_path: Path
) -> None:
    first = open_repl()
    first.until(r"\n>")
    first.enter("/seed 77")
    first.type(CTRL_D)
    assert first.process.wait(60) == 0
    assert stat.S_IMODE((tmp_path / "cache" / "repl-history").stat().st_mode) == 0o600
    second = open_repl()
    second.until(r"\n>")
    second.type(UP)
    second.until("> /seed 77")


def test_without_a_place_for_the_history_it_works(open_repl: Callable[..., Terminal], tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("in the way")
    repl = open_repl()
    assert "will not be kept" in repl.until(r"\n>").replace("\n", "")
    repl.enter("/seed 77")
    repl.type(UP)
    repl.until("> /seed 77")


def test_standard_output_in_a_file_gets_prompts_and_texts_alone(
    open_repl: Callable[..., Terminal], tiny_run: Path, tmp_path: Path
) -> None:
    with (tmp_path / "texts").open("wb") as file:
        repl = open_repl(stdout=file)
        repl.until(r"\n>")
        repl.type("/seed 5\r")
        repl.until("seed  5")
        repl.type("the loom\r")
        repl.until(r"> the loom\n>")
        repl.type("/quit\r")
        assert repl.process.wait(60) == 0
    text = api.load(tiny_run).generate("the loom", N, seed=5)
    assert (tmp_path / "texts").read_text(encoding="utf-8") == f"{text}\n"


def test_without_prompt_toolkit_it_tells_how_to_get_it(open_repl: Callable[..., Terminal]) -> None:
    repl = open_repl(begin=f"{TAKE_TERMINAL}; sys.modules['prompt_toolkit'] = None")
    assert "pip install 'letterloom[repl]'" in repl.until("pip install .*\n").replace("\n", "")
    assert repl.process.wait(60) == 5
