"""The notebooks, executed in a kernel of their own as their readers execute them."""

import json
import re
from pathlib import Path
from typing import Any

import jupytext
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
CELL_SECONDS = 240


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to run in, and nothing of the user's Jupyter."""
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "jupyter"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def execute(name: str, folder: Path) -> NotebookNode:
    """The notebook with its outputs; an error in a cell is an error here."""
    notebook = jupytext.read(NOTEBOOKS / name)
    client = NotebookClient(notebook, timeout=CELL_SECONDS, resources={"metadata": {"path": str(folder)}})
    return client.execute()


def outputs(notebook: NotebookNode) -> list[dict[str, Any]]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def printed(notebook: NotebookNode, stream: str = "stdout") -> str:
    return "".join(output["text"] for output in outputs(notebook) if output.get("name") == stream)


def shown(notebook: NotebookNode, kind: str) -> list[str]:
    return [output["data"][kind] for output in outputs(notebook) if kind in output.get("data", {})]


@pytest.mark.parametrize("source", sorted(NOTEBOOKS.glob("*.py")), ids=lambda source: source.name)
def test_a_source_is_percent_cells_and_names_no_kernel(source: Path) -> None:
    text = source.read_text(encoding="utf-8")
    notebook = jupytext.reads(text, fmt="py:percent")
    assert "kernelspec" not in notebook.metadata
    assert {cell.cell_type for cell in notebook.cells} == {"code", "markdown"}
    notebook.metadata["jupytext"]["notebook_metadata_filter"] = "-all"
    assert jupytext.writes(notebook, fmt="py:percent") == text


def test_quick_start(folder: Path) -> None:
    notebook = execute("quick_start.py", folder)
    [run] = (folder / "runs").iterdir()
    score = json.loads((run / "evaluation.json").read_text())["validation"]["blocks"]
    progress, view = shown(notebook, "text/html")
    assert re.findall(r"^step (\d+)  validation", progress, re.MULTILINE) == ["50", "100", "150", "200", "250"]
    assert "<progress" not in progress  # it has been updated in place, and ends without its bar
    assert f"{score['bits_per_character']:.4f} bits per character" in view
    assert "<svg" in view
    assert f"{score['bits_per_character']:.3f} bits per character" in printed(notebook)
    assert printed(notebook).count("The statement ") >= 2
    assert f"runs/{run.name}/report.html" in printed(notebook)
    assert printed(notebook, "stderr") == ""


def test_attention(folder: Path) -> None:
    notebook = execute("attention.py", folder)
    checks = dict(re.findall(r"^(.*): largest difference (.*)$", printed(notebook), re.MULTILINE))
    assert len(checks) >= 45
    assert all(float(difference) < 1e-9 for difference in checks.values())
    assert len(shown(notebook, "image/png")) == 4
    assert any("<svg" in html for html in shown(notebook, "text/html"))
    heads = re.findall(r"^block \d head \d .* \+ (\S+)$", printed(notebook), re.MULTILINE)
    assert len(heads) == 8
    assert max(map(float, heads)) > 0.1  # to take a head away is felt
    assert printed(notebook, "stderr") == ""
