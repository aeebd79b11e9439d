# The names that __init__.py imports when they are first used, for type checkers.

from gpu_pile.api import Deduplicated, decide, dedupe, keep_c4_lines, measure, measure_lines
from gpu_pile.explore.run import Run, open_run
from gpu_pile.explore.start import run
from gpu_pile.run.texts import Texts
from gpu_pile.text.column import TextColumn

__version__: str

__all__ = [
    "Deduplicated",
    "Run",
    "TextColumn",
    "Texts",
    "decide",
    "dedupe",
    "keep_c4_lines",
    "measure",
    "measure_lines",
    "open_run",
    "run",
]
