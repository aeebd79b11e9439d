"""report.html: one file without script or network, of a bounded size whatever the corpus.

Subsets, reasons, shards, bad lines and charts beyond a number are summed up or left to the tables of the run, names and
texts are cut. What comes from the corpus is escaped, control characters are shown as pictures. Tables become lists on a
narrow screen, so that nothing is cut off or has to be scrolled sideways.
"""

from __future__ import annotations

import shlex
from collections import Counter
from typing import Any

import jinja2
import yaml
from markupsafe import Markup

from gpu_pile.corpus.remote import without_secrets
from gpu_pile.dedup.survivors import EXACT
from gpu_pile.present import charts, diff
from gpu_pile.present.tables import Unit, human_bytes, visible
from gpu_pile.run.context import Context
from gpu_pile.run.documents import largest_clusters
from gpu_pile.run.progress import rate
from gpu_pile.run.stages.report import pictures
from gpu_pile.run.stages.report.examples import examples
from gpu_pile.run.stages.report.findings import cut_name, in_words, named, share, some

INTENDED_COPIES = (
    "The Pile holds some subsets several times on purpose (its epochs: Wikipedia three times, ...). "
    "Deduplication across the corpus removes those copies too; to train on the published mixture, "
    "sample the kept documents by the epochs in this table."
)

BYTES_PER_TOKEN = 4
"""English text has about four bytes for each token of a usual tokenizer; other texts have fewer."""

SUBSETS_SHOWN = 60
SUBSETS_OF_COPIES = 5
REASONS_SHOWN = 40
OVERLAPS_SHOWN = 20
SHARDS_SHOWN = 50
CONFIG_MAX = 100_000
COMMAND_MAX = 2_000
LARGEST = 8
READ_BYTES_MAX = 1e9
"""Decompressed bytes of shards that are read for the texts of the largest clusters."""

STEP_NAMES = {
    "subset_left_out": "of subsets that are not chosen",
    "removal_lists": "named by removal lists",
    "thresholds": "fail a threshold",
    "exact_duplicate": "exact duplicates",
    "near_duplicate": "near duplicates",
    "contained": "contained documents",
    "repeated_text": "repeated text",
}


