"""decide: thresholds and survivors -> decisions/<shard>.parquet, from tables alone.

Columns, a row a good document:

    doc_id      uint64        shard index * 2^40 + 0-based line
    shard       string        the shard's name
    line        int64         1-based
    subset      string        "" where the document names none
    keep        bool
    reasons     list<string>  every rule it fails, e.g. word_count.min, subset_left_out where its subset is not
                              chosen, and exact_duplicate, near_duplicate or contained
    values      list<double>  the value that failed each of them; for duplicates the similarity to the witness; NaN
                              where there is none
    witness     uint64        the kept document that this one duplicates, else null; of a document that stays as a
                              copy (dedupe.copies_max) too
    similarity  float64       to the witness, else null (null also where resolve: connected knows none)
    containment   float64     share of its distinct shingles that the witness has, else null; 1 for equal texts
    lost_shingles int64       those that the witness lacks, else null; 0 for equal texts. Both are null where the
                              similarity is an estimate
    cluster     uint64        smallest doc_id of its cluster of duplicates, else null
    copies      int64         documents of its cluster; 1 for a document without duplicates
    id          string        with input.id_field: the document's id in its source, else there is no such column
    witness_run, witness_shard, witness_line  string, string, int64: with input.against, the place of the witness; run
                              is null for documents of this run
    edited_bytes  int64       bytes of its text that editing or cutting takes away; 0 where it leaves verbatim or not at
                              all
    repeated_bytes  int64     with dedupe.substrings: how many bytes of its text are repeated, 0 where it does not pass
                              otherwise, else there is no such column

reasons.parquet counts documents by all that they fail together (see gpu_pile.summaries.reason_counts). With
decide.remove, removals.parquet has the documents that removal lists name (see gpu_pile.run.removals).

The same functions decide a trial of other thresholds (gpu_pile.explore.run), which writes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gpu_pile.corpus import files
from gpu_pile.corpus.shards import Shard
from gpu_pile.dedup import survivors as decisions
from gpu_pile.ops.witnesses import witnesses
from gpu_pile.run import directory
from gpu_pile.run import removals as removal_lists
from gpu_pile.run.config import EDIT_SIGNALS, Config
from gpu_pile.run.context import Context
from gpu_pile.run.cuts import Repeated
from gpu_pile.run.index.old import is_old
from gpu_pile.run.index.witnesses import WITNESS, Witnesses
from gpu_pile.run.removals import LEFT_OUT, Removals
from gpu_pile.run.stages.measure.columns import ROW_GROUP
from gpu_pile.run.tables import row_groups, subset_codes
from gpu_pile.run.threads import map_threads
from gpu_pile.summaries import reason_counts
from gpu_pile.types import Array

VERSION = 5

PAIRS_AT_A_TIME = 1 << 20
"""Pairs that are read at a time; those of a cluster are held together."""


def decide_key(context: Context) -> str:
    c, substrings = context.config, context.config.dedupe.substrings
    content = {**_depends_on(context), "edit": c.edit.model_dump()}
    if substrings.enabled:
        content["substrings"] = [context.directory.state("substrings")["key"], substrings.model_dump()]
    return files.key_of(content)


def passing_key(context: Context) -> str:
    """Return the key of everything on which it depends which documents pass thresholds and duplicate no other."""
    return files.key_of(_depends_on(context))


def _depends_on(context: Context) -> dict[str, Any]:
    c = context.config
    removed = {"remove": removal_lists.key_of(c.decide.remove)} if c.decide.remove else {}
    chosen = {"subsets": c.input.subsets.model_dump()} if c.input.subsets.given else {}
    return {
        **removed,
        **chosen,
        **({"join": context.directory.state("join")["key"]} if c.measure.join else {}),
        "version": VERSION,
        "ops": {witnesses.name: witnesses.version},
        "dedupe": context.directory.state("dedupe")["key"],
        "thresholds": c.thresholds.key(),
        "survivor": c.dedupe.survivor.model_dump(),
        "rule": c.dedupe.rule(),
    }


def decide(context: Context) -> dict[str, Any]:
    """Write decisions/<shard>.parquet and reasons.parquet. Return per shard what later stages depend on."""
    run = context.directory
    with context.stage("decide") as entry, files.AtomicFiles() as made:
        removals = removal_lists.read(context.config.decide.remove, context.shards)
        removal_lists.check(context, removals)
        _write_removals(context, removals, made)
        clustered = survivors(context, removals)

        def decide_shard(shard: Shard) -> tuple[dict[str, Any], pa.Table]:
            tally, target = reason_counts.Tally(), made.add(run.decisions(shard.name))
            return _decide_shard(context, verdicts(context, shard, clustered, removals), tally, target), tally.table()

        decided = map_threads(decide_shard, context.shards, context.config.n_workers)
        reasons = made.add(run.reasons)
        with reasons.errors():
            pq.write_table(reason_counts.merged(table for _, table in decided), reasons.partial)
        entry["text_bytes"] = sum(run.state("measure", s.name)["text_bytes"] for s in context.shards)
    return {"shards": {s.name: facts for s, (facts, _) in zip(context.shards, decided, strict=True)}}


def _write_removals(context: Context, removals: Removals, made: files.AtomicFiles) -> None:
    """Leave what removal lists name beside the decisions; nothing where there are none."""
    path = context.directory.removals
    if not context.config.decide.remove:
        path.unlink(missing_ok=True)
        return
    target = made.add(path)
    with target.errors():
        pq.write_table(removals.table, target.partial, compression="zstd")


def survivors(context: Context, removals: Removals) -> decisions.Clustered:
    """Survivors and witnesses among the documents that have duplicates."""
    clusters = _clusters(context)
    doc_id = clusters.column("doc_id").to_numpy()
    passing, apart = np.ones(len(doc_id), bool), np.zeros(len(doc_id), bool)
    survivor = context.config.dedupe.survivor
    preferred = np.zeros(len(doc_id), np.min_scalar_type(len(survivor.subsets)))
    shorter = np.zeros(len(doc_id) if survivor.prefer == "longest" else 0, np.int64)
    columns = measured_columns(context.config)
    order = {name: i for i, name in enumerate(survivor.subsets)}
    skipped = set(context.config.dedupe.fuzzy.skip_subsets)

    def look_up(shard: Shard) -> None:
        for table in row_groups(context, shard, columns):
            ids = identifiers(shard, table)
            lo, hi = np.searchsorted(doc_id, [ids[0], ids[-1] + np.uint64(1)]) if len(ids) else (0, 0)
            if lo == hi:
                continue
            chosen = table.take(pa.array(np.searchsorted(ids, doc_id[lo:hi])))
            _, marks, _ = failures(chosen, context.config)
            named = removals.marks(shard.name, chosen.column("line").to_numpy())
            passing[lo:hi] = ~(marks.any(axis=1) | named.any(axis=1) | left_out(chosen, context.config).any(axis=1))
            if len(shorter):
                np.negative(chosen.column("text_bytes").to_numpy(), out=shorter[lo:hi])
            names, codes = subset_codes(chosen)
            preferred[lo:hi] = np.array([order.get(n, len(order)) for n in names], preferred.dtype)[codes]
            apart[lo:hi] = np.array([n in skipped for n in names], bool)[codes]

    if len(doc_id):
        map_threads(look_up, context.shards, context.config.n_workers)
    preference = [preferred, shorter] if survivor.prefer == "longest" else [preferred]
    if is_old(doc_id).any():
        preference = _old_first(context, is_old(doc_id), apart, preference)
    with pq.ParquetFile(files.table(context.directory.pairs)) as file:
        pairs = (pa.Table.from_batches([batch]) for batch in file.iter_batches(PAIRS_AT_A_TIME))
        standing = decisions.Standing(passing, apart, preference)
        return decisions.resolve(clusters, pairs, standing, context.config.dedupe.rule())


def _old_first(context: Context, old: Array, apart: Array, preference: list[Array]) -> list[Array]:
    """Fill in what is known of documents of old runs; they come before all others. Return the new preference."""
    table, dedupe = pq.read_table(files.table(context.directory.against)), context.config.dedupe
    names, codes = subset_codes(table)
    order = {name: i for i, name in enumerate(dedupe.survivor.subsets)}
    apart[old] = np.array([name in dedupe.fuzzy.skip_subsets for name in names], bool)[codes]
    preference[0][old] = np.array([order.get(n, len(order)) for n in names], preference[0].dtype)[codes]
    for shorter in preference[1:]:
        shorter[old] = -table.column("text_bytes").to_numpy()
    return [~old, *preference]


def _clusters(context: Context) -> pa.Table:
    """clusters.parquet, each column in one piece: it is looked at as an array without a copy."""
    with pq.ParquetFile(files.table(context.directory.clusters)) as file:
        names = file.schema_arrow.names
        return pa.table({name: file.read([name]).column(name).to_numpy() for name in names})


def measured_columns(config: Config) -> list[str]:
    """What deciding needs of a measured table."""
    edit = EDIT_SIGNALS if config.edit.c4_lines else ()
    ids = () if config.input.id_field is None else ("id",)
    return sorted({"line", "subset", "text_bytes", *ids, *config.thresholds.columns(), *edit})


def edited_bytes(found: Verdicts, config: Config) -> Array:
    """int64[n]: what editing or cutting takes away from each document of a measured table; 0 where it does not.

    A document that C4 rejects altogether is not edited, should the thresholds keep it: there is no text of it that C4
    would keep.
    """
    table = found.table
    if config.dedupe.cuts:
        return np.where(found.keep, found.repeated, 0)
    if not config.edit.c4_lines:
        return np.zeros(len(table), np.int64)
    subsets, codes = subset_codes(table)
    chosen = np.array([config.edit.applies_to(name) for name in subsets], bool)[codes]
    kept, lorem, curly = (table.column(name).to_numpy() for name in EDIT_SIGNALS)
    gone = table.column("text_bytes").to_numpy() - kept
    return np.where(found.keep & chosen & (lorem == 0) & (curly == 0), gone, 0)


def identifiers(shard: Shard, table: pa.Table) -> Array:
    """uint64 doc_id of each row."""
    return directory.doc_id(np.uint64(shard.index), table.column("line").to_numpy().astype(np.uint64))


def failures(table: pa.Table, config: Config) -> tuple[list[str], Array, Array]:
    """(rule names, bool[n, m] which rule fails, float64[n, m] its value): each row by its subset's rules."""
    subsets, codes = subset_codes(table)
    return config.thresholds.evaluate(table, subsets, codes)


