"""Write the kept JSON lines of a shard as rows of Parquet (write.format: parquet).

The columns are the same for all shards of a run, because they depend on the configuration alone:

    text     the text as it is kept
    subset   what the line has at input.subset_field; "" where there is no string
    id       with input.id_field
    ...      each field of input.fields, as in measured tables
    json     the kept line with "" in the place of its text (see rewrite.emptied_line for texts that stay in it)
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from gpu_pile.corpus.files import AnyPath
from gpu_pile.corpus.rewrite import emptied_line
from gpu_pile.corpus.row_sinks import LinesAsRows
from gpu_pile.corpus.shards import Shard
from gpu_pile.run import spool
from gpu_pile.run.context import Context
from gpu_pile.run.reading import changed, extras_of
from gpu_pile.run.stages.by_shard import Finished
from gpu_pile.run.stages.write.copy import Piece, ShardWriter
from gpu_pile.run.tables import measured_ranges
from gpu_pile.text.simd import SLACK
from gpu_pile.types import Array

LONG = ("text", "json")


class ConvertingWriter(ShardWriter):
    """The job of a shard, all its ranges one after the other: Parquet files cannot be joined byte by byte."""

    def sink(self, path: AnyPath) -> LinesAsRows:
        def rows(lines: Array) -> pa.Table:
            return rows_of(self.context, self.shard, lines)

        return LinesAsRows(path, schema_of(self.context), LONG, rows, self.context.config.write.compression)

    def pieces(self) -> Iterator[Piece]:
        for measured in measured_ranges(self.context, self.shard):
            self.measured = measured
            yield from super().pieces()

    def finish(self) -> Finished:
        finished = super().finish()
        for measured in measured_ranges(self.context, self.shard):
            spool.release(self.context, measured)
        return finished


def schema_of(context: Context) -> pa.Schema:
    """Return the columns of kept rows."""
    settings = context.config.input
    numbers = settings.own_signals
    extras = [(name, pa.float64() if name in numbers else pa.string()) for name in settings.extra_columns]
    return pa.schema([("text", pa.string()), ("subset", pa.string()), *extras, ("json", pa.string())])


def rows_of(context: Context, shard: Shard, lines: Array) -> pa.Table:
    """Return the rows of good lines, given one after the other, each with its line feed.

    Raises:
        DataError: one is not a document, so the shard has changed.
    """
    padded = np.zeros(len(lines) + SLACK, np.uint8)
    data = padded[: len(lines)]
    data[:] = lines
    parsed = context.config.input.line_format.parse(data, skip_bom=True, padded=True)
    if len(parsed.bad_line):
        raise changed(shard)
    columns = {"text": parsed.text.to_arrow(), "subset": parsed.subset.to_arrow()}
    if context.config.input.extra_columns:
        columns |= extras_of(context, shard, data, (parsed.start, parsed.length))
    raw, path = data.tobytes(), context.config.input.line_format.text_path
    spans = zip(parsed.start.tolist(), parsed.length.tolist(), strict=True)
    columns["json"] = pa.array([emptied_line(raw[a : a + n], path) for a, n in spans], pa.string())
    schema = schema_of(context)
    return pa.table([columns[name].cast(schema.field(name).type) for name in schema.names], schema)
