"""The notebook runs from top to bottom in a kernel of its own, on a CPU, and ends with a report."""

from __future__ import annotations

from pathlib import Path

import nbclient
import nbformat
import pytest

pytestmark = pytest.mark.slow

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "first_steps.ipynb"


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # more threads wait for one another while other tests use the cores
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "clear the outputs before committing"
    client = nbclient.NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()  # raises what a cell raises
    said = ["".join(str(out.get("text", "")) for out in cell.get("outputs", ())) for cell in notebook.cells]
    cheats = {line[:14].strip(): line[14:18] for line in said[4].strip().splitlines()}
    assert cheats.pop("honest") == "1.00"
    assert all(float(total) < 1 for total in cheats.values())
    assert "checkpoint" not in said[10]
    assert "metrics.jsonl" in said[10]
    assert "report.html" in said[12]
    shown = notebook.cells[2]["outputs"][0]["data"]
    assert "<mark" in shown["text/html"]
