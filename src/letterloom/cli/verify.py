"""`letterloom verify`."""

from dataclasses import asdict
from pathlib import Path

from letterloom import api, storage
from letterloom.cli.arguments import Json, RunName
from letterloom.cli.output import print_json, print_lines
from letterloom.errors import DataMismatchError


def verify(run: RunName, /, *, json: Json = False) -> None:
    """Check the files of every checkpoint in a run, and hold its best model against the NumPy reference.

    The reference reads the file by itself, also where it is quantized. The engine that `generate` uses is judged too.

    Raises:
        DataMismatchError: after everything is printed: a file is damaged, or the two differ by more than rounding.
    """
    from letterloom.runs.directory import RunDirectory
    from letterloom.runs.finding import find_run, is_run

    path = find_run(run)
    problems: dict[str, str | None] = {}
    for checkpoint in RunDirectory(path).verifiable() if is_run(path) else [path]:
        try:
            storage.verify_folder(checkpoint)
            problems[str(checkpoint)] = None
        except DataMismatchError as error:
            problems[str(checkpoint)] = str(error)
    model = api.load(path)
    comparison = model.verify()
    if json:
        checkpoints = [{"path": checkpoint, "problem": problem} for checkpoint, problem in problems.items()]
        reference = {"agrees": comparison.agrees, **asdict(comparison)}
        print_json({"checkpoints": checkpoints, "model": str(model.checkpoint.path), "reference": reference})
    else:
        print_lines(
            {Path(checkpoint).name: problem or "whole" for checkpoint, problem in problems.items()}
            | {
                "model": str(model.checkpoint.path),
                "reference": f"{_agrees(comparison.model_agrees)}; the largest relative difference of logits is "
                f"{comparison.difference:.1e}, through the cache {comparison.cached_difference:.1e}",
                "engine": f"{_agrees(comparison.engine_agrees)}; as text is drawn, in float32, it is "
                f"{comparison.engine_difference:.1e}",
            }
        )
    damaged = [problem for problem in problems.values() if problem]
    if damaged:
        raise DataMismatchError(f"{len(damaged)} of {len(problems)} folders are damaged: {damaged[0]}")
    if not comparison.agrees:
        what = "the engine that draws text" if comparison.model_agrees else "the model"
        raise DataMismatchError(f"{what} of {path} computes something else than the reference; please report this")


def _agrees(does: bool) -> str:
    return "agrees" if does else "DISAGREES"
