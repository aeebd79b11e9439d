"""gpu-pile stats: the composition of a corpus or of a run, by subset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpu_pile.cli.console import as_line, err, exit_if_damaged, out, show_warnings
from gpu_pile.cli.settings import SETTINGS, ConfigName, Overrides, load, source
from gpu_pile.cli.words import Bars

if TYPE_CHECKING:
    from gpu_pile.explore.composition import Composition
    from gpu_pile.run.counting import Counted

Sources = Annotated[
    list[str] | None,
    typer.Argument(metavar="RUN|CONFIG|DATA", help="a finished run; or a configuration, files, folders, globs or URLs"),
]


def stats(
    sources: Sources = None,
    config: ConfigName = None,
    set_: Overrides = None,
    workers: Annotated[
        int | None, typer.Option("--workers", metavar="N", help="threads; one per core if not set")
    ] = None,
    parquet: Annotated[str | None, typer.Option("--parquet", metavar="FILE", help="write the table there, too")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object")] = False,
) -> None:
    """Documents, bytes, mean size and share of each subset, beside what is published of The Pile."""
    counted = None
    if sources is not None and len(sources) == 1 and config is None and _is_run(sources[0]):
        from gpu_pile.explore.composition import of_run
        from gpu_pile.explore.run import open_run

        found = of_run(open_run(sources[0]))
    else:
        found, counted = _count(sources or [], config, set_ or [], workers)
    if parquet is not None:
        _write(found, parquet)
    if as_json:
        more = {} if counted is None else {"bad_lines": counted.bad_lines, "damage": counted.damage}
        out.print(as_line({**found.to_dict(), **more}), markup=False)
    else:
        out.print(repr(found), markup=False)
    if counted is not None:
        _warn(counted)


def _is_run(path: str) -> bool:
    from gpu_pile.corpus import files

    return (files.path_of(path) / "run.json").is_file()


def _count(
    sources: list[str], name: str | None, overrides: list[str], workers: int | None
) -> tuple[Composition, Counted]:
    """Count the documents of shards, on the CPU; nothing is written."""
    from pathlib import Path

    from gpu_pile.corpus.shards import find_shards
    from gpu_pile.explore.composition import Composition
    from gpu_pile.run import counting, directory
    from gpu_pile.run.context import Context
    from gpu_pile.run.layouts import look
    from gpu_pile.run.threads import keep_freed_memory
    from gpu_pile.text.jit import compilation

    path, data = source(sources, name)
    given: dict[str, Any] = dict.fromkeys(SETTINGS)
    given |= {"output": "unused" if path is None else None, "workers": workers}
    settings = load(path, data, overrides, given)
    shards = find_shards(settings.input.shards, Path.cwd())
    keep_freed_memory()
    compilation.on_first = lambda: err.print("[dim]compiling kernels for this processor, once per machine[/]")
    bars = Bars()
    try:
        context = Context(settings, directory.of(settings, shards), shards, reporter=bars)
        look(context)
        counted = counting.count(context)
    finally:
        bars.close()
    show_warnings(bars.warnings)
    return Composition(counted.counts.by_subset), counted


def _write(found: Composition, target: str) -> None:
    import pyarrow.parquet as pq

    from gpu_pile.corpus import files

    with files.atomic(files.path_of(target)) as partial:
        pq.write_table(found.table, partial)


def _warn(counted: Counted) -> None:
    """Say what could not be counted; damage ends in the exit code 1, as it does after a run."""
    if counted.bad_lines:
        first = "; ".join(counted.first_bad[:3])
        show_warnings([f"{counted.bad_lines:,} bad lines are not counted; {first}"])
    exit_if_damaged(counted.damage)
