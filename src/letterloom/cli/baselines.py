"""`letterloom baselines`."""

import logging
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from letterloom.cli.arguments import Corpus, Json
from letterloom.cli.output import print_json, print_lines, print_table
from letterloom.config import TextConfig
from letterloom.reporting.markup import duration

if TYPE_CHECKING:
    from letterloom.evaluation.baselines.measure import Baseline

log = logging.getLogger("letterloom")


def baselines(
    *corpus: Annotated[Corpus, Parameter(required=True)],
    tokenizer: Annotated[
        Literal["characters", "bytes"], Parameter(help="What n-grams are made of; compressors see bytes anyway.")
    ] = "characters",
    records: Annotated[
        Literal["none", "lines"], Parameter(help="'lines': each line is a document of its own.")
    ] = "none",
    json: Json = False,
) -> None:
    """Tell what a text costs without a model: its validation split, given its training split, by other methods.

    The splits are those of a run with the same settings. What was measured once is kept.
    """
    from letterloom.evaluation.baselines.measure import cached_baselines, estimated_seconds, measure_baselines, remarks
    from letterloom.text.encoding import open_corpus

    text = open_corpus(TextConfig(corpus=corpus, tokenizer=tokenizer, records=records))
    splits = text.train, text.validation, text.tokenizer
    kept = cached_baselines(*splits)
    if kept is None:
        log.warning("measuring the baselines, in about %s", duration(estimated_seconds(*splits)))
    found = measure_baselines(*splits)
    about, limit = text.description, text.description.get("limit")
    notes = [*about["notes"], *remarks(*splits)]
    characters = max(baseline.characters for baseline in found)
    if json:
        print_json(
            {
                "baselines": [baseline.to_json() for baseline in found],
                "text": ", ".join(corpus),
                **{key: about[key] for key in ("sha256", "tokenizer", "vocab_size", "split")},
                "characters": characters,
                "limit": limit,
                "notes": notes,
                "kept": kept is not None,
            }
        )
        return
    ends = "" if text.tokenizer.end_of_text_id is None else " (each end of a record is one)"
    given = f"{about['split']['train']['characters']:,} of training text"
    lines = {"text": ", ".join(corpus), "measured on": f"{characters:,} characters{ends}, after {given}"}
    if kept is not None:
        lines["measured"] = "before, and kept; the seconds are those of that time"
    print_lines(lines)
    for note in notes:
        print(f"note: {note}")
    print()
    heads = ("baseline", "bits per character", "nats", "seconds", "what it is")
    print_table(heads, list(_rows(found, limit and limit["validation"])), "lrrrl")


def _rows(found: Sequence["Baseline"], limit: float | None) -> Iterator[tuple[str, ...]]:
    """The rows of the table, the best first; the limit, where it is known, between those it lies between."""
    rows = [(b.nats_per_character, b.name, f"{b.seconds:.1f}", b.note) for b in found]
    if limit is not None:
        rows.append((limit, "(limit)", "", "the process that drew the text: in the mean nothing does better"))
    for nats, name, seconds, note in sorted(rows):
        yield name, f"{nats / math.log(2):.4f}", f"{nats:.4f}", seconds, note
