"""Signals sent to the real command, in a process of its own."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from letterloom.config import RunConfig, build_config, to_toml
from letterloom.errors import Interrupted
from letterloom.evaluation.loss import evaluate
from letterloom.runs.checkpoint import read_checkpoint
from letterloom.runs.directory import RunDirectory
from letterloom.training import loop
from letterloom.training.loop import resume, train
from letterloom.training.signals import StopSignals

PATIENCE = 120.0  # seconds until a process that says nothing is taken for dead
SETTINGS: dict[str, dict[str, Any]] = {
    "model": {"context_length": 16, "d_model": 16, "n_layers": 2, "n_heads": 2, "dropout": 0.1},
    "training": {
        "batch_size": 8,
        "max_steps": 600,
        "eval_interval": 100,
        "checkpoint_interval": 100,
        "sample_interval": 300,
        "device": "cpu",
        "threads": 1,
    },
}
# the command, but its second save waits for two signals before it is whole, and tells of each
WAITING_COMMAND = """
import os, signal, sys
from letterloom import cli, storage
reader, writer = os.pipe()
os.set_blocking(writer, False)
fsync_folder, saves = storage.fsync_folder, 0

def wait_inside_the_second_save(path):
    global saves
    saves += path.name.startswith(".tmp-") and path.parent.name == "checkpoints"
    if saves == 2:
        signal.set_wakeup_fd(writer)
        for told in ("saving", "first signal"):
            print(told, flush=True)
            os.read(reader, 1)
    fsync_folder(path)

storage.fsync_folder = wait_inside_the_second_save
sys.exit(cli.main())
"""


@pytest.fixture(scope="module")
def config(tiny_text: Path) -> RunConfig:
    return build_config({"text": {"corpus": [str(tiny_text)]}}, SETTINGS)


@pytest.fixture(scope="module")
def settings(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("settings") / "run.toml"
    path.write_text(to_toml(config), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def uninterrupted(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return train(config, tmp_path_factory.mktemp("uninterrupted") / "run")


@contextmanager
def training(command: Sequence[str], settings: Path, out: Path) -> Iterator["subprocess.Popen[str]"]:
    arguments = [sys.executable, *command, "train", "--config", str(settings), "--out", str(out)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_steps(process: "subprocess.Popen[str]", run: RunDirectory, steps: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while len(run.metrics()) < steps:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "the process does not train"
        time.sleep(0.005)


def curve(run: RunDirectory) -> list[dict[str, Any]]:
    return [{key: value for key, value in line.items() if key != "seconds"} for line in run.metrics()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_step_and_ends_with_its_code_and_one_line(
    settings: Path, uninterrupted: RunDirectory, tmp_path: Path, number: signal.Signals
) -> None:
    run = RunDirectory(tmp_path / "run")
    with training(["-m", "letterloom"], settings, run.path) as process:
        wait_for_steps(process, run, 3)
        process.send_signal(number)
        output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + number
    assert output == ""
    assert "Traceback" not in errors
    steps = run.metrics()[-1]["step"]
    assert 3 <= steps < 600
    assert errors.splitlines()[-1] == (
        f"letterloom: error: stopped by {number.name} after step {steps:,}; everything is saved, "
        f"continue with `letterloom resume {run.path}`"
    )
    assert read_checkpoint(run.checkpoint(steps)).step == steps
    assert run.linked("last") == run.checkpoint(steps).resolve()

    resume(run.path)
    assert curve(run) == curve(uninterrupted)


@pytest.mark.parametrize(
    ("first", "second"),
    [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGTERM), (signal.SIGTERM, signal.SIGINT)],
)
def test_a_second_signal_ends_at_once_even_inside_a_save(
    settings: Path, uninterrupted: RunDirectory, tmp_path: Path, first: signal.Signals, second: signal.Signals
) -> None:
    run = RunDirectory(tmp_path / "run")
    with training(["-c", WAITING_COMMAND], settings, run.path) as process:
        assert process.stdout
        for told, number in (("saving\n", first), ("first signal\n", second)):
            assert process.stdout.readline() == told, process.communicate()[1]
            process.send_signal(number)
        output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + second
    assert output == ""
    assert "Traceback" not in errors
    assert [read_checkpoint(path).step for path in run.checkpoints()] == [100]
    assert run.metrics()[-1]["step"] == 200
    resume(run.path)
    assert curve(run) == curve(uninterrupted)


def test_a_signal_in_the_last_validation_is_not_forgotten(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any, **settings: Any) -> Any:
        monkeypatch.setattr(loop, "evaluate", evaluate)  # once
        os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(*arguments, **settings)

    monkeypatch.setattr(loop, "evaluate", interrupted)
    one_step = config.model_copy(update={"training": config.training.model_copy(update={"max_steps": 1})})
    with pytest.raises(Interrupted, match="stopped by SIGTERM after step 1"):
        train(one_step, tmp_path / "run")
    assert RunDirectory(tmp_path / "run").checkpoint(1).exists()


def handlers() -> list[Any]:
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


def test_the_handlers_of_before_come_back() -> None:
    before = handlers()
    with StopSignals() as signals:
        assert signals.received is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.received == signal.SIGTERM
    assert handlers() == before


def test_outside_of_the_main_thread_the_handlers_are_left_alone() -> None:
    before, seen = handlers(), []

    def enter() -> None:
        with StopSignals():
            seen.append(handlers())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [before]
