"""Single documents of a run: where they are, their texts, everything that was decided about them, texts around a bound.

Shards are read only for the texts that are shown, from the nearest place where a zstd frame begins.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gpu_pile.corpus import bitmap, files
from gpu_pile.corpus.shards import Shard
from gpu_pile.dedup import survivors
from gpu_pile.errors import DataError, UsageError
from gpu_pile.explore import passages
from gpu_pile.explore.tables import RunTables
from gpu_pile.policy.thresholds import NO_SPACES_ABOVE, WITHOUT_SPACES, bounds_of
from gpu_pile.present import diff
from gpu_pile.present.tables import Result
from gpu_pile.run import directory as rundir
from gpu_pile.run.cuts import Cuts
from gpu_pile.run.documents import DocumentLocation, beginning, read_texts
from gpu_pile.run.documents import locate as find_documents
from gpu_pile.run.index.old import OLD
from gpu_pile.run.index.witnesses import WITNESS, Place, Witnesses
from gpu_pile.run.reading import check_unchanged, open_shard
from gpu_pile.run.removals import LEFT_OUT, applied, is_of_list
from gpu_pile.run.tables import Rows, doc_ids, row_groups
from gpu_pile.run.threads import map_threads
from gpu_pile.summaries import histograms
from gpu_pile.types import Array

DECIDED = (
    *("doc_id", "shard", "line", "subset", "keep", "witness", "similarity"),
    *("containment", "lost_shingles", "cluster", "copies"),
)
"""The columns of decisions that document() has, besides the reasons."""

READ_BYTES_PER_SECOND = 500e6
"""Decompressing a shard up to a document, on one core; see benchmarks/README.md."""


def kept_lines(run: RunTables, name: str) -> Iterator[bytes]:
    """The lines of a shard that its bitmap keeps, read from the shard.

    Raises:
        UsageError: the run has no such shard, or it holds rows. DataError: it has changed since, or there is no bitmap.
    """
    shard = next((s for s in run.shards if s.name == name), None)
    if shard is None:
        raise UsageError(f"the run has no shard {name!r}; its shards are {', '.join(s.name for s in run.shards)}")
    if shard.is_table:
        raise UsageError(
            f"shard {name!r} holds rows, not lines: the bits of {run.directory.bitmap(name)} are those of its rows, by "
            "which pyarrow's Table.filter chooses (docs/run-directory.md)"
        )
    keep = bitmap.read_bitmap(run.directory.bitmap(name))
    state = run.directory.state("measure", name)
    check_unchanged(shard, state["file"], state["identity"])
    return bitmap.kept_lines(open_shard(run.context, shard), keep)


def locate(run: RunTables, ids: Sequence[int]) -> dict[int, DocumentLocation]:
    """Where documents are, by doc_id.

    Raises:
        UsageError: no document has one of these ids.
    """
    out = {}
    for identifier, location in find_documents(run.context, ids).items():
        if location is None:
            index, line = rundir.split_doc_id(identifier)
            if index >= len(run.shards):
                raise UsageError(f"doc_id {identifier}: there is no shard {index}, this run has {len(run.shards)}")
            raise UsageError(
                f"doc_id {identifier}: line {line} of shard {run.shards[index].name} is not a document "
                "(blank, bad or beyond the end)"
            )
        out[identifier] = location
    return out


def doc_id_of(run: RunTables, name: str) -> int:
    """The doc_id that a name stands for: itself, or that of SHARD:LINE.

    Raises:
        UsageError: it is neither, or the run has no such shard.
    """
    if name.isdecimal():
        return int(name)
    shard, _, line = name.rpartition(":")
    if not shard or not line.isdecimal() or len(line) > 12 or int(line) == 0:
        raise UsageError(f"expected a doc_id or SHARD:LINE, such as 00:17, got {name!r}")
    index = next((s.index for s in run.shards if s.name == shard), None)
    if index is None:
        raise UsageError(f"the run has no shard {shard!r}; its shards are {', '.join(s.name for s in run.shards)}")
    return int(rundir.doc_id(index, int(line)))


def with_reason(run: RunTables, rule: str, n: int) -> list[int]:
    """The doc_ids of the first n documents that were removed for a reason, among others or alone.

    Raises:
        UsageError: there is none.
    """
    found: list[int] = []
    seen: set[str] = set()
    for shard in run.shards:
        with pq.ParquetFile(rundir.table(run.directory.decisions(shard.name))) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=["doc_id", "reasons"])
                reasons = table.column("reasons").combine_chunks()
                names = reasons.flatten().cast(pa.string())
                rows = reasons.value_parent_indices().filter(pc.equal(names, rule))
                found += table.column("doc_id").take(rows).to_pylist()
                seen.update(names.unique().to_pylist())
                if len(found) >= n:
                    return found[:n]
    if not found:
        there = f"there are: {', '.join(sorted(seen))}" if seen else "none was removed at all"
        raise UsageError(f"no document was removed for {rule!r}; {there}")
    return found


def at_random(run: RunTables, n: int, seed: int = 0) -> list[int]:
    """The doc_ids of n documents, ascending; each document is as likely as every other. All if there are fewer."""
    rows = Rows.of(run.context)
    chosen = np.random.default_rng(seed).choice(rows.total, min(n, rows.total), replace=False)
    ids: list[int] = doc_ids(run.context, rows, np.sort(chosen)).tolist()
    return ids


def cluster_members(run: RunTables, doc_id: int) -> pa.Table:
    """doc_id, keep: the documents of a document's cluster, the kept ones first, then ascending.

    Raises:
        UsageError: there is no such document, or it has no duplicates.
    """
    locate(run, [doc_id])
    row = run.clusters.filter(pc.field("doc_id") == pa.scalar(doc_id, pa.uint64()))
    if not len(row):
        raise UsageError(f"document {doc_id} has no duplicates, so it is in no cluster")
    paths = [rundir.need(run.directory.decisions(shard.name)) for shard in run.shards]
    member = pc.field("cluster") == row.column("cluster")[0]
    table = files.dataset(paths).to_table(columns=["doc_id", "keep"], filter=member)
    return table.sort_by([("keep", "descending"), ("doc_id", "ascending")])


def texts_of(run: RunTables, ids: Sequence[int]) -> dict[int, str]:
    """The whole texts of some documents by doc_id, those of old runs (input.against) among them.

    Raises:
        UsageError: no document has one of these ids. DataError: a shard has changed since the run.
    """
    texts = read_texts(run.context, list(locate(run, [i for i in ids if i < OLD]).values()))
    by_run: dict[str, dict[int, str]] = {}
    for i in ids:
        if i >= OLD:
            place = place_of(run, i)
            by_run.setdefault(str(place.run), {})[i] = f"{place.shard}:{place.line}"
    for path, named in by_run.items():
        old = RunTables(rundir.open_dir(path))
        theirs = {i: doc_id_of(old, name) for i, name in named.items()}
        found = texts_of(old, list(theirs.values()))
        texts |= {i: found[identifier] for i, identifier in theirs.items()}
    return texts


def place_of(run: RunTables, doc_id: int) -> Place:
    """Where a document is that this run knows: one of its own, or one of an old run that its documents duplicate."""
    if doc_id < OLD:
        location = locate(run, [doc_id])[doc_id]
        return Place(None, location.shard.name, location.line)
    return Witnesses.of(run.context).place(doc_id)


def texts(run: RunTables, ids: Sequence[int]) -> Result:
    """The whole texts of some documents, in the order given."""
    text_by_id = texts_of(run, ids)
    column = pa.array([text_by_id[i] for i in ids], pa.string())
    table = pa.table({"doc_id": pa.array(ids, pa.uint64()), "text": column})
    return Result(table, f"{len(ids)} documents")


def document(run: RunTables, doc_id: int) -> dict[str, Any]:
    """Everything about one document: text, signals, thresholds, verdict, reasons, cluster, witness."""
    location = locate(run, [doc_id])[doc_id]
    row = _row_of(rundir.table(run.directory.decisions(location.shard.name)), location)
    names = [n for n in run.config.measured_signals if n in run.signals.schema.names]
    fields = [n for n in run.config.input.extra_columns if n not in names]
    measured = _row_of(files.table(run.directory.measured(location.shard.name)), location, [*fields, *names])
    if run.config.joined_columns:
        measured |= _row_of(
            files.table(run.directory.joined(location.shard.name)), location, list(run.config.joined_columns)
        )
        names += run.config.joined_signals
        fields += [name for name in run.config.joined_columns if name not in names]
    policy = run.config.thresholds
    rules = policy.rules_of(row["subset"])
    return {
        **{k: row[k] for k in (*DECIDED, *(field.name for field in WITNESS)) if k in row},
        "reasons": [
            {
                "rule": rule,
                "value": None if math.isnan(value) else value,
                "explanation": _explanation(run, rule, value, row),
            }
            for rule, value in zip(row["reasons"], row["values"], strict=True)
        ],
        "fields": {name: measured[name] for name in fields},
        "signals": {name: measured[name] for name in names},
        "thresholds": {name: dict(bounds_of(rules[name])) for name in names if name in rules},
        "not_applied": policy.about_words(rules) if (measured.get(WITHOUT_SPACES) or 0) > NO_SPACES_ABOVE else [],
        "text": read_texts(run.context, [location])[doc_id],
    }


def _row_of(table: Any, location: DocumentLocation, columns: Sequence[str] | None = None) -> dict[str, Any]:
    """One document's row of a table of its shard."""
    if columns is not None and not columns:
        return {}
    with pq.ParquetFile(table) as file:
        group = file.read_row_group(location.group, columns=columns)
    row: dict[str, Any] = group.slice(location.row, 1).to_pylist()[0]
    return row


