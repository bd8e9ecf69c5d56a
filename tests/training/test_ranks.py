"""Two real processes on the CPU, started by torchrun, held against one."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from letterloom.config import RunConfig, build_config, to_toml
from letterloom.runs.checkpoint import read_checkpoint
from letterloom.runs.directory import RunDirectory
from letterloom.training import closing, loop

PATIENCE = 120.0  # seconds
PROGRAM = Path(__file__).with_name("ranks_program.py")
BASE = {
    "model": {"context_length": 16, "d_model": 16, "n_layers": 1, "n_heads": 2},
    "optimizer": {"warmup_steps": 2},
    "training": {
        "precision": "fp32",  # or sums in another order differ in the third digit
        "batch_size": 8,
        "max_steps": 12,
        "eval_interval": 5,
        "checkpoint_interval": 4,
        "sample_interval": 6,
        "sample_characters": 20,
        "device": "cpu",
        "threads": 1,
    },
}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "micro-batches": {"training": {"micro_batches": 3}},  # of each rank's 4 sequences: 2, 1 and 1
    "epochs": {"training": {"sampling": "epochs", "max_steps": None, "max_epochs": 0.25, "ema_decay": 0.9}},
    "sgd": {"optimizer": {"name": "sgd", "learning_rate": 0.1, "momentum": 0.9}, "training": {"patience": 1}},
    "fp16": {"training": {"precision": "fp16"}},
}
REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {  # settings, exit code, what is told
    "odd": ({"training": {"batch_size": 5}}, 2, "training.batch_size 5 cannot be shared equally by 2 processes"),
    "missing": ({"text": {"corpus": ["no-such-file"]}}, 2, "there is no file, folder or corpus no-such-file"),
    "explosive": (
        {"optimizer": {"name": "sgd", "learning_rate": 100.0, "gradient_clip": None, "momentum": 0.99}},
        6,
        "stopped before the update",
    ),
}


def config(corpus: Path, **sections: dict[str, Any]) -> RunConfig:
    return build_config({"text": {"corpus": [str(corpus)]}}, BASE, sections)


def torchrun(*program: str | Path, cache: Path, text: str = "") -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *program]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "LETTERLOOM_CACHE": str(cache)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            out, err = process.communicate(text, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.terminate()  # it ends its processes; were it killed, they would stay
            out, err = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, out, err)


@dataclass(frozen=True)
class Launch:
    """One torchrun of many jobs."""

    folder: Path
    result: "subprocess.CompletedProcess[str]"

    def run(self, name: str) -> RunDirectory:
        return RunDirectory(self.folder / name)

    def outcomes(self, name: str) -> list[dict[str, Any]]:
        """What came of a job in each rank."""
        return [json.loads((self.folder / f"{name}-{rank}.json").read_text(encoding="utf-8")) for rank in (0, 1)]

    def told(self, words: str) -> int:
        """The lines on standard error with these words."""
        return sum(words in line for line in self.result.stderr.splitlines())


def torchrun_one(job: dict[str, Any], settings: RunConfig, folder: Path) -> Launch:
    """A torchrun of one training."""
    (folder / "run.toml").write_text(to_toml(settings), encoding="utf-8")
    arguments = ["train", "--config", str(folder / "run.toml"), "--out", str(folder / job["name"])]
    (folder / "jobs.json").write_text(json.dumps([job | {"arguments": arguments}]), encoding="utf-8")
    return Launch(folder, torchrun(PROGRAM, folder, cache=folder / "cache"))


@pytest.fixture(scope="module")
def alone(tiny_text: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The run of one process by the name of the variant."""
    folder = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(closing, "write_report", lambda path: ())
        yield cache(lambda name: loop.train(config(tiny_text, **VARIANTS[name]), folder / name))


