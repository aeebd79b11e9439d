"""report: report.json, everything counted; report.html, the same for people, with charts, times and some texts.

report.html is one file without script or network, of a bounded size whatever the corpus: subsets, reasons, shards, bad
lines and charts beyond a number are summed up or left to the tables of the run, names and texts are cut. What comes
from the corpus is escaped, control characters are shown as pictures.
"""

from __future__ import annotations

from typing import Any

import jinja2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml
from markupsafe import Markup

from gpu_pile import signals
from gpu_pile.corpus import files
from gpu_pile.dedup.banding import candidate_probability
from gpu_pile.policy import pile
from gpu_pile.policy.thresholds import bounds_of
from gpu_pile.present import charts
from gpu_pile.present.histogram import figure
from gpu_pile.present.tables import human_bytes, visible
from gpu_pile.run.context import Context
from gpu_pile.run.directory import RunDir
from gpu_pile.run.documents import largest_clusters
from gpu_pile.run.progress import rate
from gpu_pile.summaries import histograms, reason_counts

UNKNOWN = "(unknown)"
"""How a document's missing subset is called in the report."""

INTENDED_COPIES = (
    "The Pile holds some subsets several times on purpose (its epochs: Wikipedia three times, ...). "
    "Deduplication across the corpus removes those copies too; to train on the published mixture, "
    "sample the kept documents by the epochs in this table."
)


SUBSETS_SHOWN = 60
REASONS_SHOWN = 40
OVERLAPS_SHOWN = 14
SHARDS_SHOWN = 50
CHARTS_MAX = 240
CONFIG_MAX = 100_000
NAME_MAX = 80
LARGEST = 8
READ_BYTES_MAX = 1e9
"""Decompressed bytes of shards that are read for the texts of the largest clusters."""


def report(context: Context) -> None:
    with context.stage("report"):
        content = build(context)
        run = context.directory
        files.write_json(run.path / "report.json", content)
        files.write_text(run.path / "report.html", render(content, pictures(context, content)))


def build(context: Context) -> dict[str, Any]:
    """The content of report.json."""
    combinations = pq.read_table(files.table(context.directory.reasons))
    by_subset = reason_counts.by_subset(combinations)
    total = {
        key: sum(s[key] for s in by_subset.values())
        for key in ("documents", "text_bytes", "kept_documents", "kept_text_bytes")
    }
    run = files.read_json(context.directory.path / "run.json")
    dedupe = {k: v for k, v in context.directory.state("dedupe").items() if k != "key"}
    if dedupe["candidate_pairs"] or context.config.dedupe.fuzzy.enabled:
        dedupe["s_curve"] = _probabilities(dedupe["bands"], dedupe["rows"])
    bad = [
        {"shard": s["name"], "line": b["line"], "reason": b["reason"]}
        for s in run["shards"]
        for b in context.directory.state("measure", s["name"])["bad_lines"]
    ]
    return {
        **total,
        "kept_file_bytes": sum(context.directory.state("write", s.name)["bytes"] for s in context.shards),
        "subsets": [_subset(name, counts) for name, counts in by_subset.items()],
        "reasons": reason_counts.by_reason(combinations),
        "overlaps": [
            {"reasons": [x, y], "documents": n}
            for (x, y), n in sorted(reason_counts.overlaps(combinations).items())
            if x < y
        ],
        "dedupe": dedupe,
        "clusters": cluster_sizes(context.directory),
        "bad_lines": {"count": len(bad), "first": bad[:20]},
        "shards": [
            {k: s[k] for k in ("name", "documents", "bytes", "bad_lines", "stopped", "damage")} for s in run["shards"]
        ],
        "gpu_pile": run["gpu_pile"],
        "backend": run["backend"],
        "config": run["config"],
        "warnings": run["warnings"],
    }


def _probabilities(bands: int, rows: int) -> list[dict[str, float]]:
    """The probability that a pair becomes a candidate, by its similarity."""
    similarities = [i / 20 for i in range(21)]
    return [{"similarity": s, "candidate": round(candidate_probability(s, bands, rows), 6)} for s in similarities]


