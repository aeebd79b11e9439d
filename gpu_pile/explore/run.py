"""A finished run, opened for looking at: tables, histograms, sweeps, trials of other thresholds, documents, clusters.

Everything comes from the run directory; shards are read only for the texts that are shown, from the nearest place where
a zstd frame begins.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gpu_pile import signals
from gpu_pile.corpus import files
from gpu_pile.corpus.files import AnyPath
from gpu_pile.corpus.shards import Shard
from gpu_pile.dedup import survivors as deciding
from gpu_pile.errors import UsageError
from gpu_pile.explore.sweeps import Axis, Histogram, interval, swept
from gpu_pile.explore.trials import Comparison, Decided, Decisions, Lazy, Trial, policy_data
from gpu_pile.policy.thresholds import Policy, bounds_of
from gpu_pile.present import diff
from gpu_pile.present.tables import Result
from gpu_pile.run import config as configuration
from gpu_pile.run import directory as rundir
from gpu_pile.run.context import Context
from gpu_pile.run.documents import DocumentLocation, beginning, largest_clusters, locate, read_texts
from gpu_pile.run.stages.decide import count, survivors, verdicts
from gpu_pile.run.stages.measure import DOCUMENT_COLUMNS
from gpu_pile.run.tables import row_groups, subset_codes
from gpu_pile.run.threads import map_threads
from gpu_pile.summaries import histograms, reason_counts
from gpu_pile.types import Array

READ_BYTES_A_SECOND = 500e6
"""Decompressing a shard up to a document, on one core; see benchmarks/README.md."""


def open_run(path: str | AnyPath) -> Run:
    """Open a run directory.

    Raises:
        UsageError: there is no run at this path.
    """
    return Run(rundir.open_dir(path))


class Run:
    """A run directory. Results show themselves in a notebook and have .table, .to_pandas() and .to_polars()."""

    def __init__(self, directory: rundir.RunDir) -> None:
        self.directory = directory
        self.info: dict[str, Any] = files.read_json(directory.path / "run.json")
        self.config = configuration.parse(self.info["config"], str(directory.path / "run.json"))
        self.shards = [Shard(s["index"], s["name"], files.path_of(s["path"]), s["bytes"]) for s in self.info["shards"]]
        self.context = Context(self.config, directory, self.shards)

    def __repr__(self) -> str:
        documents = sum(s["documents"] for s in self.info["shards"])
        return f"<Run {self.directory.path}: {len(self.shards)} shards, {documents:,} documents>"

    def _repr_html_(self) -> str:
        return self.decisions.subsets()._repr_html_()

    # tables

    @cached_property
    def signals(self) -> Lazy:
        """All measured signals, row for row with .decisions."""
        return Lazy([self.directory.measured(s.name) for s in self.shards])

    @cached_property
    def decisions(self) -> Decisions:
        """What the run decided: a lazy table, counts by subset and reason, comparisons."""
        return Decisions(self)

    @cached_property
    def clusters(self) -> pa.Table:
        """doc_id, cluster, representative of every document that has a duplicate."""
        return pq.read_table(rundir.table(self.directory.clusters))

    @cached_property
    def pairs(self) -> pa.Table:
        """a, b, similarity: verified pairs between representatives of equal texts, by cluster, then b and a."""
        return pq.read_table(rundir.table(self.directory.pairs))

    @property
    def report(self) -> dict[str, Any]:
        """report.json."""
        report: dict[str, Any] = files.read_json(rundir.need(self.directory.path / "report.json"))
        return report

    # signals

    @cached_property
    def cells(self) -> pa.Table:
        """Histograms of all signals by subset; see gpu_pile.summaries.histograms."""
        return histograms.merged([pq.read_table(rundir.table(self.directory.histogram(s.name))) for s in self.shards])

    @cached_property
    def sample(self) -> pa.Table:
        """The texts kept while measuring: doc_id, subset, text_bytes, signals, excerpt; see gpu_pile.summaries.samples."""
        tables = []
        for shard in self.shards:
            table = pq.read_table(rundir.table(self.directory.sample(shard.name)))
            ids = rundir.doc_id(np.uint64(shard.index), table.column("line").to_numpy().astype(np.uint64))
            tables.append(table.set_column(0, "doc_id", pa.array(ids, pa.uint64())))
        return pa.concat_tables(tables)

    def _check(self, signal: str) -> str:
        measured = signals.names(self.config.measure.signals)
        if signal not in measured:
            import difflib

            near = difflib.get_close_matches(signal, measured, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"this run has: {', '.join(measured)}"
            raise UsageError(f"signal {signal!r} was not measured in this run; {hint}")
        return signal

    def histogram(self, signal: str, by: str | None = "subset") -> Histogram:
        """Counts of all documents by value, with the run's bounds drawn in; by subset, or over all (by=None).

        Raises:
            UsageError: the signal was not measured in this run, or by is something else.
        """
        self._check(signal)
        if by not in ("subset", None):
            raise UsageError(f"by is 'subset' or None, not {by!r}")
        cells = self.cells.filter(pc.field("signal") == signal)
        return Histogram(signal, cells, by == "subset", self.config.thresholds)

    def sweep(
        self,
        signal: str | Mapping[str, Mapping[str, Sequence[float]]],
        *,
        min: Sequence[float] | None = None,
        max: Sequence[float] | None = None,
    ) -> Result:
        """Documents and bytes that pass each of several bounds, by subset: exact counts of all documents.

        Args:
            signal: a name with min=[...] or max=[...]; or {name: {"min": [...]}, other: {"max": [...]}} for every
                combination of bounds of several signals. Where a signal is undefined, a document passes.

        Returns:
            a row a combination of bounds and subset. Bounds that are edges of the histograms are answered from these,
            others from the signals' columns.
        """
        if isinstance(signal, str):
            given = {k: v for k, v in (("min", min), ("max", max)) if v is not None}
            wanted = {signal: given}
        else:
            wanted = {name: dict(bounds) for name, bounds in signal.items()}
        axes = [
            (self._check(name), kind, np.unique(np.asarray(list(values), np.float64)))
            for name, bounds in wanted.items()
            for kind, values in bounds.items()
        ]
        if not axes or any(kind not in ("min", "max") or not len(v) or np.isnan(v).any() for _, kind, v in axes):
            raise UsageError("sweep needs bounds to try, such as sweep('word_count', min=[20, 50, 100])")
        if len(axes) == 1 and all(histograms.is_edge(v) for v in axes[0][2]):
            names, cube = self._cube_of_cells(axes[0])
        else:
            names, cube = self._cube(axes)
        return swept(axes, names, cube)

    def _cube_of_cells(self, axis: Axis) -> tuple[list[str], Array]:
        cells = self.cells.filter(pc.field("signal") == axis[0])
        names, codes = subset_codes(cells)
        cell = cells.column("cell").fill_null(-1).to_numpy().astype(np.int64)
        value = np.where(cell < 0, np.nan, histograms.midpoints()[cell])
        cube = np.zeros((2, len(names), len(axis[2]) + 1), np.int64)
        for i, column in enumerate(("documents", "text_bytes")):
            np.add.at(cube[i], (codes, interval(value, axis)), cells.column(column).to_numpy())
        return names, cube

    def _cube(self, axes: Sequence[Axis]) -> tuple[list[str], Array]:
        """int64[2, subsets, bounds + 1, ...]: documents and bytes by the intervals between bounds."""
        shape = tuple(len(values) + 1 for _, _, values in axes)
        columns = sorted({"subset", "text_bytes", *(name for name, _, _ in axes)})

        def count_shard(shard: Shard) -> dict[str, Array]:
            counts: dict[str, Array] = {}
            for table in row_groups(self.context, shard, columns):
                names, codes = subset_codes(table)
                key = codes
                for axis, size in zip(axes, shape, strict=True):
                    key = key * size + interval(histograms.numbers(table.column(axis[0])), axis)
                n = len(names) * int(np.prod(shape))
                weights = table.column("text_bytes").to_numpy()
                here = np.stack([np.bincount(key, minlength=n), np.bincount(key, weights, n).astype(np.int64)])
                for code, name in enumerate(names):
                    of_subset = here.reshape(2, len(names), *shape)[:, code]
                    counts[name] = counts[name] + of_subset if name in counts else of_subset
            return counts

        found = map_threads(count_shard, self.shards, self.config.n_workers)
        names = sorted({name for f in found for name in f})
        zero = np.zeros((2, *shape), np.int64)
        return names, np.stack([sum((f.get(n, zero) for f in found), zero) for n in names] or [zero], axis=1)

    def around(
        self, signal: str, value: float, n: int = 5, *, subset: str | None = None, exact: bool = False
    ) -> Result:
        """Texts just below a bound and from it upwards, nearest first.

        Args:
            n: documents on each side. subset: only of this one.
            exact: False looks into the sample taken while measuring, at once; True finds the nearest of all documents
                and reads their beginnings from the shards, which takes as long as decompressing up to them.
        """
        self._check(signal)
        if exact:
            return self._around(signal, value, n, subset)
        table = self.sample
        if subset is not None:
            table = table.filter(pc.field("subset") == subset)
        values = histograms.numbers(table.column(signal))
        chosen = _nearest(values, value, n)
        gap = max((self._gap(s) for s in self.shards), default=0)
        needed = min(2 * n * gap, sum(s["stream_bytes"] for s in self.info["shards"]))
        note = (
            "From the sample taken while measuring. The nearest of all documents: exact=True, which reads up to "
            f"{needed / 1e6:,.0f} MB of decompressed shards (about {needed / READ_BYTES_A_SECOND:.1f} s on one core)."
        )
        return _examples(table.take(pa.array(chosen)), signal, value, f"Around {signal} = {value:g}", note)

    def _gap(self, shard: Shard) -> int:
        """The most that must be decompressed to see a document of this shard, in bytes."""
        state = self.directory.state("measure", shard.name)
        at = [0, *(p[1] for p in state["seek_points"]), state["stream_bytes"]]
        return max(b - a for a, b in itertools.pairwise(sorted(at)))

    def _around(self, signal: str, value: float, n: int, subset: str | None) -> Result:
        columns = ["line", "subset", "text_bytes", signal]

        def nearest_of(shard: Shard) -> pa.Table:
            best: list[pa.Table] = []
            for table in row_groups(self.context, shard, columns):
                if subset is not None:
                    table = table.filter(pc.field("subset") == subset)
                nearest = _nearest(histograms.numbers(table.column(signal)), value, n)
                best.append(table.take(pa.array(nearest)))
            whole = pa.concat_tables(best).combine_chunks()
            ids = rundir.doc_id(np.uint64(shard.index), whole.column("line").to_numpy().astype(np.uint64))
            return whole.set_column(0, "doc_id", pa.array(ids, pa.uint64()))

        table = pa.concat_tables(map_threads(nearest_of, self.shards, self.config.n_workers))
        table = table.take(pa.array(_nearest(histograms.numbers(table.column(signal)), value, n)))
        ids = table.column("doc_id").to_pylist()
        where = self.locate(ids)
        texts = read_texts(self.context, list(where.values()))
        read = sum(p.distance for p in where.values()) / 1e6
        note = f"For these, at most {read:,.1f} MB of decompressed shards were read."
        excerpts = pa.array([beginning(texts[i]) for i in ids], pa.string())
        return _examples(
            table.append_column("excerpt", excerpts), signal, value, f"Around {signal} = {value:g}, the nearest", note
        )

    # thresholds

    def reasons(self) -> Result:
        """What each rule of the run removes, alone and together with others."""
        return self.decisions.reasons()

    def compare(self, a: Decided, b: Decided) -> Comparison:
        """Two decisions about this run's documents, such as run.decisions and a trial."""
        return Comparison(a, b)

    def decide(self, thresholds: Mapping[str, Any] | Policy) -> Trial:
        """Decide by other thresholds, with the code of `gpu-pile decide`, without writing anything.

        Args:
            thresholds: as the configuration's section: {"use": [...], "default": {...}, "subsets": {...}}.

        Raises:
            ConfigError: it is not valid; names every problem.
        """
        given = policy_data(thresholds) if isinstance(thresholds, Policy) else dict(thresholds)
        for path in (self.directory.clusters, self.directory.pairs):
            rundir.need(path)
        config = configuration.parse({**self.config.model_dump(), "thresholds": given}, "thresholds")
        context = replace(self.context, config=config)
        clustered = survivors(context)

        def decide_shard(shard: Shard) -> tuple[Array, reason_counts.Tally]:
            kept, tally = [np.empty(0, bool)], reason_counts.Tally()
            for found in verdicts(context, shard, clustered):
                kept.append(found.keep)
                count(found, tally)
            return np.concatenate(kept), tally

        decided = map_threads(decide_shard, self.shards, config.n_workers)
        keep = np.concatenate([np.empty(0, bool), *(kept for kept, _ in decided)])
        return Trial(self, config, keep, reason_counts.merged(tally.table() for _, tally in decided))

    def subsets(self) -> tuple[list[str], Array, Array]:
        """(names, code of each document, its text_bytes)."""
        named = histograms.Names()
        codes, sizes = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for shard in self.shards:
            for table in row_groups(self.context, shard, ["subset", "text_bytes"]):
                codes.append(named.of(table.column("subset")))
                sizes.append(table.column("text_bytes").to_numpy())
        code = np.concatenate(codes)
        return [named.name(c) for c in range(int(code.max(initial=-1)) + 1)], code, np.concatenate(sizes)

    def explore(self, *names: str) -> Any:
        """Sliders for the bounds of some signals; see gpu_pile.explore.widgets. Needs ipywidgets."""
        from gpu_pile.explore.widgets import Explorer

        return Explorer(self, [self._check(name) for name in names])

    def duplicates(self, n: int = 50) -> Any:
        """A viewer of near-duplicate pairs, two texts side by side; see gpu_pile.explore.widgets. Needs ipywidgets."""
        from gpu_pile.explore.widgets import Duplicates

        return Duplicates(self, n)

    # duplicates

    def cluster_of(self, doc_id: int) -> list[int]:
        """The doc_ids of a document's cluster, ascending; only itself where it has no duplicate."""
        row = self.clusters.filter(pc.field("doc_id") == pa.scalar(doc_id, pa.uint64()))
        if not len(row):
            return [doc_id]
        members = self.clusters.filter(pc.field("cluster") == row.column("cluster")[0])
        ids: list[int] = members.column("doc_id").to_pylist()
        return ids

    def largest_clusters(self, n: int = 10, *, read_bytes: float = 2e9) -> Result:
        """The clusters with most documents, each with the beginning of the member that is quickest to read.

        Args:
            read_bytes: decompressed bytes of shards to read at most for the texts; null is shown for what is beyond.
        """
        table = largest_clusters(self.context, n, read_bytes)
        return Result(table, "The largest clusters of duplicates")

    def difference(self, a: int, b: int) -> Difference:
        """Two documents side by side, with what differs marked."""
        where = self.locate([a, b])
        texts = read_texts(self.context, list(where.values()))
        return Difference(a, b, texts[a], texts[b])

    # documents

    def locate(self, ids: Sequence[int]) -> dict[int, DocumentLocation]:
        """Where documents are.

        Raises:
            UsageError: an id is no document's.
        """
        out = {}
        for identifier, location in locate(self.context, ids).items():
            if location is None:
                index, line = rundir.split_doc_id(identifier)
                if index >= len(self.shards):
                    raise UsageError(f"doc_id {identifier}: there is no shard {index}, this run has {len(self.shards)}")
                name = self.shards[index].name
                raise UsageError(
                    f"doc_id {identifier}: line {line} of shard {name} is no document (blank, bad or not there)"
                )
            out[identifier] = location
        return out

    def texts(self, ids: Sequence[int]) -> Result:
        """The whole texts of some documents, in the order given."""
        texts = read_texts(self.context, list(self.locate(ids).values()))
        table = pa.table({"doc_id": pa.array(ids, pa.uint64()), "text": pa.array([texts[i] for i in ids], pa.string())})
        return Result(table, f"{len(ids)} documents")

    def document(self, doc_id: int) -> dict[str, Any]:
        """Everything about one document: text, signals, thresholds, verdict, reasons, cluster, witness.

        Raises:
            UsageError: there is no such document. DataError: its shard has changed since the run.
        """
        location = self.locate([doc_id])[doc_id]
        shard = location.shard
        with pq.ParquetFile(rundir.table(self.directory.decisions(shard.name))) as file:
            row = file.read_row_group(location.group).slice(location.row, 1).to_pylist()[0]
        names = [n for n in self.signals.schema.names if n not in DOCUMENT_COLUMNS]
        with pq.ParquetFile(files.table(self.directory.measured(shard.name))) as file:
            measured = (
                file.read_row_group(location.group, columns=names).slice(location.row, 1).to_pylist()[0]
                if names
                else {}
            )
        rules = self.config.thresholds.rules_of(row["subset"])
        return {
            **{k: row[k] for k in ("doc_id", "shard", "line", "subset", "keep", "witness", "similarity", "cluster")},
            "reasons": [
                {"rule": rule, "value": value, "explanation": self._explain(rule, value, row)}
                for rule, value in zip(row["reasons"], row["values"], strict=True)
            ],
            "signals": measured,
            "thresholds": {name: dict(bounds_of(rules[name])) for name in names if name in rules},
            "text": read_texts(self.context, [location])[doc_id],
        }

    def story(self, doc_id: int) -> dict[str, Any]:
        """As document(), and for a near duplicate `difference`: what its text and its witness's have in common or not.

        Returns:
            "difference" lists {"kind": equal, removed (only in this text) or added (only in the witness), "text"}.
        """
        story = self.document(doc_id)
        if any(r["rule"] == deciding.NEAR for r in story["reasons"]):
            witness = read_texts(self.context, list(self.locate([story["witness"]]).values()))[story["witness"]]
            segments = diff.difference(story["text"], witness)
            story["difference"] = [{"kind": kind, "text": text} for kind, text in segments]
        return story

    def _explain(self, rule: str, value: float, row: dict[str, Any]) -> str:
        if rule in (deciding.EXACT, deciding.NEAR):
            return f"of {row['witness']}"
        return self.config.thresholds.explain(rule, value, row["subset"])


