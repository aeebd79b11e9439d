"""The notebooks run, and say what they say in the repository."""

import os
import subprocess
import sys

import nbformat
import pytest

from tests.conftest import HERE

NOTEBOOKS = sorted((HERE.parent / "notebooks").glob("*.ipynb"))

EXECUTE = """
import sys, nbclient, nbformat
notebook = nbformat.read(sys.argv[1], as_version=4)
nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": sys.argv[3]}}).execute()
nbformat.write(notebook, sys.argv[2])
"""


def said(notebook):
    """Every output as plain text. What a cell prints is one output, however many messages it came in."""
    texts = []
    for cell in notebook.cells:
        printed = None
        for output in cell.get("outputs", []):
            if output["output_type"] == "stream" and output["name"] == printed:
                texts[-1] += output["text"]
            else:
                texts.append(output.get("text", output.get("data", {}).get("text/plain")))
            printed = output.get("name")
    return texts


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks(path, demo_run, tmp_path):
    result = tmp_path / "executed.ipynb"
    done = subprocess.run(
        [sys.executable, "-c", EXECUTE, str(path), str(result), str(path.parent)],
        env={**os.environ, "GPU_PILE_RUN": str(demo_run)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    stored = nbformat.read(path, as_version=4)
    assert said(nbformat.read(result, as_version=4)) == said(stored)
    assert any(said(stored)), "notebooks are stored with their outputs"


def test_there_is_one():
    assert NOTEBOOKS
