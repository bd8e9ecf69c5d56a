"""A text as a page: its heat map, with what the model expected shown at the character one points at."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from letterloom import __version__, storage
from letterloom.evaluation.copying import Copying
from letterloom.reporting.page import render
from letterloom.reporting.report import PROTOCOLS
from letterloom.reporting.surprisal.places import HOTTEST, Row, cut, expectations, level, most_surprising, visible
from letterloom.reporting.surprisal.tables import copying_rows, copying_told
from letterloom.text.tokenizers import Tokenizer

SHOWN = 50_000  # characters; each takes about 150 bytes of the page
PLACES = 20


def write_page(
    path: Path,
    name: str,
    figures: dict[str, Any],
    rows: Sequence[Row],
    tokenizer: Tokenizer,
    notes: Sequence[str] = (),
    copying: Copying | None = None,
) -> None:
    """Write a page that stands alone: no script, nothing loaded.

    Args:
        path: the file.
        name: what the text is called.
        figures: of the whole, as `ScoredText.to_json` tells them.
        rows: lines in their order, or records, the most surprising first; 50,000 characters of them are shown.
        tokenizer: the model's.
        notes: sentences to put above the map.
        copying: where it was measured.

    Raises:
        ResourceError, RunError: the file cannot be written.
    """
    characters = sum(len(row.text) for row in rows)
    content = {
        "name": visible(name),
        "version": __version__,
        "figures": figures,
        "ln2": math.log(2),
        "protocol_told": PROTOCOLS.get(figures["protocol"], ""),
        "notes": notes,
        "hottest": HOTTEST,
        "rows": [_shown(row, tokenizer) for row in cut(rows, SHOWN)],
        "shown": min(SHOWN, characters),
        "characters": characters,
        "places": most_surprising(rows, tokenizer, PLACES),
        "copying": copying_rows(copying) if copying else None,
        "copying_told": copying_told(copying) if copying else [],
    }
    storage.write_file(path, render("surprisal/surprisal.html.jinja", content))


def _shown(row: Row, tokenizer: Tokenizer) -> dict[str, Any]:
    """A row for the template: for each character how it looks, how hot it is, and what was expected there."""
    characters = []
    for column, (character, bits) in enumerate(zip(row.text, row.bits, strict=True)):
        expected = "   ".join(f"{name} {share}" for name, share in expectations(row, column, tokenizer))
        told = f"{visible(character)}  {bits:.2f} bits\n{expected or 'nothing came before it'}"
        characters.append((visible(character), level(bits), told))
    bits_per_character = row.bits_per_character
    return {
        "line": row.line,
        "bits": f"{bits_per_character:.2f}",
        "level": level(bits_per_character),
        "note": row.note,
        "characters": characters,
    }
