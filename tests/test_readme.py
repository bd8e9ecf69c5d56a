"""The README's commands, run as they stand but for the minutes they take."""

import io
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from letterloom.cli import main
from letterloom.studies.design import shipped_studies

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SMALL = ["--model.d-model", "16", "--model.n-layers", "1", "--training.threads", "1", "--training.max-steps", "9"]

STUDY = """
corpus = ["hamlet.txt"]
seeds = [0]
budget.steps = 3
base.model = { d_model = 16, n_layers = 1, context_length = 16 }
factors.model.positions = ["rotary", "none"]
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def commands(program: str) -> list[list[str]]:
    lines = [shlex.split(line, comments=True) for block in blocks("sh") for line in block.splitlines()]
    return [line[1:] for line in lines if line and line[0] == program]


@pytest.fixture
def folder(tmp_path: Path, tiny_text: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the texts that the README speaks of."""
    shutil.copy(tiny_text, tmp_path / "hamlet.txt")
    text = (tmp_path / "hamlet.txt").read_text(encoding="utf-8")
    (tmp_path / "hamlet.txt").write_text("HAMLET:\n" + text, encoding="utf-8")
    names = (f"{a}{b}{c}{d}" for a in "abc" for b in "aeiou" for c in "lmnrst" for d in "aeiou")
    (tmp_path / "names.txt").write_text("\n".join(names))
    (tmp_path / "greek.txt").write_text("λέξη και ψυχή, φως και ώρα;\n" * 20, encoding="utf-8")
    (tmp_path / "mine.toml").write_text(STUDY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO("HAMLET:\n"))
    return tmp_path


def test_the_letterloom_commands_run_one_after_the_other(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = commands("letterloom")
    assert {line[0] for line in lines} >= {"train", "resume", "evaluate", "generate", "verify"}
    for line in lines:
        minutes = line.index("--minutes") if "--minutes" in line else len(line)
        short = line[:minutes] + line[minutes + 2 :] + SMALL if line[0] == "train" else line
        if line[0] == "finetune":
            short = [*line, "--training.threads", "1", "--training.max-steps", "3"]
        if line[:2] == ["study", "run"]:
            assert line[2] in (*shipped_studies(), "mine.toml")
            short = ["study", "run", "mine.toml", "--workers", "1"]
        assert main(short) == 0, capsys.readouterr().err
    written = capsys.readouterr().out
    assert "bits per character" in written
    assert "HAMLET:" in written


def test_the_python_lines_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [code] = blocks("python")
    small = 'model={"d_model": 16, "n_layers": 1}, training={"max_steps": 9, "threads": 1}'
    short = code.replace('training={"max_minutes": 4}', small)
    assert short != code
    exec(compile(short, "README.md", "exec"), {})
    written = capsys.readouterr().out
    assert written.startswith("HAMLET:")
    assert float(written.split()[-1]) > 0


def test_the_make_targets_are_there() -> None:
    for target in commands("make"):
        subprocess.run(["make", "--dry-run", *target], cwd=ROOT, check=True, capture_output=True)


def test_links_and_pictures_lead_somewhere() -> None:
    for place in re.findall(r"\]\(([^)#]+)\)", README):
        assert place.startswith("https://") or (ROOT / place).exists(), place
