"""`letterloom merge`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from letterloom.cli.arguments import Json, RunName
from letterloom.cli.output import print_json, print_lines


def merge(
    run: RunName,
    adapter: Annotated[Path, Parameter(help="The folder `adapter` of a run finetuned with --lora.")],
    /,
    *,
    out: Annotated[Path, Parameter(name=("--out", "-o"), help="The new checkpoint folder.")],
    json: Json = False,
) -> None:
    """Put an adapter into the model that it was made for; what comes out is the finetuned model, without its run."""
    from letterloom.adaptation import adapters

    path = adapters.merge(run, adapter, out)
    if json:
        print_json({"out": str(path)})
    else:
        print_lines({"folder": str(path)})
