"""The REPL at a keyboard: editing, history, completion, and Ctrl-C, which stops a text and not the program."""

import logging
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import get_args

from prompt_toolkit import PromptSession, print_formatted_text
from prompt_toolkit.completion import (
    CompleteEvent,
    Completer,
    Completion,
    PathCompleter,
    WordCompleter,
    merge_completers,
)
from prompt_toolkit.document import Document
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import has_focus
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import create_output

from letterloom import texts
from letterloom.cli.output import print_lines
from letterloom.cli.repl_commands import (
    COMMANDS,
    goes_on,
    is_command,
    mistakes_told,
    model_lines,
    obey,
    prompt_of,
    tell,
)
from letterloom.cli.repl_session import Session
from letterloom.errors import LetterloomError
from letterloom.generation.terminal import escape_controls
from letterloom.storage import LineLog
from letterloom.text.corpora import cache_folder

log = logging.getLogger("letterloom")
_MARK = FormattedText([("bold", "> ")])
_ARGUMENTS = {
    "/load": merge_completers([PathCompleter(only_directories=True, expanduser=True), WordCompleter(["latest"])]),
    "/save": PathCompleter(expanduser=True),
    "/unknown": WordCompleter(get_args(texts.Unknown)),
}


def converse(session: Session) -> None:
    """Continue prompts until Ctrl-D or `/quit`. Ctrl-C stops what is being done, and clears what is being typed."""
    with redirect_stdout(sys.stderr):
        print_lines(model_lines(session.model))
        print("Type how a text begins. /help lists the commands, Ctrl-D leaves.")
    screen = sys.stdout.isatty()
    typed: PromptSession[str] = PromptSession(
        _MARK,
        multiline=True,
        key_bindings=_keys(),
        history=_history(),
        completer=_Completer(),
        complete_while_typing=False,
        enable_suspend=True,
        erase_when_done=screen,  # what was typed is written anew, so that the text can go on behind it
        output=create_output(always_prefer_tty=True),
    )
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        while session.open:
            try:
                line = typed.prompt()
            except KeyboardInterrupt:
                continue
            except EOFError:
                break
            with mistakes_told(), _stopped_by_ctrl_c():
                _turn(session, line, screen)
    finally:
        signal.signal(signal.SIGINT, before)


def _turn(session: Session, line: str, screen: bool) -> None:
    if is_command(line):
        if screen:
            _write_typed(line, end="\n")
        obey(session, line)
        return
    prompt = prompt_of(line)
    if screen:
        _write_typed(prompt, end="")
    else:
        print(prompt, end="")
    show = escape_controls if screen else str
    try:
        for piece in session.write(prompt):
            print(show(piece), end="", flush=True)
    finally:
        print()


def _write_typed(text: str, end: str) -> None:
    print_formatted_text(FormattedText([*_MARK, ("bold", escape_controls(text))]), end=end, flush=True)


@contextmanager
def _stopped_by_ctrl_c() -> Iterator[None]:
    """Within, Ctrl-C ends the block; elsewhere it is a key or ignored, so that one press too many harms nothing."""
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:
        tell("stopped")


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter", filter=has_focus(DEFAULT_BUFFER))
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if goes_on(buffer.text):
            buffer.document = Document(buffer.text[:-1] + "\n")
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys


class _Completer(Completer):
    """Commands by their beginning, and after a command what it takes."""

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """What may stand at the cursor."""
        if not is_command(document.text):
            return
        name, blank, argument = document.text_before_cursor.partition(" ")
        if not blank:
            for known, command in COMMANDS.items():
                if known.startswith(name):
                    end = " " if command.takes else ""
                    yield Completion(known + end, -len(name), display=known, display_meta=command.help)
        elif name in _ARGUMENTS:
            yield from _ARGUMENTS[name].get_completions(Document(argument), complete_event)


class _History(FileHistory):
    def store_string(self, string: str) -> None:
        with suppress(OSError):  # a full disk costs the line in later sessions; in this one it stays
            super().store_string(string)


def _history() -> History:
    """What was typed, in this session and before, from a file that is for the user's eyes alone."""
    path = cache_folder() / "repl-history"
    try:
        LineLog(path).close()  # so that the file, and its folder, are there
        path.chmod(0o600)
    except (LetterloomError, OSError) as error:
        log.warning("what is typed will not be kept for the next session: %s", error)
        return InMemoryHistory()
    return _History(path)
