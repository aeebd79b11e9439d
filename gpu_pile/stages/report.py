"""report: report.json, everything counted; report.html, the same for people. Both depend on the run's files alone."""

from __future__ import annotations

from typing import Any

import jinja2
import numpy as np
import pyarrow.parquet as pq

from gpu_pile import files, subsets, tally
from gpu_pile.dedup.bands import candidate_probability
from gpu_pile.rundir import RunDir
from gpu_pile.stages.context import Context

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
    combinations = pq.read_table(context.run.reasons)
    by_subset = tally.by_subset(combinations)
    total = {
        key: sum(s[key] for s in by_subset.values())
        for key in ("documents", "text_bytes", "kept_documents", "kept_text_bytes")
    }
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
        **total,
        "kept_file_bytes": sum(context.run.state("write", s.name)["bytes"] for s in context.shards),
        "subsets": [_subset(name, counts) for name, counts in by_subset.items()],
        "reasons": tally.by_reason(combinations),
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


def _subset(name: str, counts: dict[str, int]) -> dict[str, Any]:
    published = subsets.find(name)
    return {
        "subset": name or UNKNOWN,
        **counts,
        "pile_epochs": published.epochs if published else None,
        "pile_weight": published.weight if published else None,
    }


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
