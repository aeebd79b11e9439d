"""The files of a finished run as tables, without any question about them yet."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from gpu_pile.corpus import files
from gpu_pile.corpus.files import AnyPath
from gpu_pile.corpus.shards import Shard
from gpu_pile.errors import UsageError
from gpu_pile.run import config as configuration
from gpu_pile.run import directory as rundir
from gpu_pile.run.context import Context
from gpu_pile.run.joining import joined_histograms, with_joined
from gpu_pile.run.stages import versions
from gpu_pile.run.tables import row_groups
from gpu_pile.summaries import histograms
from gpu_pile.types import Array


class LazyTable:
    """One table in a Parquet file per shard: only the columns and rows that are asked for are read.

    .paths are the files, for polars.scan_parquet, DuckDB and the like; .dataset is the pyarrow dataset over them.
    """

    def __init__(self, paths: Sequence[AnyPath]) -> None:
        self.paths = [str(p) for p in paths]

    @cached_property
    def dataset(self) -> ds.Dataset:
        return files.dataset([rundir.need(files.path_of(p)) for p in self.paths])

    @property
    def schema(self) -> pa.Schema:
        return self.dataset.schema

    def count_rows(self) -> int:
        return int(self.dataset.count_rows())

    def head(self, n: int = 10, columns: Sequence[str] | None = None) -> pa.Table:
        return self.dataset.head(n, columns=columns)

    def to_table(self, columns: Sequence[str] | None = None, filter: Any = None) -> pa.Table:
        """A pyarrow table; filter is a pyarrow expression such as pyarrow.compute.field("word_count") < 50."""
        return self.dataset.to_table(columns=columns, filter=filter)

    def to_pandas(self, columns: Sequence[str] | None = None, filter: Any = None) -> Any:
        """A pandas table; ids keep all their digits, even in a column with missing ids."""
        import pandas

        return self.to_table(columns, filter).to_pandas(types_mapper={pa.uint64(): pandas.UInt64Dtype()}.get)

    def to_polars(self, columns: Sequence[str] | None = None, filter: Any = None) -> Any:
        import polars

        return polars.from_arrow(self.to_table(columns, filter))

    def to_cudf(self, columns: Sequence[str] | None = None) -> Any:
        """A cuDF table, which the GPU reads from the files."""
        import cudf

        return cudf.read_parquet(self.paths, columns=None if columns is None else list(columns))

    def __repr__(self) -> str:
        return f"<{self.count_rows():,} rows in {len(self.paths)} files: {', '.join(self.schema.names)}>"


class SubsetsOfDocuments(NamedTuple):
    """The subset and size of every document: names; codes[i], the position of document i's subset among the names."""

    names: list[str]
    codes: Array
    text_bytes: Array


def _refuse_other_versions(made: Any, directory: rundir.RunDir) -> None:
    """Raise unless the tables are those that this version of gpu_pile makes.

    made: the versions of stages in run.json
    """
    if made != versions():
        raise UsageError(
            f"{directory.path} was made by another version of gpu_pile, whose tables differ; the gpu-pile run command "
            f"that made it brings it up to date"
        )


class RunTables:
    """A run directory's configuration, shards and tables."""

    def __init__(self, directory: rundir.RunDir) -> None:
        self.directory = directory
        self.info: dict[str, Any] = files.read_json(directory.path / "run.json")
        _refuse_other_versions(self.info.get("versions", {}).get("stages"), directory)
        self.config = configuration.parse(self.info["config"], str(directory.path / "run.json"))
        self.shards = [Shard(s["index"], s["name"], files.path_of(s["path"]), s["bytes"]) for s in self.info["shards"]]
        self.context = Context(self.config, directory, self.shards)

    def __repr__(self) -> str:
        documents = sum(s["documents"] for s in self.info["shards"])
        return f"<Run {self.directory.path}: {len(self.shards)} shards, {documents:,} documents>"

    @cached_property
    def signals(self) -> LazyTable:
        """All measured signals, one row per document, in the order of .decisions."""
        return LazyTable([self.directory.measured(s.name) for s in self.shards])

    @cached_property
    def joined(self) -> LazyTable:
        """The columns of measure.join, one row per document, in the order of .decisions."""
        return LazyTable([self.directory.joined(s.name) for s in self.shards])

    @cached_property
    def reason_counts(self) -> pa.Table:
        """Documents and bytes by subset and by all reasons that they fail; see gpu_pile.summaries.reason_counts."""
        return pq.read_table(rundir.table(self.directory.reasons))

    @cached_property
    def clusters(self) -> pa.Table:
        """doc_id, cluster and representative of every document that has a duplicate."""
        return pq.read_table(rundir.table(self.directory.clusters))

    @cached_property
    def pairs(self) -> pa.Table:
        """a, b, similarity: verified pairs of representatives of equal texts, by cluster, then b and a."""
        return pq.read_table(rundir.table(self.directory.pairs))

    @property
    def report(self) -> dict[str, Any]:
        """The content of report.json."""
        report: dict[str, Any] = files.read_json(rundir.need(self.directory.path / "report.json"))
        return report

    @cached_property
    def cells(self) -> pa.Table:
        """Histograms of all signals by subset; see gpu_pile.summaries.histograms."""
        tables = [pq.read_table(rundir.table(self.directory.histogram(s.name))) for s in self.shards]
        return histograms.merged([*tables, *joined_histograms(self.context)])

    @cached_property
    def sample(self) -> pa.Table:
        """Texts kept while measuring: doc_id, subset, text_bytes, signals, excerpt (gpu_pile.summaries.samples)."""
        tables = []
        for shard in self.shards:
            table = pq.read_table(rundir.table(self.directory.sample(shard.name)))
            table = with_joined(self.context, shard, table)
            ids = rundir.doc_id(np.uint64(shard.index), table.column("line").to_numpy().astype(np.uint64))
            tables.append(table.set_column(0, "doc_id", pa.array(ids, pa.uint64())))
        return pa.concat_tables(tables)

    def measured_signal(self, name: str) -> str:
        """The name of a signal, checked.

        Raises:
            UsageError: this run did not measure it.
        """
        measured = self.config.signal_names
        if name not in measured:
            near = difflib.get_close_matches(name, measured, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"this run has: {', '.join(measured)}"
            raise UsageError(f"signal {name!r} was not measured in this run; {hint}")
        return name

    def subsets(self) -> SubsetsOfDocuments:
        """The subset and the bytes of text of every document."""
        named = histograms.Names()
        codes, sizes = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for shard in self.shards:
            for table in row_groups(self.context, shard, ["subset", "text_bytes"]):
                codes.append(named.of(table.column("subset")))
                sizes.append(table.column("text_bytes").to_numpy())
        code = np.concatenate(codes)
        names = [named.name(c) for c in range(int(code.max(initial=-1)) + 1)]
        return SubsetsOfDocuments(names, code, np.concatenate(sizes))
