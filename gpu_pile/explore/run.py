"""A finished run, opened for questions: histograms, sweeps, trials of other thresholds, documents, duplicates.

Every answer comes from the run directory; shards are read only for the texts that are shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gpu_pile.corpus.files import AnyPath
from gpu_pile.explore import documents, sweeps, trials
from gpu_pile.explore.composition import of_run
from gpu_pile.explore.differ import RunDifference
from gpu_pile.explore.documents import Difference
from gpu_pile.explore.sql import sql
from gpu_pile.explore.sweeps import Histogram
from gpu_pile.explore.tables import RunTables
from gpu_pile.explore.trials import Comparison, Decided, Decisions, Trial
from gpu_pile.explore.widgets import Duplicates, Explorer
from gpu_pile.policy.thresholds import Policy
from gpu_pile.present.tables import Result
from gpu_pile.run import directory as rundir
from gpu_pile.run.documents import DocumentLocation, largest_clusters


def open_run(path: str | AnyPath) -> Run:
    """Open a run directory.

    Raises:
        UsageError: there is no run at this path.

    >>> import gpu_pile as gp
    >>> run = gp.open_run("demo")
    >>> run.report["documents"]
    512
    >>> run.decisions.count_rows()
    512
    """
    return Run(rundir.open_dir(path))


class Run(RunTables):
    """A run directory. Results show themselves in a notebook and have .table, .to_pandas() and .to_polars()."""

    def _repr_html_(self) -> str:
        return self.decisions.subsets()._repr_html_()

    @cached_property
    def decisions(self) -> Decisions:
        """What the run decided: a lazy table, counts by subset and reason, comparisons."""
        return Decisions(self)

    def composition(self) -> Result:
        """Documents, bytes, mean size and share of each subset, read and kept, beside what is published of The Pile."""
        return of_run(self)

    # signals

    def histogram(self, signal: str, by: str | None = "subset") -> Histogram:
        """Counts of all documents by value, with the run's bounds drawn; by subset, or over all documents (by=None).

        Raises:
            UsageError: the run did not measure the signal, or `by` is something else.
        """
        return sweeps.histogram(self, signal, by)

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
            one row per combination of bounds and subset. Bounds that are edges of the stored histograms are answered
            from these, other bounds from the measured signals.
        """
        if isinstance(signal, str):
            signal = {signal: {kind: bounds for kind, bounds in (("min", min), ("max", max)) if bounds is not None}}
        return sweeps.sweep(self, signal)

    def around(
        self, signal: str, value: float, n: int = 5, *, subset: str | None = None, exact: bool = False
    ) -> Result:
        """Texts just below a bound and from it upwards, nearest first.

        Args:
            n: documents on each side. subset: only documents of this subset.
            exact: False looks into the sample taken while measuring, at once; True finds the nearest of all documents
                and reads their beginnings from the shards, which takes as long as decompressing up to them.
        """
        find = documents.around_exactly if exact else documents.around_in_sample
        return find(self, self.measured_signal(signal), value, n, subset)

    # thresholds

    def reasons(self) -> Result:
        """Documents that each rule of the run removes, alone and together with others."""
        return self.decisions.reasons()

    def compare(self, a: Decided, b: Decided) -> Comparison:
        """Two decisions about this run's documents, such as run.decisions and a trial."""
        return Comparison(a, b)

    def diff(self, other: str | AnyPath | Run) -> RunDifference:
        """Documents that only one of two runs over the same shards keeps, by subset and by the other one's reasons.

        Raises:
            UsageError: the runs are not of the same documents.
        """
        return RunDifference(self, other if isinstance(other, Run) else open_run(other))

    def sql(self, query: str) -> Result:
        """The rows of a query in DuckDB's SQL over the views decisions, signals, pairs, clusters and documents.

        Raises:
            UsageError: DuckDB is not installed (pip install 'gpu-pile[sql]'), or it does not accept the query.
        """
        return sql(self, query)

    def decide(self, thresholds: Mapping[str, Any] | Policy) -> Trial:
        """Decide by other thresholds, with the code of `gpu-pile decide`, without writing anything.

        Args:
            thresholds: as the configuration's section: {"use": [...], "default": {...}, "subsets": {...}}.

        Raises:
            ConfigError: the thresholds are not valid; names every problem.
        """
        return trials.decide(self, thresholds)

    def explore(self, *names: str) -> Explorer:
        """Sliders for the bounds of some signals; see gpu_pile.explore.widgets. Needs ipywidgets."""
        return Explorer(self, [self.measured_signal(name) for name in names])

    # duplicates

    def duplicates(self, n: int = 50) -> Duplicates:
        """A viewer of near-duplicate pairs, two texts side by side; see gpu_pile.explore.widgets. Needs ipywidgets."""
        return Duplicates(self, n)

    def cluster_of(self, doc_id: int) -> list[int]:
        """The doc_ids of a document's cluster, ascending; a document without duplicates is alone in it."""
        row = self.clusters.filter(pc.field("doc_id") == pa.scalar(doc_id, pa.uint64()))
        if not len(row):
            return [doc_id]
        members = self.clusters.filter(pc.field("cluster") == row.column("cluster")[0])
        ids: list[int] = members.column("doc_id").to_pylist()
        return ids

    def largest_clusters(self, n: int = 10, *, read_bytes: float = 2e9) -> Result:
        """The clusters with most documents, each with the beginning of the member that is quickest to read.

        Args:
            read_bytes: most decompressed bytes of shards to read for the texts; a text beyond that is null.
        """
        table = largest_clusters(self.context, n, read_bytes)
        return Result(table, "The largest clusters of duplicates")

    def difference(self, a: int, b: int) -> Difference:
        """Two documents side by side, with their differences marked."""
        return documents.difference(self, a, b)

    # documents

    def locate(self, ids: Sequence[int]) -> dict[int, DocumentLocation]:
        """Where documents are, by doc_id.

        Raises:
            UsageError: no document has one of these ids.
        """
        return documents.locate(self, ids)

    def kept_lines(self, shard: str) -> Iterator[bytes]:
        """The lines of a shard that stay, without line feeds, read from the shard itself; needs write.keep: bitmap.

        Raises:
            UsageError: the run has no such shard. DataError: it has changed since, or there is no bitmap.
        """
        return documents.kept_lines(self, shard)

    def doc_id(self, name: str) -> int:
        """The doc_id of SHARD:LINE, as reports and messages name a document."""
        return documents.doc_id_of(self, name)

    def with_reason(self, rule: str, n: int = 5) -> list[int]:
        """The doc_ids of the first n documents that were removed for a reason, such as near_duplicate."""
        return documents.with_reason(self, rule, n)

    def at_random(self, n: int = 5, seed: int = 0) -> list[int]:
        """The doc_ids of n documents, ascending; the same ones for the same seed."""
        return documents.at_random(self, n, seed)

    def texts(self, ids: Sequence[int]) -> Result:
        """The whole texts of some documents, in the order given."""
        return documents.texts(self, ids)

    def document(self, doc_id: int) -> dict[str, Any]:
        """Everything about one document: text, signals, thresholds, verdict, reasons, cluster, witness.

        Raises:
            UsageError: there is no such document. DataError: its shard has changed since the run.
        """
        return documents.document(self, doc_id)

    def story(self, doc_id: int) -> dict[str, Any]:
        """As document(); for a near duplicate also `difference`: its text compared with its witness's.

        Returns:
            "difference" lists {"kind", "text"}; kinds are equal, removed (only in this text), moved (the witness has
            it, in another place) and added (only in the witness).
        """
        return documents.story(self, doc_id)
