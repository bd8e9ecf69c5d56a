"""A text on the terminal, each character on the colour of what it costs."""

from collections.abc import Iterable

from rich.style import Style
from rich.table import Table
from rich.text import Text

from letterloom.reporting.surprisal.places import HOTTEST, Row, level, visible

# Black on ever stronger orange, by whole bits; the last two dark, with white. Below 1 bit the terminal's own colours.
_GROUNDS = ("", "#fff1dc", "#ffe1b8", "#ffcd8a", "#ffb65c", "#ff9a2e", "#f47a10", "#c9480b", "#8f1d0a")
_STYLES = tuple(
    Style.parse(f"{'white' if step > HOTTEST - 2 else 'black'} on {ground}") if ground else Style.null()
    for step, ground in enumerate(_GROUNDS)
)


def heat_map(rows: Iterable[Row]) -> Table:
    """A row for each line: its number, its bits per character, its text in colour; what is noted of it last."""
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(justify="right", style="dim", no_wrap=True)
    table.add_column(justify="right", style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(style="dim", no_wrap=True)
    for row in rows:
        text = Text(overflow="fold")
        for character, bits in zip(row.text, row.bits, strict=True):
            text.append(visible(character), _STYLES[level(bits)])
        table.add_row(f"{row.line}", f"{row.bits_per_character:.2f}", text, row.note)
    return table


def legend() -> Text:
    """The colours, each with the bits it begins at."""
    steps = (Text(f" {step}{'+' * (step == HOTTEST)} ", style) for step, style in enumerate(_STYLES))
    return Text.assemble("bits of a character ", *steps)
