"""gpu-pile decontaminate: what the corpus has in common with evaluation sets."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer
from rich.markup import escape
from rich.table import Table

from gpu_pile.cli.console import err, out, safe
from gpu_pile.cli.settings import SETTINGS, ConfigName, DryRun, Inputs, Overrides, load, source, with_options
from gpu_pile.cli.words import WORDS, Words

if TYPE_CHECKING:
    from gpu_pile.run.config import Config

HELP = "Look for the items of evaluation sets (decontaminate.against) in the shards; write contamination/ in the run."


def decontaminate() -> Callable[..., None]:
    """The command."""

    def command(
        inputs: Inputs = None, config: ConfigName = None, set_: Overrides = None, dry_run: DryRun = False, **more: Any
    ) -> None:
        path, data = source(inputs or [], config)
        settings = load(path, data, set_ or [], more)
        if dry_run:
            from gpu_pile.run.decontaminate.plan import describe

            out.print(escape(describe(settings)))
        else:
            _run(settings, Words(**{name: more[name] for name in WORDS}))

    options = {name: (option, None) for name, (_, option) in SETTINGS.items()}
    return with_options(command, {**options, **WORDS})


def _run(settings: Config, words: Words) -> None:
    from gpu_pile.run import pipeline
    from gpu_pile.run.decontaminate import stage
    from gpu_pile.text.jit import compilation

    with words.reporter() as bars:
        compilation.on_first = lambda: bars.say("compiling kernels for this processor, once per machine")
        with pipeline.prepared(settings, bars) as context:
            summary = stage.decontaminate(context)
            folder = stage.folder_of(context)
    for warning in context.reporter.warnings:
        err.print(f"[bold yellow]warning:[/] {escape(warning)}")
    if not words.as_json:
        _show(summary, str(folder))
    for damage in summary["damage"]:
        err.print(f"[red]damage:[/] {safe(damage)}")
    if summary["damage"]:
        raise typer.Exit(1)


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
