"""`letterloom verify`."""

from dataclasses import asdict
from pathlib import Path

from letterloom import api, storage
from letterloom.cli.arguments import Json, RunName
from letterloom.cli.output import print_json, print_lines
from letterloom.errors import DataMismatchError


def verify(run: RunName, /, *, json: Json = False) -> None:
    """Check the files of every checkpoint of a run, and hold its best model against the NumPy reference.

    Raises:
        DataMismatchError: after everything is printed: a file is damaged, or the two differ by more than rounding.
    """
    from letterloom.runs.directory import RunDirectory, find_run, is_run

    path = find_run(run)
    problems: dict[str, str | None] = {}
    for checkpoint in RunDirectory(path).checkpoints() if is_run(path) else [path]:
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
                "reference": f"{'agrees' if comparison.agrees else 'DISAGREES'}; the largest relative difference of "
                f"logits is {comparison.difference:.1e}, through the cache {comparison.cached_difference:.1e}",
            }
        )
    damaged = [problem for problem in problems.values() if problem]
    if damaged:
        raise DataMismatchError(f"{len(damaged)} of {len(problems)} checkpoints are damaged: {damaged[0]}")
    if not comparison.agrees:
        raise DataMismatchError(f"the model of {path} computes something else than the reference; please report this")