def left_out(table: pa.Table, config: Config) -> Array:
    """bool[n, 1]: whether the subset of each row is not chosen; bool[n, 0] where nothing is said of subsets."""
    choice = config.input.subsets
    if not choice.given:
        return np.zeros((len(table), 0), bool)
    subsets, codes = subset_codes(table)
    return np.array([not choice.has(name) for name in subsets], bool)[codes][:, None]


@dataclass(frozen=True)
class Verdicts:
    """What was decided about the n rows of a measured table.

    table:      the rows: line, subset, text_bytes, signals
    rules:      names of m rules: of thresholds, reasons of removal lists, LEFT_OUT, and last those of duplicates
    marks:      bool[n, m], which rule each document fails
    keep:       bool[n], whether it fails none
    repeated:   int64[n], bytes of its text that are repeated
    values:     float64[n, m], the value that the rule is about
    at:         int64[d], the rows that are in a cluster; the others of its length are about them:
    clustered:  of d documents (see gpu_pile.dedup.survivors.Clustered)
    """

    shard: Shard
    table: pa.Table
    rules: list[str]
    marks: Array
    values: Array
    at: Array
    clustered: decisions.Clustered
    keep: Array
    repeated: Array


def verdicts(
    context: Context,
    shard: Shard,
    clustered: decisions.Clustered,
    removals: Removals,
    *,
    substrings: bool = True,
) -> Iterator[Verdicts]:
    """The verdicts of a shard, a row group at a time; without substrings: nothing is removed for what it repeats."""
    settings = context.config.dedupe.substrings
    chosen = [LEFT_OUT] if context.config.input.subsets.given else []
    more = [decisions.REPEATED] if substrings and settings.enabled else []
    repeated = Repeated.of(context, shard) if more else Repeated.none()
    for table in row_groups(context, shard, measured_columns(context.config)):
        ids = identifiers(shard, table)
        n = len(ids)
        rules, marks, values = failures(table, context.config)
        lo, hi = np.searchsorted(clustered.doc_id, [ids[0], ids[-1] + np.uint64(1)]) if n else (0, 0)
        own = clustered.between(lo, hi)
        at = np.searchsorted(ids, own.doc_id)
        duplicate, similarity = np.zeros((n, 3), bool), np.zeros((n, 3))
        duplicate[at] = np.stack([own.exact, own.near, own.contained], axis=1)
        similarity[at] = own.similarity[:, None]
        named = removals.marks(shard.name, table.column("line").to_numpy())
        named = np.concatenate([named, left_out(table, context.config)], axis=1)
        passes = np.logical_not(np.concatenate([marks, named, duplicate], axis=1).any(axis=1))
        n_repeated, removed, share = repeated.look_up(ids, passes, settings)
        width = len(more)
        yield Verdicts(
            shard,
            table,
            [*rules, *removals.reasons, *chosen, *more, *decisions.DUPLICATES],
            np.concatenate([marks, named, removed[:, None][:, :width], duplicate], axis=1),
            np.concatenate([values, np.full(named.shape, np.nan), share[:, None][:, :width], similarity], axis=1),
            at,
            own,
            passes & ~removed,
            n_repeated,
        )


