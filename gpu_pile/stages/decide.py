"""decide: thresholds and survivors -> decisions/<shard>.parquet, from tables alone.

Columns, a row a good document:

    doc_id      uint64        shard index * 2^40 + 0-based line
    shard       string        the shard's name
    line        int64         1-based
    subset      string        "" where the document names none
    keep        bool
    reasons     list<string>  every rule it fails, e.g. word_count.min, and exact_duplicate or near_duplicate
    values      list<double>  the value that failed each of them; for duplicates the similarity to the witness
    witness     uint64        the kept document that this one duplicates, else null
    similarity  float64       to the witness, else null (null also where resolve: connected knows none)
    cluster     uint64        smallest doc_id of its cluster of duplicates, else null
    edited_bytes  int64       bytes of its text that editing takes away; 0 where it leaves verbatim or not at all
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gpu_pile import decisions, files, rundir
from gpu_pile.config import EDIT_SIGNALS, Config
from gpu_pile.parallel import run_tasks
from gpu_pile.shards import Shard
from gpu_pile.stages.context import Context
from gpu_pile.stages.measure import ROW_GROUP
from gpu_pile.stages.tables import row_groups, subset_codes

VERSION = 2

Array = np.ndarray[Any, Any]


def decide_key(context: Context) -> str:
    c = context.config
    return files.key_of(
        {
            "version": VERSION,
            "dedupe": context.run.state("dedupe")["key"],
            "thresholds": c.thresholds.key(),
            "edit": c.edit.model_dump(),
            "survivor": c.dedupe.survivor.model_dump(),
            "resolve": c.dedupe.fuzzy.resolve,
        }
    )


def decide(context: Context) -> None:
    run, key = context.run, decide_key(context)
    state = run.state("decide")
    if state.get("key") == key and all(run.decisions(s.name).is_file() for s in context.shards):
        return
    run.forget("decide")
    with context.stage("decide") as entry:
        clustered = survivors(context)
        facts: dict[str, Any] = {}

        def one(shard: Shard) -> None:
            facts[shard.name] = _decide_shard(context, shard, clustered)

        run_tasks([lambda s=s: one(s) for s in context.shards], context.config.n_workers)  # type: ignore[misc]
        entry["text_bytes"] = sum(run.state("measure", s.name)["text_bytes"] for s in context.shards)
    run.set_state({"key": key, "shards": {s.name: facts[s.name] for s in context.shards}}, "decide")


def survivors(context: Context) -> decisions.Clustered:
    """Survivors and witnesses among the documents that have duplicates."""
    clusters, pairs = pq.read_table(context.run.clusters), pq.read_table(context.run.pairs)
    doc_id = clusters.column("doc_id").to_numpy()
    passing = np.ones(len(doc_id), bool)
    length = np.zeros(len(doc_id), np.int64)
    preferred = np.zeros(len(doc_id), np.int64)
    survivor = context.config.dedupe.survivor
    columns = measured_columns(context.config, "text_bytes")
    for shard in context.shards:
        for table in row_groups(context, shard, columns):
            ids = identifiers(shard, table)
            lo, hi = np.searchsorted(doc_id, [ids[0], ids[-1] + np.uint64(1)]) if len(ids) else (0, 0)
            if lo == hi:
                continue
            chosen = table.take(pa.array(np.searchsorted(ids, doc_id[lo:hi])))
            _, marks, _ = failures(chosen, context.config)
            passing[lo:hi] = ~marks.any(axis=1)
            length[lo:hi] = chosen.column("text_bytes").to_numpy()
            names, codes = subset_codes(chosen)
            order = {name: i for i, name in enumerate(survivor.subsets)}
            preferred[lo:hi] = np.array([order.get(n, len(order)) for n in names], np.int64)[codes]
    preference = [preferred, -length] if survivor.prefer == "longest" else [preferred]
    return decisions.resolve(clusters, pairs, passing, preference, context.config.dedupe.fuzzy.resolve)


def measured_columns(config: Config, *more: str) -> list[str]:
    """What deciding needs of a measured table."""
    edit = ("text_bytes", *EDIT_SIGNALS) if config.edit.c4_lines else ()
    return sorted({"line", "subset", *config.thresholds.signals(), *edit, *more})


def edited_bytes(table: pa.Table, keep: Array, config: Config) -> Array:
    """int64[n]: what editing takes away from each document of a measured table; 0 where it is not edited.

    A document that C4 rejects altogether is not edited, should the thresholds keep it: there is no text of it that C4
    would keep.
    """
    if not config.edit.c4_lines:
        return np.zeros(len(table), np.int64)
    subsets, codes = subset_codes(table)
    chosen = np.array([config.edit.applies_to(name) for name in subsets], bool)[codes]
    kept, lorem, curly = (table.column(name).to_numpy() for name in EDIT_SIGNALS)
    gone = table.column("text_bytes").to_numpy() - kept
    return np.where(keep & chosen & (lorem == 0) & (curly == 0), gone, 0)


def identifiers(shard: Shard, table: pa.Table) -> Array:
    """uint64 doc_id of each row."""
    return rundir.doc_id(np.uint64(shard.index), table.column("line").to_numpy().astype(np.uint64))


def failures(table: pa.Table, config: Config) -> tuple[list[str], Array, Array]:
    """(rule names, bool[n, m] which rule fails, float64[n, m] its value): each row by its subset's rules."""
    subsets, codes = subset_codes(table)
    return config.thresholds.evaluate(table, subsets, codes)


