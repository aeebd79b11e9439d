"""Interactive views of a run in Jupyter, made of ipywidgets: sliders for bounds, pairs of near duplicates.

They need ipywidgets: pip install 'gpu-pile[notebook]'. Without a running kernel a view still shows its last state as
HTML.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpu_pile.corpus import files
from gpu_pile.corpus.files import AnyPath
from gpu_pile.errors import GpuPileError, UsageError
from gpu_pile.explore.bounds import NO_BOUNDS, SubsetBounds
from gpu_pile.explore.documents import Difference, labels, texts_of
from gpu_pile.explore.tables import RunTables
from gpu_pile.explore.trials import Trial, decide, save_configuration
from gpu_pile.present.histogram import Scale, chart, documents_in
from gpu_pile.present.tables import EXCERPT_HEIGHT, MONOSPACE, Result, Unit, html_text
from gpu_pile.run.stages.decide import failures
from gpu_pile.summaries import histograms, reason_counts

EXAMPLES = 3
"""Texts that are shown on each side of a bound."""

EXCERPT = 400
"""Characters of each."""

SUBSETS_SHOWN = 8
"""Subsets that are seen at once in the list to choose from."""

WIDTH = 640
"""Pixels of a slider and of the histogram below it."""


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


class Explorer(_View):
    """A slider with two ends for the bounds of each signal, for the subsets that are chosen.

    Every subset has its own bounds, those of the run's rules at first. Choosing subsets shows theirs; moving a slider
    gives them new ones, and the others keep what they have. Below each slider stands the histogram of the chosen
    subsets on the slider's scale, what is removed in another colour. Counts are exact, over all documents; they are of
    what passes the bounds of these signals now, in the run, and then, with the moved bounds. .decide() applies all
    rules and deduplication.

    .subsets: an ipywidgets.SelectMultiple. .sliders: by signal, ipywidgets.SelectionRangeSlider. .bounds: of the chosen
    subsets by signal, (min or None, max or None). .path, .save_button, .decide_button: what their names say.
    """

    def __init__(self, run: RunTables, names: Sequence[str]) -> None:
        if not names:
            raise UsageError("explore needs the name of a signal, such as run.explore('word_count')")
        widgets = _widgets()
        self.run, self.names = run, list(names)
        self.by_subset = SubsetBounds(run, self.names)
        self._moved, self._following, self._saved = self.names[0], False, ""
        self._sample = run.sample
        self._failing = _failing(run, self._sample)
        self._values = {name: histograms.numbers(self._sample.column(name)) for name in self.names}
        self.subsets = self._choice(widgets)
        self.sliders = {name: self._slider(widgets, name) for name in self.names}
        self._heads, self._charts = ({name: widgets.HTML() for name in self.names} for _ in range(2))
        self.path = widgets.Text(value="thresholds.yaml", layout={"width": "20em"})
        self.save_button = widgets.Button(description="save as YAML")
        self.decide_button = widgets.Button(description="decide")
        self._said, self._output = widgets.HTML(), widgets.HTML()
        parts = [w for name in self.names for w in (self._heads[name], self.sliders[name], self._charts[name])]
        buttons = widgets.HBox([self.decide_button, self.path, self.save_button])
        self.widget = widgets.VBox([self.subsets, *parts, buttons, self._said, self._output])
        self.subsets.observe(lambda _: self._follow(), "value")
        for name, slider in self.sliders.items():
            slider.observe(lambda _, name=name: self._move(name), "value")
        self.save_button.on_click(lambda _: self._say(self._save))
        self.decide_button.on_click(lambda _: self._say(self._decided))
        self._follow()

    def __repr__(self) -> str:
        return f"<Explorer of {', '.join(self.names)}: {self.text()}>"

    # widgets

    def _choice(self, widgets: Any) -> Any:
        """The subsets that can be chosen; a document of another subset than those counted separately has none."""
        rows = {row["subset"]: row["documents"] for row in self.by_subset.counts()}
        options = [(f"{named(s)} ({n:,})", s) for s, n in rows.items() if s != histograms.OTHERS]
        chosen = tuple(s for s in self.by_subset.together() if s != histograms.OTHERS)
        style = {"description_width": "6em"}
        layout = {"width": "32em"}
        height = max(2, min(SUBSETS_SHOWN, len(options)))
        return widgets.SelectMultiple(
            options=options, value=chosen, rows=height, description="subsets", style=style, layout=layout
        )

    def _slider(self, widgets: Any, name: str) -> Any:
        edges = self.by_subset.edges[name]
        options = [("no min", -np.inf), *((f"{e:g}", float(e)) for e in edges), ("no max", np.inf)]
        layout = {"width": f"{WIDTH}px"}
        return widgets.SelectionRangeSlider(
            options=options, index=(0, len(options) - 1), continuous_update=True, readout=False, layout=layout
        )

    def _follow(self) -> None:
        """Show the bounds of the chosen subsets: of the largest one, where they differ."""
        self._following = True
        for name, slider in self.sliders.items():
            pair = self.by_subset.after[self.subsets.value[0], name] if self.subsets.value else NO_BOUNDS
            positions = {value: i for i, (_, value) in enumerate(slider.options)}
            slider.index = (positions[pair[0]], positions[pair[1]])
        self._following = False
        self._update(self.names)

    def _move(self, name: str) -> None:
        if not self._following:
            self._moved = name
            pair = zip(self.bounds[name], NO_BOUNDS, strict=True)
            low, high = (end if bound is None else bound for bound, end in pair)
            self.by_subset.move(self.subsets.value, name, (low, high))
            self._update([name])

    def _update(self, names: Sequence[str]) -> None:
        for name in names:
            self._heads[name].value = self._head(name)
            self._charts[name].value = self._figure(name)
        self._output.value = self._below()

    def _say(self, action: Callable[[], str]) -> None:
        try:
            self._said.value = f"<p>{html_text(action())}</p>"
        except (GpuPileError, OSError) as error:
            self._said.value = f"<p><strong>{html_text(str(error))}</strong></p>"

    # what they show

    @property
    def bounds(self) -> dict[str, tuple[float | None, float | None]]:
        values = {name: slider.value for name, slider in self.sliders.items()}
        return {
            name: (low if np.isfinite(low) else None, high if np.isfinite(high) else None)
            for name, (low, high) in values.items()
        }

    def counts(self) -> list[dict[str, Any]]:
        """Documents and text_bytes by subset: all, those that pass now_, those that pass then_."""
        return self.by_subset.counts()

    def text(self) -> str:
        """What passes, in a sentence."""
        rows = self.counts()
        documents, now, then = (sum(r[f"{k}documents"] for r in rows) for k in ("", "now_", "then_"))
        of_text, text_now, text_then = (sum(r[f"{k}text_bytes"] for r in rows) / 1e6 for k in ("", "now_", "then_"))
        return (
            f"now {now:,}, then {then:,} of {documents:,} documents pass; "
            f"now {text_now:,.1f}, then {text_then:,.1f} of {of_text:,.1f} MB of text"
        )

    def _head(self, name: str) -> str:
        chosen = self.subsets.value
        pairs = {self.by_subset.after[s, name] for s in chosen}
        low, high = self.bounds[name]
        said = ", ".join(f"{k} {v:g}" for k, v in (("min", low), ("max", high)) if v is not None) or "no bound"
        if len(pairs) > 1:
            said += f" (of {named(chosen[0])}; the chosen subsets have different bounds until the slider moves)"
        documents = documents_in(self.by_subset.documents_by_cell(name, chosen))
        said += f"; {documents:,} documents of {len(chosen)} of {len(self.subsets.options)} subsets"
        return f'<p style="margin:.6em 0 0"><strong>{html_text(name)}</strong> {html_text(said)}</p>'

    def _figure(self, name: str) -> str:
        rows = self.by_subset.documents_by_cell(name, self.subsets.value)
        if not len(rows):
            return "<p>No document of these subsets has a value.</p>"
        bounds = [(kind, b) for kind, b in zip(("min", "max"), self.bounds[name], strict=True) if b is not None]
        scale = Scale.on_slider(self.by_subset.edges[name])
        return chart(rows, name, bounds, scale, size=(WIDTH, 120))

    def _below(self) -> str:
        rows = []
        unit = Unit.of(r["text_bytes"] for r in self.counts())
        for r in self.counts():
            documents, now, then = (r[f"{k}documents"] for k in ("", "now_", "then_"))
            text, text_now, text_then = (r[f"{k}text_bytes"] / unit.size for k in ("", "now_", "then_"))
            rows.append(
                {
                    "subset": named(r["subset"]),
                    "documents": documents,
                    "now": now,
                    "then": then,
                    "change": then - now,
                    f"text, {unit.name}": text,
                    "text now": text_now,
                    "text then": text_then,
                    "share of text": r["then_text_bytes"] / max(1, r["text_bytes"]),
                }
            )
        tenths = [f"text, {unit.name}", "text now", "text then"]
        shown = Result(pa.Table.from_pylist(rows), self.text(), shares=["share of text"], tenths=tenths)
        return f"{shown._repr_html_()}{self.examples()}"

    def examples(self) -> str:
        """HTML: texts of the chosen subsets just outside and just inside the bounds of the slider that moved last."""
        name = self._moved
        chosen = pc.is_in(self._sample.column("subset"), pa.array(self.subsets.value, pa.string())).to_numpy()
        values = self._values[name]
        parts = []
        for kind, bound in zip(("min", "max"), self.bounds[name], strict=True):
            if bound is None:
                continue
            outside = values < bound if kind == "min" else values > bound
            inside = ~outside & ~np.isnan(values)
            sides = []
            for title, side in (("just removed", outside & chosen), ("just kept", inside & chosen)):
                rows = np.flatnonzero(side)
                rows = rows[np.argsort(np.abs(values[rows] - bound), kind="stable")[:EXAMPLES]]
                texts = "".join(self._example(int(row)) for row in rows) or "<p>none in the sample</p>"
                head = f"<strong>{html_text(f'{name} {kind} {bound:g}: {title}')}</strong>"
                sides.append(f'<div style="flex:1 1 20rem;min-width:0">{head}{texts}</div>')
            parts.append(f'<div style="display:flex;flex-wrap:wrap;gap:1.5em;text-align:left">{"".join(sides)}</div>')
        return "".join(parts)

    def _example(self, row: int) -> str:
        found = self._sample.slice(row, 1).to_pylist()[0]
        others = [rule for rule in self._failing[row] if rule.rpartition(".")[0] != self._moved]
        about = f"{named(found['subset'])}, {self._moved} {found[self._moved]:g}, doc_id {found['doc_id']}"
        about += f"; fails {', '.join(others)}" if others else ""
        text = html_text(found["excerpt"][:EXCERPT])
        return f'<p>{html_text(about)}</p><pre style="{MONOSPACE};{EXCERPT_HEIGHT};overflow-y:auto">{text}</pre>'

    def html(self) -> str:
        return "".join(self._head(name) + self._figure(name) for name in self.names) + self._below()

    # what can be done with them

    def thresholds(self) -> dict[str, Any]:
        """The run's thresholds with the moved bounds."""
        return self.by_subset.thresholds()

    def trial(self) -> Trial:
        """Decide everything with .thresholds()."""
        return decide(self.run, self.thresholds())

    def _decided(self) -> str:
        now = reason_counts.by_subset(self.run.reason_counts).values()
        then = reason_counts.by_subset(self.trial().combinations).values()
        kept = [sum(s["kept_documents"] for s in side) for side in (now, then)]
        return f"With all rules and deduplication, the run keeps {kept[0]:,} documents; these bounds keep {kept[1]:,}."

    def save(self, path: str | AnyPath) -> None:
        """Write the run's configuration with .thresholds() as YAML, for `gpu-pile run PATH`."""
        save_configuration(self.run, self.thresholds(), path)

    def _save(self) -> str:
        path = self.path.value
        if path != self._saved and files.path_of(path).exists():
            raise UsageError(f"{path} exists already; give another name")
        self.save(path)
        self._saved = path
        return f"Saved: gpu-pile run {path}"


def _failing(run: RunTables, sample: pa.Table) -> list[list[str]]:
    """The rules of the run that each document of the sample fails."""
    rules, marks, _ = failures(sample, run.config)
    return [[rules[j] for j in np.flatnonzero(row)] for row in marks]


def named(subset: str) -> str:
    return subset or "(no subset)"


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
        self._texts = texts_of(run, ids)
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
