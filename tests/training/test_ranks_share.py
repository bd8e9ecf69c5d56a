"""What one process takes of the machine and of the batch; several real ones are in test_ranks.py."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from letterloom.config import RunConfig, build_config
from letterloom.errors import ConfigError, LetterloomError, ResourceError
from letterloom.runs.checkpoint import read_checkpoint
from letterloom.training.hardware import resolve_hardware, take_share
from letterloom.training.learner import Learner
from letterloom.training.loop import train
from letterloom.training.ranks import ALONE, Ranks, joined

BASE = {
    "model": {"context_length": 16, "d_model": 16, "n_layers": 1, "n_heads": 2},
    "training": {"batch_size": 8, "max_steps": 12, "device": "cpu", "threads": 1},
}


def config(corpus: Path, **sections: dict[str, Any]) -> RunConfig:
    return build_config({"text": {"corpus": [str(corpus)]}}, BASE, sections)


def as_one_of(world: int, rank: int = 0) -> Ranks:
    """What a process of several knows, without the others."""
    ranks = Ranks()
    ranks.rank, ranks.world, ranks.local_rank, ranks.local_world = rank, world, rank, world
    return ranks


@pytest.mark.parametrize("environment", [{}, {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "1"}])
def test_one_process_joins_nobody(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with joined() as ranks:
        assert ranks is ALONE
    assert not dist.is_initialized()


@pytest.fixture
def _first_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    started = {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}
    for name, value in started.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("_first_of_two")
@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:18345"),
        dist.DistBackendError("NCCL error: remote process exited or there was a network error"),
    ],
    ids=["gloo", "nccl"],
)
def test_the_silence_of_another_process_is_an_error_that_tells_what_to_do(
    monkeypatch: pytest.MonkeyPatch, error: RuntimeError
) -> None:
    monkeypatch.setattr("letterloom.training.ranks.SeveralRanks", Ranks)
    with pytest.raises(ResourceError, match=r"another process .* `letterloom resume` if a ") as told, joined():
        raise error
    assert str(error) in str(told.value)
    with pytest.raises(RuntimeError, match="a bug"), joined():
        raise RuntimeError("a bug")


@pytest.mark.usefixtures("_first_of_two")
def test_processes_that_do_not_find_one_another_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise dist.DistNetworkError("the port is in use")

    monkeypatch.setattr(dist, "init_process_group", unreachable)
    with pytest.raises(ResourceError, match="the port is in use"), joined():
        pass


def test_dropout_differs_by_rank(tiny_text: Path) -> None:
    settings = config(tiny_text, model={"dropout": 0.5})
    x = np.arange(4 * 16).reshape(4, 16) % 7
    by_rank = [Learner(settings, 7, as_one_of(2, rank)).update(x, x, 0, 1.0)[0] for rank in (0, 1)]
    assert by_rank[0] != by_rank[1]


@pytest.fixture
def _threads_restored() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("_threads_restored")
@pytest.mark.parametrize(("threads", "processes", "share"), [(4, 1, 4), (4, 2, 2), (3, 2, 1), (1, 2, 1)])
def test_the_processes_of_a_machine_share_its_threads(
    tiny_text: Path, threads: int, processes: int, share: int
) -> None:
    take_share(config(tiny_text, training={"threads": threads}), as_one_of(processes))
    assert torch.get_num_threads() == share


@pytest.mark.usefixtures("_threads_restored")
@pytest.mark.parametrize(
    ("training", "error", "message"),
    [
        ({"batch_size": 7}, ConfigError, "batch_size 7 cannot be shared equally by 2 processes"),
        ({"device": "cuda:1"}, ConfigError, "device cuda:1 cannot be shared by 2 processes"),
        ({"device": "mps"}, ConfigError, "device mps cannot be shared by 2 processes"),
        ({"device": "cuda"}, ResourceError, "2 processes need a CUDA device each and there are 1"),
    ],
)
def test_what_several_processes_cannot_share_is_refused(
    tiny_text: Path,
    monkeypatch: pytest.MonkeyPatch,
    training: dict[str, Any],
    error: type[LetterloomError],
    message: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(error, match=message):
        take_share(config(tiny_text, training=training), as_one_of(2))


def test_each_process_takes_a_gpu_of_its_own_and_run_toml_does_not_tell(
    tiny_text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    settings = resolve_hardware(config(tiny_text, training={"device": "cuda", "precision": "fp32"}))
    for rank in (0, 1):
        take_share(settings, as_one_of(2, rank))
    assert taken == [0, 1]
    assert settings.training.device == "cuda"


@pytest.mark.parametrize("precision", ["mixed", "bf16"])
def test_mixed_precision_on_a_cpu_is_bf16_near_fp32_with_its_state_in_fp32(
    tiny_text: Path, tmp_path: Path, precision: str
) -> None:
    low = train(config(tiny_text, training={"precision": precision}), tmp_path / "low")
    full = train(config(tiny_text, training={"precision": "fp32"}), tmp_path / "full")
    assert low.config().training.precision == "bf16"
    found, expected = ([line["loss"] for line in run.metrics() if line["kind"] == "train"] for run in (low, full))
    assert found == pytest.approx(expected, rel=0.01)  # bf16 keeps 8 bits, 0.4 %
    assert found != expected
    checkpoint = read_checkpoint(low.checkpoints()[-1])
    kept = [*checkpoint.tensors("model").values(), *checkpoint.tensors("optimizer").values()]
    assert {tensor.dtype for tensor in kept} == {torch.float32}
