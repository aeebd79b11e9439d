"""gpu_pile: deduplicate and filter language-model corpora of The Pile's shape.

import gpu_pile as gp
gp.measure(texts)                  signals of each text
gp.keep_c4_lines(texts)            each text as the line rules of C4 leave it
gp.dedupe(texts, threshold=0.8)    duplicates, each with its witness
gp.decide(texts, use="gopher")     which texts stay, and why the others do not
gp.run("my.yaml")                  a run over files
gp.open_run("runs/pile")           a finished run
"""

from __future__ import annotations

import importlib
import types
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
    "run": "explore.start",
}
__all__ = list(_WHERE)


class _Run(types.ModuleType):
    """The package gpu_pile.run, which is also the function gp.run."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Run every stage of a configuration; see gpu_pile.explore.start.run."""
        return importlib.import_module("gpu_pile.explore.start").run(*args, **options)


importlib.import_module("gpu_pile.run").__class__ = _Run


def __getattr__(name: str) -> Any:
    """Imported when first used, so that `import gpu_pile` and `gpu-pile --help` are quick."""
    if name not in _WHERE:
        raise AttributeError(f"module 'gpu_pile' has no attribute {name!r}")
    return getattr(importlib.import_module(f"gpu_pile.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return ["__version__", *__all__]
