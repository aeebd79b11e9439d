"""gpu_pile: deduplicate and filter language-model corpora of The Pile's shape.

import gpu_pile as gp
gp.measure(texts)                  signals of each text
gp.keep_c4_lines(texts)            each text as the line rules of C4 leave it
gp.dedupe(texts, threshold=0.8)    duplicates, each with its witness
gp.decide(texts, use="gopher")     which texts stay, and why the others do not
gp.open_run("runs/pile")           a finished run
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"

_WHERE = {
    "Deduplicated": "api",
    "Run": "explore.run",
    "TextColumn": "text.column",
    "Texts": "run.texts",
    "decide": "api",
    "dedupe": "api",
    "keep_c4_lines": "api",
    "measure": "api",
    "measure_lines": "api",
    "open_run": "explore.run",
}
__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    """Imported when first used, so that `import gpu_pile` and `gpu-pile --help` are quick."""
    if name not in _WHERE:
        raise AttributeError(f"module 'gpu_pile' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"gpu_pile.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return ["__version__", *__all__]
