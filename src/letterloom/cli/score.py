"""`letterloom score`."""

import logging
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from letterloom import api, storage
from letterloom.cli.arguments import Corpus, Device, Json, Protocol, RunName, Unknown
from letterloom.cli.output import evaluation_lines, print_json, print_lines, print_table
from letterloom.errors import ConfigError, CorpusError, LetterloomError
from letterloom.text.documents import Document, printable

if TYPE_CHECKING:
    from letterloom.evaluation.copying import Copying
    from letterloom.reporting.surprisal.places import Row

MAPPED = 4_000  # characters of a text that a terminal shows
WORST = 20  # places or records that a terminal shows
WORST_ON_PAGE = 200  # records
BEGINNING = 60  # characters of a record that a table shows
# No text, but a path that leads nowhere: /tmp/x, ./x, ~/x, hamlet.txt. Molecules have slashes, but do not begin so.
_LOOKS_LIKE_PATH = re.compile(r"(\.{0,2}|~)[/\\]\S+|\S*\w\.[A-Za-z]\w{0,4}")
log = logging.getLogger("letterloom")


@dataclass(frozen=True)
class _Found:
    """What was scored, whichever way, as the outputs need it."""

    figures: dict[str, Any]  # of the whole
    rows: "Sequence[Row]"  # lines, or the worst records
    detail: dict[str, Any]  # of lines or records, for JSON
    table: str  # for CSV
    notes: list[str]


