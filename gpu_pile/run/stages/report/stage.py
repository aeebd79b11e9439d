"""The stage report: report.json, everything counted; report.html, the same for people.

Both depend on the run alone, and on the command and the date that the context holds: never on the clock.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gpu_pile.corpus import files
from gpu_pile.dedup.banding import candidate_probability
from gpu_pile.policy import pile
from gpu_pile.present.tables import human_bytes
from gpu_pile.run.context import Context
from gpu_pile.run.directory import RunDir
from gpu_pile.run.stages.report.against import against
from gpu_pile.run.stages.report.findings import definition_of, flow, named, notes, rule_of
from gpu_pile.run.stages.report.lost import lost_text
from gpu_pile.run.stages.report.page import render
from gpu_pile.run.stages.report.repeated import repeated_text
from gpu_pile.run.stages.report.spaces import without_spaces
from gpu_pile.summaries import reason_counts


def report(context: Context) -> None:
    with context.stage("report"):
        content = build(context)
        for note in content["notes"]:
            context.reporter.note(note)
        run = context.directory
        files.write_json(run.path / "report.json", content)
        files.write_text(run.path / "report.html", render(context, content))


def build(context: Context) -> dict[str, Any]:
    """The content of report.json."""
    combinations = pq.read_table(files.table(context.directory.reasons))
    by_subset = reason_counts.by_subset(combinations)
    total = {
        key: sum(s[key] for s in by_subset.values())
        for key in ("documents", "text_bytes", "kept_documents", "kept_text_bytes")
    }
    run = files.read_json(context.directory.path / "run.json")
    reasons = reason_counts.by_reason(combinations)
    about_shard = ("name", "documents", "lines", "bytes", "bad_lines", "stopped", "damage")
    content = {
        **total,
        "kept_file_bytes": sum(context.directory.state("write", s.name)["bytes"] for s in context.shards),
        "flow": flow(combinations),
        "subsets": [_subset(name, counts) for name, counts in by_subset.items()],
        "reasons": [_reason(context, counts, list(by_subset)) for counts in reasons],
        "overlaps": _overlaps(combinations),
        "dedupe": _dedupe(context),
        "clusters": cluster_sizes(context.directory),
        "copies": _copies(context),
        "lost_text": lost_text(context, reasons),
        "against": against(context),
        "without_spaces": without_spaces(context),
        **repeated_text(context),
        "bad_lines": _bad_lines(context),
        "fields": [{"field": name, **counts} for name, counts in run.get("fields", {}).items()],
        "shards": [{k: s[k] for k in about_shard} for s in run["shards"]],
        "gpu_pile": run["gpu_pile"],
        "backend": run["backend"],
        "config": run["config"],
    }
    return {"warnings": run["warnings"], "notes": notes(content, combinations), **content}


def _overlaps(combinations: pa.Table) -> list[dict[str, Any]]:
    """Documents that two reasons remove both, by pair of reasons."""
    counts = sorted(reason_counts.overlaps(combinations).items())
    return [{"reasons": [x, y], "documents": n} for (x, y), n in counts if x < y]


def _bad_lines(context: Context) -> dict[str, Any]:
    bad = [
        {"shard": s.name, "line": b["line"], "reason": b["reason"]}
        for s in context.shards
        for b in context.directory.state("measure", s.name)["bad_lines"]
    ]
    return {"count": len(bad), "first": bad[:20]}


def _reason(context: Context, counts: dict[str, Any], subsets: list[str]) -> dict[str, Any]:
    reason = counts["reason"]
    about = {"rule": rule_of(context.config, reason, subsets), "definition": definition_of(context.config, reason)}
    return {"reason": reason, **about, **counts}


def _dedupe(context: Context) -> dict[str, Any]:
    dedupe = {k: v for k, v in context.directory.state("dedupe").items() if k != "key"}
    if dedupe["candidate_pairs"] or context.config.dedupe.fuzzy.enabled:
        dedupe["s_curve"] = _probabilities(dedupe["bands"], dedupe["rows"])
    return dedupe


def _copies(context: Context) -> dict[str, Any]:
    """How many documents stay as copies of others (dedupe.copies_max), in all and by subset."""
    most, by_subset = context.config.dedupe.copies_max, Counter[str]()
    for shard in context.shards if most > 1 else ():
        with pq.ParquetFile(files.table(context.directory.decisions(shard.name))) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=["subset", "keep", "witness"])
                stays = pc.and_(table.column("keep"), pc.is_valid(table.column("witness")))
                by_subset.update(named(subset) for subset in table.column("subset").filter(stays).to_pylist())
    return {"most": most, "documents": by_subset.total(), "by_subset": dict(sorted(by_subset.items()))}


def _probabilities(bands: int, rows: int) -> list[dict[str, float]]:
    """The probability that a pair becomes a candidate, by its similarity."""
    similarities = [i / 20 for i in range(21)]
    return [{"similarity": s, "candidate": round(candidate_probability(s, bands, rows), 6)} for s in similarities]


def _subset(name: str, counts: dict[str, int]) -> dict[str, Any]:
    published = pile.find(name)
    return {
        "subset": named(name),
        **counts,
        "pile_epochs": published.epochs if published else None,
        "pile_weight": published.weight if published else None,
    }


def cluster_sizes(run: RunDir) -> dict[str, Any]:
    """How many clusters of which size, and the largest."""
    cluster = pq.read_table(files.table(run.clusters), columns=["cluster"]).column("cluster").to_numpy()
    names, sizes = np.unique(cluster, return_counts=True)
    size, count = np.unique(sizes, return_counts=True)
    largest = np.lexsort((names, -sizes))[:20]
    return {
        "count": len(names),
        "documents": len(cluster),
        "sizes": [{"size": int(s), "clusters": int(c)} for s, c in zip(size, count, strict=True)],
        "largest": [{"cluster": int(names[i]), "documents": int(sizes[i])} for i in largest],
    }


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
