"""Execute the notebooks on a run of the demo corpus and store them with their outputs.

    gpu-pile run configs/quickstart.yaml && python tools/execute_notebooks.py

A live widget cannot be stored: of an output that has one, what is stored is its HTML.
"""

from __future__ import annotations

from pathlib import Path

import nbclient
import nbformat

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
WIDGET = "application/vnd.jupyter.widget-view+json"


def main() -> None:
    for path in sorted(FOLDER.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        client = nbclient.NotebookClient(
            notebook, timeout=120, resources={"metadata": {"path": str(FOLDER)}}, store_widget_state=False
        )
        client.execute()
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)  # times
            for output in cell.get("outputs", []):
                output.get("data", {}).pop(WIDGET, None)
        nbformat.write(notebook, path)


if __name__ == "__main__":
    main()