def _subset(name: str, counts: dict[str, int]) -> dict[str, Any]:
    published = pile.find(name)
    return {
        "subset": name or UNKNOWN,
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


def pictures(context: Context, content: dict[str, Any]) -> dict[str, Any]:
    """What report.html has beyond report.json: charts, excerpts, times."""
    return {
        "composition": _composition(content),
        "histograms": _histograms(context, content),
        "cluster_sizes": _cluster_chart(content["clusters"]["sizes"]),
        "s_curve": _s_curve(content["dedupe"]),
        "expected": _expected(content["dedupe"]),
        "largest": largest_clusters(context, LARGEST, READ_BYTES_MAX).to_pylist(),
        "overlap_names": [r["reason"] for r in content["reasons"][:OVERLAPS_SHOWN]],
        "overlap": {tuple(o["reasons"]): o["documents"] for o in content["overlaps"]},
        "stages": _stages(context),
        "config_text": _cut(yaml.safe_dump(content["config"], sort_keys=False, allow_unicode=True), CONFIG_MAX),
    }


def _composition(content: dict[str, Any]) -> dict[str, Any]:
    """The table of subsets: the largest, and the sum of the others."""
    rows = content["subsets"][:SUBSETS_SHOWN]
    rest = content["subsets"][SUBSETS_SHOWN:]
    if rest:
        summed = {k: sum(s[k] for s in rest) for k in ("documents", "text_bytes", "kept_documents", "kept_text_bytes")}
        rows = [*rows, {"subset": f"{len(rest):,} more", **summed, "pile_epochs": None, "pile_weight": None}]
    most = max((s["text_bytes"] for s in rows), default=0)
    return {"rows": rows, "most": most}


def _histograms(context: Context, content: dict[str, Any]) -> list[dict[str, Any]]:
    """A chart of all documents for each signal; by subset where a rule is about it."""
    policy = context.config.thresholds
    cells = histograms.merged([pq.read_table(files.table(context.directory.histogram(s.name))) for s in context.shards])
    about = {s.name: s for family in signals.families() for s in family.signals}
    ruled = policy.signals()
    names = [*ruled, *(n for n in signals.names(context.config.measure.signals) if n not in ruled)]
    largest = [s["subset"] for s in content["subsets"]]
    per_signal = max(1, (CHARTS_MAX - len(names)) // max(1, len(ruled)))
    out = []
    for name in names[:CHARTS_MAX]:
        here = cells.filter(pc.field("signal") == name)
        defined = here.filter(pc.is_valid(here.column("cell")))
        if not len(defined):
            continue
        nowhere = pa.array([""] * len(defined), pa.string())
        total = histograms.merged([defined.set_column(1, "subset", nowhere)])
        charts_ = []
        for subset in largest[: per_signal if name in ruled else 0]:
            named = "" if subset == UNKNOWN else subset
            rows = defined.filter(pc.equal(defined.column("subset"), named))
            bounds = bounds_of(policy.rules_of(named).get(name))
            if len(rows) and bounds:
                charts_.append(Markup(figure(rows, _cut(visible(subset)), bounds, width=250, height=90)))
        bounds = bounds_of(policy.rules_of("").get(name))
        signal = about[name]
        said = f"{signal.definition} ({signal.unit})"
        chart = Markup(figure(total, name, bounds, width=320, height=110))
        out.append({"name": name, "said": said, "chart": chart, "by_subset": charts_, "ruled": name in ruled})
    return out


def _cluster_chart(sizes: list[dict[str, int]]) -> Markup:
    """Clusters by size: 2, 3 to 4, 5 to 8, ... documents."""
    grouped: dict[int, int] = {}
    for s in sizes:
        power = max(1, (s["size"] - 1).bit_length())
        grouped[power] = grouped.get(power, 0) + s["clusters"]
    labels = {1: "2"} | {p: f"{2 ** (p - 1) + 1:,}-{2**p:,}" for p in grouped if p > 1}
    bars = [(labels[p], float(grouped.get(p, 0))) for p in sorted(grouped)]
    return Markup(charts.columns(bars, title="clusters by number of documents"))


def _s_curve(dedupe: dict[str, Any]) -> Markup | None:
    if "s_curve" not in dedupe:
        return None
    curve = [(p["similarity"], p["candidate"]) for p in dedupe["s_curve"]]
    pairs = [(b["from"], b["to"], b["candidates"], b["verified"]) for b in dedupe.get("pairs_by_similarity", ())]
    said = f"probability of a candidate pair by similarity, {dedupe['bands']} bands of {dedupe['rows']} rows"
    return Markup(charts.s_curve(curve, pairs, dedupe["threshold"], title=said))


def _expected(dedupe: dict[str, Any]) -> dict[str, float] | None:
    """How many pairs at or above the threshold there should be, judged by those found and the banding's probability."""
    found = [b for b in dedupe.get("pairs_by_similarity", ()) if b["verified"]]
    if not found:
        return None
    middle = [max((b["from"] + b["to"]) / 2, dedupe["threshold"]) for b in found]
    expected = sum(
        b["verified"] / candidate_probability(s, dedupe["bands"], dedupe["rows"])
        for b, s in zip(found, middle, strict=True)
    )
    return {"pairs": expected, "share": dedupe["verified_pairs"] / expected}


def _stages(context: Context) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "seconds": entry["seconds"],
            "rate": rate(entry) / 1e6,
            "text_bytes": entry["text_bytes"],
            "spans": ", ".join(f"{span} {seconds:.1f} s" for span, seconds in entry.get("spans", {}).items()),
        }
        for name, entry in context.timings().items()
        if entry.get("text_bytes")
    ]


def _cut(text: str, most: int = NAME_MAX) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"


def render(content: dict[str, Any], more: dict[str, Any]) -> str:
    """report.html: one file, no script, no network; everything from the corpus is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gpu_pile.run.stages", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["bytes"] = human_bytes
    environment.filters["count"] = lambda n: f"{n:,}"
    environment.filters["share"] = lambda part, whole: f"{part / whole:.1%}" if whole else "-"
    environment.filters["name"] = lambda text: _cut(visible(text))
    environment.filters["visible"] = visible
    environment.filters["breakable"] = lambda text: Markup("_<wbr>").join(text.split("_"))
    shown = {"shards_shown": SHARDS_SHOWN, "reasons_shown": REASONS_SHOWN, "intended_copies": INTENDED_COPIES}
    return environment.get_template("report.html.j2").render(**content, **more, **shown)


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
