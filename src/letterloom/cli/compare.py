"""`letterloom compare`."""

import math
from typing import Annotated, Any

from cyclopts import Parameter

from letterloom import api, texts
from letterloom.cli.arguments import Corpus, Device, Json, Protocol, RunName
from letterloom.cli.output import print_json, print_lines, print_table
from letterloom.errors import ConfigError
from letterloom.reporting.markup import plain


def compare(
    run: RunName,
    /,
    *others: Annotated[Corpus, Parameter(help="The run to compare it with; then texts, in place of the runs' own.")],
    against: Annotated[
        tuple[str, ...],
        Parameter(
            help="Two configurations by several seeds of each: A0 A1 A2 --against B0 B1 B2.",
            consume_multiple=True,
            negative=(),
        ),
    ] = (),
    protocol: Protocol = "blocks",
    split: Annotated[
        texts.Split | None, Parameter(help="Which part of the runs' own text, in place of a CORPUS [validation].")
    ] = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Compare two models, character by character on the same text, or two configurations by several seeds of each.

    Of two models: the first two arguments, then texts. Of several seeds: A0 A1 A2 --against B0 B1 B2.
    """
    if not (others or against):
        raise ConfigError(f"one run is named, {run}; name another to compare it with")
    first, second, corpus = ((run, *others), against, ()) if against else ((run,), others[:1], others[1:])
    result = api.compare(first, second, corpus or None, protocol, split, device).to_json()
    text = ", ".join(corpus) or f"{split or 'validation'} split"
    if json:
        print_json(result | {"text": text})
        return
    print_lines({"text": f"{text}, {result['characters']:,} characters"} | _lines(result))
    if result["settings"]:
        print()
        rows = [(name, *map(plain, values)) for name, values in result["settings"].items()]
        print_table(("they differ in", "first", "second"), rows)


def _lines(result: dict[str, Any]) -> dict[str, str]:
    """The figures of a comparison (its JSON form), with units and interval."""
    contexts = dict.fromkeys(str(result[side]["context_length"]) for side in ("first", "second"))
    return {
        "protocol": f"{result['protocol']}, at most {' and '.join(contexts)} characters of context",
        "first": _side(result["first"]),
        "second": _side(result["second"]),
        "second - first": _difference(result["difference"]),
        "verdict": _verdict(result),
        **(_seeds(result) if result["seeds_needed"] else {}),
    }


def _side(side: dict[str, Any]) -> str:
    runs = side["runs"]
    spread = f"  ({' '.join(f'{nats:.4f}' for nats in runs.values())})" if len(runs) > 1 else ""
    bits = f"{side['bits_per_character']:.4f} bits"
    return f"{side['nats_per_character']:.4f} nats per character{spread}, {bits}  {', '.join(runs)}"


def _difference(difference: dict[str, Any]) -> str:
    interval, nats = difference["interval"], difference["nats_per_character"]
    told = "  (95 %: {low:+.4f} to {high:+.4f})".format(**interval) if interval else ""
    return f"{nats:+.4f} nats per character{told}, {nats / math.log(2):+.4f} bits"


def _verdict(result: dict[str, Any]) -> str:
    difference = result["difference"]
    if difference["identical"]:
        return "the same on every character: the difference is exactly 0"
    if difference["interval"] is None:
        return "no difference shown: there is too little to say how sure it is"
    if not difference["shown"]:
        return "no difference shown: the interval holds 0"
    better = "second" if difference["nats_per_character"] < 0 else "first"
    where = "on texts like this" if difference["interval_over"] == "text" else "as a configuration, on this text"
    return f"the {better} is better {where}"


def _seeds(result: dict[str, Any]) -> dict[str, str]:
    """How many it takes to show such a difference, and by which noise."""
    source = ", of another model; --against measures it" if result["difference"]["interval_over"] == "text" else ""
    return {
        "seeds": f"{result['seeds_needed']:,} of each would show such a difference between the configurations",
        "seed noise": f"sd {result['seed_noise']:.4f} nats per character{source}",
    }
