"""The notebook of `examples/` runs from its first cell to its last, and shows what it says."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "first_suite.ipynb"


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Jupyter's own
def test_the_notebook_runs_and_shows_tables_frames_and_a_figure(
    own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nbformat = pytest.importorskip("nbformat", reason="[notebook] nbformat is not installed")
    nbclient = pytest.importorskip("nbclient", reason="[notebook] nbclient is not installed")
    pytest.importorskip("ipykernel", reason="[notebook] ipykernel is not installed")
    pytest.importorskip("pandas", reason="[pandas] is not installed")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs for cell in codes), "outputs are not committed"

    client = nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(own_folder)}}
    )
    client.execute()

    shown = [
        output.data
        for cell in codes
        for output in cell.outputs
        if output.output_type == "execute_result"
    ]
    plan, report, frame, problems, outcomes, figure = shown
    assert 6 == plan["text/html"].count("digits_5_9")
    assert "6 trials: 6 done, 0 failed" in report["text/plain"]
    assert "<table>" in report["text/html"]
    assert "clean.accuracy" in report["text/html"]
    assert "interval_low" in frame["text/html"]
    assert problems["text/plain"].startswith("(True")
    assert "'robust'" in outcomes["text/plain"]
    assert "image/png" in figure or "Figure" in figure["text/plain"]
    assert (own_folder / "runs" / "first_notebook" / "leaderboard.md").is_file()
