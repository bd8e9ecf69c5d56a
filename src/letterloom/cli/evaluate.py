"""`letterloom evaluate`."""

from typing import Annotated

from cyclopts import Parameter

from letterloom import api, texts
from letterloom.cli.arguments import AnyProtocol, Corpus, Device, Json, RunName, Unknown
from letterloom.cli.output import evaluation_lines, print_json, print_lines


def evaluate(
    run: RunName,
    /,
    *corpus: Corpus,
    protocol: AnyProtocol = "blocks",
    split: Annotated[
        texts.Split | None, Parameter(help="Which part of the run's own text, in place of a CORPUS [validation].")
    ] = None,
    unknown: Unknown = "error",
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Measure a model on the whole of a text, or without one on a split of the text it was trained with."""
    result = api.load(run, device).evaluate(corpus or None, protocol, unknown, split).to_json()
    text = ", ".join(corpus) or f"{split or 'validation'} split"
    if json:
        print_json(result | {"text": text})
    else:
        print_lines({"text": text} | evaluation_lines(result))
