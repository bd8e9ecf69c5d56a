"""The page of an inspection: one file that stands alone, without scripts, and loads nothing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from letterloom import storage
from letterloom.errors import RunError
from letterloom.reporting.curves import image
from letterloom.reporting.inspection.drawing import draw_counts, draw_line_lengths
from letterloom.reporting.inspection.tables import facts, tables
from letterloom.reporting.page import inline, render


def require_place(file: Path) -> None:
    """Check that the page can be written, before anything is read for it.

    Raises:
        RunError, ResourceError: it cannot.
    """
    if file.is_dir():
        raise RunError(f"{file} is a folder; give a file for the page, like {file / 'inspection.html'}")
    trial = file.with_name(f".{file.name}.trial")
    storage.write_file(trial, "")
    storage.remove_file(trial)


def write_page(told: Mapping[str, Any], file: Path) -> None:
    """Write the page of an inspection, given its figures.

    Raises:
        RunError, ResourceError: it cannot be written, or the disk is full.
    """
    content = dict(told) | {
        "facts": facts(told),
        "tables": tables(told),
        "pictures": {
            "lines": inline(image(draw_line_lengths(told), "svg"), "Lines by their length"),
            "counts": inline(image(draw_counts(told), "svg"), "Characters by how often they occur"),
        },
    }
    storage.write_file(file, render("inspection/inspection.html.jinja", content))
