"""`letterloom train`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from letterloom import api
from letterloom.cli.arguments import Corpus, Json
from letterloom.cli.output import print_run
from letterloom.cli.settings import Settings


def train(
    *corpus: Corpus,
    recipe: Annotated[
        str | None, Parameter(help="Complete settings by name (see `letterloom recipes`); no plan.")
    ] = None,
    config: Annotated[Path | None, Parameter(help="A TOML file of settings, such as the run.toml of a run.")] = None,
    out: Annotated[
        Path | None, Parameter(help="The new run directory [runs/CORPUS-RECIPE-TIME or runs/CORPUS-MINUTES-TIME].")
    ] = None,
    json: Json = False,
    settings: Annotated[Settings | None, Parameter(name="*")] = None,
) -> None:
    """Train a model: settings of the recipe, over them those of the file, over them those given as flags.

    With neither --recipe nor --config the run is planned from --minutes [2]: the size by this text and this machine,
    which is measured for a second or two, and everything else but what flags say.
    """
    print_run(api.train(corpus or None, recipe, out, config, **(settings or {})), json)
