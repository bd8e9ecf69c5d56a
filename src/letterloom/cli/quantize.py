"""`letterloom quantize`."""

import math
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from letterloom.cli.arguments import Json, RunName, WholeNumber
from letterloom.cli.output import print_json, print_lines, print_table, progress


def quantize(
    run: RunName,
    /,
    *,
    bits: Annotated[
        WholeNumber | None,
        Parameter(
            help="Of a weight: 8, 4, or 16 for bfloat16 [8, or what RUN was trained through].", show_default=False
        ),
    ] = None,
    method: Annotated[
        str | None,
        Parameter(
            help="search: the scale of least error for each 32 weights; round: the one that reaches the largest; bf16.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None, Parameter(name=("--out", "-o"), help="The new folder [RUN/quantized/int8, int4 or bf16].")
    ] = None,
    json: Json = False,
) -> None:
    """Store a model in fewer bits, as a checkpoint of its own, and tell what that costs and gains."""
    from letterloom.adaptation import quantization

    with progress("measuring") as watch:
        result = quantization.quantize(run, out, bits, method, watch)
    if json:
        print_json(result)
        return
    sides = [result["before"], result["after"]]
    print_table(("", *(side["precision"] for side in sides)), _rows(sides), "lrr")
    print()
    print_lines(_lines(result))


def _rows(sides: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    lines = {
        "bits per weight": "{bits_per_weight:.2f}",
        "model.safetensors, bytes": "{file_bytes:,}",
        "weights in memory, bytes": "{memory_bytes:,}",
        "characters/s, one thread": "{characters_per_second:,.0f}",
        "nats per character": "{nats_per_character:.4f}",
    }
    scored = all(side["nats_per_character"] is not None for side in sides)
    kept = [name for name in lines if scored or name != "nats per character"]
    return [(name, *(lines[name].format(**side) for side in sides)) for name in kept]


def _lines(result: dict[str, Any]) -> dict[str, str]:
    cost, lines = result["difference"], {"file": f"{result['ratio']:.2f} times smaller"}
    lines["generation"] = f"{result['speed']:.2f} times the speed"
    if cost:
        nats, interval = cost["nats_per_character"], cost["interval"]
        told = "  (95 %: {low:+.4f} to {high:+.4f})".format(**interval) if interval else ""
        lines["cost"] = f"{nats:+.4f} nats per character{told}, {nats / math.log(2):+.4f} bits, {result['protocol']}"
    return lines | {"method": result["method"], "folder": result["out"]}
