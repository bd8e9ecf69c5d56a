"""The same study by each engine, with two workers of which one is killed; and what is told of a wrong option."""

import os
import signal
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from studying import (
    descendants,
    has_checkpoint,
    is_alive,
    make_study,
    metrics,
    processes_at,
    start_supervisor,
    wait_for,
    worker_at,
)

from letterloom.errors import ConfigError, ResourceError
from letterloom.studies import supervision
from letterloom.studies.directory import StudyDirectory
from letterloom.studies.engines import build_engine, require_engine
from letterloom.studies.engines.processes import Processes, ProcessWorker
from letterloom.studies.supervision import Standing, supervise
from letterloom.studies.work import work

on_linux = pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are found in /proc, which Linux has")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, list[float]]:
    """The losses of the study when nothing is killed."""
    study = long_study(tmp_path_factory.mktemp("undisturbed"))
    work(study.path)
    return metrics(study)


def long_study(folder: Path) -> StudyDirectory:
    """Two runs that last long enough to be killed on their way."""
    return make_study(folder, seeds=2, steps=300, saved=50)


ENGINES = pytest.mark.parametrize(
    ("name", "options"),
    [("processes", {}), ("slurm", {"cluster": "local"}), ("dask", {})],
    ids=["processes", "slurm", "dask"],
)


@on_linux
@ENGINES
def test_what_a_killed_supervisor_has_started_ends_with_it(
    name: str, options: Mapping[str, Any], tmp_path: Path
) -> None:
    study = make_study(tmp_path, seeds=2, steps=10**6, saved=10)
    supervisor = start_supervisor(study, 2, name, options)
    wait_for(lambda: has_checkpoint(study))
    started = descendants(supervisor.pid)
    assert len(started) >= 2
    supervisor.kill()
    supervisor.communicate()
    wait_for(lambda: not any(map(is_alive, started)))
    wait_for(lambda: processes_at(study) == [])
    assert set(study.states().values()) == {"to do"}


@on_linux
@ENGINES
def test_a_run_whose_worker_is_killed_is_taken_up_by_another(
    name: str,
    options: Mapping[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    undisturbed: Mapping[str, list[float]],
) -> None:
    monkeypatch.setattr(supervision, "TELL_SECONDS", 0.0)
    monkeypatch.setattr(supervision, "LOOK_SHARE", 1.0)  # or short runs may be over between two looks
    study, told, killed = long_study(tmp_path), list[Standing](), list[int]()

    def tell(standing: Standing) -> None:
        told.append(standing)
        if standing.counts.get("running") and not killed:
            wait_for(lambda: has_checkpoint(study))
            killed.append(worker_at(study))
            os.kill(killed[0], signal.SIGKILL)

    with closing(build_engine(name, study.path, 2, options)) as engine:
        supervise(study, engine, 2, tell)
    assert set(study.states().values()) == {"done"}
    assert metrics(study) == undisturbed
    messages = [standing.message for standing in told if standing.message]
    assert len(messages) == 1
    assert "another one goes on from its last checkpoint" in messages[0]
    assert list((study.path / "workers").iterdir()) == []
    wait_for(lambda: processes_at(study) == [])


@on_linux
def test_a_worker_saves_and_ends_when_it_is_asked_to(tmp_path: Path) -> None:
    study = make_study(tmp_path, seeds=1, steps=10**6, saved=10**6)
    worker = Processes(study.path, {}).start("one")
    run = study.run(study.runs()[0].name)
    wait_for(lambda: run.metrics_file.exists() and run.metrics_file.stat().st_size > 0)
    assert worker.ended() is None
    worker.stop()
    wait_for(worker.ended)
    ending = worker.ended()
    assert ending is not None
    assert ending.killed == ""
    assert "stopped by SIGTERM after step" in str(ending.error)
    assert len(run.checkpoints()) == 1


def test_a_worker_that_cannot_read_the_study_tells_why(tmp_path: Path) -> None:
    study = make_study(tmp_path, seeds=1)
    study.plan_file.write_text("{")
    worker = ProcessWorker(study.path, "one")
    wait_for(worker.ended)
    ending = worker.ended()
    assert ending is not None
    assert "plan.json is damaged" in str(ending.error)


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("slrum", {}, "unknown engine 'slrum'; did you mean 'slurm'\\?; the engines are processes, slurm, dask"),
        ("processes", {"address": "x"}, "the engine 'processes' has no option 'address'"),
        ("slurm", {"timeout": 3}, "the engine 'slurm' has no option 'timeout'; did you mean 'timeout_min'"),
        ("slurm", {"cluster": "locl"}, "cluster = 'locl': should be slurm or local"),
        ("slurm", {"cluster": "local", "timeout_min": "3"}, "the engine 'slurm': Parameter \"timeout_min\" expected"),
        ("dask", {"adress": "x"}, "the engine 'dask' has no option 'adress'; did you mean 'address'"),
    ],
)
def test_a_wrong_option_is_told(tmp_path: Path, name: str, options: Mapping[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        build_engine(name, tmp_path, 2, options)
    with pytest.raises(ConfigError, match=told):
        require_engine(name, options)


def test_without_slurm_that_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ResourceError, match=r"there is no Slurm on this machine \(no srun\)"):
        build_engine("slurm", tmp_path, 2, {"slurm_partition": "long"})


def test_a_job_that_slurm_refuses_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("srun", "sbatch"):
        (tmp_path / name).write_text("#!/bin/sh\necho 'sbatch: error: invalid partition specified: lnog' >&2; exit 1\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    engine = build_engine("slurm", tmp_path, 1, {"slurm_partition": "lnog"})
    with pytest.raises(ResourceError, match=r"Slurm does not take the job \(sbatch: error: invalid partition .*lnog\)"):
        engine.start("one")


@pytest.mark.parametrize(("name", "package"), [("slurm", "submitit"), ("dask", "distributed"), ("dask", "dask")])
def test_a_missing_package_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ResourceError, match=f"needs {package}; `pip install 'letterloom\\[cluster\\]'` brings it"):
        build_engine(name, tmp_path, 2, {})
