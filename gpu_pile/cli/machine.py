"""gpu-pile compile and bench: getting a machine ready, and how fast it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from gpu_pile.cli.console import as_line, err, out
from gpu_pile.cli.settings import Overrides
from gpu_pile.errors import UsageError


def bench_floors(
    shards: Annotated[list[str], typer.Argument(metavar="SHARDS...", help="files, folders, globs or URLs")],
    megabytes: Annotated[int, typer.Option("--mb", min=1, help="of decompressed bytes to look at")] = 64,
    text_field: Annotated[str, typer.Option("--text-field", help="path of the text in a line")] = "text",
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a row")] = False,
) -> None:
    """How fast one core does what no run on these shards can avoid: decompress, find lines and fields, compress."""
    from gpu_pile.corpus.line_format import LineFormat
    from gpu_pile.corpus.shards import find_shards
    from gpu_pile.run import floors

    samples = floors.take_samples(find_shards(shards, Path.cwd()), megabytes * 10**6)
    table = Table("", "", "MB/s", "ratio", box=None, padding=(0, 2))
    for floor in floors.measure_floors(samples, LineFormat(text_field, "meta.pile_set_name"), floors.LEVELS):
        if as_json:
            out.print(as_line({**floor._asdict(), "bytes_per_second": floor.bytes_per_second}), markup=False)
        ratio = "" if floor.ratio is None else f"{floor.ratio:.2f}"
        table.add_row(floor.what, floor.how, f"{floor.bytes_per_second / 1e6:,.0f}", ratio)
    if not as_json:
        out.print(table)


def compile_(
    config: Annotated[Path | None, typer.Argument(metavar="[CONFIG]", help="without one: the default settings")] = None,
    set_: Overrides = None,
) -> None:
    """Compile what a configuration needs and store it, for images and login nodes; runs then start at once."""
    from gpu_pile.run.compiling import compile_for
    from gpu_pile.run.config import load, parse
    from gpu_pile.run.progress import Reporter
    from gpu_pile.text.jit import cache_folder, compilation

    if config is None and set_:
        raise UsageError("--set needs a configuration: gpu-pile compile CONFIG --set ...")
    unset = {"input": {"shards": ["-"]}, "output": "-"}
    settings = parse(unset) if config is None else load(config, set_ or [])
    compilation.on_first = lambda: err.print("[dim]compiling kernels for this processor, once per machine[/]")
    compile_for(settings, Reporter())
    new = f"{compilation.functions} kernels in {compilation.seconds:.1f} s" if compilation.functions else "nothing new"
    out.print(f"compiled {new}: {escape(str(cache_folder()))}")