@pytest.fixture(scope="module")
def launch(tiny_text: Path, alone: Any, tmp_path_factory: pytest.TempPathFactory) -> Launch:
    """Every job, in a folder with what it left; the cache of encoded texts is cold."""
    folder = tmp_path_factory.mktemp("together")
    jobs: list[dict[str, Any]] = []

    def add(name: str, sections: dict[str, Any], out: str = "", **act: str) -> None:
        settings = folder / f"{name}.toml"
        settings.write_text(to_toml(config(tiny_text, **sections)), encoding="utf-8")
        arguments = ["train", "--config", str(settings), "--out", str(folder / (out or name))]
        jobs.append({"name": name, "arguments": arguments, **act})

    def add_resume(name: str, run: Path, step: int) -> None:
        """Go on with a copy of the run as it was after that step."""
        copied = shutil.copytree(run, folder / name, symlinks=True)
        for path in RunDirectory(copied).checkpoints():
            if int(path.name.removeprefix("step-")) > step:
                shutil.rmtree(path)
        jobs.append({"name": name, "arguments": ["resume", str(copied)]})

    for name, sections in VARIANTS.items():
        add(name, sections)
    for name, (sections, *_) in REFUSED.items():
        add(name, sections)
    add("taken", {}, out="plain")
    add("locked", {}, out="held")
    add("overflow", VARIANTS["fp16"], act="overflow")
    add("stopped", {}, act="stop")
    add_resume("from-one", alone("plain").path, 10)
    add("unable", {})
    piped = [*jobs[0]["arguments"][:-1], str(folder / "piped"), "--text.corpus", "-"]
    jobs.append({"name": "piped", "arguments": piped})
    add("died", {}, act="die")
    (folder / "jobs.json").write_text(json.dumps(jobs), encoding="utf-8")
    with RunDirectory(folder / "held").locked():
        text = tiny_text.read_text(encoding="utf-8")
        result = torchrun(PROGRAM, folder, cache=folder / "cache", text=text)
    return Launch(folder, result)


def losses(run: RunDirectory) -> list[float]:
    return [line["loss"] for line in run.metrics() if line["kind"] == "train"]


def validations(run: RunDirectory) -> list[float]:
    return [line["nats_per_character"] for line in run.metrics() if line["kind"] == "validation"]


def weights(run: RunDirectory) -> dict[str, torch.Tensor]:
    return read_checkpoint(run.checkpoints()[-1]).tensors("model")


@pytest.mark.parametrize("name", VARIANTS)
def test_two_processes_train_like_one(alone: Any, launch: Launch, name: str) -> None:
    one, two = alone(name), launch.run(name)
    assert [outcome["exit_code"] for outcome in launch.outcomes(name)] == [0, 0], launch.result.stderr
    assert losses(two) == pytest.approx(losses(one), abs=1e-5)
    assert validations(two) == pytest.approx(validations(one), abs=1e-5)
    for key, tensor in weights(two).items():
        torch.testing.assert_close(tensor, weights(one)[key], atol=1e-4, rtol=0.0)
    assert two.config() == one.config()
    assert {line["kind"] for line in two.metrics()} == {"train", "validation"}
    assert [path.name for path in two.checkpoints()] == [path.name for path in one.checkpoints()]


@pytest.mark.parametrize("name", [*VARIANTS, "overflow", "piped"])
def test_all_ranks_end_with_the_same_weights(launch: Launch, name: str) -> None:
    first, second = launch.outcomes(name)
    assert first["weights"] == second["weights"]


