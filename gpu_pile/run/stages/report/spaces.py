"""The documents without spaces between words, to which rules about words were not applied."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gpu_pile.corpus import files
from gpu_pile.policy.thresholds import NO_SPACES_ABOVE, WITHOUT_SPACES
from gpu_pile.run.context import Context
from gpu_pile.run.stages.report.findings import named
from gpu_pile.summaries import histograms


def without_spaces(context: Context) -> dict[str, Any] | None:
    """Count them by subset, with the signals whose rules they pass; None where there are no such rules."""
    policy = context.config.thresholds
    signals = policy.about_words(policy.signals())
    if not signals:
        return None
    counts: dict[str, int] = {}
    above = pc.field("cell") > int(histograms.cells_of(np.array([NO_SPACES_ABOVE]))[0])
    for shard in context.shards:
        cells = pq.read_table(
            files.table(context.directory.histogram(shard.name)), filters=(pc.field("signal") == WITHOUT_SPACES) & above
        )
        for row in cells.select(["subset", "documents"]).to_pylist():
            if policy.about_words(policy.rules_of(row["subset"])):
                counts[row["subset"]] = counts.get(row["subset"], 0) + row["documents"]
    by_subset = {named(subset): n for subset, n in sorted(counts.items(), key=lambda count: (-count[1], count[0]))}
    return {"documents": sum(counts.values()), "by_subset": by_subset, "signals": signals}