def _decide_shard(context: Context, shard: Shard, clustered: decisions.Clustered) -> dict[str, Any]:
    kept_lines = hashlib.blake2b(digest_size=16)
    target = context.run.decisions(shard.name)
    kept = 0
    with files.atomic(target) as partial, pq.ParquetWriter(partial, SCHEMA, compression="zstd") as writer:
        for table in row_groups(context, shard, measured_columns(context.config)):
            decided = decide_table(shard, table, context.config, clustered)
            keep = decided.column("keep").to_numpy()
            kept_lines.update(table.column("line").to_numpy()[keep].tobytes())
            kept_lines.update(decided.column("edited_bytes").to_numpy()[keep].tobytes())
            kept += int(keep.sum())
            writer.write_table(decided, row_group_size=ROW_GROUP)
    return {"kept": kept, "kept_lines": kept_lines.hexdigest()}


SCHEMA = pa.schema(
    [
        ("doc_id", pa.uint64()),
        ("shard", pa.string()),
        ("line", pa.int64()),
        ("subset", pa.string()),
        ("keep", pa.bool_()),
        ("reasons", pa.list_(pa.string())),
        ("values", pa.list_(pa.float64())),
        ("witness", pa.uint64()),
        ("similarity", pa.float64()),
        ("cluster", pa.uint64()),
        ("edited_bytes", pa.int64()),
    ]
)


def decide_table(shard: Shard, table: pa.Table, config: Config, clustered: decisions.Clustered) -> pa.Table:
    """Decisions for the rows of one measured table (see the module)."""
    ids = identifiers(shard, table)
    n = len(ids)
    rules, marks, values = failures(table, config)
    lo, hi = np.searchsorted(clustered.doc_id, [ids[0], ids[-1] + np.uint64(1)]) if n else (0, 0)
    at = np.searchsorted(ids, clustered.doc_id[lo:hi])
    duplicate = np.zeros((n, 2), bool)
    duplicate[at, 0], duplicate[at, 1] = clustered.exact[lo:hi], clustered.near[lo:hi]
    similarity = np.zeros(n)
    similarity[at] = clustered.similarity[lo:hi]
    witness, cluster = np.zeros(n, np.uint64), np.zeros(n, np.uint64)
    witness[at], cluster[at] = clustered.witness[lo:hi], clustered.cluster[lo:hi]
    in_cluster = np.zeros(n, bool)
    in_cluster[at] = True
    has_witness = duplicate.any(axis=1)
    reasons, reason_values = decisions.lists(
        [*rules, decisions.EXACT, decisions.NEAR],
        np.concatenate([marks, duplicate], axis=1),
        np.concatenate([values, similarity[:, None], similarity[:, None]], axis=1),
    )
    keep = np.asarray(~(marks.any(axis=1) | has_witness))
    return pa.table(
        [
            pa.array(ids),
            pa.array([shard.name], pa.string()).take(pa.array(np.zeros(n, np.int64))),
            table.column("line"),
            table.column("subset"),
            pa.array(keep),
            reasons,
            reason_values,
            pa.array(witness, mask=~has_witness),
            pa.array(similarity, mask=~has_witness | (similarity == 0)),
            pa.array(cluster, mask=~in_cluster),
            pa.array(edited_bytes(table, keep, config)),
        ],
        schema=SCHEMA,
    )
