"""report: report.json, everything counted; report.html, the same for people. Both depend on the run's files alone."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import jinja2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gpu_pile import files, subsets
from gpu_pile.dedup.bands import candidate_probability
from gpu_pile.rundir import RunDir
from gpu_pile.shards import Shard
from gpu_pile.stages.context import Context
from gpu_pile.stages.tables import row_groups

UNKNOWN = "(unknown)"
"""How a document's missing subset is called in the report."""

INTENDED_COPIES = (
    "The Pile holds some subsets several times on purpose (its epochs: Wikipedia three times, ...). "
    "Deduplication across the corpus removes those copies too; to train on the published mixture, "
    "sample the kept documents by the epochs in this table."
)


def report(context: Context) -> None:
    with context.stage("report"):
        content = build(context)
        run = context.run
        files.write_json(run.path / "report.json", content)
        files.write_text(run.path / "report.html", render(content))


def build(context: Context) -> dict[str, Any]:
    """The content of report.json."""
    tally = _Tally()
    for shard in context.shards:
        tally.add_shard(context, shard)
    run = files.read_json(context.run.path / "run.json")
    dedupe = {k: v for k, v in context.run.state("dedupe").items() if k != "key"}
    if dedupe["candidate_pairs"] or context.config.dedupe.fuzzy.enabled:
        dedupe["s_curve"] = [
            {
                "similarity": s / 20,
                "candidate": round(candidate_probability(s / 20, dedupe["bands"], dedupe["rows"]), 6),
            }
            for s in range(21)
        ]
    bad = [
        {"shard": s["name"], "line": b["line"], "reason": b["reason"]}
        for s in run["shards"]
        for b in context.run.state("measure", s["name"])["bad_lines"]
    ]
    return {
        "documents": tally.total("documents"),
        "text_bytes": tally.total("text_bytes"),
        "kept_documents": tally.total("kept_documents"),
        "kept_text_bytes": tally.total("kept_text_bytes"),
        "kept_file_bytes": sum(context.run.state("write", s.name)["bytes"] for s in context.shards),
        "subsets": tally.by_subset(),
        "reasons": tally.by_reason(),
        "dedupe": dedupe,
        "clusters": cluster_sizes(context.run),
        "bad_lines": {"count": len(bad), "first": bad[:20]},
        "shards": [
            {k: s[k] for k in ("name", "documents", "bytes", "bad_lines", "stopped", "damage")} for s in run["shards"]
        ],
        "gpu_pile": run["gpu_pile"],
        "backend": run["backend"],
        "config": run["config"],
    }


