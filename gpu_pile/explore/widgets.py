"""Interactive views of a run in Jupyter, made of ipywidgets: sliders for bounds, pairs of near duplicates.

They need ipywidgets: pip install 'gpu-pile[notebook]'. Without a running kernel a view still shows its last state as
HTML.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpu_pile.errors import UsageError
from gpu_pile.explore.documents import Difference, labels, locate
from gpu_pile.explore.tables import RunTables
from gpu_pile.explore.trials import Trial, decide
from gpu_pile.policy.thresholds import bounds_of, policy_data
from gpu_pile.present.histogram import figure
from gpu_pile.present.tables import Result, html_text
from gpu_pile.run.documents import read_texts
from gpu_pile.run.tables import row_groups
from gpu_pile.summaries import histograms
from gpu_pile.types import Array

EXAMPLES = 3
"""Texts that are shown on each side of a bound."""

EXCERPT = 400
"""Characters of each."""

SIGNALS_MAX = 4


def _widgets() -> Any:
    try:
        import ipywidgets
    except ImportError:
        raise UsageError("this view needs ipywidgets: pip install 'gpu-pile[notebook]'") from None
    return ipywidgets


class _View(abc.ABC):
    """A widget with the same content as HTML, for pages without a kernel."""

    widget: Any

    @abc.abstractmethod
    def html(self) -> str:
        """What the widget shows now."""

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        shown = dict(self.widget._repr_mimebundle_(include=include, exclude=exclude) or {})
        return {**shown, "text/plain": repr(self), "text/html": self.html()}


class JointCells(NamedTuple):
    """Documents counted by subset and by the cells of some signals: k different combinations.

    subsets: names. codes: int64[k], the subset of each combination. cells: int64[k, signals]; -1: undefined.
    documents, text_bytes: int64[k].
    """

    subsets: list[str]
    codes: Array
    cells: Array
    documents: Array
    text_bytes: Array


class Explorer(_View):
    """A slider with two ends for the bounds of each signal; below it, what passes the bounds, by subset.

    The sliders stand on edges of the histograms (numbers of two digits), so every count is exact, over all documents.
    With one signal the counts come from the stored histograms; with several, the signals' columns are read once, when
    the view is made. The view counts what passes these bounds, whatever other rules and deduplication do; .trial()
    decides everything.

    .sliders: by signal, ipywidgets.SelectionRangeSlider. .bounds: by signal, (min or None, max or None).
    .subset: an ipywidgets.Dropdown, whose texts to show.
    """

    def __init__(self, run: RunTables, names: Sequence[str]) -> None:
        if not names:
            raise UsageError("explore needs the name of a signal, such as run.explore('word_count')")
        widgets = _widgets()
        self.run, self.names = run, list(names)
        self._moved = self.names[0]
        self._joint = joint_cells(run, self.names)
        self._sample = run.sample
        self._values = {name: histograms.numbers(self._sample.column(name)) for name in self.names}
        self.sliders = {name: self._slider(widgets, name, self._joint.cells[:, i]) for i, name in enumerate(self.names)}
        self._choices = [None, *(row["subset"] for row in self.counts())]
        self.subset = self._dropdown(widgets)
        self.subset.observe(lambda _: self._update(self._moved), "value")
        self._output = widgets.HTML()
        for name, slider in self.sliders.items():
            slider.observe(lambda _, name=name: self._update(name), "value")
        self.widget = widgets.VBox([*self.sliders.values(), self.subset, self._output])
        self._update(self._moved)

    def __repr__(self) -> str:
        return f"<Explorer of {', '.join(self.names)}: {self.text()}>"

    def _dropdown(self, widgets: Any) -> Any:
        labels = ["all subsets", *(name or "(no subset)" for name in self._choices[1:])]
        # positions rather than names: a Dropdown takes None to mean that nothing is chosen
        options = [(label, i) for i, label in enumerate(labels)]
        return widgets.Dropdown(options=options, value=0, description="texts of", style={"description_width": "14em"})

    def _slider(self, widgets: Any, name: str, cells: Array) -> Any:
        """A slider from below the smallest value to above the largest; it begins with the run's rule."""
        used = cells[cells >= 0]
        low, high = int(used.min(initial=histograms.CELLS)), int(used.max(initial=0))
        edges = histograms.EDGES[max(0, (low - 1) // 2) : (high + 1) // 2 + 1]
        if pa.types.is_integer(self._sample.schema.field(name).type):
            edges = edges[edges == np.floor(edges)]
        bounds = dict(bounds_of(self.run.config.thresholds.rules_of("").get(name)))
        edges = np.unique(np.concatenate([edges, [b for b in bounds.values() if histograms.is_edge(b)]]))
        options = [("no min", -np.inf), *((f"{e:g}", float(e)) for e in edges), ("no max", np.inf)]
        position = {float(e): i + 1 for i, e in enumerate(edges)}
        index = (position.get(bounds.get("min", np.nan), 0), position.get(bounds.get("max", np.nan), len(edges) + 1))
        return widgets.SelectionRangeSlider(
            options=options,
            index=index,
            description=name,
            continuous_update=True,
            layout={"width": "60em"},
            style={"description_width": "14em"},
        )

    @property
    def bounds(self) -> dict[str, tuple[float | None, float | None]]:
        values = {name: slider.value for name, slider in self.sliders.items()}
        return {
            name: (low if np.isfinite(low) else None, high if np.isfinite(high) else None)
            for name, (low, high) in values.items()
        }

    def counts(self) -> list[dict[str, Any]]:
        """documents, text_bytes, kept_documents, kept_text_bytes by subset, most text first."""
        joint = self._joint
        passing = np.ones(len(joint.documents), bool)
        for i, (low, high) in enumerate(self.bounds.values()):
            cell = joint.cells[:, i]
            inside = np.ones(len(cell), bool)
            if low is not None:
                inside &= cell >= _cell(low)
            if high is not None:
                inside &= cell <= _cell(high)
            passing &= inside | (cell < 0)  # a document whose signal is undefined passes
        n = len(joint.subsets)
        sums = {
            "documents": np.bincount(joint.codes, joint.documents, n),
            "text_bytes": np.bincount(joint.codes, joint.text_bytes, n),
            "kept_documents": np.bincount(joint.codes[passing], joint.documents[passing], n),
            "kept_text_bytes": np.bincount(joint.codes[passing], joint.text_bytes[passing], n),
        }
        rows = [{"subset": s, **{k: int(v[i]) for k, v in sums.items()}} for i, s in enumerate(joint.subsets)]
        return sorted(rows, key=lambda r: -r["text_bytes"])

    def text(self) -> str:
        """What passes, in a sentence."""
        rows = self.counts()
        kept, documents = sum(r["kept_documents"] for r in rows), sum(r["documents"] for r in rows)
        kept_bytes, text_bytes = sum(r["kept_text_bytes"] for r in rows), sum(r["text_bytes"] for r in rows)
        return (
            f"{kept:,} of {documents:,} documents pass ({kept / max(1, documents):.1%}), "
            f"{kept_bytes / 1e6:,.1f} of {text_bytes / 1e6:,.1f} MB of text ({kept_bytes / max(1, text_bytes):.1%})"
        )

    def examples(self) -> str:
        """HTML: texts of the sample just outside and just inside the bounds of the slider that moved last."""
        name = self._moved
        chosen = np.ones(len(self._sample), bool)
        subset = self._choices[self.subset.value]
        if subset is not None:
            chosen = pc.equal(self._sample.column("subset"), subset).to_numpy()
        values = self._values[name]
        paragraphs = []
        for kind, bound in zip(("min", "max"), self.bounds[name], strict=True):
            if bound is None:
                continue
            outside = values < bound if kind == "min" else values > bound
            inside = ~outside & ~np.isnan(values)
            for title, side in (("removed", outside & chosen), ("kept", inside & chosen)):
                rows = np.flatnonzero(side)
                rows = rows[np.argsort(np.abs(values[rows] - bound), kind="stable")[:EXAMPLES]]
                paragraphs.append(f"<p><strong>{name} {kind} {bound:g}: just {title}</strong></p>")
                paragraphs += [self._example(row) for row in self._sample.take(pa.array(rows)).to_pylist()]
        return "".join(paragraphs)

    def _example(self, row: dict[str, Any]) -> str:
        about = f"{row['subset']}, {self._moved} {row[self._moved]:g}, doc_id {row['doc_id']}"
        style = "white-space:pre-wrap;overflow-wrap:anywhere;max-height:9em;overflow-y:auto"
        return f'<p>{html_text(about)}</p><pre style="{style}">{html_text(row["excerpt"][:EXCERPT])}</pre>'

    def html(self) -> str:
        rows = []
        for r in self.counts():
            shares = {f"share_of_{k}": r[f"kept_{k}"] / max(1, r[k]) for k in ("documents", "text_bytes")}
            rows.append({**r, "subset": r["subset"] or "(no subset)", **shares})
        shown = Result(
            pa.Table.from_pylist(rows),
            self.text(),
            shares=["share_of_documents", "share_of_text_bytes"],
            charts=["".join(self._figure(i, name) for i, name in enumerate(self.names))],
        )
        return f"{shown._repr_html_()}{self.examples()}"

    def _figure(self, i: int, name: str) -> str:
        defined = self._joint.cells[:, i] >= 0
        cell, counts = self._joint.cells[defined, i], self._joint.documents[defined]
        documents = np.bincount(cell, counts, histograms.CELLS).astype(np.int64)
        used = np.flatnonzero(documents)
        if not len(used):
            return ""
        bounds = [(kind, b) for kind, b in zip(("min", "max"), self.bounds[name], strict=True) if b is not None]
        return figure(pa.table({"cell": used, "documents": documents[used]}), name, bounds)

    def _update(self, moved: str) -> None:
        self._moved = moved
        self._output.value = self.html()

    def thresholds(self) -> dict[str, Any]:
        """The run's thresholds with these bounds as its default rules; a subset's own rules stay as they are."""
        data = policy_data(self.run.config.thresholds)
        for name, (low, high) in self.bounds.items():
            data["default"].pop(name, None)
            rule = {k: v for k, v in (("min", low), ("max", high)) if v is not None}
            if rule:
                data["default"][name] = rule
        return data

    def trial(self) -> Trial:
        """Decide everything with .thresholds()."""
        return decide(self.run, self.thresholds())


def _cell(bound: float) -> int:
    """The cell of a bound that is an edge."""
    return 2 * int(np.searchsorted(histograms.EDGES, bound)) + 1


def joint_cells(run: RunTables, names: Sequence[str]) -> JointCells:
    """Documents counted by subset and by the cells of up to SIGNALS_MAX signals.

    Raises:
        UsageError: there are more signals.
    """
    if len(names) == 1:
        return _stored_cells(run, names[0])
    if len(names) > SIGNALS_MAX:
        raise UsageError(f"explore takes up to {SIGNALS_MAX} signals at a time, not {len(names)}")
    named = histograms.Names()
    size = histograms.CELLS + 1
    sums = [_summed(*(np.empty(0, np.int64) for _ in range(3)))]
    for shard in run.shards:
        for table in row_groups(run.context, shard, sorted({"subset", "text_bytes", *names})):
            key = named.of(table.column("subset"))
            for name in names:
                key = key * size + histograms.cells_of(histograms.numbers(table.column(name))) + 1
            sums.append(_summed(key, np.ones(len(key), np.int64), table.column("text_bytes").to_numpy()))
            if len(sums) == 16:
                sums = [_merged(sums)]
    keys, documents, text_bytes = _merged(sums)
    cells = np.empty((len(keys), len(names)), np.int64)
    for i in reversed(range(len(names))):
        keys, cells[:, i] = np.divmod(keys, size)
    subsets = [named.name(c) for c in range(int(keys.max(initial=-1)) + 1)]
    return JointCells(subsets, keys, cells - 1, documents, text_bytes)


def _stored_cells(run: RunTables, name: str) -> JointCells:
    """The stored histograms of one signal."""
    table = run.cells.filter(pc.field("signal") == name)
    subset = table.column("subset").combine_chunks().dictionary_encode()
    cells = table.column("cell").fill_null(-1).to_numpy().astype(np.int64)[:, None]
    documents, text_bytes = (table.column(c).to_numpy() for c in ("documents", "text_bytes"))
    codes = subset.indices.to_numpy().astype(np.int64)
    return JointCells(subset.dictionary.to_pylist(), codes, cells, documents, text_bytes)


Sums = tuple[Array, Array, Array]
"""(distinct keys, documents of each, text_bytes of each)"""


def _merged(sums: Sequence[Sums]) -> Sums:
    keys, documents, text_bytes = (np.concatenate(arrays) for arrays in zip(*sums, strict=True))
    return _summed(keys, documents, text_bytes)


def _summed(keys: Array, documents: Array, text_bytes: Array) -> Sums:
    """Sum documents and bytes of equal keys."""
    if not len(keys):
        return keys, documents, text_bytes
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    return keys[starts], np.add.reduceat(documents[order], starts), np.add.reduceat(text_bytes[order], starts)


class Duplicates(_View):
    """Pairs of near duplicates, the least similar first: two texts side by side with their differences marked.

    Above each text stands whether the document is kept, its subset, its shard and line, and its doc_id.

    .pairs: rows of run.pairs; .choice: an ipywidgets.Dropdown of them; .previous, .next: buttons.
    """

    def __init__(self, run: RunTables, n: int) -> None:
        widgets = _widgets()
        self.run = run
        order = pc.sort_indices(run.pairs, [("similarity", "ascending"), ("a", "ascending"), ("b", "ascending")])
        self.pairs: list[dict[str, Any]] = run.pairs.take(order[:n]).to_pylist()
        ids = list(dict.fromkeys(i for p in self.pairs for i in (p["a"], p["b"])))
        self._texts = read_texts(run.context, list(locate(run, ids).values()))
        self._labels = labels(run, ids)
        options = [(f"{p['similarity']:.3f}  {p['a']} and {p['b']}", i) for i, p in enumerate(self.pairs)]
        self.choice = widgets.Dropdown(options=options, description="pair", layout={"width": "30em"})
        self.previous, self.next = (widgets.Button(description=text) for text in ("previous", "next"))
        self.previous.on_click(lambda _: self._step(-1))
        self.next.on_click(lambda _: self._step(1))
        self._output = widgets.HTML()
        self.choice.observe(lambda _: self._update(), "value")
        self.widget = widgets.VBox([widgets.HBox([self.previous, self.next, self.choice]), self._output])
        self._update()

    def __repr__(self) -> str:
        return f"<Duplicates: {len(self.pairs)} pairs>"

    def html(self) -> str:
        if not self.pairs:
            return "<p>There are no near duplicates.</p>"
        i = self.choice.value
        pair = self.pairs[i]
        marked = Difference(pair["a"], pair["b"], self._texts, self._labels)
        about = f"Pair {i + 1:,} of {len(self.pairs):,}, Jaccard similarity {pair['similarity']:.4f}"
        return f"<p>{about}</p>{marked._repr_html_()}"

    def _step(self, by: int) -> None:
        if self.pairs:
            self.choice.value = min(len(self.pairs) - 1, max(0, self.choice.value + by))

    def _update(self) -> None:
        at = self.choice.value if self.pairs else 0
        self.previous.disabled, self.next.disabled = at <= 0, at >= len(self.pairs) - 1
        self._output.value = self.html()
