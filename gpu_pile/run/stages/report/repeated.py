"""What dedupe.substrings found: repeated text by subset, and the documents with most of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gpu_pile.corpus import files
from gpu_pile.corpus.shards import Shard
from gpu_pile.run.context import Context
from gpu_pile.run.stages.report.findings import named
from gpu_pile.run.threads import map_threads
from gpu_pile.types import Array

LARGEST = 20
"""Documents that are listed, those with most repeated text."""

COLUMNS = ("doc_id", "subset", "text_bytes", "cut_bytes")


def repeated_text(context: Context) -> dict[str, Any]:
    """Documents with repeated text and their bytes, under "repeated_text": in all, by subset, and those with most.

    Nothing without dedupe.substrings.
    """
    if not context.config.dedupe.substrings.enabled:
        return {}
    found = map_threads(lambda shard: _of_shard(context, shard), context.shards, context.config.n_workers)
    counts: dict[str, Array] = {}
    for by_subset, _ in found:
        for subset, numbers in by_subset.items():
            counts[subset] = counts.get(subset, np.zeros(3, np.int64)) + numbers
    names = ("documents", "text_bytes", "repeated_bytes")
    subsets: list[dict[str, Any]] = [
        {"subset": named(s), **dict(zip(names, map(int, n), strict=True))} for s, n in counts.items()
    ]
    facts = context.directory.state("substrings")
    content = {
        "least": context.config.dedupe.substrings.least,
        **{name: sum(s[name] for s in subsets) for name in names},
        "searched_bytes": facts["searched_bytes"],
        "subsets": sorted(subsets, key=lambda s: (-s["repeated_bytes"], s["subset"])),
        "largest": _largest([row for _, rows in found for row in rows]),
    }
    return {"repeated_text": content}


def _of_shard(context: Context, shard: Shard) -> tuple[dict[str, Array], list[dict[str, Any]]]:
    """(documents, bytes and repeated bytes by subset; the documents with most) of a shard."""
    table = pq.read_table(files.table(context.directory.substrings(shard.name)), columns=list(COLUMNS))
    counts = table.group_by("subset").aggregate([("doc_id", "count"), ("text_bytes", "sum"), ("cut_bytes", "sum")])
    columns = [counts.column(c).to_pylist() for c in ("subset", "doc_id_count", "text_bytes_sum", "cut_bytes_sum")]
    by_subset = {subset: np.array(numbers, np.int64) for subset, *numbers in zip(*columns, strict=True)}
    most = pc.select_k_unstable(table, LARGEST, [("cut_bytes", "descending"), ("doc_id", "ascending")])
    return by_subset, pa.Table.to_pylist(table.take(most))


def _largest(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: (-row["cut_bytes"], row["doc_id"]))[:LARGEST]
