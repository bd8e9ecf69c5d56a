"""What a report tells of a finetuned run: what it began from, what it gained on the new text and forgot of the old."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from letterloom.generation.terminal import escape_controls


@dataclass(frozen=True)
class Change:
    """What a character of a text cost before finetuning and costs after it, in nats, by `blocks`."""

    text: str
    before: float
    after: float | None = None  # None while the run is not finished
    change: float | None = None
    interval: tuple[float, float] | None = None  # 95 %, of the change, paired


@dataclass(frozen=True)
class Finetuned:
    """`finetuning.json` as a report shows it."""

    changes: tuple[Change, ...]
    skipped: str | None  # why there is none of the old text
    facts: tuple[tuple[str, str], ...]


def read_finetuned(about: Mapping[str, Any] | None) -> Finetuned | None:
    """What `finetuning.json` holds; None of a run from scratch.

    Raises:
        KeyError, TypeError, ValueError: it does not hold what finetuning writes.
    """
    if about is None:
        return None
    old = about["old"]
    texts = {"new text": about["new"]} | ({} if "skipped" in old else {"old text": old})
    return Finetuned(
        tuple(_change(name, text) for name, text in texts.items()),
        str(old["skipped"]) if "skipped" in old else None,
        tuple(_facts(about)),
    )


def _change(name: str, text: Mapping[str, Any]) -> Change:
    before = float(text["before"]["nats_per_character"])
    if "after" not in text:
        return Change(name, before)
    after, difference = float(text["after"]["nats_per_character"]), text["difference"]
    interval = difference["interval"]
    limits = interval and (float(interval["low"]), float(interval["high"]))
    return Change(name, before, after, float(difference["nats_per_character"]), limits)


def _facts(about: Mapping[str, Any]) -> list[tuple[str, str]]:
    base, characters, context = about["base"], about["characters"], about["context"]
    facts = [
        ("began from", f"{base['path']}, step {int(base['step']):,}"),
        ("its weights, SHA-256", str(base["sha256"])),
    ]
    if about.get("trained"):
        facts.append(("trained", str(about["trained"])))
    origins: dict[str, list[str]] = {}
    for one in characters["new"]:
        origins.setdefault(str(one["from"]), []).append(str(one["character"]))
    facts += [
        (f"new, from {escape_controls(origin)}", " ".join(map(escape_controls, new))) for origin, new in origins.items()
    ]
    if characters["dropped"]:
        facts.append(("dropped", " ".join(map(escape_controls, characters["dropped"]))))
    if context["positions"]:
        facts.append(("context before", f"{int(context['before']):,}; {context['positions']}"))
    if about["old"].get("left_out"):
        facts.append(("left out of the old text", f"{int(about['old']['left_out']):,} characters"))
    return facts