def _explanation(run: RunTables, rule: str, value: float, row: dict[str, Any]) -> str:
    if rule in survivors.DUPLICATES:
        return f"of {row['witness']}" if row["witness"] < OLD else f"of {place_of(run, row['witness'])}"
    if rule == LEFT_OUT:
        return "input.subsets does not have its subset"
    if is_of_list(rule):
        note = applied(run.context).note(row["shard"], row["line"], rule)
        return "in a removal list" + (f": {note}" if note else "")
    if rule == survivors.REPEATED:
        return "the share of its text that earlier text repeats"
    return run.config.thresholds.explain(rule, value, row["subset"])


def story(run: RunTables, doc_id: int) -> dict[str, Any]:
    """As document(); for near duplicates and contained documents also `difference`: the text beside its witness's.

    Returns:
        "difference" lists {"kind", "text"}; kinds are equal, removed (only in this text), moved (the witness has it, in
        another place) and added (only in the witness). With dedupe.substrings, other documents
        that repeat earlier text have "passages", equal and repeated, and "repeated", where each of those stands first.
    """
    content = document(run, doc_id)
    if any(r["rule"] in (survivors.NEAR, survivors.CONTAINED) for r in content["reasons"]):
        try:
            witness = texts_of(run, [content["witness"]])[content["witness"]]
        except (UsageError, DataError):
            if content["witness"] < OLD:
                raise
            return content  # the old run, or its shard, is not there any more
        fuzzy = run.config.dedupe.fuzzy
        marks = passages.shared(content["text"], witness, fuzzy.shingle, fuzzy.width)
        segments = passages.with_moved(diff.difference(content["text"], witness), marks)
        content["difference"] = [{"kind": kind, "text": text} for kind, text in segments]
    elif run.config.dedupe.substrings.enabled:
        content |= _repeated(run, doc_id, content["text"])
    return content


