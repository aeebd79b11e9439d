"""gpu-pile diff: what two runs over the same shards decided differently."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from gpu_pile.cli.console import as_line, out, safe

if TYPE_CHECKING:
    from gpu_pile.explore.differ import RunDifference


def diff(
    first: Annotated[str, typer.Argument(metavar="RUN1", help="a run directory, or its URL")],
    second: Annotated[str, typer.Argument(metavar="RUN2", help="another run over the same shards")],
    n: Annotated[int, typer.Option("-n", min=0, help="documents to show that only one of them keeps")] = 3,
    seed: Annotated[int, typer.Option("--seed", min=0, help="of the choice of these documents")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object")] = False,
) -> None:
    """Documents that only one of two runs keeps: by subset, by the other's reasons, examples; settings that differ."""
    from gpu_pile.explore.run import open_run

    found = open_run(first).diff(second)
    if as_json:
        out.print(as_line(found.to_dict(n, seed)), markup=False)
    else:
        _show(found, n, seed)


def _show(found: RunDifference, n: int, seed: int) -> None:
    names = {side: str(run.directory.path) for side, run in found.runs.items()}
    counts = found.counts()
    for side, name in names.items():
        kept = counts["both"] + counts[side]
        out.print(f"{safe(name)} keeps {kept:,} of {sum(counts.values()):,} documents, {counts[side]:,} of them alone")
    out.print(f"{found.other_reasons:,} documents are removed by both, for different reasons")
    if found.settings:
        table = Table("setting", *map(safe, names.values()), box=None, padding=(0, 2, 0, 0), header_style="bold")
        for setting, *values in found.settings:
            table.add_row(safe(setting), *(safe("-" if v is None else str(v)) for v in values))
        out.print()
        out.print(table)
    if not counts["only_first"] + counts["only_second"]:
        return
    for result in (found, found.reasons):
        out.print(f"\n{result!r}", markup=False)
    for example in found.examples(n, seed):
        place = f"{example['shard']}:{example['line']}  {example['subset'] or '(no subset)'}"
        out.print(f"\n[bold]{safe(place)}[/]  [green]kept[/] by {safe(names[example['kept_by']])} alone")
        for reason in example["reasons"]:
            out.print(f"  [red]{safe(reason['rule'])}[/] {safe(reason['explanation'])}")
        out.print(safe(example["text"]), style="dim")
