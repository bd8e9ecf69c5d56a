"""What was scored and found copied, as rows for a table, for CSV and for JSON."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from typing import Any

from letterloom.evaluation.copying import Copying
from letterloom.evaluation.records import Ranking, Record
from letterloom.reporting.surprisal.places import Row, visible

COPYING_HEADS = ("matches of", "this text", "people", "people, highest")


def characters_csv(rows: Iterable[Row]) -> str:
    """A row a character: line, column (from 1), character, nats, bits."""
    return _csv(
        ("line", "column", "character", "nats", "bits"),
        (
            (row.line, column, character, nats, nats / math.log(2))
            for row in rows
            for column, (character, nats) in enumerate(zip(row.text, row.nats.tolist(), strict=True), start=1)
        ),
    )


def records_csv(records: Iterable[Record]) -> str:
    """A row a record, the most surprising first."""
    heads = ("line", "bits_per_character", "nats", "characters", "held_out_share", "text")
    return _csv(heads, ([record.to_json()[head] for head in heads] for record in records))


def lines_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The lines with their sums, and the nats of every character."""
    return [
        {
            "line": row.line,
            "text": row.text,
            "characters": len(row.text),
            "nats": float(row.nats.sum()),
            "bits_per_character": row.bits_per_character,
            "nats_by_character": row.nats.tolist(),
        }
        for row in rows
    ]


def held_out_told(record: Record) -> str:
    """How many of the held-out records surprise as much: 3 of 5,000."""
    return f"{record.as_surprising:,} of {record.held_out:,}" if record.held_out else ""


def ranking_told(ranking: Ranking) -> list[str]:
    """What the records are held against."""
    if not ranking.quantiles():
        return ["There are no held-out records to hold these against."]
    spread = ", ".join(f"{100 * float(share):g} % up to {bits:.2f}" for share, bits in ranking.quantiles().items())
    return [
        f"Beside each record: how many of {len(ranking.held_out):,} held-out ones surprise the model as much or more. "
        f"Of those, in bits per character: {spread}."
    ]


def copying_rows(copying: Copying) -> list[tuple[str, ...]]:
    """The curve, a row for each length, and the longest match."""
    longest, people = copying.texts.longest, copying.longest()
    rows = [
        (f"{n} or more", _share(share), _share(copying.expected(n)), _share(copying.highest(n)))
        for n, share in copying.texts.shares.items()
    ]
    middle, most = (f"{people[len(people) // 2]}", f"{people[-1]}") if people else ("none", "none")
    return [*rows, ("the longest", f"{len(longest.text) if longest else 0}", middle, most)]


def copying_told(copying: Copying) -> list[str]:
    """What the curve is held against, and the longest match with its place."""
    told = [
        f"Of {copying.texts.characters:,} characters, the share inside matches with the "
        f"{copying.training_characters:,} characters of training text."
    ]
    if copying.human:
        characters = round(sum(overlap.characters for overlap in copying.human) / len(copying.human))
        told.append(
            f"People: {len(copying.human)} sets of held-out passages, of {characters:,} characters; what they share in "
            "the mean, and the highest of them. Of their longest matches the median, and the longest."
        )
    else:
        told.append("There is no held-out text to hold it against.")
    if match := copying.texts.longest:
        place = f"from character {match.place:,} of the training text on (its line {match.line:,})"
        told.append(f"The longest match stands {place}: {visible(match.text[:500])}{'…' * (len(match.text) > 500)}")
    return told


def _share(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.1f} %"


def _csv(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)  # a character may be a newline
    writer.writerow(heads)
    writer.writerows(rows)
    return file.getvalue()
