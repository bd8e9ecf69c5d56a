"""The command line as one of several processes; several real ones are in test_ranks.py."""

import sys
from pathlib import Path
from typing import Any

import pytest

from letterloom import api
from letterloom.errors import CorpusError

OF_TWO = {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "2"}


@pytest.fixture
def call_as(call: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the command line as the process of a rank."""

    def run(rank: int, *arguments: Any) -> Any:
        for name, value in {**OF_TWO, "RANK": str(rank)}.items():
            monkeypatch.setenv(name, value)
        return call(*arguments)

    return run


@pytest.mark.parametrize(
    ("rank", "shared", "told"),
    [(0, False, "no text\n"), (0, True, "no text\n"), (1, False, "process 1: no text\n"), (1, True, None)],
)
def test_an_error_is_told_by_the_first_if_all_have_it_and_else_by_who_has_it(
    call_as: Any, monkeypatch: pytest.MonkeyPatch, rank: int, shared: bool, told: str | None
) -> None:
    def resume(_: str) -> None:
        error = CorpusError("no text")
        error.shared = shared
        raise error

    monkeypatch.setattr(api, "resume", resume)
    result = call_as(rank, "resume", "x")
    assert result.exit_code == CorpusError.exit_code
    assert result.err == ("" if told is None else f"letterloom: error: {told}")


def test_the_first_alone_prints_figures(call_as: Any, tiny_run: Path) -> None:
    stream = sys.stdout
    assert "the loom" in call_as(0, "generate", tiny_run, "--prompt", "the loom", "-n", 5).out
    assert call_as(1, "generate", tiny_run, "--prompt", "the loom", "-n", 5).out == ""
    assert sys.stdout is stream
