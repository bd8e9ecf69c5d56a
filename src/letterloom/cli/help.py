"""How `--help` looks: plain columns. Rich's boxes would take a third of the time that help may take."""

import textwrap
from collections.abc import Iterator
from typing import Any

from cyclopts.help import HelpEntry, HelpPanel
from rich.console import Console

_INDENT = 30
_WIDTH = 100
_UNTOLD = {None, "False", "()", '""'}  # defaults that go without saying


def columns(console: Console, options: Any, panel: HelpPanel) -> None:  # noqa: ARG001 (cyclopts names them)
    """Print one group of commands, arguments or options."""
    if panel.entries:
        lines = [line for entry in panel.entries for line in _lines(entry, min(console.width, _WIDTH))]
        print(f"{panel.title}:", *lines, "", sep="\n", file=console.file)


def _lines(entry: HelpEntry, width: int) -> Iterator[str]:
    """The names, and beside them, or below where they are long, what they mean."""
    names = "  " + ", ".join(entry.display_labels_with_metavar)
    words = [entry.description.primary_renderable.plain] if entry.description else []
    if entry.choices:
        words.append(f"[{', '.join(entry.choices)}]")
    if entry.default not in _UNTOLD:
        words.append(f"[default: {entry.default}]")
    if len(names) > _INDENT - 2:
        yield names
        names = ""
    indent = " " * _INDENT
    yield from textwrap.wrap(" ".join(words), width, initial_indent=f"{names:{_INDENT}}", subsequent_indent=indent) or [
        names
    ]
