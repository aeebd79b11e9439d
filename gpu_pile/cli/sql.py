"""gpu-pile sql: questions in SQL about a finished run."""

from __future__ import annotations

import base64
import csv
import itertools
import json
from collections.abc import Iterator
from datetime import date, time
from decimal import Decimal
from typing import Annotated, Any

import typer

from gpu_pile.cli.console import RunFolder, out
from gpu_pile.errors import UsageError


def sql(
    run: RunFolder,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="in the SQL of DuckDB, such as 'SUMMARIZE signals'")],
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object per row")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV with a header")] = False,
) -> None:
    """Ask in SQL, with views decisions, signals, pairs, clusters, and documents (decisions and signals together)."""
    from gpu_pile.explore.run import open_run
    from gpu_pile.explore.sql import ask

    if as_json and as_csv:
        raise UsageError("--json and --csv are two formats; give one of them")
    answer = ask(open_run(run), query)
    names = answer.schema.names
    rows = (tuple(column) for batch in answer.batches for column in zip(*_columns(batch), strict=True))
    if as_json:
        for row in rows:
            out.print(json.dumps(dict(zip(names, row, strict=True)), default=_plain), markup=False)
    elif as_csv:
        _write_csv(names, rows)
    else:
        _show(answer.schema, rows)


def _columns(batch: Any) -> list[list[Any]]:
    return [batch.column(i).to_pylist() for i in range(batch.num_columns)]


def _plain(value: Any) -> Any:
    """A value that JSON does not have as one that it has."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, date | time):
        return value.isoformat()
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _write_csv(names: list[str], rows: Iterator[tuple[Any, ...]]) -> None:
    from gpu_pile.present.tables import visible

    writer = csv.writer(out.file, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        cells = [json.dumps(v, default=_plain) if isinstance(v, list | dict) else v for v in row]
        writer.writerow([visible(c) if isinstance(c, str) and out.is_terminal else c for c in cells])


def _show(schema: Any, rows: Iterator[tuple[Any, ...]]) -> None:
    """The first rows as a table; values are cut to a line."""
    import pyarrow as pa

    from gpu_pile.present.tables import ROWS_SHOWN, Result

    shown = list(itertools.islice(rows, ROWS_SHOWN + 1))
    title = f"{len(shown)} row{'' if len(shown) == 1 else 's'}"
    if len(shown) > ROWS_SHOWN:
        shown, title = shown[:ROWS_SHOWN], f"the first {ROWS_SHOWN} rows; --csv and --json give all"
    columns: list[Any] = [pa.array([row[i] for row in shown], field.type) for i, field in enumerate(schema)]
    for i, field in enumerate(schema):
        if pa.types.is_integer(field.type):  # may be ids: no separators of thousands
            columns[i] = columns[i].cast(pa.string())
    out.print(repr(Result(pa.table(columns, schema.names), title)), markup=False)