def _decide_shard(
    context: Context, found_in_shard: Iterator[Verdicts], counted: reason_counts.Tally, target: files.AtomicFile
) -> dict[str, Any]:
    kept_lines = hashlib.blake2b(digest_size=16)
    kept = 0
    witnesses = Witnesses.of(context) if context.config.input.against else None
    schema = SCHEMA
    if context.config.dedupe.substrings.enabled:
        schema = schema.append(pa.field("repeated_bytes", pa.int64()))
    if context.config.input.id_field is not None:
        schema = schema.append(pa.field("id", pa.string()))
    for field in WITNESS if witnesses is not None else ():
        schema = schema.append(field)
    with target.errors(), pq.ParquetWriter(target.partial, schema, **STORAGE) as writer:
        for found in found_in_shard:
            decided = decided_table(found, context.config)
            if witnesses is not None:
                for field, column in zip(WITNESS, witnesses.columns(decided.column("witness")), strict=True):
                    decided = decided.append_column(field, column)
            kept_lines.update(found.table.column("line").to_numpy()[found.keep].tobytes())
            kept_lines.update(decided.column("edited_bytes").to_numpy()[found.keep].tobytes())
            kept += int(found.keep.sum())
            count(found, counted)
            writer.write_table(decided, row_group_size=ROW_GROUP)
    return {"kept": kept, "kept_lines": kept_lines.hexdigest()}


