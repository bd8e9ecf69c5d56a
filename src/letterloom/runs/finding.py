"""Which run, or checkpoint, a path means."""

from pathlib import Path

from letterloom import storage
from letterloom.errors import RunError, nearest
from letterloom.runs.directory import RunDirectory

ADAPTER = "adapter.json"  # what an adapter belongs to


def is_run(path: Path) -> bool:
    """Whether `path` is a run directory (and not a checkpoint, which holds a run.toml too)."""
    return (path / "run.toml").is_file() and not (path / storage.MANIFEST).exists()


def run_around(checkpoint: Path) -> RunDirectory | None:
    """The run that a checkpoint folder lies in, unless it was copied out of it."""
    run = checkpoint.resolve().parent.parent
    return RunDirectory(run) if is_run(run) else None


def is_checkpoint(path: Path) -> bool:
    """Whether `path` looks like a checkpoint folder."""
    return (path / storage.MANIFEST).exists() or (path / "model.safetensors").exists()


def is_adapter(path: Path) -> bool:
    """Whether `path` is a folder that a finetuning with factors wrote."""
    return (path / ADAPTER).exists()


def find_run(name: str | Path) -> Path:
    """The run directory or checkpoint folder a user means; `latest` (or DIR/latest) is the newest run in `runs` (DIR).

    Raises:
        RunError: there is none.
    """
    path = Path("runs/latest") if str(name) == "latest" else Path(name)
    if path.name == "latest" and not path.exists():
        runs = [folder for folder in path.parent.glob("*") if is_run(folder)]
        if not runs:
            raise RunError(f"there is no run in {path.parent.resolve()}; train one with `letterloom train`")
        return max(runs, key=lambda folder: (folder / "run.toml").stat().st_mtime_ns)
    if not path.exists():
        near = nearest(path.name, (folder.name for folder in path.parent.glob("*") if is_run(folder)))
        raise RunError(f"there is no run at {path}{near}; give a run directory, a checkpoint folder or `latest`")
    if is_adapter(path):
        advice = f"put it into the model it was made for with `letterloom merge RUN {path} -o DIR`"
        raise RunError(f"{path} is an adapter, which is no model by itself; name the run it lies in, or {advice}")
    if not is_run(path) and not is_checkpoint(path):
        raise RunError(f"{path} is neither a run directory nor a checkpoint folder (it has no run.toml)")
    return path
