"""What was decided about all documents: by a run, or by a trial of other thresholds; and how two decisions differ."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import yaml

from gpu_pile.corpus import files
from gpu_pile.corpus.files import AnyPath
from gpu_pile.errors import UsageError
from gpu_pile.policy.thresholds import Policy, Rule
from gpu_pile.present.tables import Result
from gpu_pile.run import directory
from gpu_pile.run.config import Config
from gpu_pile.run.tables import Rows, doc_ids
from gpu_pile.summaries import reason_counts
from gpu_pile.types import Array

if TYPE_CHECKING:
    from gpu_pile.explore.run import Run


class Lazy:
    """A table of a run, spread over a Parquet file a shard: only the columns and rows that are asked for are read.

    .paths are the files, for polars.scan_parquet, DuckDB and the like; .dataset is the pyarrow dataset over them.
    """

    def __init__(self, paths: Sequence[AnyPath]) -> None:
        self.paths = [str(p) for p in paths]

    @cached_property
    def dataset(self) -> ds.Dataset:
        return files.dataset([directory.need(files.path_of(p)) for p in self.paths])

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
        """A pandas table; ids keep all their digits, also where some are missing."""
        import pandas

        return self.to_table(columns, filter).to_pandas(types_mapper={pa.uint64(): pandas.UInt64Dtype()}.get)

    def to_polars(self, columns: Sequence[str] | None = None, filter: Any = None) -> Any:
        import polars

        return polars.from_arrow(self.to_table(columns, filter))

    def to_cudf(self, columns: Sequence[str] | None = None) -> Any:
        """A cuDF table, read by the GPU itself."""
        import cudf

        return cudf.read_parquet(self.paths, columns=None if columns is None else list(columns))

    def __repr__(self) -> str:
        return f"<{self.count_rows():,} rows in {len(self.paths)} files: {', '.join(self.schema.names)}>"


class Decided:
    """What was decided about all documents of a run: by the run itself, or by a trial of other thresholds.

    keep: bool[n], all documents in the order of shards and lines. combinations: see gpu_pile.summaries.reason_counts.
    """

    name: str
    keep: Array
    combinations: pa.Table

    def __init__(self, run: Run, config: Config) -> None:
        self.run, self.config = run, config

    @property
    def thresholds(self) -> Policy:
        return self.config.thresholds

    def subsets(self) -> Result:
        """Documents and bytes that came in and stay, by subset."""
        rows = [
            {
                "subset": name,
                **counts,
                "share_of_documents": counts["kept_documents"] / counts["documents"],
                "share_of_text": counts["kept_text_bytes"] / max(1, counts["text_bytes"]),
            }
            for name, counts in reason_counts.by_subset(self.combinations).items()
        ]
        schema = pa.schema([("subset", pa.string())])
        table = pa.Table.from_pylist(rows) if rows else schema.empty_table()
        return Result(table, f"Kept by subset ({self.name})", shares=["share_of_documents", "share_of_text"])

    def reasons(self) -> Result:
        """What each rule removes, what it alone removes, and the rules that it shares most documents with."""
        shared = reason_counts.overlaps(self.combinations)
        rows = []
        for counts in reason_counts.by_reason(self.combinations):
            reason = counts["reason"]
            others = sorted(((n, b) for (a, b), n in shared.items() if a == reason != b), reverse=True)
            rows.append(
                {
                    "reason": reason,
                    "documents": counts["documents"],
                    "text_bytes": counts["text_bytes"],
                    "documents_only_this": counts["documents_only_this"],
                    "text_bytes_only_this": counts["text_bytes_only_this"],
                    "overlaps": ", ".join(f"{b} {n:,}" for n, b in others[:3]),
                }
            )
        table = pa.Table.from_pylist(rows, schema=REASONS)
        note = "A document can fail several rules; *_only_this counts what no other rule removes."
        return Result(table, f"Why documents are removed ({self.name})", note=note)

    def overlaps(self) -> Result:
        """Documents that fail both of two rules, for every pair of rules."""
        shared = reason_counts.overlaps(self.combinations)
        names = [r["reason"] for r in reason_counts.by_reason(self.combinations)]
        table = pa.table(
            {
                "reason": pa.array(names, pa.string()),
                **{b: pa.array([shared.get((a, b), 0) for a in names], pa.int64()) for b in names},
            }
        )
        return Result(table, f"Documents that fail both rules ({self.name})")

    def compare(self, other: Decided) -> Comparison:
        """What stays here and not there, and the reverse."""
        return Comparison(self, other)


REASONS = pa.schema(
    [
        ("reason", pa.string()),
        ("documents", pa.int64()),
        ("text_bytes", pa.int64()),
        ("documents_only_this", pa.int64()),
        ("text_bytes_only_this", pa.int64()),
        ("overlaps", pa.string()),
    ]
)


class Decisions(Decided, Lazy):
    """The run's own decisions; as a lazy table, see gpu_pile.run.stages.decide for its columns."""

    name = "this run"

    def __init__(self, run: Run) -> None:
        Decided.__init__(self, run, run.config)
        Lazy.__init__(self, [run.directory.decisions(s.name) for s in run.shards])

    @cached_property
    def keep(self) -> Array:  # type: ignore[override]
        tables = (pq.read_table(directory.table(files.path_of(p)), columns=["keep"]) for p in self.paths)
        return np.concatenate([np.empty(0, bool), *(t.column("keep").to_numpy() for t in tables)])

    @cached_property
    def combinations(self) -> pa.Table:
        return pq.read_table(directory.table(self.run.directory.reasons))


