"""gpu-pile verify and export: a finished run as a whole."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from gpu_pile.cli.console import RunFolder, as_line, out, safe
from gpu_pile.cli.words import Bars


def verify(
    run: RunFolder,
    everything: Annotated[
        bool, typer.Option("--all", help="look at everything that each check is about, not at samples; slow")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="of the samples")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object per check")] = False,
) -> None:
    """Check a finished run from its files alone, by other code; --all checks everything. Writes nothing."""
    from gpu_pile.explore.run import open_run
    from gpu_pile.explore.verify import Check
    from gpu_pile.explore.verify import verify as check_run

    def show_check(check: Check) -> None:
        if as_json:
            out.print(as_line(check.__dict__), markup=False)
            return
        verdict = f"[red]{check.failed:,} wrong[/] of" if check.failed else "[green]ok[/],"
        out.print(f"{check.name:<11} {verdict} {check.numbers} checked: {escape(check.what)}")
        for note in check.notes:
            out.print(f"            [dim]{safe(note)}[/]")
        for example in check.examples:
            out.print(f"            [red]{safe(example)}[/]")

    bars = Bars()
    bars.begin("verify", sum(s.n_bytes for s in open_run(run).shards))
    try:
        checks = check_run(
            run, everything=everything, seed=seed, progress=lambda n: bars.advance("verify", n), done=show_check
        )
    finally:
        bars.close()
    if any(check.failed for check in checks):
        raise typer.Exit(1)


def export(
    run: RunFolder,
    target: Annotated[
        str,
        typer.Argument(metavar="FILE", help="*.parquet, *.jsonl, *.csv or *.tsv, also with .zst or .gz; is replaced"),
    ],
    what: Annotated[
        str,
        typer.Option(
            "--what",
            metavar="WHAT",
            help="keep, drop: the ids of documents; kept, removed, documents: their decisions and texts; or a table: "
            "decisions, signals, pairs, clusters, reasons",
        ),
    ] = "keep",
    format: Annotated[
        str, typer.Option("--format", metavar="parquet|jsonl|csv|tsv", help="if the name of the file does not say it")
    ] = "",
) -> None:
    """Ids, documents with their texts, or a table of a run as one file for other tools."""
    from gpu_pile.explore import export as exports

    bars = Bars()
    try:
        n = exports.export(run, target, what, format, bars)
    finally:
        bars.close()
    out.print(f"{n:,} {'ids' if what in ('keep', 'drop') else 'rows'}: {escape(target)}")
