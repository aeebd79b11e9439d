"""Lists of ids for other tools: the documents to keep, or those to drop."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from gpu_pile.corpus import files
from gpu_pile.corpus.files import AnyPath
from gpu_pile.errors import UsageError
from gpu_pile.explore.tables import LazyTable, RunTables
from gpu_pile.run import directory

COLUMNS = ["doc_id", "shard", "line"]


def export_ids(run: str | AnyPath, target: str | AnyPath, what: str = "keep") -> int:
    """Write the ids of a finished run's documents, in their order: columns doc_id, shard, line (1-based), and id
    with input.id_field.

    Args:
        target: *.parquet; or *.txt or *.tsv: tab-separated, no header. Written whole or not at all.
        what: "keep" or "drop".

    Returns:
        the number of ids.

    Raises:
        UsageError: `what` or the suffix of the target is another one, or there is no finished run.
    """
    target = files.path_of(target)
    if what not in ("keep", "drop"):
        raise UsageError(f"--what is keep or drop, not {what!r}")
    if target.suffix not in (".parquet", ".txt", ".tsv"):
        raise UsageError(f"cannot tell the format of {target}: name it *.parquet, *.txt or *.tsv")
    opened = RunTables(directory.open_dir(run))
    decisions = LazyTable([opened.directory.decisions(shard.name) for shard in opened.shards])
    chosen = pc.field("keep") if what == "keep" else ~pc.field("keep")
    columns = [*COLUMNS, *(["id"] if "id" in decisions.schema.names else [])]
    batches = decisions.dataset.scanner(columns=columns, filter=chosen).to_batches()
    schema = pa.schema([decisions.schema.field(name) for name in columns])
    n = 0
    with files.atomic(target) as partial:
        if target.suffix == ".parquet":
            writer = pq.ParquetWriter(partial, schema, compression="zstd")
        else:
            options = pyarrow.csv.WriteOptions(include_header=False, delimiter="\t", quoting_style="none")
            writer = pyarrow.csv.CSVWriter(partial, schema, write_options=options)
        with writer:
            for batch in batches:
                writer.write_batch(batch)
                n += len(batch)
    return n