class _Tally:
    """Counts by subset and reason, added up row group by row group."""

    def __init__(self) -> None:
        self.subset: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        self.reason: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))

    def add_shard(self, context: Context, shard: Shard) -> None:
        with pq.ParquetFile(context.run.decisions(shard.name)) as decided:
            for i, measured in enumerate(row_groups(context, shard, ["text_bytes"])):
                table = decided.read_row_group(i, columns=["subset", "keep", "reasons"])
                self.add(table, measured.column("text_bytes").to_numpy())

    def add(self, table: pa.Table, text_bytes: np.ndarray[Any, Any]) -> None:
        keep = table.column("keep").to_numpy()
        subset = table.column("subset").combine_chunks().dictionary_encode()
        names = subset.dictionary.to_pylist()
        code = subset.indices.to_numpy(zero_copy_only=False)
        columns = {
            "documents": np.ones(len(keep), np.int64),
            "text_bytes": text_bytes,
            "kept_documents": keep.astype(np.int64),
            "kept_text_bytes": text_bytes * keep,
        }
        for key, values in columns.items():
            for name, count in zip(names, _sums(code, values, len(names)), strict=True):
                self.subset[name or UNKNOWN][key] += count
        reasons = table.column("reasons").combine_chunks()
        rule = pc.list_flatten(reasons).dictionary_encode()
        rules = rule.dictionary.to_pylist()
        row = pc.list_parent_indices(reasons).to_numpy()
        alone = (pc.list_value_length(reasons).to_numpy() == 1)[row]
        pair = code[row] * max(1, len(rules)) + rule.indices.to_numpy(zero_copy_only=False)
        n = len(names) * max(1, len(rules))
        counted = {
            "documents": np.ones(len(row), np.int64),
            "text_bytes": text_bytes[row],
            "documents_only_this": alone.astype(np.int64),
        }
        for key, values in counted.items():
            for p, count in enumerate(_sums(pair, values, n)):
                if rules:
                    self.reason[rules[p % len(rules)], names[p // len(rules)] or UNKNOWN][key] += count

    def total(self, key: str) -> int:
        return sum(s[key] for s in self.subset.values())

    def by_subset(self) -> list[dict[str, Any]]:
        rows = []
        for name, counts in sorted(self.subset.items(), key=lambda item: (-item[1]["text_bytes"], item[0])):
            published = subsets.find(name)
            rows.append(
                {
                    "subset": name,
                    **counts,
                    "pile_epochs": published.epochs if published else None,
                    "pile_weight": published.weight if published else None,
                }
            )
        return rows

    def by_reason(self) -> list[dict[str, Any]]:
        totals: dict[str, dict[str, Any]] = {}
        for (rule, subset), counts in self.reason.items():
            if counts["documents"]:
                entry = totals.setdefault(
                    rule, {"reason": rule, "documents": 0, "text_bytes": 0, "documents_only_this": 0, "by_subset": {}}
                )
                for key, count in counts.items():
                    entry[key] += count
                entry["by_subset"][subset] = counts["documents"]
        for entry in totals.values():
            entry["by_subset"] = dict(sorted(entry["by_subset"].items(), key=lambda item: (-item[1], item[0])))
        return sorted(totals.values(), key=lambda e: (-e["documents"], e["reason"]))


def _sums(code: np.ndarray[Any, Any], values: np.ndarray[Any, Any], n: int) -> list[int]:
    """Sum of int64 values by code, exact: float64 weights would round past 2^53."""
    out = np.zeros(n, np.int64)
    np.add.at(out, code, values)
    return [int(x) for x in out]


def cluster_sizes(run: RunDir) -> dict[str, Any]:
    """How many clusters of which size, and the largest."""
    cluster = pq.read_table(run.clusters, columns=["cluster"]).column("cluster").to_numpy()
    names, sizes = np.unique(cluster, return_counts=True)
    size, count = np.unique(sizes, return_counts=True)
    largest = np.lexsort((names, -sizes))[:20]
    return {
        "count": len(names),
        "documents": len(cluster),
        "sizes": [{"size": int(s), "clusters": int(c)} for s, c in zip(size, count, strict=True)],
        "largest": [{"cluster": int(names[i]), "documents": int(sizes[i])} for i in largest],
    }


def render(content: dict[str, Any]) -> str:
    """report.html: one file, no script, no network; everything from the corpus is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gpu_pile"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["bytes"] = human_bytes
    environment.filters["count"] = lambda n: f"{n:,}"
    environment.filters["share"] = lambda part, whole: f"{part / whole:.1%}" if whole else "-"
    return environment.get_template("report.html.j2").render(**content, intended_copies=INTENDED_COPIES)


def human_bytes(n: float) -> str:
    """1536 -> 1.5 KiB"""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if n < 1024 or unit == "TiB":
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1024
    raise AssertionError


def summary(run: RunDir) -> str:
    """What a run did, in a few lines for the terminal."""
    r = files.read_json(run.path / "report.json")
    removed = r["documents"] - r["kept_documents"]
    lines = [
        f"{r['documents']:,} documents, {human_bytes(r['text_bytes'])} of text: kept {r['kept_documents']:,} "
        f"({human_bytes(r['kept_text_bytes'])}), removed {removed:,}",
    ]
    width = max((len(e["reason"]) for e in r["reasons"]), default=0)
    lines += [
        f"  {e['reason']:<{width}}  {e['documents']:>9,} documents, {e['documents_only_this']:,} of them for this alone"
        for e in r["reasons"]
    ]
    if r["bad_lines"]["count"]:
        lines.append(f"  {r['bad_lines']['count']:,} bad lines were left out, see {run.path / 'bad_lines.jsonl'}")
    lines.append(f"kept lines: {run.path / 'kept'}   report: {run.path / 'report.html'}")
    return "\n".join(lines)
