"""What near duplicates and contained documents had that their witnesses lack, in shingles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gpu_pile.corpus import files
from gpu_pile.corpus.shards import Shard
from gpu_pile.dedup.survivors import CONTAINED, NEAR
from gpu_pile.run.context import Context
from gpu_pile.run.stages.report.findings import named
from gpu_pile.run.threads import map_threads
from gpu_pile.summaries.histograms import OTHERS
from gpu_pile.types import Array

LARGEST = 20
"""Documents that are listed, those that lose most."""

COLUMNS = ("doc_id", "shard", "line", "subset", "witness", "similarity", "containment", "lost_shingles")


def lost_text(context: Context, reasons: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """What such documents lose: in all, by subset, and the documents that lose most. None where it is not counted.

    reasons: as gpu_pile.summaries.reason_counts.by_reason() returns them
    """
    fuzzy = context.config.dedupe.fuzzy
    if not fuzzy.enabled or fuzzy.verify != "exact":
        return None
    removed: Counter[str] = Counter()
    for reason in reasons:
        removed.update(reason["by_subset"] if reason["reason"] in (NEAR, CONTAINED) else {})
    found = map_threads(lambda shard: _losses(context, shard), context.shards, context.config.n_workers)
    losing: dict[str, Array] = {subset: np.zeros(2, np.int64) for subset in removed}
    for by_subset, _ in found:
        for subset, counts in by_subset.items():
            losing[subset if subset in losing else OTHERS] += counts
    subsets: list[dict[str, Any]] = [
        {"subset": named(s), "documents": n, "losing": int(losing[s][0]), "lost_shingles": int(losing[s][1])}
        for s, n in removed.items()
    ]
    total = {key: sum(s[key] for s in subsets) for key in ("documents", "losing", "lost_shingles")}
    return {
        **total,
        "subsets": sorted(subsets, key=lambda s: -s["lost_shingles"]),
        "largest": _largest([row for _, rows in found for row in rows]),
    }


def _losses(context: Context, shard: Shard) -> tuple[dict[str, Array], list[dict[str, Any]]]:
    """(documents that lose something and the shingles that they lose, by subset; those that lose most) of a shard."""
    by_subset: dict[str, Array] = {}
    largest: list[dict[str, Any]] = []
    with pq.ParquetFile(files.table(context.directory.decisions(shard.name))) as file:
        for group in range(file.num_row_groups):
            lost = file.read_row_group(group, columns=["lost_shingles"]).column(0).fill_null(0).to_numpy()
            rows = np.flatnonzero(lost)
            if not len(rows):
                continue
            table = file.read_row_group(group, columns=list(COLUMNS)).take(pa.array(rows))
            counts = table.group_by("subset").aggregate([("lost_shingles", "count"), ("lost_shingles", "sum")])
            for subset, *both in zip(*(column.to_pylist() for column in counts.columns), strict=True):
                by_subset[subset] = by_subset.get(subset, np.zeros(2, np.int64)) + both
            most = pc.select_k_unstable(table, LARGEST, [("lost_shingles", "descending"), ("doc_id", "ascending")])
            largest = _largest(largest + table.take(most).to_pylist())
    return by_subset, largest


def _largest(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: (-row["lost_shingles"], row["doc_id"]))[:LARGEST]
