"""gpu-pile index: all that is needed to find duplicates of a finished run's documents, in one folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from gpu_pile.cli.console import out
from gpu_pile.errors import UsageError


def index(
    sources: Annotated[list[str], typer.Argument(metavar="RUN|INDEX... OUT", help="what to index, and a new folder")],
    check: Annotated[
        bool, typer.Option("--check", help="only compare the checksums of the indexes that are given; make none")
    ] = False,
) -> None:
    """Make the index of finished runs, or put indexes together: for --against, and for gpu-pile find."""
    from gpu_pile.run.index import build
    from gpu_pile.run.index.store import Index

    if check:
        for path in sources:
            Index(Path(path)).check()
            out.print(f"{escape(path)}: all checksums are right")
        return
    if len(sources) < 2:
        raise UsageError(f"where should the index go? gpu-pile index {sources[0]} OUT")
    made = build.make(sources[:-1], Path(sources[-1]))
    size = sum(section["bytes"] for section in made.sections.values())
    n = made.documents_total
    out.print(f"{n:,} documents, {size / 1e6:,.1f} MB ({size / max(1, n):,.0f} bytes each): {escape(sources[-1])}")
