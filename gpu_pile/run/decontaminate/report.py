"""report.html of contamination/: one file without script or network; names and texts are cut and escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from gpu_pile.present.tables import human_bytes, visible

SUBSETS_SHOWN = 60
TEXT_SHOWN = 400
NAME_SHOWN = 60

KINDS = {
    "contaminated": "Contaminated",
    "matched": "In common, and not enough for the rule",
    "boilerplate": "Boilerplate: what matches is in many documents",
}


def render(summary: Mapping[str, Any], examples: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gpu_pile.run.decontaminate", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count"] = lambda n: f"{n:,}"
    environment.filters["bytes"] = human_bytes
    environment.filters["percent"] = lambda x: "-" if x is None else f"{100 * x:.2f} %"
    environment.filters["name"] = lambda text: _cut(visible(text), NAME_SHOWN)
    environment.filters["text"] = lambda text: _cut(visible(text), TEXT_SHOWN)
    subsets = sorted(summary["subsets"], key=lambda s: (-s["contaminated"], s["name"]))
    return environment.get_template("report.html.j2").render(
        **{**summary, "subsets": subsets[:SUBSETS_SHOWN]},
        more_subsets=max(0, len(subsets) - SUBSETS_SHOWN),
        examples=examples,
        kinds=KINDS,
    )


def _cut(text: str, n: int) -> str:
    return text if len(text) <= n else text[: n - 1] + "…"
