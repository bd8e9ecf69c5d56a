"""`letterloom finetune`."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from letterloom import api
from letterloom.cli.arguments import Corpus, Json, RunName
from letterloom.cli.output import print_run
from letterloom.cli.settings import Settings


def finetune(
    run: RunName,
    /,
    *corpus: Corpus,
    config: Annotated[
        Path | None, Parameter(help="A TOML file of settings; the run.toml of a finetuned run repeats it.")
    ] = None,
    out: Annotated[Path | None, Parameter(help="The new run directory [runs/CORPUS-from-RUN-TIME].")] = None,
    characters: Annotated[
        Literal["grow", "refuse", "text"],
        Parameter(help="Add characters that the model lacks, refuse them, or keep exactly those of the text."),
    ] = "grow",
    positions: Annotated[
        Literal["interpolate", "refuse"],
        Parameter(help="Interpolate learned positions for a longer --model.context-length, or refuse it."),
    ] = "interpolate",
    replay: Annotated[
        float, Parameter(help="Share of the training text, 0 to 0.9, that is the old text: less is forgotten.")
    ] = 0.0,
    json: Json = False,
    settings: Annotated[Settings | None, Parameter(name="*")] = None,
) -> None:
    """Train a model further on another text; what it forgets of the old one is measured.

    Settings are those of RUN, but for what suits finetuning: another learning rate, 10 epochs and at least 1,000 steps,
    but no more than two minutes of them, patience. Those of a file go over these, and flags over both.
    """
    result = api.finetune(
        run, corpus or None, out, config, characters=characters, positions=positions, replay=replay, **(settings or {})
    )
    print_run(result, json)
