"""`letterloom generate`."""

import sys
from dataclasses import asdict
from itertools import chain
from typing import Annotated

from cyclopts import Parameter

from letterloom import api
from letterloom.cli.arguments import DEFAULTS, Device, Options, RunName, Text, WholeNumber
from letterloom.errors import ConfigError
from letterloom.generation.terminal import escape_controls


def generate(
    run: RunName,
    /,
    *,
    prompt: Annotated[Text, Parameter(help="What to continue.")] = "",
    options: Options = DEFAULTS,
    samples: Annotated[WholeNumber, Parameter(help="Texts to write, each under a line `=== sample 1 of 3 ===`.")] = 1,
    device: Device = "auto",
    stream: Annotated[bool, Parameter(help="Show text while it is written, or when it is whole.")] = True,
) -> None:
    """Print the prompt and the text after it, and nothing else, on standard output."""
    if samples < 1:
        raise ConfigError(f"samples = {samples}: should be at least 1")
    sys.modules.setdefault("scipy.linalg.cython_blas", None)  # type: ignore[arg-type]  # Numba would load it in vain
    show = escape_controls if sys.stdout.isatty() else str
    model = api.load(run, device)
    for sample, text in enumerate(model.samples(samples, prompt, **asdict(options))):
        if samples > 1:
            print(f"=== sample {sample + 1} of {samples} ===")
        for piece in chain([prompt], text):
            print(show(piece), end="", flush=stream)
        if samples > 1 or sys.stdout.isatty():
            print()
