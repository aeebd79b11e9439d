"""gpu-pile init: a configuration to start from."""

from __future__ import annotations

from typing import Annotated

import typer

from gpu_pile.cli.console import err, out


def init(
    data: Annotated[list[str], typer.Argument(metavar="DATA...", help="files, folders, globs or URLs")],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FOLDER|URL", help="the run directory that the configuration names")
    ] = "out",
) -> None:
    """Print a commented configuration for some shards, with proposed rules and the plan: init data > my.yaml"""
    from gpu_pile.run.draft import draft
    from gpu_pile.text.jit import compilation

    compilation.on_first = lambda: err.print("[dim]compiling kernels for this processor, once per machine[/]")
    out.print(draft(data, output), markup=False, end="")
