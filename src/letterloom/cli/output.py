"""What commands print: figures on standard output, as lines for people or as one JSON object for programs."""

import json
import math
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from letterloom.generation.terminal import escape_controls
from letterloom.training.launch import rank_of_environment

if TYPE_CHECKING:
    from letterloom.api import Run

WIDTH = 80  # of paragraphs
FOLDED = 12  # characters that a column of words keeps at least


def print_run(run: "Run", as_json: bool) -> None:
    """What a finished run reached: its figures, the last text it wrote, and where it lies."""
    if rank_of_environment():
        return  # the first process tells, once it has measured all of it
    evaluation, places = run.evaluation or {}, {"run": str(run.path), "report": str(run.path / "report.html")}
    finetuning = run.finetuning
    if as_json:
        told = {"finetuning": finetuning} if finetuning else {}
        print_json({**places, "evaluation": evaluation, "verdict": run.verdict, **run.beside, **told})
        return
    if evaluation:
        held_out, seen = evaluation["validation"], evaluation["training"]["blocks"]
        also = {"on training text": f"{seen['bits_per_character']:.4f} bits per character"}
        sliding = evaluation_lines(held_out["sliding"])
        also["by sliding"] = (
            f"{sliding['bits per character']} bits, on {held_out['sliding']['characters']:,} characters"
        )
        print_lines(evaluation_lines(held_out["blocks"]) | also)
        print(f"\n{textwrap.fill(run.verdict or '', WIDTH)}")
    if finetuning:
        print()
        print_lines({f"{name} text": _change(finetuning[name]) for name in ("new", "old")})
    if run.samples:
        print(f"\n{escape_controls(run.samples[-1].read_text(encoding='utf-8'))}\n")
    print_lines(places)


def print_json(value: Any) -> None:
    """One JSON object on one line."""
    print(json.dumps(value, ensure_ascii=False))


def print_lines(lines: Mapping[str, str]) -> None:
    """Names and values, one a line, the values under one another."""
    width = max(map(len, lines))
    for name, value in lines.items():
        print(f"{name:{width}}  {value}")


def print_table(heads: Sequence[str], rows: Sequence[Sequence[str]], columns: str = "") -> None:
    """A table as wide as the terminal; elsewhere as wide as it is, so that no word in it is broken.

    `columns` has a letter for each: r for numbers, which are set to the right, else l. Numbers and the first column,
    the names that one has to type, are never folded: where they do not fit, the terminal breaks the lines.
    """
    shown = [tuple(map(escape_controls, row)) for row in rows]
    numbers = [side == "r" for side in columns or "l" * len(heads)]
    kept = [number or not place for place, number in enumerate(numbers)]
    widest = [max(map(cell_len, cells)) for cells in zip(heads, *shown, strict=True)]
    widths = [width if keep else FOLDED for width, keep in zip(widest, kept, strict=True)]
    table = Table(
        *(
            Column(head, justify="right" if number else "left", overflow="fold", no_wrap=keep)
            for head, number, keep in zip(heads, numbers, kept, strict=True)
        ),
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        header_style="dim",
    )
    for row in shown:
        table.add_row(*row)
    console = Console(highlight=False, markup=False)
    # Elsewhere than on a terminal the table takes what it needs of this.
    console.width = max(console.width, sum(widths) + 2 * (len(widths) - 1)) if console.is_terminal else 1000
    console.print(table)


@contextmanager
def progress(work: str) -> Iterator[Callable[[int, int], None]]:
    """A bar with the time left, on a terminal, while the work lasts; it is to be told how much of how much is done."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(work, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def evaluation_lines(evaluation: Mapping[str, Any]) -> dict[str, str]:
    """The figures of an evaluation (its JSON form), with units and interval."""
    interval = evaluation["interval"]
    nats = (evaluation["nats_per_character"], *((interval["low"], interval["high"]) if interval else ()))
    learns = "learning_rate" in evaluation
    held = "model {nats_per_character:.4f}, limit {limit:.4f}, gap {gap:.4f} nats per character"
    return {
        "nats per character": _estimate(*nats),
        "bits per character": _estimate(*(value / math.log(2) for value in nats)),
        **({"known limit": held.format(**evaluation)} if "limit" in evaluation else {}),
        "measured on": f"{evaluation['characters']:,} characters, each scored once, in {evaluation['seconds']:.1f} s",
        "protocol": f"{evaluation['protocol']}, at most {evaluation['context_length']} characters of context",
        **({"learning rate": "{learning_rate:.1e}, by training text".format(**evaluation)} if learns else {}),
    }


def _change(text: Mapping[str, Any]) -> str:
    """What finetuning did to the loss of a text (of `finetuning.json`)."""
    if "skipped" in text:
        return f"not measured: {text['skipped']}"
    before, after, difference = text["before"], text["after"], text["difference"]
    interval = difference["interval"]
    told = "  (95 %: {low:+.4f} to {high:+.4f})".format(**interval) if interval else ""
    figures = f"{before['nats_per_character']:.4f} before, {after['nats_per_character']:.4f} after"
    left_out = f", without {text['left_out']:,} dropped characters" if text.get("left_out") else ""
    return f"{figures}: {difference['nats_per_character']:+.4f} nats per character{told}{left_out}"


def _estimate(value: float, *interval: float) -> str:
    return f"{value:.4f}" + ("  (95 %: {:.4f} to {:.4f})".format(*interval) if interval else "")
