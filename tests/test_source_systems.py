"""The table of `docs/source-systems.md`: its commands, run one after the other, and the tests it names."""

import ast
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from letterloom.cli import main

ROOT = Path(__file__).parents[1]
ROW = re.compile(r"^\| ([^|]+) \| ([^|]+) \| `([^`|]+)` \| `([^`|]+)` \|$", re.MULTILINE)
ROWS = ROW.findall((ROOT / "docs" / "source-systems.md").read_text(encoding="utf-8"))
DOCUMENTS = {"profiling report", "execution flow", "lecture notes", "report", "GPT-2 small"}
SHORT = {
    "--model.d-model": "24",  # which 1, 4 and 6 heads divide
    "--model.n-layers": "1",
    "--model.context-length": "16",
    "--training.batch-size": "4",
    "--training.max-steps": "2",
    "--training.sample-characters": "20",
    "--training.threads": "1",
}
TEXTS = {"shakespeare": "play.txt", "names": "names.txt"}
PROGRAMS = {"torchrun": "torch.distributed.run", "jupytext": "jupytext"}


def shortened(words: list[str]) -> list[str]:
    """A command with a small text for the play, and for training a small model and two steps."""
    words = [TEXTS.get(word, word).replace("notebooks/", f"{ROOT}/notebooks/") for word in words]
    if "profile" in words:
        return [*words, "--no-measure"]
    if "train" not in words:
        return words
    given = {i + offset for i, word in enumerate(words) if word in SHORT for offset in (0, 1)}
    kept = [word for i, word in enumerate(words) if i not in given]
    return [*kept, *(word for setting in SHORT.items() for word in setting)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the texts that the table speaks of, and nothing more to say to a program that asks."""
    shutil.copy(ROOT / "benchmarks" / "texts" / "tokenization.txt", tmp_path / "play.txt")
    (tmp_path / "names.txt").write_text("\n".join(f"{a}{b}{c}" for a in "abc" for b in "aeiou" for c in "lmnrst"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO("to\n/temperature 0.5\nbe\n"))
    return tmp_path


def test_the_commands_run_one_after_the_other(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _, _, command, _ in ROWS:
        program, *arguments = shortened(shlex.split(command))
        if program == "letterloom":
            assert main(arguments) == 0, f"{command}: {capsys.readouterr().err}"
        else:
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            done = subprocess.run(
                [sys.executable, "-m", PROGRAMS[program], *arguments], env=environment, capture_output=True, text=True
            )
            assert done.returncode == 0, f"{command}: {done.stderr}"
    made = {path.name for path in (*folder.iterdir(), *(folder / "runs").iterdir())}
    assert {"profiling", "flow", "large", "compared", "gpt2-two", "attention.ipynb", "quick_start.ipynb"} <= made


def test_every_document_has_its_rows() -> None:
    assert {document for document, *_ in ROWS} == DOCUMENTS
    assert len(ROWS) == sum(line.startswith("| ") and "`" in line for line in _table().splitlines())


@pytest.mark.parametrize("place", sorted({test for *_, test in ROWS}))
def test_the_tests_are_there(place: str) -> None:
    file, *names = place.split("::")
    body = ast.parse((ROOT / file).read_text(encoding="utf-8")).body
    for name in names:
        found = [node for node in body if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == name]
        assert found, f"{file} has no {name}"
        body = found[0].body


def _table() -> str:
    text = (ROOT / "docs" / "source-systems.md").read_text(encoding="utf-8")
    return text[text.index("## Row by row") :].split("\n## ")[0]
