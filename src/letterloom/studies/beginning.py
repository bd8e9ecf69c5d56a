"""Begin a study, or go on with it: its file becomes a plan, and what has changed since the last time is told."""

import logging
from pathlib import Path

import tomlkit

from letterloom.errors import RunError
from letterloom.memory import physical_memory
from letterloom.runs.directory import LOCK
from letterloom.studies.arms import Arm, plan_arms
from letterloom.studies.design import Design, parse_design, read_source
from letterloom.studies.directory import StudyDirectory
from letterloom.studies.trials import require_optuna
from letterloom.text.corpora import open_source

BEGINNINGS = {LOCK, "study.toml"}  # what a study that was killed while it was begun leaves
NVIDIA = Path("/proc/driver/nvidia")
log = logging.getLogger("letterloom")


def begin(name: str, out: Path | None = None, here: bool = True) -> StudyDirectory:
    """Plan the study of that name, or in that file, in the folder `out`; by default in `studies`, by its name.

    The folder of a study that was begun is taken as it is. Else every arm is made and checked before anything is
    written; where the folder has the study already, the new plan takes the old one's place: finished runs that it names
    too are kept, the others are left where they are.

    Args:
        name: See above.
        out: See above.
        here: Whether the runs will be on this machine, and have its memory.

    Raises:
        ConfigError, CorpusError: the study file, an arm or the text is at fault.
        RunError: `out` holds something else.
        ResourceError: it needs Optuna, which is not installed; or more memory than there is.
    """
    if (Path(name) / "plan.json").is_file() and out is None:
        return StudyDirectory(Path(name))
    source = read_source(name)
    design = parse_design(source, name)
    drawn = design.design in ("random", "search") or design.stop_worse is not None
    optuna = require_optuna().__version__ if drawn else None
    own_memory = here and not NVIDIA.exists()  # a GPU's is not known without torch
    arms = plan_arms(design, physical_memory() if own_memory else None)
    study = StudyDirectory(out or Path("studies") / Path(name).stem)
    if study.path.is_file():
        raise RunError(f"{study.path} is a file; choose another --out")
    design = design.model_copy(update={"corpus": tuple(open_source(design.corpus).corpus)})  # found from any folder
    document = tomlkit.parse(source)
    document["corpus"] = list(design.corpus)
    with study.locked(wait_seconds=10.0):
        if study.plan_file.exists():
            _tell_changes(study, design, arms)
        elif any(found.name not in BEGINNINGS and not found.name.startswith(".tmp-") for found in study.path.iterdir()):
            raise RunError(f"{study.path} holds something else than a study; choose another --out")
        study.write_plan(tomlkit.dumps(document), arms, optuna)
    return study


def _tell_changes(study: StudyDirectory, design: Design, arms: tuple[Arm, ...]) -> None:
    """Say what another study file changes; trials that were drawn for other factors are not learnt from."""
    if (trials := len(study.added())) and _search(study.design()) != _search(design):
        log.warning("the search has changed: %d trials are left out, and it begins anew", trials)
        study.forget_added()
    before = {run.name for run in study.runs()}
    now = {run.name for arm in (*arms, *study.added_arms()) for run in arm.runs}
    if before != now:
        kept = sum(study.is_finished(name) for name in now)
        log.warning(
            "the study has changed: %d of its runs are new, %d are asked for no more, %d finished ones are kept",
            len(now - before),
            len(before - now),
            kept,
        )


def _search(design: Design) -> Design:
    """What the arms of a search come from, and are judged by."""
    return design.model_copy(update={"question": "", "seeds": design.seeds[:1], "trials": 1, "confirm": 1})
