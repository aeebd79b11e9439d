"""gpu-pile decontaminate: what the corpus has in common with evaluation sets."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from gpu_pile.cli.console import exit_if_damaged, out, safe, show_warnings
from gpu_pile.cli.words import Words, command_of

if TYPE_CHECKING:
    from gpu_pile.run.config import Config

HELP = "Look for the items of evaluation sets (decontaminate.against) in the shards; write contamination/ in the run."


def decontaminate() -> Callable[..., None]:
    """The command."""
    return command_of(_run, _plan)


def _plan(settings: Config) -> str:
    from gpu_pile.run.decontaminate.plan import describe

    return describe(settings)


def _run(settings: Config, words: Words, from_file: bool) -> None:
    from gpu_pile.run import pipeline
    from gpu_pile.run.decontaminate import stage
    from gpu_pile.text.jit import compilation

    with words.reporter() as bars:
        compilation.on_first = lambda: bars.say("compiling kernels for this processor, once per machine")
        with pipeline.prepared(settings, bars) as context:
            summary = stage.decontaminate(context)
            folder = stage.folder_of(context)
    show_warnings(context.reporter.warnings)
    if not words.as_json:
        _show(summary, str(folder))
    exit_if_damaged(summary["damage"])


def _show(summary: dict[str, Any], folder: str) -> None:
    out.print(
        f"{summary['documents']:,} documents: {summary['contaminated_documents']:,} contaminated, by the rule "
        f"{summary['rule']}"
    )
    table = Table("set", "items", "contaminated", "share", "documents", "in common", "boilerplate", box=None)
    for s in summary["sets"]:
        numbers = (s["items"], s["contaminated"], s["documents"], s["matched"], s["boilerplate"])
        items, contaminated, *others = (f"{n:,}" for n in numbers)
        table.add_row(safe(s["name"]), items, contaminated, f"{100 * s['share']:.2f} %", *others)
    out.print(table)
    out.print(
        f"matches: {escape(folder)}/matches.parquet   to remove: {escape(folder)}/removals.jsonl   "
        f"report: {escape(folder)}/report.html"
    )
