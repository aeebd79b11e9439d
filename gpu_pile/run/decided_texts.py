"""Texts in memory, decided by the stages of a run: in a temporary folder, so that whatever a run can do is the same."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gpu_pile.corpus import files
from gpu_pile.gpu.segments import to_host
from gpu_pile.run import pipeline
from gpu_pile.run.config import parse
from gpu_pile.text.column import TextColumn, text_pieces

BATCH_BYTES = 4 * 2**20
"""Bytes of text in a batch of the Arrow file that the stages read, about."""

PLACES = ("doc_id", "shard", "line", "subset", "edited_bytes")
"""Columns of decisions that say nothing of texts in memory."""

ROWS = ("witness", "cluster")
"""Columns of doc_ids, which are rows of the only shard."""


def decide_texts(text: TextColumn, subsets: Sequence[str | None] | None, sections: Mapping[str, Any]) -> pa.Table:
    """The decisions about texts, one row per text: the columns of decisions/*.parquet from keep on.

    Args:
        subsets: of each text. sections: of the configuration, but for input and output.

    Raises:
        ConfigError: the configuration is not valid; names every problem.
    """
    with tempfile.TemporaryDirectory(prefix="gpu_pile-") as folder:
        shard = Path(folder) / "texts.arrow"
        given = {"shards": [str(shard)], "subset_field": "subset", "text_field": "text", "line_bytes_max": 2**62}
        config = parse({**sections, "input": given, "output": f"{folder}/run"}, "decide")
        _write(text, subsets, shard)
        with pipeline.prepared(config) as context:
            pipeline.run_until(context, "decide")
        for warning in context.reporter.warnings:
            warnings.warn(warning, stacklevel=3)
        decided = pq.read_table(files.table(context.directory.decisions(context.shards[0].name)))
    table = decided.drop_columns([name for name in PLACES if name in decided.column_names])
    for name in ROWS:
        table = table.set_column(table.column_names.index(name), name, table.column(name).cast(pa.int64()))
    return table.combine_chunks()


def _write(text: TextColumn, subsets: Sequence[str | None] | None, path: Path) -> None:
    text = TextColumn(to_host(text.data), to_host(text.offsets))
    schema = pa.schema([("text", pa.large_string()), ("subset", pa.string())])
    with files.disk_errors(path), pa.ipc.new_file(str(path), schema) as writer:
        for start, stop in text_pieces(text.offsets, BATCH_BYTES):
            names = (
                pa.nulls(stop - start, pa.string()) if subsets is None else pa.array(subsets[start:stop], pa.string())
            )
            writer.write_batch(pa.record_batch([text.slice(start, stop).to_arrow(), names], schema=schema))
