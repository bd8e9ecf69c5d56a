"""`letterloom profile`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Column, Table

from letterloom import api
from letterloom.cli.arguments import Corpus, Json, WholeNumber
from letterloom.cli.output import print_json, print_lines
from letterloom.errors import DataMismatchError
from letterloom.generation.terminal import escape_controls

if TYPE_CHECKING:
    from letterloom.reporting.profile import tables

SIDES: dict[str, Any] = {"l": "left", "r": "right"}


def profile(
    name: Annotated[str, Parameter(help="A recipe, a run directory, a checkpoint folder, or `latest`.")],
    /,
    *corpus: Corpus,
    vocab_size: Annotated[WholeNumber | None, Parameter(help="Of a recipe, in place of a CORPUS.")] = None,
    measure: Annotated[
        bool | None, Parameter(help="Do a few training steps here [for a recipe; a run has its log].")
    ] = None,
    out: Annotated[Path | None, Parameter(help="Write profile.md and profile.html into this folder too.")] = None,
    json: Json = False,
) -> None:
    """Tell what a model is made of and what it costs: parameters, memory, operations; computed, and measured.

    Raises:
        DataMismatchError: after everything is told that can be: a file of the run is damaged.
    """
    found = api.profile(name, corpus or None, vocab_size, measure)
    from letterloom.reporting.profile.profile import figures, write_profile

    told = figures(found)
    files = {kind: str(file) for kind, file in write_profile(found, out).items()} if out else {}
    if json:
        print_json(told | files)
    else:
        _print(told)
        if files:
            print_lines(files)
    if found.problems:
        more = f" (and {len(found.problems) - 1} more, told above)" if len(found.problems) > 1 else ""
        raise DataMismatchError(f"{name} is damaged: {found.problems[0]}{more}")


def _print(told: dict[str, Any]) -> None:
    from letterloom.reporting.profile.tables import tables

    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(f"{escape_controls(told['name'])}: {told['about']}", style="bold")
    for line in (*told["notes"], *(f"damaged: {problem}" for problem in told["problems"])):
        console.print(escape_controls(line))
    console.print("\nArchitecture", style="bold")
    console.print("\n".join(told["architecture"]))
    for table in tables(told):
        _print_table(table)
    console.print()


def _print_table(table: "tables.Table") -> None:
    """A table under its title; where the terminal is narrow, words are folded and numbers are not."""
    columns = [
        Column(head, justify=SIDES[side], overflow="fold", no_wrap=side == "r")
        for head, side in zip(table.heads, table.columns, strict=True)
    ]
    shown = Table(*columns, box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for row in table.rows:
        shown.add_row(*map(escape_controls, row))
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 1000  # the table takes what it needs of it
    console.print(f"\n{table.title}", style="bold")
    console.print(shown)
    if table.note:
        console.print(table.note, style="dim")
