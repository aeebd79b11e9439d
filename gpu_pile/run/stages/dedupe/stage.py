"""dedupe: exact duplicates by hash, near duplicates by banded sketches, each confirmed by the texts.

gpu_pile.dedup.engine has the order of the steps. Here, the source of documents is a run: workers make candidates
(dedupe.candidates) and verify pairs (dedupe.verify_pairs); the process that asks them makes clusters.parquet and
pairs.parquet (dedupe.clusters). Which document of a cluster stays is not decided here: that depends on thresholds, and
the stage decide does it.

Memory: sorting stays within memory_bytes; this process holds 9 bits per 8 documents, 64 bytes per document that has an
equal one, and what dedupe.clusters says. Band keys (16 bytes per band and document), candidate pairs (16 bytes per band
that they share) and the shingles of candidate documents (8 bytes per shingle) go to scratch files; for contained
documents also what dedupe.contained says.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpu_pile.corpus import files
from gpu_pile.dedup.engine import Duplicates, find_duplicates
from gpu_pile.dedup.equal_sets import EqualSets
from gpu_pile.dedup.rowset import RowSet
from gpu_pile.ops.band_keys import band_keys
from gpu_pile.ops.components import components
from gpu_pile.ops.jaccard import jaccard
from gpu_pile.ops.normal_words import normal_words
from gpu_pile.ops.op import Op
from gpu_pile.ops.shingle_set import shingle_set
from gpu_pile.ops.sketch_matches import sketch_matches
from gpu_pile.run.config import Dedupe
from gpu_pile.run.context import Context
from gpu_pile.run.exact_text import DIGEST_BYTES
from gpu_pile.run.index.build import indexes_of, keys_of
from gpu_pile.run.index.old import opened
from gpu_pile.run.stages.dedupe.candidates import candidates, equal_documents, mapped, scratch_folder
from gpu_pile.run.stages.dedupe.clusters import Clusters
from gpu_pile.run.stages.dedupe.contained import contained_pairs
from gpu_pile.run.stages.dedupe.verify_pairs import (
    PAIRS_PER_TASK,
    SIMILARITY_BINS,
    Verification,
    VerifiedFiles,
    compare,
    fingerprints,
    gather_sketches,
    read_texts,
)
from gpu_pile.run.tables import Rows
from gpu_pile.types import Array

VERSION = 5


def dedupe_key(context: Context) -> str:
    """Return the key of everything that pairs.parquet and clusters.parquet depend on."""
    measured = [context.directory.state("measure", s.name) for s in context.shards]
    against = context.config.input.against
    return files.key_of(
        {
            **({"against": keys_of(against)} if against else {}),
            "version": VERSION,
            "ops": {o.name: o.version for o in _ops(context.config.dedupe)},
            "shards": [
                [s.name, m["identity"], m["definition"], m["stopped"]]
                for s, m in zip(context.shards, measured, strict=True)
            ],
            "dedupe": context.config.dedupe.model_dump(
                exclude={"survivor": True, "substrings": True, "copies_max": True, "fuzzy": {"resolve", "accept"}}
            ),
        }
    )


def _ops(config: Dedupe) -> Iterator[Op]:
    """The operations that deduplication by this configuration uses."""
    if config.exact.normalize == "words":
        yield normal_words
    yield components
    if config.fuzzy.enabled:
        yield band_keys
        yield from (shingle_set, jaccard) if config.fuzzy.verify == "exact" else (sketch_matches,)


def dedupe(context: Context, make_source: Callable[..., RunSource] | None = None) -> dict[str, Any]:
    """Write pairs.parquet and clusters.parquet. Return what the report says of them.

    make_source: another source of documents, for rows that have no shards (benchmarks and tests generate some).
    """
    run = context.directory
    run.clear_scratch("dedupe")
    with context.stage("dedupe", context.shards) as entry, files.disk_errors(run.scratch):
        old = indexes_of(context, scratch_folder(context)) if context.config.input.against else ()
        source = (make_source or RunSource)(context, old)
        duplicates = find_duplicates(source)
        if duplicates.collisions:
            context.reporter.note(
                f"{duplicates.collisions} documents share a 128-bit hash with a different text; they are not its "
                "exact duplicates"
            )
        with context.reporter.span("dedupe", "clusters"):
            Clusters(context, source.rows, duplicates, old).write()
        entry["text_bytes"] = sum(run.state("measure", s.name)["text_bytes"] for s in context.shards)
    if not old:
        run.against.unlink(missing_ok=True)
    run.clear_scratch("dedupe")
    return _facts(context, source, duplicates)


class RunSource:
    """The documents of a run: measured tables, and shards that are read again (see gpu_pile.dedup.engine.Source)."""

    def __init__(self, context: Context, old: Sequence[str] = ()) -> None:
        self.context, self.config, self.old = context, context.config.dedupe, old
        self.rows = Rows.of(context, opened(old).total if old else 0)
        self.total = self.rows.total
        self.banding = self.config.fuzzy.banding()
        self.searches = 0
        self.sets = EqualSets.empty()
        self.paths: list[Path] = []
        self.store = ""
        self.counts = np.zeros((2, SIMILARITY_BINS), np.int64)

    @property
    def search(self) -> str:
        """A folder per search: a task of an earlier search that comes late cannot write to the files of this one."""
        return f"search-{self.searches}"

    def equal_hashes(self) -> EqualSets:
        if self.config.exact.enabled:
            self.sets = equal_documents(self.context, self.rows, self.old)
        return self.sets

    def candidates(self, copies: Array) -> Iterator[Array]:
        self.searches += 1
        self.paths = []
        if self.config.fuzzy.enabled:
            others = None
            if self.config.contained is not None:
                others = functools.partial(contained_pairs, self.context, self.rows, self.search)
            self.paths = candidates(self.context, self.rows, self.banding, copies, self.search, self.old, others)
        return self._pairs()

    def _pairs(self) -> Iterator[Array]:
        for path in self.paths:
            pairs = mapped(path, np.int64).reshape(-1, 2)
            for start in range(0, len(pairs), PAIRS_PER_TASK):
                yield pairs[start : start + PAIRS_PER_TASK]

    def read_texts(self, involved: RowSet, members: Array) -> Array:
        if self.config.fuzzy.verify == "exact":
            self.store, digests = read_texts(self.context, self.rows, self.search, involved, members, self.old)
            return digests
        with_old = self._equal_to_old(members)  # they are compared without their texts: no old text is read
        nothing, digests = RowSet.empty(self.total), np.zeros((len(members), DIGEST_BYTES), np.uint8)
        self.store, digests[~with_old] = read_texts(self.context, self.rows, self.search, nothing, members[~with_old])
        digests[with_old] = fingerprints(self.context, self.rows, members[with_old], self.old)
        self.store = gather_sketches(self.context, self.search, involved, self.old)
        return digests

    def _equal_to_old(self, members: Array) -> Array:
        """Return bool[n]: which members share their hash with a document of an old run."""
        groups = self.sets.representatives[np.searchsorted(self.sets.members, members)]
        return np.isin(groups, groups[members < self.rows.old])

    def compare(self, involved: RowSet) -> VerifiedFiles:
        verified = compare(self.context, Verification(self.search, self.store), involved, self.paths)
        self.counts = verified.counts
        return verified


def _facts(context: Context, source: RunSource, duplicates: Duplicates) -> dict[str, Any]:
    """Return what the report says about the stage."""
    fuzzy = context.config.dedupe.fuzzy
    return {
        "documents": source.rows.own,
        "exact_duplicates": int((duplicates.sets.copies >= source.rows.old).sum()),
        "bands": source.banding.bands,
        "rows": source.banding.rows,
        "threshold": fuzzy.threshold,
        "verify": fuzzy.verify,
        "candidate_pairs": int(source.counts[0].sum()),
        "verified_pairs": int(source.counts[1].sum()),
        "pairs_by_similarity": [
            {"from": i / SIMILARITY_BINS, "to": (i + 1) / SIMILARITY_BINS, "candidates": int(c), "verified": int(v)}
            for i, (c, v) in enumerate(source.counts.T)
        ],
    }
