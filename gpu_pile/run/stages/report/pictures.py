"""The charts of report.html: histograms with bounds, what the banding finds, sizes of clusters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from markupsafe import Markup

from gpu_pile import signals
from gpu_pile.corpus import files
from gpu_pile.dedup.banding import candidate_probability
from gpu_pile.present import charts
from gpu_pile.present.histogram import Scale, documents_in, figure
from gpu_pile.run.context import Context
from gpu_pile.run.stages.report.findings import UNKNOWN, Bounds, cut_name, defined, named, rules_by_bounds, share, some
from gpu_pile.summaries import histograms

CHARTS_MAX = 120
"""Signals with a chart; more are left out."""

SUBSET_CHARTS_MAX = 120
"""Charts of single subsets, for the signals that remove most."""

GROUPS_MAX = 6
"""Different bounds of a signal that are drawn."""

BINS_BY_SUBSET = 32


def histograms_of(context: Context, content: dict[str, Any]) -> list[dict[str, Any]]:
    """For each signal with a rule, charts of the subsets that share its bounds; for the others one of all documents."""
    cells = histograms.merged([pq.read_table(files.table(context.directory.histogram(s.name))) for s in context.shards])
    about = {s.name: s for family in signals.families() for s in family.signals}
    ruled = context.config.thresholds.signals()
    names = [*ruled, *(n for n in signals.names(context.config.measure.signals) if n not in ruled)]
    failing = {reason["reason"]: reason["by_subset"] for reason in content["reasons"]}
    out = []
    for name in names[:CHARTS_MAX]:
        here = cells.filter((pc.field("signal") == name) & pc.field("cell").is_valid())
        if not len(here):
            continue
        shown: dict[str, Any] = {"name": name, "said": defined(about, name), "charts": [], "by_subset": []}
        subsets = ["" if s["subset"] == UNKNOWN else s["subset"] for s in content["subsets"]]
        groups = rules_by_bounds(context.config.thresholds, name, subsets) if name in ruled else {}
        for bounds, members in groups.items():
            fails = [failing.get(f"{name}.{kind}", {}) for kind, _ in bounds]
            shown["charts"] += _group_chart(here, bounds, members, len(members) == len(subsets), fails)
            shown["by_subset"] += _subset_charts(here, bounds, members, fails)
        shown["ruled"] = bool(shown["charts"])
        shown["charts"] = shown["charts"][:GROUPS_MAX] or [Markup(figure(_together(here), name))]
        shown["failing"] = sum(sum(f.values()) for rule, f in failing.items() if rule.rpartition(".")[0] == name)
        out.append(shown)
    return _with_fewer_charts(out)


def _with_fewer_charts(shown: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out the charts of single subsets where few documents fail, so that SUBSET_CHARTS_MAX stay."""
    left = SUBSET_CHARTS_MAX
    for signal in sorted(shown, key=lambda s: -s["failing"]):
        left -= len(signal["by_subset"])
        if left < 0 or not signal["failing"]:
            signal["by_subset"] = []
    return shown


def _together(cells: pa.Table) -> pa.Table:
    """The cells of several subsets added up."""
    nowhere = pa.array([""] * len(cells), pa.string())
    return histograms.merged([cells.set_column(1, "subset", nowhere)])


def _of(cells: pa.Table, subsets: Sequence[str]) -> pa.Table:
    return cells.filter(pc.is_in(cells.column("subset"), pa.array(subsets, pa.string())))


def _said(rows: pa.Table, members: Sequence[str], fails: Sequence[dict[str, int]]) -> str:
    """How many documents there are, and how many of them fail; fails: by bound, documents by subset."""
    failing, total = sum(f.get(m, 0) for f in fails for m in members), documents_in(rows)
    return f"{total:,} documents, {failing:,} fail ({share(failing, total)})"


def _group_chart(
    cells: pa.Table, bounds: Bounds, members: Sequence[str], is_all: bool, fails: Sequence[dict[str, int]]
) -> list[Markup]:
    """The chart of all subsets that share bounds, if they have a document."""
    rows = _together(_of(cells, members))
    if not len(rows):
        return []
    title = "every subset" if is_all and len(members) > 1 else some([cut_name(named(m)) for m in members])
    return [Markup(figure(rows, title, bounds, said=_said(rows, members, fails), size=(400, 130)))]


def _subset_charts(
    cells: pa.Table, bounds: Bounds, members: Sequence[str], fails: Sequence[dict[str, int]]
) -> list[Markup]:
    """A chart for each of several subsets that share bounds, all on one scale."""
    there = [(m, rows) for m in members if len(rows := _of(cells, [m]))]
    if len(there) < 2:
        return []
    scale = Scale.of(_together(_of(cells, members)), bounds, BINS_BY_SUBSET)
    return [
        Markup(figure(rows, cut_name(named(m)), bounds, scale, _said(rows, [m], fails), size=(280, 100)))
        for m, rows in there
    ]


def cluster_sizes(sizes: list[dict[str, int]]) -> Markup:
    """Clusters by size: 2, 3 to 4, 5 to 8, ... documents."""
    grouped: dict[int, int] = {}
    for s in sizes:
        power = max(1, (s["size"] - 1).bit_length())
        grouped[power] = grouped.get(power, 0) + s["clusters"]
    labels = {1: "2"} | {p: f"{2 ** (p - 1) + 1:,}-{2**p:,}" for p in grouped if p > 1}
    bars = [(labels[p], float(grouped.get(p, 0))) for p in sorted(grouped)]
    return Markup(charts.columns(bars, title="clusters by number of documents"))


def s_curve(dedupe: dict[str, Any]) -> Markup | None:
    """The probability that a pair becomes a candidate, and the pairs of the run."""
    if "s_curve" not in dedupe:
        return None
    curve = [(p["similarity"], p["candidate"]) for p in dedupe["s_curve"]]
    pairs = [(b["from"], b["to"], b["candidates"], b["verified"]) for b in dedupe.get("pairs_by_similarity", ())]
    said = f"probability of a candidate pair by similarity, {dedupe['bands']} bands of {dedupe['rows']} rows"
    return Markup(charts.s_curve(curve, pairs, dedupe["threshold"], title=said))


def expected(dedupe: dict[str, Any]) -> dict[str, float] | None:
    """How many pairs at or above the threshold there should be, judged by those found and the banding's probability."""
    found = [b for b in dedupe.get("pairs_by_similarity", ()) if b["verified"]]
    if not found:
        return None
    middle = [max((b["from"] + b["to"]) / 2, dedupe["threshold"]) for b in found]
    pairs = sum(
        b["verified"] / candidate_probability(s, dedupe["bands"], dedupe["rows"])
        for b, s in zip(found, middle, strict=True)
    )
    return {"pairs": pairs, "share": dedupe["verified_pairs"] / pairs}