def _repeated(run: RunTables, doc_id: int, text: str) -> dict[str, Any]:
    """What of a text is repeated: `passages`, equal or repeated, and where each repeated one stands first."""
    cuts = Cuts.of(run.context, run.shards[rundir.split_doc_id(doc_id)[0]])
    data, at = text.encode(), 0
    passages, first = [], []
    for i in cuts.rows(doc_id):
        start, end = int(cuts.start[i]), int(cuts.start[i] + cuts.length[i])
        passages += [("equal", data[at:start]), ("repeated", data[start:end])]
        first.append({"doc_id": int(cuts.source[i]), "start": int(cuts.source_start[i]), "bytes": end - start})
        at = end
    passages.append(("equal", data[at:]))
    shown = [{"kind": kind, "text": part.decode(errors="replace")} for kind, part in passages if part]
    return {"passages": shown, "repeated": first} if first else {}


def labels(run: RunTables, ids: Sequence[int]) -> dict[int, str]:
    """What was decided about some documents, and where they are, by doc_id: "removed, Github, 02:14, doc_id 3"."""
    columns = ["keep", "subset"]
    tables: dict[tuple[int, int], pa.Table] = {}
    out = {i: f"kept by an old run, {place_of(run, i)}" for i in ids if i >= OLD}
    for doc_id, place in locate(run, [i for i in ids if i < OLD]).items():
        at = (place.shard.index, place.group)
        if at not in tables:
            with pq.ParquetFile(rundir.table(run.directory.decisions(place.shard.name))) as file:
                tables[at] = file.read_row_group(place.group, columns=columns)
        row = tables[at].slice(place.row, 1).to_pylist()[0]
        verdict = "kept" if row["keep"] else "removed"
        out[doc_id] = f"{verdict}, {row['subset'] or '(no subset)'}, {place.shard.name}:{place.line}, doc_id {doc_id}"
    return out


class Difference:
    """Two texts with their differences marked; .segments as gpu_pile.present.diff gives them.

    titles: what is said above each text.
    """

    def __init__(self, a: int, b: int, texts: Mapping[int, str], titles: Mapping[int, str]) -> None:
        self.a, self.b, self.titles = a, b, (titles[a], titles[b])
        first, second = texts[a], texts[b]
        self.segments = diff.difference(first, second)

    def __repr__(self) -> str:
        removed, added = (sum(len(t) for k, t in self.segments if k == kind) for kind in ("removed", "added"))
        return (
            f"<Difference of {self.a} and {self.b}: {removed:,} characters only in the first, {added:,} in the second>"
        )

    def _repr_html_(self) -> str:
        return diff.side_by_side(diff.shortened(self.segments), self.titles)


