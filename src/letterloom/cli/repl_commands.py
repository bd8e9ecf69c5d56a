"""The lines of a REPL: prompts, and commands, which begin with a slash."""

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from letterloom import texts, trained
from letterloom.cli.arguments import GenerationOptions
from letterloom.cli.output import print_lines, print_table
from letterloom.cli.repl_session import Session, shown
from letterloom.errors import ConfigError, LetterloomError, RunError, is_out_of_memory, nearest
from letterloom.generation.terminal import escape_controls

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"|[^\s"\']\S*', re.DOTALL)


@dataclass(frozen=True)
class Command:
    """What a command does, what it takes (in words; "" is nothing), an example of that, and how it is read.

    `parse` raises ValueError where the text is something else.
    """

    act: Callable[[Session, Any], None]
    help: str
    takes: str = ""
    example: str = ""
    parse: Callable[[str], Any] = str


def is_command(line: str) -> bool:
    """Whether a line is a command."""
    return line.startswith("/") and not line.startswith("//")


def prompt_of(line: str) -> str:
    """The prompt that a line stands for: two slashes at its beginning are one."""
    return line[1:] if line.startswith("//") else line


def goes_on(line: str) -> bool:
    """Whether the next line belongs to the same prompt: it does after a backslash, but not after two."""
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


def obey(session: Session, line: str) -> None:
    """Carry out a command; what it has to tell goes to standard error, where no text of the model is.

    Raises:
        LetterloomError: there is no such command, or it cannot be done; the session is as it was.
    """
    name, text = (*line.split(maxsplit=1), "")[:2]
    if name not in COMMANDS:
        unknown = f"there is no command {name} (/help lists them, // begins a prompt with a slash)"
        raise ConfigError(f"{unknown}{nearest(name, COMMANDS)}")
    command = COMMANDS[name]
    usage = (
        f"{name} takes {command.takes}, as in `{name} {command.example}`" if command.takes else f"{name} stands alone"
    )
    if bool(text) != bool(command.takes):
        raise ConfigError(usage)
    try:
        value = command.parse(text.strip())
    except ValueError:
        raise ConfigError(f"{text!r}: {usage}") from None
    try:
        with redirect_stdout(sys.stderr):
            command.act(session, value)
    except OSError as error:
        raise RunError(f"{name} {text}: {error.strerror}; check the path and its permissions") from None


@contextmanager
def mistakes_told() -> Iterator[None]:
    """A mistake becomes one line on standard error, and the session goes on."""
    try:
        yield
    except LetterloomError as error:
        tell(f"error: {error}")
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        tell("error: out of memory; /load a smaller model")


def tell(message: str) -> None:
    """One line on standard error."""
    print(f"letterloom: {escape_controls(' '.join(message.split()))}", file=sys.stderr)


def model_lines(model: trained.Model) -> dict[str, str]:
    """What a model is, for `print_lines`."""
    config, unit = model.checkpoint.config, model.checkpoint.config.text.tokenizer
    return {
        "model": str(model.checkpoint.path),
        "size": f"{model.parameters:,} parameters",
        "context": f"{config.model.context_length:,} {unit}",
        "vocabulary": f"{model.checkpoint.tokenizer.vocab_size:,} {unit}",
    }


def _help(_: Session, __: str) -> None:
    rows = [(f"{name} {command.example}", command.help) for name, command in COMMANDS.items()]
    print_table(("line", "what it does"), [*rows, *_OTHER_LINES])


def _settings(session: Session, _: str) -> None:
    options = {name[1:]: shown(getattr(session.options, _OPTIONS[name])) for name in COMMANDS if name in _OPTIONS}
    print_lines(model_lines(session.model) | options | {"next sample": str(session.sample)})


def _save(session: Session, path: Path) -> None:
    print_lines({"saved": f"{path}, texts: {session.save(path)}"})


def _load(session: Session, run: Path) -> None:
    session.load(run)
    print_lines(model_lines(session.model))


def _quit(session: Session, _: str) -> None:
    session.open = False


def _setting(name: str, takes: str, example: str, parse: Callable[[str], Any]) -> Command:
    """The command for an option that is a flag as well, and is described there."""
    option = _OPTIONS[name]

    def act(session: Session, value: Any) -> None:
        try:
            session.set(**{option: value})
        except ConfigError as error:  # which calls the option by its name in Python
            raise ConfigError(str(error).replace(option, name, 1)) from None
        print_lines({name[1:]: shown(value)})

    flag = get_type_hints(GenerationOptions, include_extras=True)[option].__metadata__[-1]
    return Command(act, flag.help, takes, example, parse)


def _number_or_off(parse: Callable[[str], float], off: float | None) -> Callable[[str], float | None]:
    return lambda text: off if text == "off" else parse(text)


def _strings(text: str) -> tuple[str, ...]:
    """Words, or strings in double quotes; both with the escapes of JSON."""
    if text == "off":
        return ()
    if _STRING.sub("", text).strip():
        raise ValueError
    words = _STRING.findall(text)
    return tuple(json.loads(word if word.startswith('"') else f'"{word}"', strict=False) for word in words)


def _choice(text: str) -> str:
    if text not in get_args(texts.Unknown):
        raise ValueError
    return text


def _path(text: str) -> Path:
    if "\0" in text:
        raise ValueError
    try:
        return Path(text).expanduser()
    except RuntimeError:  # ~NAME of nobody
        raise ValueError from None


_OPTIONS = {f"/{option.name.replace('_', '-')}": option.name for option in fields(GenerationOptions)}
_OPTIONS["/length"] = _OPTIONS.pop("/max-new-tokens")

COMMANDS = {
    "/temperature": _setting("/temperature", "a number", "0.9", float),
    "/top-k": _setting("/top-k", "a whole number or off", "40", _number_or_off(int, None)),
    "/top-p": _setting("/top-p", "a number or off", "0.95", _number_or_off(float, 1.0)),
    "/min-p": _setting("/min-p", "a number or off", "0.05", _number_or_off(float, 0.0)),
    "/repetition-penalty": _setting("/repetition-penalty", "a number or off", "1.2", _number_or_off(float, 1.0)),
    "/length": _setting("/length", "a whole number", "300", int),
    "/seed": _setting("/seed", "a whole number", "1", int),
    "/stop": replace(
        _setting("/stop", "words, strings in double quotes, or off", r'"\n\n" END', _strings),
        help="End before any of these strings; they take the place of those set before.",
    ),
    "/unknown": _setting("/unknown", " or ".join(get_args(texts.Unknown)), "skip", _choice),
    "/settings": Command(_settings, "Show the model and all settings."),
    "/save": Command(
        _save,
        "Write all prompts and texts to a new file, or to one saved before in this session.",
        "a file",
        "a.txt",
        _path,
    ),
    "/load": Command(_load, "Go on with another model.", "a run or checkpoint", "runs/hamlet", _path),
    "/help": Command(_help, "Show this."),
    "/quit": Command(_quit, "Leave."),
}
_OTHER_LINES = [
    ("anything else", "A prompt to continue; an empty one lets the model begin by itself."),
    ("//...", "A prompt that begins with one slash."),
    ("...\\", "Goes on in the next line; on a terminal, Alt-Enter (or Esc, then Enter) begins one too."),
    ("Ctrl-C", "Stops the text being written; at the prompt, clears the line."),
    ("Ctrl-D", "Leaves."),
    ("Tab, Up", "Complete a command, run or file; bring back what was typed before."),
]
