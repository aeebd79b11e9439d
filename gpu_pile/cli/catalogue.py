"""gpu-pile list and doctor: what there is, and what this machine has."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from gpu_pile.cli.console import as_line, out
from gpu_pile.errors import UsageError

_LISTS = {
    "signals": "every number that thresholds can bound, by family",
    "ops": "operations, and the backends that have them",
    "backends": "cpu and cuda, and what this machine lacks",
    "thresholds": "named sets of rules; with NAME their rules",
    "subsets": "of The Pile: sizes, weights, epochs, other names",
}


def list_(
    what: Annotated[str | None, typer.Argument(metavar="|".join(_LISTS), help="without it: what can be listed")] = None,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="only these; signals also by family")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a row, with every column")] = False,
) -> None:
    """What there is: signals, operations, backends, named thresholds (with NAME their rules), The Pile's subsets."""
    from gpu_pile.explore import catalogue

    if what is None:
        _show_table(["list", "what it shows"], [list(entry) for entry in _LISTS.items()], as_json)
        return
    if what not in _LISTS:
        raise UsageError(f"gpu-pile list {what}: there is nothing of that name; there are: {', '.join(_LISTS)}")
    if what == "thresholds" and names:
        columns, rows = catalogue.rules(names)
    else:
        columns, rows = getattr(catalogue, what)()
        if names:
            by = columns[:2] if what == "signals" else columns[:1]
            columns, rows = catalogue.named((columns, rows), names, by)
    if "file" in columns and not as_json:  # long, and broken within words on a terminal
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    if what == "signals" and not as_json:
        out.print(_signals_table([dict(zip(columns, row, strict=True)) for row in rows]))
    else:
        _show_table(columns, rows, as_json)


def _show_table(columns: list[str], rows: list[list[Any]], as_json: bool) -> None:
    if as_json:
        for row in rows:
            out.print(as_line(dict(zip(columns, row, strict=True))), markup=False)
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