class Difference:
    """Two texts with what differs marked; .segments as gpu_pile.present.diff gives them."""

    def __init__(self, a: int, b: int, first: str, second: str) -> None:
        self.a, self.b = a, b
        self.segments = diff.difference(first, second)

    def __repr__(self) -> str:
        removed, added = (sum(len(t) for k, t in self.segments if k == kind) for kind in ("removed", "added"))
        return (
            f"<Difference of {self.a} and {self.b}: {removed:,} characters only in the first, {added:,} in the second>"
        )

    def _repr_html_(self) -> str:
        return diff.side_by_side(diff.shortened(self.segments), (str(self.a), str(self.b)))


def _nearest(values: Array, value: float, n: int) -> Array:
    """Rows of the n values nearest below a number and the n nearest at or above it, ascending by value."""
    out = []
    for side in (values < value, values >= value):
        rows = np.flatnonzero(side)
        distance = np.abs(values[rows] - value)
        if len(rows) > n:
            nearest = np.argpartition(distance, n)[:n] if n else np.empty(0, np.int64)
            # of equal distances the first rows, whatever the partition preferred
            rows = np.flatnonzero(side & (np.abs(values - value) <= distance[nearest].max(initial=-1)))
            distance = np.abs(values[rows] - value)
        out.append(rows[np.lexsort((rows, distance))[:n]])
    rows = np.concatenate(out)
    return rows[np.argsort(values[rows], kind="stable")]


def _examples(table: pa.Table, signal: str, value: float, title: str, note: str) -> Result:
    side = np.where(histograms.numbers(table.column(signal)) < value, "below", "from here")
    shown = table.select(["doc_id", "subset", signal, "excerpt"])
    return Result(shown.add_column(0, "side", pa.array(side, pa.string())), title, note=note)
