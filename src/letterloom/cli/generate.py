"""`letterloom generate`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
    show = escape_controls if sys.stdout.isatty() else str
    model = api.load(run, device)
    with _left_out("scipy.linalg.cython_blas"):  # Numba would load it in vain, for 0.3 seconds
        for sample, text in enumerate(model.samples(samples, prompt, **asdict(options))):
            if samples > 1:
                print(f"=== sample {sample + 1} of {samples} ===")
            for piece in chain([prompt], text) if stream else ["".join([prompt, *text])]:
                print(show(piece), end="", flush=True)
            if samples > 1 or sys.stdout.isatty():
                print()


@contextmanager
def _left_out(module: str) -> Iterator[None]:
    """Let imports of a module fail for a while, unless it is loaded already; others may need it later."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]  # as the import system has it
    try:
        yield
    finally:
        del sys.modules[module]
