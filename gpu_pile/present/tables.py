"""Small tables that show themselves in a notebook, with charts where they help; texts and numbers for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, NamedTuple

import pyarrow as pa

ROWS_SHOWN = 60
"""Rows of a result that are shown; all are in its table."""

ID_COLUMNS = ("doc_id", "cluster", "witness", "line")
"""Columns of whole numbers that name something: they are shown without thousands separators."""

TEXT_COLUMNS = ("excerpt", "text")
"""Columns with texts of documents."""

EXCERPT_HEIGHT = "max-height:8.4em"
"""Six whole lines of MONOSPACE."""

MONOSPACE = "font:.9em/1.4 ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere;word-break:normal"

_CONTROL_PICTURES = 0x2400
"""U+2400 SYMBOL FOR NULL; the symbols of the other ASCII control characters follow it."""

_DELETE, _SYMBOL_FOR_DELETE = 0x7F, "\u2421"
_C1_CONTROLS = range(0x80, 0xA0)
_CHANGES_OF_DIRECTION = [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]

_VISIBLE = {c: chr(_CONTROL_PICTURES + c) for c in range(ord(" ")) if chr(c) not in "\n\t"}
_VISIBLE |= {_DELETE: _SYMBOL_FOR_DELETE}
_VISIBLE |= dict.fromkeys([*_C1_CONTROLS, *_CHANGES_OF_DIRECTION], "\N{REPLACEMENT CHARACTER}")


def visible(text: str) -> str:
    """Replace control characters (except line feed and tab) and changes of direction: no text steers a terminal."""
    return text.translate(_VISIBLE)


def html_text(text: str) -> str:
    """Escape a text for HTML, inside an element or a quoted attribute."""
    return escape(visible(text))


def human_bytes(n: float) -> str:
    """A number of bytes with its unit: 1536 -> 1.5 KiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if n < 1024:
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1024
    return f"{n:.1f} TiB"


class Unit(NamedTuple):
    """The unit for a column of bytes, the same in all rows."""

    name: str
    size: int

    @classmethod
    def of(cls, values: Iterable[int]) -> Unit:
        """The unit that suits the largest of some numbers of bytes."""
        most = max(values, default=0)
        names = ("B", "KiB", "MiB", "GiB", "TiB")
        power = min(len(names) - 1, max(0, most.bit_length() - 1) // 10)
        return cls(names[power], 1024**power)

    def __call__(self, n: int) -> str:
        """A number of bytes in this unit, without its name."""
        if self.size == 1:
            return f"{n:,}"
        return "<0.1" if 0 < n < 0.05 * self.size else f"{n / self.size:,.1f}"


def side_by_side(charts: Sequence[str]) -> str:
    """HTML: charts in rows, as many beside each other as fit."""
    return f'<div style="display:flex;flex-wrap:wrap;gap:1em">{"".join(charts)}</div>'


def _line(text: str) -> str:
    """The beginning of a text on one short line, for a terminal."""
    flat = visible(" ".join(text.split()))
    return flat if len(flat) <= 80 else flat[:79] + "…"


class Result:
    """A small table that shows itself in a notebook; .table is the pyarrow table.

    Args:
        table: the rows. shown: what is shown in their place, where another arrangement is easier to read.
        title: one line above the table. note: a sentence below it that a reader should know.
        shares: columns of fractions, which are shown in percent. tenths: columns that are shown with one decimal.
        charts: SVG, shown above the table.
    """

    def __init__(
        self,
        table: pa.Table,
        title: str,
        *,
        note: str = "",
        shares: Sequence[str] = (),
        tenths: Sequence[str] = (),
        charts: Sequence[str] = (),
        shown: pa.Table | None = None,
    ) -> None:
        self.table, self.title, self.note = table, title, note
        self.shown = table if shown is None else shown
        self.shares, self.tenths, self.charts = frozenset(shares), frozenset(tenths), list(charts)

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        rows = self.shown.slice(0, ROWS_SHOWN).to_pylist()
        cells = [self.shown.column_names, *([_line(self._cell(k, v)) for k, v in row.items()] for row in rows)]
        widths = [max(len(r[i]) for r in cells) for i in range(len(cells[0]))]
        lines = ["  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in cells]
        more = [f"... {len(self.shown) - ROWS_SHOWN:,} more rows"] if len(self.shown) > ROWS_SHOWN else []
        return "\n".join([self.title, *lines, *more, *([self.note] if self.note else [])])

    def _repr_html_(self) -> str:
        rows = [list(row.items()) for row in self.shown.slice(0, ROWS_SHOWN).to_pylist()]
        texts = {f.name for f in self.shown.schema if pa.types.is_string(f.type)}
        side = {name: "left" if name in texts else "right" for name in self.shown.column_names}
        head = "".join(
            f'<th style="padding:.1em .6em;text-align:{side[n]}">{html_text(n)}</th>' for n in self.shown.column_names
        )
        body = "".join(f"<tr>{''.join(self._html_cell(k, v, side[k]) for k, v in row)}</tr>" for row in rows)
        more = f"<p>{len(self.shown) - ROWS_SHOWN:,} more rows</p>" if len(self.shown) > ROWS_SHOWN else ""
        charts = side_by_side(self.charts) if self.charts else ""
        note = f"<p>{html_text(self.note)}</p>" if self.note else ""
        return (
            f"<div><p><strong>{html_text(self.title)}</strong></p>{charts}<table><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table>{more}{note}</div>"
        )

    def _html_cell(self, name: str, value: Any, side: str) -> str:
        shown = html_text(self._cell(name, value))
        if name in TEXT_COLUMNS:
            shown = f'<div style="{MONOSPACE};{EXCERPT_HEIGHT};overflow:auto">{shown}</div>'
        style = f"vertical-align:top;padding:.1em .6em;text-align:{side}" + (
            ";white-space:pre-wrap;overflow-wrap:anywhere;word-break:normal" if side == "left" else ""
        )
        return f'<td style="{style}">{shown}</td>'

    def _cell(self, name: str, value: Any) -> str:
        if value is None:
            return "-"
        if name in self.shares:
            return f"{value:.1%}"
        if name in self.tenths:
            return f"{value:,.1f}"
        if isinstance(value, float):
            return f"{value:.6g}"
        if isinstance(value, list):
            return ", ".join(map(str, value))
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, int) and name not in ID_COLUMNS:
            return f"{value:,}"
        return str(value)

    def to_pylist(self) -> list[dict[str, Any]]:
        """One dict per row."""
        rows: list[dict[str, Any]] = self.table.to_pylist()
        return rows

    def to_pandas(self) -> Any:
        return self.table.to_pandas()

    def to_polars(self) -> Any:
        import polars

        return polars.from_arrow(self.table)
