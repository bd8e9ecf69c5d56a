"""The figures of an inspection as text for readers: on a terminal, and on a page."""

from collections.abc import Mapping
from typing import Any

from letterloom.generation.terminal import escape_controls
from letterloom.reporting.inspection.advice import percent, visible
from letterloom.reporting.markup import duration, metric
from letterloom.reporting.profile.tables import Table

SHOWN = 8  # characters of a list
BEGINNING = 60  # characters of a passage or line


def facts(told: Mapping[str, Any]) -> dict[str, str]:
    """What a text is, a line each."""
    ends, encoding, split = told["line_ends"], told["encoding"], told["split"]
    found = [f"{count:,} {name.upper()}" for name, count in ends.items() if count] or ["none"]
    outside = encoding["outside_ascii"]
    share = f"{100 * outside / told['characters']:.3g} % of the characters outside ASCII" if outside else "all ASCII"
    rare = ", ".join(f"{visible(one['character'])} {one['count']}" for one in told["rare"][:SHOWN])
    rest = ", ..." if len(told["rare"]) > SHOWN else ""
    told_rare = f"; {len(told['rare']):,} occur fewer than 10 times: {rare}{rest}" if told["rare"] else ""
    compressed = told["compressed"]
    bits = ", ".join(f"{name} {value:.3f}" for name, value in compressed["bits_per_character"].items())
    is_part = compressed["characters"] < sum(split.values())
    excerpt = f" (of {compressed['characters']:,} characters from the middle)" if is_part else ""
    records = told["records"]
    return {
        "size": f"{told['characters']:,} characters, {metric(told['bytes'], 'B')}",
        "encoding": f"UTF-8, {share}",
        "line ends": ", ".join(found),
        "lines": _lines(told["lines"]),
        "vocabulary": f"{len(told['vocabulary']):,} characters{told_rare}",
        **({"records": _records(records)} if records else {}),
        "split": f"{split['training_characters']:,} characters train, {split['validation_characters']:,} validate"
        if split["training_characters"]
        else "too short for one",
        "repeated lines": _repeated_lines(told["repeated_lines"]),
        "compressed": f"{bits} bits per character{excerpt}; guessing blindly {told['bits_of_blind_guessing']:.3f}",
        **({"model": _model(told["model"])} if told["model"] else {}),
    }


def tables(told: Mapping[str, Any]) -> list[Table]:
    """What is in a text twice, and what is strange in it; a table that would be empty is left out."""
    copies, rows = told["copies"], list[tuple[str, ...]]()
    found = [_shares(copies)]
    if copies["leaked_passages"]:
        heads = ("passage of the validation split", "characters", "at", "in the training split at")
        rows = [
            (beginning(one["beginning"]), f"{one['characters']:,}", one["place"] or "", one["source"] or "")
            for one in copies["leaked_passages"]
        ]
        found.append(Table("Leaked into validation", heads, "lrll", rows))
    if copies["repeated_passages"]:
        repeated = copies["repeated_passages"]
        rows = [
            (beginning(one["beginning"]), f"{one['characters']:,}", f"{one['times']:,}", one["place"] or "")
            for one in repeated
        ]
        note = "Those of the sample; counted in the whole text." if copies["looked_up_characters"] else ""
        found.append(
            Table("Most repeated passages", ("passage", "characters", "times", "one is at"), "lrrl", rows, note)
        )
    if told["repeated_lines"]["most"]:
        rows = [(beginning(one["line"]), f"{one['times']:,}") for one in told["repeated_lines"]["most"]]
        note = ""
        if told["repeated_lines"]["one_in"] > 1:
            note = f"Of one in {told['repeated_lines']['one_in']:,} different lines, and those seen often early on."
        found.append(Table("Most repeated lines", ("line", "times"), "lr", rows, note))
    if told["strange"]:
        rows = [
            (one["name"], one["kind"], f"{one['count']:,}", "; ".join(one["places"])) for one in told["strange"][:20]
        ]
        note = f"And {len(told['strange']) - 20:,} more." if len(told["strange"]) > 20 else ""
        found.append(Table("Strange characters", ("character", "what it is", "times", "first at"), "llrl", rows, note))
    return found


def beginning(text: str) -> str:
    """How a passage begins, on one line."""
    line = escape_controls(" ".join(text.replace("\n", " ↵ ").split()))
    return line if len(line) <= BEGINNING else f"{line[: BEGINNING - 3]}..."


def _shares(copies: Mapping[str, Any]) -> Table:
    rows = [
        (
            f"{share['characters']} or more characters",
            percent(share["copied"]),
            percent(share["leaked"]) if share["leaked"] else "no split",
        )
        for share in copies["shares"]
    ]
    note = f"No shorter passages than {copies['shares'][0]['characters']} characters are looked for."
    if copies["looked_up_characters"]:
        note += (
            f" {copies['looked_up_characters']:,} characters of the text were looked up in all of it; ± is half of the "
            "95 % interval."
        )
    heads = ("in passages of", "of the text, said earlier", "of validation, in training")
    return Table("Copies", heads, "lrr", rows, note)


def _lines(lines: Mapping[str, Any]) -> str:
    place = f" ({lines['longest_place']})" if lines["longest_place"] else ""
    return (
        f"{lines['count']:,}, {lines['empty']:,} of them empty; median {lines['median_characters']:,} characters, "
        f"longest {lines['longest_characters']:,}{place}"
    )


def _records(records: Mapping[str, int]) -> str:
    return (
        f"{records['kept']:,} different, {records['validation']:,} of them validate; dropped {records['repeated']:,} "
        f"repeated and {records['empty']:,} empty lines"
    )


def _repeated_lines(lines: Mapping[str, Any]) -> str:
    about = "about " if lines["one_in"] > 1 else ""
    told = (
        f"{about}{lines['repeated_lines']:,} of {lines['lines']:,} that are not empty "
        f"({lines['share_of_lines']:.1%}, {lines['share_of_characters']:.1%} of their characters)"
    )
    return told + (f"; {lines['not_compared']:,} too long to compare" if lines["not_compared"] else "")


def _model(model: Mapping[str, Any]) -> str:
    told = f"{model['parameters']:,} parameters at most"
    if model["characters_to_see"]:
        told += f", if training sees {metric(model['characters_to_see'], '')} characters or more"
    if model["seconds"] is not None:
        told += f", {duration(model['seconds'])} here"
    return told
