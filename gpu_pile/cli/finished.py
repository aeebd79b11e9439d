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
        str, typer.Argument(metavar="FILE", help="*.parquet, *.txt or *.tsv; anything there is replaced")
    ],
    what: Annotated[str, typer.Option("--what", metavar="keep|drop", help="which documents' ids")] = "keep",
) -> None:
    """Ids of the documents to keep or to drop: doc_id, shard and line, as Parquet or as text with tabs."""
    from gpu_pile.explore import export as exports

    n = exports.export_ids(run, target, what)
    out.print(f"{n:,} ids: {escape(target)}")
