"""Kill training with SIGKILL at random moments, resume it, and demand the run that was never killed, bit for bit.

A fork server imports torch once, so that a process of a run costs what it computes and little more.
"""

import hashlib
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from letterloom.config import RunConfig, build_config
from letterloom.runs.checkpoint import read_checkpoint, remove_old_checkpoints, save_checkpoint
from letterloom.runs.directory import RunDirectory
from letterloom.runs.finding import is_run
from letterloom.training import closing, loop

TRIALS = 50
FILE_EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "shutil.rmtree"}
SETTINGS: dict[str, dict[str, Any]] = {
    "model": {"context_length": 16, "d_model": 16, "n_layers": 2, "n_heads": 2, "dropout": 0.1},
    "optimizer": {
        "name": "muon",
        "learning_rate": 0.3,
        "muon_learning_rate": 0.5,
        "schedule": "cosine",
        "warmup_steps": 5,
    },
    "training": {
        "batch_size": 4,
        "micro_batches": 2,
        "ema_decay": 0.8,
        "max_steps": 40,
        "eval_interval": 3,
        "eval_characters": 200,
        "checkpoint_interval": 4,
        "sample_interval": 10,
        "sample_characters": 10,
        "device": "cpu",
        "threads": 1,
    },
}


class Outcome(NamedTuple):
    """What two runs have to agree on."""

    metrics: list[dict[str, Any]]
    tensors: dict[str, str]  # SHA-256 by file
    best: str
    evaluation: list[dict[str, Any]]
    samples: dict[str, str]


class Uninterrupted(NamedTuple):
    config: RunConfig
    outcome: Outcome
    seconds: float  # from starting its process to its end
    file_events: int  # inside its saves


@pytest.fixture(scope="module")
def fork_server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "letterloom.training.loop", "torch.utils.tensorboard"])
    return context


@pytest.fixture(scope="module")
def uninterrupted(
    fork_server: ForkServerContext, tiny_text: Path, tmp_path_factory: pytest.TempPathFactory
) -> Uninterrupted:
    config = build_config({"text": {"corpus": [str(tiny_text)]}}, SETTINGS)
    folder = tmp_path_factory.mktemp("uninterrupted")
    for name in ("first", "second"):  # the first one warms up the fork server, the second one is measured
        began = time.monotonic()
        process, events = start(fork_server, config, folder / name)
        assert ended(process, folder / name)
        seconds = time.monotonic() - began
    return Uninterrupted(config, outcome(folder / "second"), seconds, events.value)


def start(context: ForkServerContext, config: RunConfig, out: Path, die_at: int = 0) -> tuple[ForkServerProcess, Any]:
    """Start a process that trains or resumes, and a counter of what it does to files inside saves."""
    events = context.Value("i", 0, lock=False)
    process = context.Process(target=work, args=(config, out, events, die_at))
    process.start()
    return process, events


def work(config: RunConfig, out: Path, events: Any, die_at: int) -> None:
    """One process of a run; it kills itself before the `die_at`-th operation on files inside its saves."""
    log = os.open(out.with_suffix(".stderr"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 2)
    saving = False

    def begin_save(*args: Any, **kwargs: Any) -> None:
        nonlocal saving
        saving = True
        save_checkpoint(*args, **kwargs)

    def end_save(*args: Any) -> None:  # the links are set between the two
        nonlocal saving
        remove_old_checkpoints(*args)
        saving = False

    def hook(event: str, args: Any) -> None:
        if saving and event in FILE_EVENTS:
            events.value += 1
            if events.value == die_at:
                os.kill(os.getpid(), signal.SIGKILL)

    patch = pytest.MonkeyPatch()
    patch.setattr(loop, "save_checkpoint", begin_save)
    patch.setattr(loop, "remove_old_checkpoints", end_save)
    patch.setattr(closing, "write_report", lambda run: None)  # drawing curves would be most of the work
    sys.addaudithook(hook)
    if is_run(out):
        loop.resume(out)
    else:
        loop.train(config, out)


def ended(process: ForkServerProcess, out: Path) -> bool:
    """Wait for a process: True if it came to its end, False if it was killed; anything else is a failure."""
    process.join()
    code = process.exitcode
    assert code in (0, -signal.SIGKILL), f"exit code {code}:\n{out.with_suffix('.stderr').read_text()}"
    return code == 0


def outcome(out: Path) -> Outcome:
    run = RunDirectory(out)
    last, best, evaluation = run.linked("last"), run.linked("best"), run.evaluation()
    assert last
    assert best
    assert evaluation
    return Outcome(
        [{key: value for key, value in line.items() if key != "seconds"} for line in run.metrics()],
        {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(last.glob("*.safetensors"))},
        best.name,
        [
            {key: value for key, value in evaluation[split]["blocks"].items() if key != "seconds"}
            for split in ("validation", "training")
        ],
        {file.name: file.read_text(encoding="utf-8") for file in sorted(run.samples_folder.iterdir())},
    )


def require_sound(out: Path) -> None:
    """After a kill every checkpoint is whole, and the newest at most one interval behind what was logged."""
    run = RunDirectory(out)
    steps = [read_checkpoint(path).step for path in run.checkpoints()]
    logged = [line["step"] for line in run.metrics()]
    assert max(logged, default=0) - max(steps, default=0) <= SETTINGS["training"]["checkpoint_interval"]


def test_the_run_to_compare_with_is_a_demanding_one(uninterrupted: Uninterrupted) -> None:
    metrics = uninterrupted.outcome.metrics
    assert [line["step"] for line in metrics if line["kind"] == "train"] == list(range(1, 41))
    assert {line["best"] for line in metrics if line["kind"] == "validation"} == {True, False}
    assert len({line["learning_rate"] for line in metrics if line["kind"] == "train"}) > 35
    assert uninterrupted.file_events > 200


@pytest.mark.parametrize("seed", range(TRIALS))
def test_a_killed_run_goes_on_as_if_it_never_had_been(
    fork_server: ForkServerContext, uninterrupted: Uninterrupted, tmp_path: Path, seed: int
) -> None:
    draw, out = random.Random(seed), tmp_path / "run"
    aimed_inside_saves = seed % 3 == 0
    killed, kills = 0, draw.randint(1, 3)
    while killed < kills:
        share = draw.random() / (killed + 1)  # less and less is left to do
        die_at = 1 + int(share * uninterrupted.file_events) if aimed_inside_saves else 0
        process, _ = start(fork_server, uninterrupted.config, out, die_at)
        if not aimed_inside_saves:
            process.join(share * uninterrupted.seconds)
            process.kill()
        if not ended(process, out):
            killed += 1
            require_sound(out)
        elif killed:
            break
        else:  # the end came before the kill: again from the start
            assert not aimed_inside_saves
            shutil.rmtree(out)
    process, _ = start(fork_server, uninterrupted.config, out)
    assert ended(process, out)
    assert outcome(out) == uninterrupted.outcome
    assert not list(out.rglob(".tmp-*"))


def test_a_run_killed_in_its_last_save_has_no_line_twice(
    fork_server: ForkServerContext, uninterrupted: Uninterrupted, tmp_path: Path
) -> None:
    """The last validation is logged before the save that knows of it."""
    for die_at in range(uninterrupted.file_events - 40, uninterrupted.file_events, 10):
        out = tmp_path / str(die_at)
        process, _ = start(fork_server, uninterrupted.config, out, die_at)
        assert not ended(process, out)
        process, _ = start(fork_server, uninterrupted.config, out)
        assert ended(process, out)
        assert outcome(out) == uninterrupted.outcome
