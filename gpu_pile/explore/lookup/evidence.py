"""Texts of matches read again: what sketches estimate, counted; and the longest passage that both texts have."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from gpu_pile.explore.documents import doc_id_of, texts_of
from gpu_pile.explore.lookup.search import EXACT, Match
from gpu_pile.explore.passages import shared
from gpu_pile.explore.tables import RunTables
from gpu_pile.ops.shingle_set import shingle_set
from gpu_pile.run import directory
from gpu_pile.run.index.store import Index
from gpu_pile.text.column import TextColumn


def with_texts(index: Index, matches: Sequence[Match], queries: dict[str, str], threshold: float) -> list[Match]:
    """Return the matches with exact similarities, containments and spans; near ones below the threshold are left out.

    queries: the text of each, by name

    Raises:
        UsageError: a run is not there any more. DataError: a shard has changed, or cannot be read.
    """
    out = []
    for run, group in itertools.groupby(sorted(matches, key=lambda m: m.run), key=lambda m: m.run):
        there, tables = list(group), RunTables(directory.open_dir(run))
        ids = [doc_id_of(tables, f"{m.shard}:{m.line}") for m in there]
        texts = texts_of(tables, sorted(set(ids)))
        for match, doc_id in zip(there, ids, strict=True):
            counted = _counted(index, match, queries[match.query], texts[doc_id])
            if counted.kind == EXACT or counted.similarity >= threshold:
                out.append(counted)
    order = {name: i for i, name in enumerate(queries)}
    return sorted(out, key=lambda m: (order[m.query], m.kind, -m.similarity))


def _counted(index: Index, match: Match, query: str, text: str) -> Match:
    kind, width = index.definitions["dedupe.fuzzy.shingle"], index.definitions["dedupe.fuzzy.width"]
    values, offsets = shingle_set(TextColumn.from_documents([query, text]), kind=kind, width=width)
    own, other = values[: offsets[1]], values[offsets[1] : offsets[2]]
    common = len(np.intersect1d(own, other, assume_unique=True))
    similarity = common / max(1, len(own) + len(other) - common)
    if match.kind == EXACT:
        return match._replace(estimated=False, span=(0, len(query)))
    start = best = at = 0
    for marked, run in itertools.groupby(shared(query, text, kind, width)):
        length = len(list(run))
        if marked and length > best:
            start, best = at, length
        at += length
    return match._replace(
        similarity=similarity, containment=common / max(1, len(own)), estimated=False, span=(start, start + best)
    )
