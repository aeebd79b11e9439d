"""The charts of report.html: histograms with bounds, what the banding finds, sizes of clusters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from markupsafe import Markup

from gpu_pile.corpus import files
from gpu_pile.dedup.banding import candidate_probability
from gpu_pile.present import charts
from gpu_pile.present.histogram import Scale, documents_in, figure
from gpu_pile.run.context import Context
from gpu_pile.run.joining import joined_histograms
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
    tables = [pq.read_table(files.table(context.directory.histogram(s.name))) for s in context.shards]
    cells = histograms.merged([*tables, *joined_histograms(context)])
    about = context.config.signal_definitions
    ruled = context.config.thresholds.signals()
    names = [*ruled, *(n for n in context.config.signal_names if n not in ruled)]
    failing = {reason["reason"]: reason["by_subset"] for reason in content["reasons"]}
    subsets = ["" if s["subset"] == UNKNOWN else s["subset"] for s in content["subsets"]]
    by_signal = _by_signal(cells)
    drawn = []
    for name in names[:CHARTS_MAX]:
        if name in by_signal:
            here = by_signal[name]
            groups = rules_by_bounds(context.config.thresholds, name, subsets) if name in ruled else {}
            drawn.append(_Drawn(name, here, [_Group(b, members, name, failing) for b, members in groups.items()]))
    _choose_subset_charts(drawn)
    return [
        {
            "name": signal.name,
            "said": defined(about, signal.name),
            "ruled": bool(together := signal.group_charts(len(subsets))),
            "charts": together[:GROUPS_MAX] or [Markup(figure(_together(signal.cells), signal.name))],
            "by_subset": signal.subset_charts() if signal.with_subsets else [],
        }
        for signal in drawn
    ]


def _by_signal(cells: pa.Table) -> dict[str, pa.Table]:
    """The cells of each signal, where it is defined; cells are sorted by signal."""
    cells = cells.filter(pc.field("cell").is_valid()).combine_chunks()
    encoded = cells.column("signal").combine_chunks().dictionary_encode()
    first = np.flatnonzero(np.diff(encoded.indices.to_numpy(), prepend=-1))
    ends = [*first.tolist(), len(cells)][1:]
    names = encoded.dictionary.to_pylist()
    return {name: cells.slice(i, end - i) for name, i, end in zip(names, first.tolist(), ends, strict=True)}


class _Group(NamedTuple):
    """The subsets that share bounds for a signal; failing: by rule and subset, documents that fail it."""

    bounds: Bounds
    members: list[str]
    signal: str
    failing: dict[str, dict[str, int]]

    def fails(self, members: Iterable[str]) -> int:
        rules = [self.failing.get(f"{self.signal}.{kind}", {}) for kind, _ in self.bounds]
        return sum(rule.get(m, 0) for rule in rules for m in members)

    def said(self, rows: pa.Table, members: Sequence[str]) -> str:
        failing, total = self.fails(members), documents_in(rows)
        return f"{total:,} documents, {failing:,} fail ({share(failing, total)})"


@dataclass
class _Drawn:
    """A signal with its cells, and the groups of subsets that have bounds for it."""

    name: str
    cells: pa.Table
    groups: list[_Group]
    with_subsets: bool = False

    def group_charts(self, n_subsets: int) -> list[Markup]:
        """A chart for each group that has a document."""
        out = []
        for group in self.groups:
            rows = _together(_of(self.cells, group.members))
            if len(rows):
                names = [cut_name(named(m)) for m in group.members]
                title = "every subset" if len(names) == n_subsets > 1 else some(names)
                chart = figure(rows, title, group.bounds, said=group.said(rows, group.members), size=(400, 130))
                out.append(Markup(chart))
        return out

    def subset_charts(self) -> list[Markup]:
        """A chart for each subset of the groups of several, those of a group on one scale."""
        out = []
        for group in self.groups:
            there = [(m, rows) for m in group.members if len(rows := _of(self.cells, [m]))]
            if len(there) > 1:
                scale = Scale.of(_together(_of(self.cells, group.members)), group.bounds, BINS_BY_SUBSET)
                for m, rows in there:
                    said = group.said(rows, [m])
                    chart = figure(rows, cut_name(named(m)), group.bounds, scale, said, size=(280, 100))
                    out.append(Markup(chart))
        return out


def _choose_subset_charts(drawn: Sequence[_Drawn]) -> None:
    """Of the signals that documents fail, those that most fail first, up to SUBSET_CHARTS_MAX charts of subsets."""
    left = SUBSET_CHARTS_MAX
    failing = {signal.name: sum(group.fails(group.members) for group in signal.groups) for signal in drawn}
    for signal in sorted(drawn, key=lambda signal: -failing[signal.name]):
        left -= sum(len(group.members) for group in signal.groups)
        signal.with_subsets = left >= 0 and failing[signal.name] > 0


def _together(cells: pa.Table) -> pa.Table:
    """The cells of several subsets added up."""
    nowhere = pa.array([""] * len(cells), pa.string())
    return histograms.merged([cells.set_column(1, "subset", nowhere)])


def _of(cells: pa.Table, subsets: Sequence[str]) -> pa.Table:
    return cells.filter(pc.is_in(cells.column("subset"), pa.array(subsets, pa.string())))


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
