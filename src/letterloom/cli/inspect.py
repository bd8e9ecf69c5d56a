"""`letterloom inspect`."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console

from letterloom import accounting
from letterloom.cli.arguments import Corpus, Json
from letterloom.cli.output import print_json, print_lines, print_table
from letterloom.config import build_config
from letterloom.errors import ConfigError
from letterloom.generation.terminal import escape_controls
from letterloom.recipes import read_recipe
from letterloom.reporting.inspection.tables import facts, tables
from letterloom.training.estimates import step_seconds
from letterloom.training.planning.ladder import LADDER, climb, rung_layer

if TYPE_CHECKING:
    from letterloom.text.inspection.inspect import Inspection

BASE = "small"  # the recipe that a plan fills in


def inspect(
    corpus: Corpus,
    /,
    *more: Corpus,
    records: Annotated[Literal["none", "lines"], Parameter(help="'lines': each line is a record of its own.")] = "none",
    html: Annotated[Path | None, Parameter(help="Write a page with pictures into this file too.")] = None,
    measure: Annotated[
        bool, Parameter(help="Do a few training steps here, to tell the time that a model takes.", negative=())
    ] = False,
    json: Json = False,
) -> None:
    """Tell what a text is like before a model is trained on it, and what should be mended first."""
    from letterloom.reporting.inspection.figures import figures  # with NumPy and Numba, which help does without
    from letterloom.text.inspection.inspect import inspect as inspect_text

    if html:
        from letterloom.reporting.inspection.page import require_place, write_page  # with matplotlib

        for text in filter(Path.exists, map(Path, (corpus, *more))):
            if html.exists() and (html.samefile(text) or text.resolve() in html.resolve().parents):
                raise ConfigError(f"{html} is of the text that is read; name another file to write")
        require_place(html)
    found = inspect_text((corpus, *more), records)
    told = figures(found, _model(found, measure))
    if html:
        write_page(told, html)
    if json:
        print_json(told | ({"page": str(html)} if html else {}))
    else:
        _print(told)
        if html:
            print()
            print_lines({"page": str(html)})


def _model(found: "Inspection", measure: bool) -> dict[str, Any] | None:
    """The largest model of a plan's ladder that the text can carry; None where it is too short for any."""
    if not found.training_characters:
        return None
    vocab_size, ids = len(found.characters), found.training_characters  # of records, newlines end texts
    mean = (ids + found.validation_characters) / found.records.kept if found.records else None
    base = read_recipe(BASE)
    configs = [build_config(base, rung_layer(rung, ids, mean)) for rung in LADDER]
    place, _ = climb(configs, vocab_size, ids, lambda *_: math.inf, lambda _: 1.0)  # as if time were no matter
    config = configs[place]
    count = sum(accounting.parameters(config.model, vocab_size).values())
    characters = LADDER[place].least_seen * count
    step = step_seconds({"the model": config}, vocab_size).get("the model") if measure else None
    steps = characters / (config.training.batch_size * config.model.context_length)
    return {
        "parameters": count,
        "characters_to_see": round(characters),
        "seconds": None if step is None else steps * step,
        "settings": config.model.model_dump(mode="json"),
    }


def _print(told: dict[str, Any]) -> None:
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(escape_controls(", ".join(told["corpus"])), style="bold")
    for note in told["notes"]:
        console.print(escape_controls(note), style="dim")
    for one in told["warnings"]:
        console.print(f"\nWarning: {escape_controls(one['warning'])}.", style="bold")
        console.print(f"  {one['remedy']}.")
    print()
    print_lines({name: escape_controls(value) for name, value in facts(told).items()})
    for table in tables(told):
        console.print(f"\n{table.title}", style="bold")
        print_table(table.heads, table.rows, table.columns)
        if table.note:
            console.print(table.note, style="dim")
