"""`letterloom repl`."""

import io
import sys
from collections.abc import Callable, Iterator
from itertools import chain

from letterloom import api
from letterloom.cli.arguments import DEFAULTS, Device, Options, RunName
from letterloom.cli.repl_commands import goes_on, is_command, mistakes_told, obey, prompt_of
from letterloom.cli.repl_session import Session
from letterloom.errors import needing


def repl(run: RunName, /, *, options: Options = DEFAULTS, device: Device = "auto") -> None:
    """Continue prompts as they are typed, or piped in one a line, until their end; `/help` lists the commands.

    Standard output gets prompts and texts alone. Each text is the next sample of the seed.
    """
    converse = _converse_on_terminal() if sys.stdin is not None and sys.stdin.isatty() else _converse_through_pipe
    converse(Session(api.load(run, device), device, options))


def _converse_on_terminal() -> Callable[[Session], None]:
    """Editing, history and completion need a package that not everyone has."""
    remedy = "`pip install 'letterloom[repl]'` brings it; or pipe the prompts in"
    with needing("the REPL on a terminal", ("prompt_toolkit",), remedy):
        from letterloom.cli.repl_terminal import converse
    return converse


def _converse_through_pipe(session: Session) -> None:
    for line in _piped_lines():
        with mistakes_told():
            if is_command(line):
                obey(session, line)
            else:
                _print(prompt_of(line), session)
        if not session.open:
            break


def _print(prompt: str, session: Session) -> None:
    text = session.write(prompt)
    try:
        for piece in chain([prompt], text):
            print(piece, end="", flush=True)
    finally:
        print(flush=True)  # whatever ended the text, what comes next begins a line


def _piped_lines() -> Iterator[str]:
    """The lines of standard input, each joined with those that it goes on in."""
    if isinstance(sys.stdin, io.TextIOWrapper):  # UTF-8, or an unknown character; lines end as on any system
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape", newline=None)
    begun = ""
    for line in sys.stdin or ():
        begun += line.removesuffix("\n")
        if goes_on(begun):
            begun = begun[:-1] + "\n"
        else:
            yield begun
            begun = ""
    if begun:
        yield begun