@pytest.mark.parametrize("name", ["plain", "epochs"])
def test_together_the_ranks_see_the_batches_of_one_process(
    tiny_text: Path, alone: Any, launch: Launch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    whole: list[list[list[int]]] = []
    batch = loop.batch  # type: ignore[attr-defined]

    def recording(*arguments: Any, **settings: Any) -> Any:
        x, y = batch(*arguments, **settings)
        whole.append(x.tolist())
        return x, y

    monkeypatch.setattr(loop, "batch", recording)
    loop.train(config(tiny_text, **VARIANTS[name]), tmp_path / "run")
    first, second = (outcome["inputs"] for outcome in launch.outcomes(name))
    assert [a + b for a, b in zip(first, second, strict=True)] == whole


def test_only_the_first_process_speaks(launch: Launch) -> None:
    assert launch.told(f"training in {launch.run('plain').path}") == 1
    assert launch.told("scoring the whole validation split") == len([*VARIANTS, "overflow", "from-one", "piped"])
    assert launch.told("threads: 1, processes: 2") == launch.told("training in") + launch.told("continuing at")
    assert launch.result.stdout.count(str(launch.run("plain").path / "report.html")) == 1


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_is_told_once_and_ends_all(launch: Launch, name: str) -> None:
    _, exit_code, message = REFUSED[name]
    assert [outcome["exit_code"] for outcome in launch.outcomes(name)] == [exit_code, exit_code]
    assert launch.told(message) == 1
    assert name == "explosive" or not launch.run(name).path.exists()


def test_a_run_directory_in_use_is_told_once_and_left_alone(launch: Launch) -> None:
    assert [outcome["exit_code"] for outcome in launch.outcomes("locked")] == [3, 3]
    assert launch.told(f"the run {launch.folder / 'held'} is in use") == 1
    assert [outcome["exit_code"] for outcome in launch.outcomes("taken")] == [2, 2]
    assert launch.told(f"{launch.run('plain').path} already holds a run") == 1
    assert len(losses(launch.run("plain"))) == 12


def test_an_overflow_in_one_rank_is_skipped_by_all(launch: Launch) -> None:
    calm, shaken = (
        read_checkpoint(launch.run(name).checkpoints()[-1]).state["learner"]["scaler"] for name in ("fp16", "overflow")
    )
    assert shaken["scale"] == calm["scale"] / 2
    assert losses(launch.run("overflow"))[:5] == losses(launch.run("fp16"))[:5]


def test_a_text_from_a_pipe_is_read_by_the_first_and_found_by_the_others(launch: Launch) -> None:
    assert losses(launch.run("piped")) == losses(launch.run("plain"))


def test_a_signal_to_one_process_stops_all_at_the_same_step(launch: Launch) -> None:
    stopped = launch.run("stopped")
    assert [outcome["exit_code"] for outcome in launch.outcomes("stopped")] == [128 + signal.SIGTERM] * 2
    assert launch.told("stopped by SIGTERM after step 5; everything is saved") == 1
    assert losses(stopped) == losses(launch.run("plain"))[:5]
    assert stopped.linked("last") == stopped.checkpoint(5).resolve()


def test_what_two_began_one_can_finish_and_the_other_way_round(
    alone: Any, launch: Launch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copied = shutil.copytree(launch.run("stopped").path, tmp_path / "run", symlinks=True)
    assert losses(loop.resume(copied)) == pytest.approx(losses(alone("plain")), abs=1e-5)
    assert "processes was 2 and is 1, so losses may differ" in caplog.text

    assert losses(launch.run("from-one")) == pytest.approx(losses(alone("plain")), abs=1e-5)
    assert losses(launch.run("from-one"))[:10] == losses(alone("plain"))[:10]
    assert launch.told("processes was 1 and is 2, so losses may differ") == 1


def test_an_error_of_another_process_is_told_by_the_first(launch: Launch) -> None:
    assert [outcome["exit_code"] for outcome in launch.outcomes("unable")] == [5, 5]
    assert launch.told("letterloom: error: one rank misses something") == 1


def test_what_one_process_alone_meets_it_tells_itself(tiny_text: Path, tmp_path: Path) -> None:
    launch = torchrun_one({"name": "exhausted", "act": "exhaust"}, config(tiny_text), tmp_path)
    assert launch.told("letterloom: error: process 1: out of memory on cpu (training.batch_size 8") == 1
    assert len(losses(launch.run("exhausted"))) == 4
    assert "Traceback" not in launch.result.stderr


def test_no_process_ends_before_the_first_has_told_what_all_know(tiny_text: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ended")
    launch = torchrun_one({"name": "odd"}, config(tiny_text, **REFUSED["odd"][0]), tmp_path)
    assert launch.told("training.batch_size 5 cannot be shared") == 1
    assert json.loads((tmp_path / "order.json").read_text(encoding="utf-8")) is False


def test_a_process_that_dies_ends_the_others(launch: Launch) -> None:
    assert launch.result.returncode != 0
    assert "exitcode  : -9" in launch.result.stderr
    assert losses(launch.run("died")) == losses(launch.run("plain"))[:4]


def test_no_process_ends_with_a_traceback_of_ours(launch: Launch) -> None:
    assert str(Path(loop.__file__).parent) not in launch.result.stderr
    assert "terminate called" not in launch.result.stderr


def test_a_signal_to_torchrun_saves_and_the_resumed_run_has_the_losses_of_one_that_never_stopped(
    tiny_text: Path, launch: Launch, tmp_path: Path
) -> None:
    stopped = torchrun_one({"name": "stopped", "act": "stop_all"}, config(tiny_text), tmp_path)
    assert stopped.told("letterloom: error: stopped by SIGTERM after step 5; everything is saved") == 1
    assert stopped.told("letterloom: error:") == 1
    assert stopped.result.returncode != 0

    out = stopped.run("stopped").path
    result = torchrun("-m", "letterloom", "resume", out, cache=tmp_path / "cache")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("nats per character") == 1
    assert losses(RunDirectory(out)) == losses(launch.run("plain"))
    assert (out / "report.html").exists()
