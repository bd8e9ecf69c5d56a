"""Values as text for a reader, and text that stays text in Markdown."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from letterloom.generation.terminal import escape_controls

MAPPINGS_SHOWN = 10  # of a list: a folder of text has a source for each file


def plain(value: Any) -> str:
    """A setting or a fact as text: 1,003,854; yes; none; first; second. Control characters are written out."""
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:g}"
        case "":
            return '""'
        case list() | tuple():
            return "; ".join(map(plain, value)) or "none"
    return escape_controls(str(value))


def rows(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every entry of nested mappings as (name, text), the names of the levels joined: split train characters."""
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from rows(value, f"{name} ")
        elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            yield from rows({str(i): item for i, item in enumerate(value[:MAPPINGS_SHOWN], start=1)}, f"{name} ")
            if len(value) > MAPPINGS_SHOWN:
                yield name, f"and {len(value) - MAPPINGS_SHOWN:,} more"
        else:
            yield name, plain(value)


def metric(value: float, unit: str) -> str:
    """A quantity with three digits and an SI prefix: 1.23 GFLOP, 860 kB."""
    for prefix in ("", "k", "M", "G", "T", "P", "E"):
        if abs(value) < 999.5 or prefix == "E":
            break
        value /= 1000
    digits = 0 if not prefix or value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:,.{digits}f} {prefix}{unit}"


def duration(seconds: float) -> str:
    """A time as its two largest units: 1 h 5 min, 2 min 8 s, 4.2 s."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def fence(text: str) -> str:
    """A Markdown code block with longer fences than any run of backticks in it (CommonMark, section 4.5)."""
    marks = "`" * max(3, _longest_run(text) + 1)
    return f"{marks}text\n{text}\n{marks}"


def code(text: str) -> str:
    """A Markdown code span that shows `text` as it is, in a table too (CommonMark, section 6.1; GFM, section 4.10)."""
    marks = "`" * (_longest_run(text) + 1)
    line = " ".join(text.splitlines()).replace("|", r"\|")
    space = " " if line.startswith(("`", " ")) or line.endswith(("`", " ")) else ""
    return f"{marks}{space}{line}{space}{marks}" if line.strip() else '`""`'


def prose(text: str) -> str:
    """A sentence that Markdown shows as it is, whatever names are in it (CommonMark, section 2.4)."""
    line = re.sub(r"[\\`*_\[\]<>|~&#$!]", r"\\\g<0>", " ".join(text.split()))
    return re.sub(r"^(\d*)([-+=.)])", r"\1\\\2", line)  # or it would begin a list, or underline a heading


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)