def render(context: Context, content: dict[str, Any]) -> str:
    """The page, from the content of report.json and what the run's tables and shards add to it."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gpu_pile.run.stages.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["bytes"] = human_bytes
    environment.filters["count"] = lambda n: f"{n:,}"
    environment.filters["tokens"] = lambda n: charts.number(n / BYTES_PER_TOKEN)
    environment.filters["share"] = share
    environment.filters["width"] = lambda part, whole: f"width:{100 * part / (whole or 1):.2f}%"
    environment.filters["name"] = cut_name
    environment.filters["visible"] = visible
    environment.filters["breakable"] = _breakable
    return environment.get_template("page.html.j2").render(**content, **_more(context, content))


def _more(context: Context, content: dict[str, Any]) -> dict[str, Any]:
    """What the page has beyond report.json."""
    reasons = content["reasons"][:REASONS_SHOWN]
    histograms = pictures.histograms_of(context, content)
    chart_of = {h["name"]: i for i, h in enumerate((h for h in histograms if h["ruled"]), 1)}
    return {
        "run": _about(context, content),
        "steps": [{**step, "name": STEP_NAMES[step["step"]]} for step in content["flow"]],
        "composition": _composition(content),
        "fields_shown": [{**field, "lacking": _lacking(field, content)} for field in content["fields"]],
        "copies_shown": Counter(content["copies"]["by_subset"]).most_common(SUBSETS_OF_COPIES),
        "in_words": in_words(content),
        "reasons_shown": _reasons(context, reasons, len(content["subsets"]), chart_of),
        "reason_unit": Unit.of(r["text_bytes"] for r in reasons),
        "overlaps_shown": sorted(content["overlaps"], key=lambda o: -o["documents"])[:OVERLAPS_SHOWN],
        "histograms": histograms,
        "copies_removed": next((r["documents"] for r in content["reasons"] if r["reason"] == EXACT), 0),
        "cluster_sizes": pictures.cluster_sizes(content["clusters"]["sizes"]),
        "s_curve": pictures.s_curve(content["dedupe"]),
        "expected": pictures.expected(content["dedupe"]),
        "largest": largest_clusters(context, LARGEST, READ_BYTES_MAX).to_pylist(),
        "stages": _stages(context),
        "config_text": _cut(yaml.safe_dump(content["config"], sort_keys=False, allow_unicode=True), CONFIG_MAX),
        "shards_shown": SHARDS_SHOWN,
        "subsets_shown": SUBSETS_SHOWN,
        "bytes_per_token": BYTES_PER_TOKEN,
        "intended_copies": INTENDED_COPIES,
    }


def _about(context: Context, content: dict[str, Any]) -> dict[str, Any]:
    path = context.directory.path
    read = sum(shard["bytes"] for shard in content["shards"])
    shards = content["config"]["input"]["shards"]
    n = len(content["shards"])
    return {
        "name": path.name,
        "path": str(path),
        "show": f"gpu-pile show {shlex.quote(str(path))}",
        "inputs": f"{some(shards)}: {n:,} shard{'' if n == 1 else 's'}, {human_bytes(read)}",
        "command": _cut(without_secrets(context.reporter.command), COMMAND_MAX),
        "date": context.reporter.date,
    }


def _composition(content: dict[str, Any]) -> dict[str, Any]:
    """The table of subsets: the largest, and the sum of the others."""
    rows = content["subsets"][:SUBSETS_SHOWN]
    rest = content["subsets"][SUBSETS_SHOWN:]
    if rest:
        summed = {k: sum(s[k] for s in rest) for k in ("documents", "text_bytes", "kept_documents", "kept_text_bytes")}
        rows = [*rows, {"subset": f"{len(rest):,} more", **summed, "pile_epochs": None, "pile_weight": None}]
    return {
        "rows": rows,
        "most": max((s["text_bytes"] for s in rows), default=0),
        "unit": Unit.of(s["text_bytes"] for s in rows),
        "published": any(s["pile_epochs"] is not None for s in rows),
    }


def _lacking(field: dict[str, Any], content: dict[str, Any]) -> str:
    """The subsets in which most documents lack a field."""
    sizes = {s["subset"]: s["documents"] for s in content["subsets"]}
    missing = [(sizes[named(s)] - n, cut_name(named(s))) for s, n in field["by_subset"].items()]
    return some([f"{subset} {n:,}" for n, subset in sorted(missing, key=lambda m: (-m[0], m[1])) if n], 3)


def _reasons(
    context: Context, reasons: list[dict[str, Any]], n_subsets: int, chart_of: dict[str, int]
) -> list[dict[str, Any]]:
    """Each reason with the subsets that it is most about, the number of its chart, and some texts."""
    shown = examples(context)
    out = []
    for reason in reasons:
        most = [f"{cut_name(named(s))} {n:,}" for s, n in reason["by_subset"].items()] if n_subsets > 1 else []
        texts = [{**e, "marked": _marked(e)} for e in shown.get(reason["reason"], [])]
        chart = chart_of.get(reason["reason"].rpartition(".")[0])
        out.append({**reason, "most": some(most, 3), "chart": chart, "examples": texts})
    return out


def _marked(example: dict[str, Any]) -> Markup | None:
    if "difference" not in example:
        return None
    return Markup(diff.side_by_side(example["difference"], ("this document", "the one that stays")))


def _stages(context: Context) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "seconds": entry["seconds"],
            "rate": rate(entry) / 1e6,
            "of_floor": entry.get("of_floor"),
            "text_bytes": entry["text_bytes"],
            "spans": ", ".join(f"{span} {seconds:.1f} s" for span, seconds in entry.get("spans", {}).items()),
        }
        for name, entry in context.timings().items()
        if entry.get("text_bytes")
    ]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"


def _breakable(text: str) -> Markup:
    """A name that may be broken after each underscore and dot."""
    return Markup("_<wbr>").join(text.split("_")).replace(".", Markup(".<wbr>"))
