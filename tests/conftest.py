"""What all tests share: one thread, a cache of their own, and a small run that was really trained."""

import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest

from greek import greek_lines
from letterloom.cli import main
from letterloom.config import ModelConfig

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: sums in one order, and no fight for cores

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background of a shell begins with it ignored

hypothesis.settings.register_profile("deterministic", derandomize=True, deadline=None, print_blob=True)
hypothesis.settings.register_profile("exploring", deadline=None, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "deterministic"))


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Encoded texts go to a folder of this test session, never to the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LETTERLOOM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _kernels(_own_cache: None) -> None:
    """The kernels that write text, compiled: whoever comes first tells so in a line, which no test expects."""
    from letterloom.generation.compiled.engine import CompiledEngine
    from letterloom.generation.compiled.weights import parameter_shapes
    from letterloom.runs.quantized import Quantization, quantize, read_quantized

    config = ModelConfig(context_length=2, d_model=2, n_heads=1, n_layers=1)
    floats = {name: np.zeros(shape, np.float32) for name, shape in parameter_shapes(config, 2).items()}
    narrowed = read_quantized(quantize(floats, Quantization(8, 32, "round")), config, Path("none"))
    for parameters in (floats, narrowed):
        CompiledEngine(parameters, config, 2).begin(np.array([0])).logits()


@pytest.fixture(scope="session")
def tiny_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of about 5,000 characters, some of them outside ASCII, that a tiny model can learn something from."""
    draw = random.Random(0)
    words = ["the", "loom", "letter", "weaves", "a", "thread", "naïve", "über", "and", "of", "\N{SNOWMAN}"]
    lines = [" ".join(draw.choice(words) for _ in range(8)) + "." for _ in range(130)]
    path = tmp_path_factory.mktemp("text") / "loom.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def greek_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four hundred lines that the tiny run cannot spell."""
    path = tmp_path_factory.mktemp("greek") / "greek.txt"
    path.write_text("\n".join(greek_lines(400)) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tiny_run(tiny_text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a few seconds; not to be changed (see `run_copy`)."""
    from letterloom import api

    return api.train(
        tiny_text,
        recipe="nanogpt-cpu",
        out=tmp_path_factory.mktemp("runs") / "tiny",
        model={"context_length": 16, "d_model": 16, "n_layers": 2, "n_heads": 2},
        optimizer={"warmup_steps": 2},
        training={
            "batch_size": 4,
            "max_steps": 12,
            "eval_interval": 4,
            "checkpoint_interval": 4,
            "sample_interval": 6,
            "sample_characters": 40,
            "device": "cpu",
            "threads": 1,
        },
    ).path


@pytest.fixture
def run_copy(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy of the tiny run that a test may change."""
    return shutil.copytree(tiny_run, tmp_path / "run", symlinks=True)


@dataclass(frozen=True)
class Result:
    """What a command ended with."""

    exit_code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line of an error, which is all there is."""
        assert self.err.startswith("letterloom: error: ")
        assert self.err.count("\n") == 1
        assert self.out == ""
        return self.err.removeprefix("letterloom: error: ").rstrip("\n")


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Runs the command line in this process."""

    def run(*arguments: Any) -> Result:
        exit_code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(exit_code, captured.out, captured.err)

    return run
