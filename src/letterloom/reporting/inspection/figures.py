"""Every figure of an inspection, units in the names, as `inspect --json` prints it; tables and page are made of it."""

import math
import unicodedata
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from letterloom import __version__
from letterloom.reporting.inspection.advice import advise
from letterloom.text.inspection.copies import Passage, Share
from letterloom.text.inspection.inspect import Character, Inspection
from letterloom.text.inspection.passages import LENGTHS
from letterloom.text.inspection.tally import Place

RARE = 10  # times; a character that occurs less often is called rare
KINDS = {  # of Unicode's general categories (The Unicode Standard, section 4.5), in the words of a reader
    "Cc": "control",
    "Cf": "invisible",
    "Zl": "line separator",
    "Zp": "paragraph separator",
    "Zs": "space",
    "Co": "private use",
    "Cn": "not assigned",
}
REPLACEMENT = "\ufffd"
_ORDINARY = " \t\n\r"
_CONTROLS = {0: "NULL", 7: "BELL", 8: "BACKSPACE", 9: "TAB", 10: "LINE FEED", 11: "VERTICAL TAB", 12: "FORM FEED"} | {
    13: "CARRIAGE RETURN",
    26: "SUBSTITUTE",
    27: "ESCAPE",
    127: "DELETE",
    133: "NEXT LINE",
}


def figures(inspection: Inspection, model: dict[str, Any] | None = None) -> dict[str, Any]:
    """The figures of an inspection; `model` is what is known of the one that the text can carry, if anything is."""
    sources, ends = inspection.text.sources, inspection.line_ends
    names = [source["name"] for source in sources]
    characters = sum(source["characters"] for source in sources)
    told: dict[str, Any] = {
        "corpus": list(inspection.corpus),
        "documents": names,
        "sha256": inspection.text.sha256,
        "bytes": sum(source["bytes"] for source in sources),
        "characters": characters,
        "notes": list(inspection.notes),
        "encoding": {
            "name": "UTF-8",
            "outside_ascii": sum(one.count for one in inspection.characters if not one.character.isascii()),
            "byte_order_marks": list(inspection.byte_order_marks),
        },
        "line_ends": ends,
        "lines": _lines(inspection, names),
        "vocabulary": [_character(one) for one in inspection.characters],
        "rare": [_placed(one, names) for one in inspection.characters if one.count < RARE],
        "strange": [_placed(one, names) for one in inspection.characters if _kind(one.character)],
        "split": {
            "training_characters": inspection.training_characters,
            "validation_characters": inspection.validation_characters,
        },
        "unseen_in_training": list(inspection.unseen),
        "records": inspection.records and dict(vars(inspection.records)),
        "repeated_lines": _repeated_lines(inspection),
        "copies": _copies(inspection, names),
        "compressed": {
            "bits_per_character": inspection.bits_per_character,
            "characters": inspection.excerpt_characters,
        },
        "bits_of_blind_guessing": math.log2(len(inspection.characters)),
        "model": model,
        "letterloom": __version__,
    }
    told["warnings"] = [{"warning": one.warning, "remedy": one.remedy} for one in advise(told)]
    return told


def name_of(character: str) -> str:
    """The name of a character in Unicode; of controls, which have none there, the usual one."""
    point = ord(character)
    return unicodedata.name(character, _CONTROLS.get(point, f"U+{point:04X}"))


def _kind(character: str) -> str | None:
    """What is strange about a character; None for most."""
    if character == REPLACEMENT:
        return "replacement"
    return None if character in _ORDINARY else KINDS.get(unicodedata.category(character))


def _character(one: Character) -> dict[str, Any]:
    return {"character": one.character, "count": one.count, "name": name_of(one.character)}


def _placed(one: Character, names: list[str]) -> dict[str, Any]:
    return _character(one) | {"kind": _kind(one.character), "places": [_place(place, names) for place in one.places]}


def _place(place: Place, names: list[str]) -> str:
    return f"line {place.line:,}, column {place.column:,}" + _of(names, place.document)


def _of(names: list[str], document: int) -> str:
    """Which of several documents."""
    return f" of {names[document]}" if len(names) > 1 else ""


def _lines(inspection: Inspection, names: list[str]) -> dict[str, Any]:
    lengths, (longest, document, line) = inspection.line_lengths, inspection.longest_line
    return {
        "count": int(lengths.sum()),
        "empty": int(lengths[0]),
        "median_characters": _quantile(lengths, 0.5),
        "percentile_90_characters": _quantile(lengths, 0.9),
        "longest_characters": longest,
        "longest_place": f"line {line:,}{_of(names, document)}" if line else None,
        "histogram": _histogram(lengths, longest),
    }


def _quantile(lengths: NDArray[np.int64], share: float) -> int:
    return int(np.searchsorted(np.cumsum(lengths), share * lengths.sum()))


def _histogram(lengths: NDArray[np.int64], longest: int, bars: int = 40) -> list[dict[str, int]]:
    """Lines by length in at most so many bars of one width; the last one also has the hundredth that is longest."""
    end = min(longest, _quantile(lengths, 0.99)) + 1
    width = -(-end // bars)
    edges = np.arange(0, end, width)
    counts = np.add.reduceat(lengths, edges)
    return [{"from": int(e), "to": int(e) + width - 1, "lines": int(n)} for e, n in zip(edges, counts, strict=True)]


def _repeated_lines(inspection: Inspection) -> dict[str, Any]:
    found = inspection.repeated_lines
    return {
        "lines": found.lines,
        "repeated_lines": found.lines - found.different_lines,
        "share_of_lines": 1 - found.different_lines / found.lines if found.lines else 0.0,
        "share_of_characters": 1 - found.different_characters / found.characters if found.characters else 0.0,
        "most": [{"line": line, "times": times} for line, times in found.most],
        "one_in": found.one_in,
        "not_compared": found.not_compared,
    }


def _copies(inspection: Inspection, names: list[str]) -> dict[str, Any]:
    found, in_records = inspection.copies, inspection.records is not None
    ends = np.cumsum([source["characters"] for source in inspection.text.sources])

    def place(position: int) -> str | None:
        if in_records:
            return None  # their order is not that of the files
        document = int(np.searchsorted(ends, position, side="right"))
        return f"character {position - int(ends[document - 1] if document else 0) + 1:,}{_of(names, document)}"

    def passage(one: Passage) -> dict[str, Any]:
        return {"beginning": one.beginning, "characters": one.characters, "place": place(one.position)}

    leaked: Iterable[Share | None] = found.leaked or [None] * len(LENGTHS)
    return {
        "looked_up_characters": found.sampled,
        "shares": [
            {"characters": length, "copied": dict(vars(copied)), "leaked": leak and dict(vars(leak))}
            for length, copied, leak in zip(LENGTHS, found.copied, leaked, strict=True)
        ],
        "repeated_passages": [passage(one) | {"times": one.times} for one in found.repeated_passages],
        "leaked_passages": [passage(one) | {"source": place(one.source)} for one in found.leaked_passages],
    }
