"""What documents of old runs (input.against) removed, by old run and subset."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gpu_pile.corpus import files
from gpu_pile.run.context import Context
from gpu_pile.run.stages.report.findings import named


def against(context: Context) -> list[dict[str, Any]] | None:
    """Return per old run its path, the documents that duplicate one of its own, and these by subset; None without."""
    if not context.config.input.against:
        return None
    tables = [pa.table({"witness_run": pa.array([], pa.string()), "subset": pa.array([], pa.string())})]
    for shard in context.shards:
        table = pq.read_table(files.table(context.directory.decisions(shard.name)), columns=["witness_run", "subset"])
        tables.append(table.filter(pc.is_valid(table.column("witness_run"))))
    counted = pa.concat_tables(tables).group_by(["witness_run", "subset"]).aggregate([([], "count_all")])
    found: dict[str, dict[str, int]] = {}
    for row in counted.sort_by([("witness_run", "ascending"), ("subset", "ascending")]).to_pylist():
        found.setdefault(row["witness_run"], {})[named(row["subset"])] = row["count_all"]
    return [{"run": run, "documents": sum(counts.values()), "by_subset": counts} for run, counts in found.items()]