def score(
    run: RunName,
    text: Annotated[Corpus, Parameter(help="A file, or - for standard input, or else the text itself.")],
    /,
    *,
    protocol: Protocol = "blocks",
    records: Annotated[
        bool, Parameter(help="Score each line as a record by itself; the most surprising come first.", negative=())
    ] = False,
    copying: Annotated[
        bool, Parameter(help="Tell how much of it stands in the training text, too.", negative=())
    ] = False,
    csv: Annotated[Path | None, Parameter(help="Write a row for each character (or record) into this file.")] = None,
    html: Annotated[Path | None, Parameter(help="Write a page with a heat map into this file.")] = None,
    unknown: Unknown = "error",
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Tell how much each character of a text, or each of its records, surprises a model."""
    for file in filter(None, (csv, html)):
        if file.is_dir():
            raise ConfigError(f"{file} is a folder; name a file to write")
        if os.path.exists(text) and file.exists() and file.samefile(text):  # noqa: PTH110 (a text may be no path)
            raise ConfigError(f"{file} is the text that is read; name another file to write")
    if csv and html and csv.resolve() == html.resolve():
        raise ConfigError(f"--csv and --html both name {csv}; give each a file of its own")
    content, source = _read(text)
    model = api.load(run, device)
    if records:
        shown = WORST_ON_PAGE if html else 0 if json else WORST
        found = _score_records(model, content, protocol, unknown, shown)
    else:
        found = _score(model, content, protocol, unknown)
    copied = _copying(model, content, records) if copying else None
    if csv:
        storage.write_file(csv, found.table)
    if html:
        from letterloom.reporting.surprisal.page import write_page

        write_page(html, source, found.figures, found.rows, model.checkpoint.tokenizer, found.notes, copied)
    files = {name: str(file) for name, file in (("csv", csv), ("html", html)) if file}
    if json:
        told = {"text": source} | found.figures | found.detail | files
        print_json(told | ({"copying": copied.to_json()} if copied else {}))
    else:
        _print(model, source, found, copied, records)
        if files:
            print_lines(files)


def _read(text: str) -> tuple[str, str]:
    """The text that is meant, and what it is, in words: a file, standard input, or what was typed.

    Raises:
        CorpusError: it cannot be read, or looks like the path of a file that is not there.
    """
    if text == "-":
        if sys.stdin is None:
            raise CorpusError("standard input is closed; pipe a text in, or name a file")
        document = Document("standard input", content=sys.stdin.buffer.read())
    elif os.path.exists(text):  # noqa: PTH110 (a long text is no path, and no error either)
        if Path(text).is_dir():
            raise CorpusError(f"{printable(text)} is a folder; name a file")
        document = Document(f"file {printable(text)}", Path(text))
    else:
        if _LOOKS_LIKE_PATH.fullmatch(text):
            raise CorpusError(f"there is no file {printable(text)}; if it is the text itself, pipe it in and give -")
        return text, f"as typed: {printable(text if len(text) <= BEGINNING else text[:BEGINNING] + '…')}"
    return b"".join(document.pieces()).decode(), document.name


def _score(model: api.Model, content: str, protocol: str, unknown: Unknown) -> _Found:
    from letterloom.evaluation.scoring import score_text, text_ids
    from letterloom.reporting.surprisal.places import rows_of
    from letterloom.reporting.surprisal.tables import characters_csv, lines_json

    tokenizer, settings = model.checkpoint.tokenizer, model.checkpoint.config.text
    ids, given = text_ids(content, tokenizer, unknown, settings.records == "lines")
    scored = score_text(model.network, tokenizer, ids, protocol, given)
    rows = rows_of(scored)
    return _Found(scored.to_json(), rows, {"lines": lines_json(rows)}, characters_csv(rows), [])


def _score_records(model: api.Model, content: str, protocol: str, unknown: Unknown, shown: int) -> _Found:
    from letterloom.evaluation.records import rank_records, record_ids
    from letterloom.evaluation.scoring import lines_of, require_known, score_text
    from letterloom.reporting.surprisal.places import rows_of
    from letterloom.reporting.surprisal.tables import held_out_told, ranking_told, records_csv

    network, tokenizer = model.network, model.checkpoint.tokenizer
    require_known(content, tokenizer, unknown, apart="\r\n")
    ranking = rank_records(network, tokenizer, lines_of(content), _held_out(model), protocol, unknown)
    rows: list[Row] = []
    for record in ranking.records[:shown]:
        ids, given = record_ids(record.text, tokenizer, unknown)
        if len(ids) > 1:  # a single id has nothing before it that it could be held against
            scored = score_text(network, tokenizer, ids, protocol, given)
            rows += rows_of(scored, record.line, held_out_told(record))
    detail = {"records": [record.to_json() for record in ranking.records]}
    return _Found(ranking.to_json(), rows, detail, records_csv(ranking.records), ranking_told(ranking))


def _held_out(model: api.Model) -> list[str]:
    """The records, or lines, of the run's validation split; none, which is told, where that cannot be read."""
    from letterloom.evaluation.copying import BETWEEN, text_of

    try:
        ids, _ = model.text(split="validation")
    except LetterloomError as error:
        log.warning("no held-out records to hold these against: %s", error)
        return []
    return [record for record in re.split(f"[\n{BETWEEN}]", text_of(ids, model.checkpoint.tokenizer)) if record]


def _copying(model: api.Model, content: str, records: bool) -> "Copying":
    from letterloom.evaluation.copying import copying, text_of
    from letterloom.evaluation.scoring import lines_of

    tokenizer = model.checkpoint.tokenizer
    training = text_of(model.text(split="training")[0], tokenizer)
    if records or model.checkpoint.config.text.records == "lines":
        return copying(lines_of(content), training, _held_out(model))
    return copying([content], training, text_of(model.text(split="validation")[0], tokenizer))


def _print(model: api.Model, source: str, found: _Found, copied: "Copying | None", records: bool) -> None:
    """The figures; then the text in colour, or where there is none a table of what surprises most."""
    from letterloom.reporting.surprisal.heat import heat_map, legend
    from letterloom.reporting.surprisal.places import cut, most_surprising
    from letterloom.reporting.surprisal.tables import COPYING_HEADS, copying_rows, copying_told

    figures = found.figures
    in_all = {"in all": f"{figures['nats']:,.2f} nats = {figures['bits']:,.2f} bits"}
    print_lines({"text": source} | in_all | evaluation_lines(figures))
    console = Console(highlight=False, markup=False)
    print(*("", *found.notes), sep="\n")
    rows = found.rows[:WORST] if records else found.rows
    if console.is_terminal and console.color_system and not console.no_color:
        shown = list(cut(rows, MAPPED))
        console.print(legend(), heat_map(shown), sep="\n")
        _tell_left_out(len(rows) - len(shown), "lines")
    elif records:
        print_table(("line", "bits", "held out", "record"), [_cells(row) for row in rows], "rrrl")
    else:
        places = most_surprising(rows, model.checkpoint.tokenizer, WORST)
        cells = [(f"{p.line}", f"{p.column}", f"{p.bits:.2f}", p.context, p.expected) for p in places]
        print_table(("line", "column", "bits", "most surprising", "expected"), cells, "rrrll")
    if records:
        _tell_left_out(len(found.detail["records"]) - len(rows), "records")
    if copied:
        print(*("", *copying_told(copied)), sep="\n")
        print_table(COPYING_HEADS, copying_rows(copied), "lrrr")


def _tell_left_out(count: int, what: str) -> None:
    if count > 0:
        print(f"and {count:,} {what} more; --csv, --html and --json have them")


def _cells(row: "Row") -> tuple[str, ...]:
    from letterloom.reporting.surprisal.places import visible

    shown = visible(row.text[:BEGINNING]) + "…" * (len(row.text) > BEGINNING)
    return f"{row.line}", f"{row.bits_per_character:.2f}", row.note, shown
