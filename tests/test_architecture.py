"""What is easy to lose a line at a time: small files, one place that writes, light imports."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import letterloom

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "letterloom"
SOURCES = sorted(PACKAGE.rglob("*.py"))
WRITING = {"write_text", "write_bytes", "mkdir", "unlink", "rename", "symlink_to", "touch", "rmtree"}


def calls(source: Path) -> set[str]:
    """Names of everything a file calls, without what they are called on."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    found = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {f.attr if isinstance(f, ast.Attribute) else f.id for f in found if isinstance(f, (ast.Attribute, ast.Name))}


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_holds_one_idea(source: Path) -> None:
    assert len(source.read_text(encoding="utf-8").splitlines()) <= 300
    assert source.stem not in {"utils", "util", "common", "helpers", "misc"}


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_storage_writes_files(source: Path) -> None:
    if source.name != "storage.py":
        assert not calls(source) & WRITING


def test_nothing_is_pickled_or_evaluated() -> None:
    text = "\n".join(source.read_text(encoding="utf-8") for source in SOURCES)
    assert not re.search(r"\bimport pickle\b|(?<!safetensors\.)torch\.load\(|(?<![.\w])eval\(|(?<![.\w])exec\(", text)


def test_the_public_names_are_these() -> None:
    names = ["Model", "Run", "Study", "compare", "finetune", "load", "resume", "run_study", "train"]
    assert letterloom.__all__ == names


def test_importing_the_package_imports_no_torch() -> None:
    code = "import letterloom, sys; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
