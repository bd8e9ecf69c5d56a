"""`letterloom generate`."""

import sys
from itertools import chain
from typing import Annotated

from cyclopts import Parameter

from letterloom import api
from letterloom.cli.arguments import Device, RunName, Text, Unknown, WholeNumber
from letterloom.errors import ConfigError
from letterloom.generation.terminal import escape_controls


def generate(
    run: RunName,
    /,
    *,
    prompt: Annotated[Text, Parameter(help="What to continue.")] = "",
    max_new_tokens: Annotated[
        WholeNumber, Parameter(name=("--max-new-tokens", "-n"), help="Characters (of a byte model: bytes) at most.")
    ] = 500,
    temperature: Annotated[float, Parameter(help="0 takes the likeliest each time.")] = 0.8,
    top_k: Annotated[WholeNumber | None, Parameter(help="Draw from the k likeliest.")] = None,
    top_p: Annotated[float, Parameter(help="Draw from the fewest likeliest with this share of the probability.")] = 1.0,
    min_p: Annotated[float, Parameter(help="Draw from those at least this times as likely as the likeliest.")] = 0.0,
    repetition_penalty: Annotated[float, Parameter(help="Above 1: discourage what the context holds already.")] = 1.0,
    seed: Annotated[WholeNumber, Parameter(help="Equal seeds give equal texts.")] = 0,
    stop: Annotated[
        tuple[Text, ...], Parameter(help="End before this string; may be given several times.", negative=())
    ] = (),
    samples: Annotated[WholeNumber, Parameter(help="Texts to write, each under a line `=== sample 1 of 3 ===`.")] = 1,
    unknown: Unknown = "error",
    device: Device = "auto",
    stream: Annotated[bool, Parameter(help="Show text while it is written, or when it is whole.")] = True,
) -> None:
    """Print the prompt and the text after it, and nothing else, on standard output."""
    if samples < 1:
        raise ConfigError(f"samples = {samples}: should be at least 1")
    show = escape_controls if sys.stdout.isatty() else str
    model = api.load(run, device)
    for sample in range(samples):
        text = model.stream(
            prompt,
            max_new_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            repetition_penalty=repetition_penalty,
            seed=seed,
            sample=sample,
            stop=stop,
            unknown=unknown,
        )
        if samples > 1:
            print(f"=== sample {sample + 1} of {samples} ===")
        for piece in chain([prompt], text):
            print(show(piece), end="", flush=stream)
        if samples > 1 or sys.stdout.isatty():
            print()
