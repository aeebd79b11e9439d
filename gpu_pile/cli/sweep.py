"""gpu-pile sweep: what other bounds of a signal would let pass."""

from __future__ import annotations

from typing import Annotated

import typer

from gpu_pile.cli.console import RunFolder, as_line, out
from gpu_pile.errors import UsageError


def sweep(
    run: RunFolder,
    signal: Annotated[str, typer.Argument(metavar="SIGNAL", help="measured by the run, such as word_count")],
    least: Annotated[list[float] | None, typer.Option("--min", metavar="X", help="may be repeated")] = None,
    most: Annotated[list[float] | None, typer.Option("--max", metavar="X", help="may be repeated")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object per subset and bound")] = False,
) -> None:
    """How much of each subset passes other bounds of a signal: exact counts, without reading a text."""
    from gpu_pile.explore.run import open_run

    if not least and not most:
        raise UsageError(f"which bounds? For example: gpu-pile sweep {run} {signal} --min 50 --min 100")
    result = open_run(run).sweep(signal, min=least or None, max=most or None)
    if as_json:
        for row in result.to_pylist():
            out.print(as_line(row), markup=False)
    else:
        if result.note:
            result.note = "The share of the text that passes each bound; --json has documents and bytes."
        out.print(repr(result), markup=False)
