"""Execute the notebooks on a run of the demo corpus and store them with their outputs.

    make demo && python tools/execute_notebooks.py [NAME ...]

GPU_PILE_RUN may name another run of the demo corpus. A live widget cannot be stored: of an output with a widget, the
HTML is stored.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbclient
import nbformat

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
WIDGET = "application/vnd.jupyter.widget-view+json"
TIMEOUT_SECONDS = 600


def execute(path: Path) -> None:
    """Execute one notebook and write it again."""
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=TIMEOUT_SECONDS, resources={"metadata": {"path": str(FOLDER)}}, store_widget_state=False
    )
    client.execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET, None)
    nbformat.write(notebook, path)


def main() -> None:
    chosen = sys.argv[1:] or [path.stem for path in sorted(FOLDER.glob("*.ipynb"))]
    for name in chosen:
        execute(FOLDER / f"{name}.ipynb")


if __name__ == "__main__":
    main()
