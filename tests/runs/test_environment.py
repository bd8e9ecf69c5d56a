import json
import platform
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch

from letterloom.runs import environment
from letterloom.runs.environment import describe_environment, differences


@pytest.fixture
def module_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The module as if it lay in a folder of its own."""
    module = tmp_path / "environment.py"
    module.touch()
    monkeypatch.setattr(environment, "__file__", str(module))
    return module


def describe() -> dict[str, Any]:
    return describe_environment(torch.device("cpu"))


def test_versions_are_those_of_the_installed_packages() -> None:
    told = describe()
    assert {name: told[name] for name in ("torch", "numpy")} == {name: version(name) for name in ("torch", "numpy")}
    assert told["letterloom"] == version("letterloom")
    assert told["python"] == platform.python_version()


def test_it_is_json() -> None:
    told = describe()
    assert json.loads(json.dumps(told)) == told


def test_threads_are_those_that_compute() -> None:
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            assert describe()["threads"] == threads
    finally:
        torch.set_num_threads(before)


def test_the_time_is_now_in_utc() -> None:
    created = datetime.fromisoformat(describe()["created"])
    assert created.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - created) < timedelta(minutes=5)


def test_the_processor_is_named_on_every_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    assert describe()["processor"]
    read = Path.read_text

    def unnamed(path: Path, *arguments: Any, **options: Any) -> str:
        return "no such line\n" if path == Path("/proc/cpuinfo") else read(path, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", unnamed)
    assert describe()["processor"] == (platform.processor() or platform.machine())


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
class TestCommit:
    def git(self, folder: Path, *arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(folder), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def test_it_is_that_of_the_source_tree(self, module_elsewhere: Path) -> None:
        folder = module_elsewhere.parent
        self.git(folder, "init")
        self.git(folder, "add", module_elsewhere.name)
        self.git(folder, "commit", "-m", "first")
        assert describe()["commit"] == self.git(folder, "rev-parse", "HEAD")

    def test_a_repository_that_only_surrounds_the_package_has_none(self, module_elsewhere: Path) -> None:
        folder = module_elsewhere.parent
        self.git(folder, "init")
        self.git(folder, "commit", "--allow-empty", "-m", "first")
        assert describe()["commit"] is None

    def test_outside_of_git_there_is_none(self, module_elsewhere: Path) -> None:
        assert describe()["commit"] is None


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert describe()["commit"] is None


def test_differences_name_what_may_change_a_loss_and_nothing_else() -> None:
    then = describe_environment(torch.device("cpu"))
    assert differences(then, then | {"created": "later", "commit": "another"}) == []
    assert differences(then | {"torch": "1.0", "threads": 7}, then | {"torch": "2.0", "threads": 7}) == [
        "torch was 1.0 and is 2.0"
    ]
