"""`letterloom profile`."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from letterloom import api
from letterloom.cli.arguments import Corpus, Json, WholeNumber
from letterloom.cli.output import print_json, print_lines, print_table
from letterloom.errors import DataMismatchError
from letterloom.generation.terminal import escape_controls
from letterloom.reporting.profile.figures import figures, require_place, write_profile
from letterloom.reporting.profile.tables import tables


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
    if out:
        require_place(out)
    found = api.profile(name, corpus or None, vocab_size, measure)
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
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(f"{escape_controls(told['name'])}: {told['about']}", style="bold")
    for line in (*told["notes"], *(f"damaged: {problem}" for problem in told["problems"])):
        console.print(escape_controls(line))
    console.print("\nArchitecture", style="bold")
    console.print("\n".join(told["architecture"]))
    for table in tables(told):
        console.print(f"\n{table.title}", style="bold")
        print_table(table.heads, table.rows, table.columns)
        if table.note:
            console.print(table.note, style="dim", soft_wrap=not console.is_terminal)
    console.print()
