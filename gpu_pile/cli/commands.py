"""The commands, and how gpu-pile ends.

Importing this package loads neither numba nor pyarrow: --help, --version, and typing errors answer at once.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any, NoReturn

import typer
from rich.markup import escape
from typer.core import TyperGroup

import gpu_pile
from gpu_pile.cli.catalogue import doctor, list_
from gpu_pile.cli.console import err, out
from gpu_pile.cli.decontaminate import HELP as DECONTAMINATE
from gpu_pile.cli.decontaminate import decontaminate
from gpu_pile.cli.differ import diff
from gpu_pile.cli.draft import init
from gpu_pile.cli.find import find
from gpu_pile.cli.finished import export, verify
from gpu_pile.cli.index import index
from gpu_pile.cli.machine import bench_floors, compile_
from gpu_pile.cli.show import show
from gpu_pile.cli.sql import sql
from gpu_pile.cli.stages import verb
from gpu_pile.cli.stats import stats
from gpu_pile.cli.sweep import sweep
from gpu_pile.errors import GpuPileError
from gpu_pile.run.stages import STAGES

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and the number of the signal."""


def _main(version: Annotated[bool, typer.Option("--version", help="print the version")] = False) -> None:
    if version:
        out.print(f"gpu-pile {gpu_pile.__version__}")
        raise typer.Exit()


class _Group(TyperGroup):
    """The command group: Ctrl-C ends with a sentence."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            err.print("interrupted; run the same command again to go on")
            raise typer.Exit(INTERRUPTED) from None


def make_app() -> typer.Typer:
    """The commands: `run`, a verb per stage, and those for finished runs."""
    app = typer.Typer(
        cls=_Group,
        help="Deduplicate and filter language-model corpora of The Pile's shape, with a reason for every removal.",
        no_args_is_help=True,
        add_completion=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(_main)
    names = ", ".join(stage.name for stage in STAGES)
    everything = f"Run every stage: {names}. Redoes only what is missing or has changed."
    running, finished, here = "Running", "Finished runs", "This installation"  # the groups of --help
    app.command("run", help=everything, rich_help_panel=running)(verb(STAGES[-1].name))
    for stage in STAGES:
        earlier = " Runs the stages before it first, where they are not done." if stage is not STAGES[0] else ""
        app.command(stage.name, help=stage.help + earlier, rich_help_panel=running)(verb(stage.name))
    app.command(rich_help_panel=running)(init)
    app.command("decontaminate", help=DECONTAMINATE, rich_help_panel=running)(decontaminate())
    for command in (show, stats, sweep, diff, sql, verify, export, index, find):
        app.command(rich_help_panel=finished)(command)
    app.command("list", rich_help_panel=here)(list_)
    app.command(rich_help_panel=here)(doctor)
    app.command("compile", rich_help_panel=here)(compile_)
    bench = typer.Typer(help="How fast this machine is.", no_args_is_help=True)
    bench.callback()(lambda: None)
    bench.command("floors")(bench_floors)
    app.add_typer(bench, name="bench", rich_help_panel=here)
    return app


app = make_app()


def main() -> NoReturn:
    """Entry point: errors that people can act on are one paragraph, not a traceback."""
    try:
        app()
    except GpuPileError as error:
        err.print(f"[red]error:[/] {escape(str(error))}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:  # while modules were imported
        sys.exit(INTERRUPTED)
    sys.exit(0)
