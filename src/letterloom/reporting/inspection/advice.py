"""What of a text should be looked at before it trains a model, the gravest first, each with what to do about it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

LEAKED = 0.01  # share of the validation split, from which on its loss flatters
COPIED = 0.05  # share of the text
REPEATED = 0.25  # share of the characters in lines; in prose and plays short lines recur
RARE = 0.1  # share of the vocabulary
FEW = 1000  # characters of validation text, below which there is no interval
RANDOM = 0.97  # share of the bits of blind guessing, from which on compressors have found nothing
_LISTED = 5


@dataclass(frozen=True)
class Advice:
    """One thing that is worth mending, and how."""

    warning: str
    remedy: str


def advise(told: Mapping[str, Any]) -> list[Advice]:
    """What the figures of an inspection call for."""
    return [*_of_split(told), *_of_content(told), *_of_copies(told), *_of_line_ends(told), *_of_characters(told)]


def _of_split(told: Mapping[str, Any]) -> Iterator[Advice]:
    validation, records = told["split"]["validation_characters"], told["records"]
    if not validation:
        have = f"{records['kept']:,} different records" if records else f"{told['characters']:,} characters"
        yield Advice(f"It has {have}: too few to train on some and validate with others", "Give more text")
    elif validation < FEW:
        yield Advice(
            f"The validation split has {_counted(range(validation), 'character')}, and below {FEW:,} no score has an "
            "interval",
            "Give more text",
        )
    if told["unseen_in_training"]:
        yield Advice(
            f"{_counted(told['unseen_in_training'], 'character')} of the validation split never occur in the training "
            f"split: {_listed(map(visible, told['unseen_in_training']))}",
            "Mix the parts of the text, so that both splits have of each; or train with `--tokenizer bytes`",
        )


def _of_content(told: Mapping[str, Any]) -> Iterator[Advice]:
    if len(told["vocabulary"]) == 1:
        yield Advice(
            f"It is one character, {told['vocabulary'][0]['character']!r}, over and over: there is nothing to learn",
            "Give another text",
        )
        return
    bits, blind = told["compressed"]["bits_per_character"], told["bits_of_blind_guessing"]
    if told["compressed"]["characters"] >= FEW and min(bits.values()) > RANDOM * blind:
        yield Advice(
            f"No compressor comes below blind guessing ({min(bits.values()):.2f} of {blind:.2f} bits per character): "
            "it looks random, encrypted or already compressed",
            "Give the text from before it was packed; a model of this one will learn how often each character occurs",
        )


def _of_copies(told: Mapping[str, Any]) -> Iterator[Advice]:
    shortest, repeated = told["copies"]["shares"][0], told["copies"]["shares"][1]
    if shortest["leaked"] and shortest["leaked"]["share"] >= LEAKED:
        yield Advice(
            f"{percent(shortest['leaked'])} of the validation split lie in passages of {shortest['characters']} "
            "or more characters that the training split has too: its loss will tell what was learned by heart",
            "Remove the second copies (the longest stand below), or read the loss as that of a text half known",
        )
    if repeated["copied"]["share"] >= COPIED:
        yield Advice(
            f"{percent(repeated['copied'])} of the text copy an earlier passage of {repeated['characters']} or more "
            "characters: training reads them again and again",
            "Remove what is meant once only: licences, headers, quoted replies, files that are there twice",
        )
    lines, records = told["repeated_lines"], told["records"]
    if lines["share_of_characters"] >= REPEATED and not records:
        yield Advice(
            f"{lines['share_of_characters']:.0%} of the characters are in lines that repeat an earlier line",
            "Where lines have nothing to do with one another, train with `--records lines`, which drops repeated "
            "ones; else `awk 'NF == 0 || !seen[$0]++' FILE > NEW` keeps the first of each",
        )
    if records and records["alike"]:
        yield Advice(
            f"{records['alike']:,} of {records['validation']:,} validation records equal a training record but for "
            "case and spaces",
            "Write alike records alike, so that they are dropped as repeated ones",
        )


def _of_line_ends(told: Mapping[str, Any]) -> Iterator[Advice]:
    for name in told["encoding"]["byte_order_marks"]:
        yield Advice(
            f"{name} begins with a byte order mark, which a model would learn as a character",
            "`sed -i '1s/^\\xEF\\xBB\\xBF//' FILE` removes it",
        )
    lf, crlf, cr = (told["line_ends"][name] for name in ("lf", "crlf", "cr"))
    unix = "`sed -i 's/\\r$//' FILE` leaves the newline alone"
    if crlf and lf:
        yield Advice(f"Line ends are mixed: {crlf:,} are CRLF, {lf:,} are LF", unix)
    elif crlf:
        yield Advice("Lines end in CRLF: a model learns two characters for each", unix)
    if cr:
        yield Advice(
            f"{_counted(range(cr), 'carriage return')} without a newline: as line ends they are not seen as such",
            "`tr '\\r' '\\n' < FILE > NEW` makes newlines of them (after CRLF is mended)",
        )


def _of_characters(told: Mapping[str, Any]) -> Iterator[Advice]:
    strange = [one for one in told["strange"] if one["kind"] not in ("space", "replacement")]
    mark = told["encoding"]["byte_order_marks"]
    strange = [one for one in strange if one["character"] != "\ufeff" or one["count"] > len(mark)]
    if any(one["kind"] == "replacement" for one in told["strange"]):
        yield Advice(
            "It has replacement characters (U+FFFD): somebody read it in a wrong encoding before, and what stood "
            "there is lost",
            "Go back to the file that it was made from, and convert that with `iconv`",
        )
    if any("\x80" <= one["character"] <= "\x9f" for one in strange):
        yield Advice(
            "It has control characters from U+0080 to U+009F, as come of Windows-1252 read as Latin-1",
            "Convert the original with `iconv -f WINDOWS-1252 -t UTF-8`",
        )
        strange = [one for one in strange if not "\x80" <= one["character"] <= "\x9f"]
    if strange:
        points = "".join(f"\\x{{{ord(one['character']):x}}}" for one in strange[:20])
        yield Advice(
            f"{_counted(strange, 'character')} that nobody sees, or that mean nothing by themselves: "
            f"{_listed(one['name'] for one in strange)}",
            f"`perl -CSD -i -pe 's/[{points}]//g' FILE` removes them, where the script does not need them",
        )
    rare = told["rare"]
    if len(rare) > RARE * len(told["vocabulary"]) and told["characters"] >= FEW:
        yield Advice(
            f"{len(rare):,} of the {len(told['vocabulary']):,} characters occur fewer than 10 times: too seldom to be "
            "learned, and each takes its place in the model",
            "Write them with common ones (`iconv -t ASCII//TRANSLIT`), or train with `--tokenizer bytes`",
        )


def percent(share: Mapping[str, float]) -> str:
    """A share, with half of its 95 % interval where it was sampled."""
    error = f" ± {100 * share['error']:.2g}" if share["error"] else ""
    return f"{100 * share['share']:.3g}{error} %"


def visible(character: str) -> str:
    """A character so that it can be seen."""
    return repr(character)[1:-1] if not character.isprintable() else character


def _counted(things: Any, name: str) -> str:
    return f"{len(things):,} {name}{'' if len(things) == 1 else 's'}"


def _listed(words: Any) -> str:
    shown = list(words)
    return ", ".join(shown[:_LISTED]) + (", ..." if len(shown) > _LISTED else "")
