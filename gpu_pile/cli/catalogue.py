"""gpu-pile list and doctor: what there is, and what this machine has."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from gpu_pile.cli.console import as_line, out
from gpu_pile.errors import UsageError

_LISTS = ("signals", "ops", "backends", "thresholds", "subsets")


def list_(
    what: Annotated[str, typer.Argument(metavar="|".join(_LISTS))],
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="only these; signals also by family")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a row, with every column")] = False,
) -> None:
    """What there is: signals, operations, backends, named thresholds (with NAME their rules), The Pile's subsets."""
    from gpu_pile.explore import catalogue

    if what not in _LISTS:
        raise UsageError(f"gpu-pile list {what}: there is nothing of that name; there are: {', '.join(_LISTS)}")
    if what == "thresholds" and names:
        columns, rows = catalogue.rules(names)
    else:
        columns, rows = getattr(catalogue, what)()
        if names:
            by = columns[:2] if what == "signals" else columns[:1]
            columns, rows = catalogue.named((columns, rows), names, by)
    if as_json:
        for row in rows:
            out.print(as_line(dict(zip(columns, row, strict=True))), markup=False)
        return
    if what == "signals":
        out.print(_signals_table([dict(zip(columns, row, strict=True)) for row in rows]))
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for i, column in enumerate(columns):
        table.add_column(column, no_wrap=i == 0, overflow="fold")
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    out.print(table)


def _signals_table(signals: list[dict[str, Any]]) -> Table:
    """A line for each signal; on a terminal, where definitions would be narrow columns, they are below the names."""
    if not out.is_terminal:
        table = Table("signal", "family", "definition", box=None, padding=(0, 2, 0, 0))
        for s in signals:
            table.add_row(s["signal"], s["family"], escape(s["definition"]))
        return table
    table = Table.grid()
    for s in signals:
        table.add_row(f"[bold]{s['signal']}[/]  [dim]{s['family']}[/]")
        table.add_row(Padding(escape(s["definition"]), (0, 0, 0, 4)))
    return table


def doctor() -> None:
    """What this machine has, what is missing, and the command that adds it."""
    from gpu_pile.explore import catalogue

    for finding in catalogue.doctor():
        mark = "[green]ok[/]" if finding.ok else "[yellow]--[/]"
        out.print(f"{mark}  {escape(finding.sentence)}")