class Trial(Decided):
    """Decisions by other thresholds, in memory: nothing of the run directory changes."""

    name = "trial"

    def __init__(self, run: Run, config: Config, keep: Array, combinations: pa.Table) -> None:
        super().__init__(run, config)
        self.keep, self.combinations = keep, combinations

    def __repr__(self) -> str:
        return f"<Trial: keeps {int(self.keep.sum()):,} of {len(self.keep):,} documents>"

    def save(self, path: str | AnyPath) -> None:
        """Write the run's configuration with these thresholds as YAML: `gpu-pile run PATH` redoes decide and write."""
        content = self.config.model_dump()
        content["input"]["shards"] = [str(s.path) for s in self.run.shards]
        content["output"] = str(self.run.directory.path.resolve())
        content["thresholds"] = policy_data(self.config.thresholds)
        head = "# Thresholds tried in a notebook; everything else as in the run. Bounds are inclusive.\n"
        files.write_text(files.path_of(path), head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def policy_data(policy: Policy) -> dict[str, Any]:
    """The section `thresholds` as plain data, without what is not set."""

    def rule(r: Rule | None) -> Any:
        return None if r is None else {k: v for k, v in r.model_dump().items() if v is not None and v is not False}

    subsets = {}
    for name, own in policy.subsets.items():
        subsets[name] = {
            **({} if own.use is None else {"use": list(own.use)}),
            "rules": {s: rule(r) for s, r in own.rules.items()},
        }
    return {"use": list(policy.use), "default": {s: rule(r) for s, r in policy.default.items()}, "subsets": subsets}


class Comparison(Result):
    """Documents and bytes by subset: kept by both, by the first alone, by the second alone, by neither."""

    def __init__(self, first: Decided, second: Decided) -> None:
        if len(first.keep) != len(second.keep):
            raise UsageError(
                f"cannot compare: {len(first.keep):,} and {len(second.keep):,} documents are not of one run"
            )
        self.run, self.first, self.second = first.run, first, second
        names, codes, text_bytes = self.run.subsets()
        kinds = ("neither", "only_second", "only_first", "both")
        key = codes * 4 + first.keep * 2 + second.keep
        documents = np.bincount(key, minlength=4 * len(names))
        weights = np.zeros(4 * len(names), np.int64)
        np.add.at(weights, key, text_bytes)
        rows = []
        for i, name in enumerate(names):
            row: dict[str, Any] = {"subset": name}
            for k, kind in reversed(list(enumerate(kinds))):
                row |= {kind: int(documents[4 * i + k]), f"{kind}_bytes": int(weights[4 * i + k])}
            rows.append(row)
        rows.sort(key=lambda r: -(r["only_first"] + r["only_second"]))
        schema = pa.schema(
            [("subset", pa.string()), *((c, pa.int64()) for k in reversed(kinds) for c in (k, f"{k}_bytes"))]
        )
        title = f"Kept by the first ({first.name}) and the second ({second.name})"
        super().__init__(pa.Table.from_pylist(rows, schema=schema), title)

    def ids(self, kind: str = "only_first") -> Array:
        """uint64: doc_ids of documents that only_first or only_second keeps."""
        if kind not in ("only_first", "only_second"):
            raise UsageError(f"kind is only_first or only_second, not {kind!r}")
        one, other = (self.first, self.second) if kind == "only_first" else (self.second, self.first)
        context = self.run.context
        return doc_ids(context, Rows.of(context), np.flatnonzero(one.keep & ~other.keep))

    def texts(self, kind: str = "only_first", n: int = 5, seed: int = 0) -> Result:
        """Some of these documents, chosen at random, with the beginnings of their texts."""
        ids = self.ids(kind)
        chosen = np.sort(np.random.default_rng(seed).choice(ids, min(n, len(ids)), replace=False))
        return self.run.texts(chosen.tolist())