def difference(run: RunTables, a: int, b: int) -> Difference:
    """Two documents side by side, with their differences marked."""
    return Difference(a, b, texts_of(run, [a, b]), labels(run, [a, b]))


# texts around a bound


def around_in_sample(run: RunTables, signal: str, value: float, n: int, subset: str | None) -> Result:
    """The texts of the sample that are nearest to a bound, n on each side."""
    table = run.sample
    if subset is not None:
        table = table.filter(pc.field("subset") == subset)
    chosen = nearest(histograms.numbers(table.column(signal)), value, n)
    gap = max((_read_at_most(run, s) for s in run.shards), default=0)
    needed = min(2 * n * gap, sum(s["stream_bytes"] for s in run.info["shards"]))
    note = (
        "From the sample taken while measuring. For the nearest of all documents give exact=True, which reads up to "
        f"{needed / 1e6:,.0f} MB of decompressed shards (about {needed / READ_BYTES_PER_SECOND:.1f} s on one core)."
    )
    return _examples(table.take(pa.array(chosen)), signal, value, f"Around {signal} = {value:g}", note)


def _read_at_most(run: RunTables, shard: Shard) -> int:
    """The most bytes that must be decompressed to see a document of this shard."""
    state = run.directory.state("measure", shard.name)
    at = [0, *(point[1] for point in state["seek_points"]), state["stream_bytes"]]
    return max(b - a for a, b in itertools.pairwise(sorted(at)))


def around_exactly(run: RunTables, signal: str, value: float, n: int, subset: str | None) -> Result:
    """The texts of all documents that are nearest to a bound, n on each side."""
    table = _nearest_rows(run, signal, value, n, subset)
    ids = table.column("doc_id").to_pylist()
    where = locate(run, ids)
    text_by_id = read_texts(run.context, list(where.values()))
    read = sum(p.distance for p in where.values()) / 1e6
    note = f"For these texts, at most {read:,.1f} MB of decompressed shards were read."
    excerpts = pa.array([beginning(text_by_id[i]) for i in ids], pa.string())
    title = f"Around {signal} = {value:g}, the nearest of all documents"
    return _examples(table.append_column("excerpt", excerpts), signal, value, title, note)


def _nearest_rows(run: RunTables, signal: str, value: float, n: int, subset: str | None) -> pa.Table:
    """doc_id, subset, text_bytes and the signal of the documents nearest to a value, ascending by value."""

    def nearest_in(shard: Shard) -> list[pa.Table]:
        chosen = []
        for group in row_groups(run.context, shard, ["line", "subset", "text_bytes", signal]):
            rows = group if subset is None else group.filter(pc.field("subset") == subset)
            rows = rows.take(pa.array(nearest(histograms.numbers(rows.column(signal)), value, n)))
            ids = rundir.doc_id(np.uint64(shard.index), rows.column("line").to_numpy().astype(np.uint64))
            chosen.append(rows.set_column(0, "doc_id", pa.array(ids, pa.uint64())))
        return chosen

    found = [table for tables in map_threads(nearest_in, run.shards, run.config.n_workers) for table in tables]
    if not found:
        fields = [("doc_id", pa.uint64()), ("subset", pa.string()), ("text_bytes", pa.int64()), (signal, pa.float64())]
        return pa.schema(fields).empty_table()
    table = pa.concat_tables(found).combine_chunks()
    return table.take(pa.array(nearest(histograms.numbers(table.column(signal)), value, n)))


def nearest(values: Array, value: float, n: int) -> Array:
    """Rows of the n values nearest below a number and of the n nearest at or above it, ascending by value."""
    out = []
    for side in (values < value, values >= value):
        rows = np.flatnonzero(side)
        distance = np.abs(values[rows] - value)
        if len(rows) > n:
            chosen = np.argpartition(distance, n)[:n] if n else np.empty(0, np.int64)
            # of equal distances the first rows, whichever of them argpartition chose
            rows = np.flatnonzero(side & (np.abs(values - value) <= distance[chosen].max(initial=-1)))
            distance = np.abs(values[rows] - value)
        out.append(rows[np.lexsort((rows, distance))[:n]])
    rows = np.concatenate(out)
    return rows[np.argsort(values[rows], kind="stable")]


def _examples(table: pa.Table, signal: str, value: float, title: str, note: str) -> Result:
    side = np.where(histograms.numbers(table.column(signal)) < value, "below", "from here")
    shown = table.select(["doc_id", "subset", signal, "excerpt"])
    return Result(shown.add_column(0, "side", pa.array(side, pa.string())), title, note=note)