def count(found: Verdicts, counted: reason_counts.Tally) -> None:
    """Add verdicts to a tally."""
    text_bytes = found.table.column("text_bytes").to_numpy()
    counted.add(found.table.column("subset"), found.rules, found.marks, found.keep, text_bytes)


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
        ("containment", pa.float64()),
        ("lost_shingles", pa.int64()),
        ("cluster", pa.uint64()),
        ("copies", pa.int64()),
        ("edited_bytes", pa.int64()),
    ]
)


STORAGE: dict[str, Any] = {
    "compression": "zstd",
    "use_dictionary": ["shard", "subset", "reasons.list.element"],
    "column_encoding": {"doc_id": "DELTA_BINARY_PACKED", "line": "DELTA_BINARY_PACKED"},
    "write_statistics": ["doc_id"],
}
"""Half the size and time of pyarrow's defaults, which build dictionaries of ids that never repeat."""


def decided_table(found: Verdicts, config: Config) -> pa.Table:
    """The rows of decisions/<shard>.parquet (see the module)."""
    table, of = found.table, found.clustered
    n = len(table)

    def spread(values: Array, known: Array | bool = True) -> pa.Array:
        """A column of all rows: values of those in clusters, null elsewhere and where they are not known."""
        column, there = np.zeros(n, values.dtype), np.zeros(n, bool)
        column[found.at], there[found.at] = values, known
        return pa.array(column, mask=~there)

    removed, copied = of.exact | of.near | of.contained, of.witness != of.doc_id
    counted = removed & ((of.shingles > 0) | of.exact)
    reasons, reason_values = decisions.lists(found.rules, found.marks, found.values)
    decided = pa.table(
        [
            pa.array(identifiers(found.shard, table)),
            pa.array([found.shard.name], pa.string()).take(pa.array(np.zeros(n, np.int64))),
            table.column("line"),
            table.column("subset"),
            pa.array(found.keep),
            reasons,
            reason_values,
            spread(of.witness, copied),
            spread(of.similarity, copied & (of.similarity > 0)),
            spread(np.where(of.exact, 1.0, of.common / np.maximum(of.shingles, 1)), counted),
            spread(of.shingles - of.common, counted),
            spread(of.cluster),
            pc.fill_null(spread(of.copies), 1),
            pa.array(edited_bytes(found, config)),
        ],
        schema=SCHEMA,
    )
    if config.dedupe.substrings.enabled:
        decided = decided.append_column("repeated_bytes", pa.array(found.repeated))
    return decided.append_column("id", table.column("id")) if "id" in table.column_names else decided
