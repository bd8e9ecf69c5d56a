"""What the documents point at is there."""

import ast
import re
import shlex
from pathlib import Path

import pytest

from letterloom.cli import app

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "letterloom"
POINTER = re.compile(r"`([\w./-]+\.py)(?::([\w.]+))?`")
LINK = re.compile(r"\]\(([^)#]*)(?:#([^)]*))?\)")
DOCUMENTS = sorted((ROOT / "docs").glob("*.md"))


def definitions(file: Path) -> set[str]:
    """Functions, classes and methods (`Class.method`) of a module."""
    found = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
    return found


def anchors(document: Path) -> set[str]:
    """What a link to a section of a document ends with: its heading in small letters, with hyphens for spaces."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_and_names_of_code_are_there(document: Path) -> None:
    for path, name in POINTER.findall(document.read_text(encoding="utf-8")):
        files = [folder / path for folder in (PACKAGE, ROOT) if (folder / path).is_file()]
        assert files, f"{path} is neither in the package nor in the repository"
        assert not name or name in definitions(files[0]), f"{path} defines no {name}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for place, anchor in LINK.findall(document.read_text(encoding="utf-8")):
        if not place.startswith("https://"):
            target = document.parent / place if place else document
            assert target.exists(), place
            assert not anchor or anchor in anchors(target), f"{place} has no section {anchor}"


def test_the_data_flow_names_every_room_a_run_passes_through() -> None:
    named = {path.split("/")[0] for path, _ in POINTER.findall((ROOT / "docs" / "data-flow.md").read_text())}
    rooms = {"cli", "text", "model", "runs", "evaluation", "generation", "training", "reference"}
    assert rooms <= named


def test_the_commands_of_the_evaluation_page_have_these_arguments() -> None:
    page = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    lines = re.findall(r"^(?:\$ )?letterloom ([^>\n]+)", page, re.MULTILINE) + re.findall(r"`letterloom ([^`]+)`", page)
    assert {line.split()[0] for line in lines} >= {"evaluate", "baselines", "compare", "inspect", "score", "compress"}
    for line in lines:
        app.parse_args(shlex.split(line), exit_on_error=False, print_error=False)
