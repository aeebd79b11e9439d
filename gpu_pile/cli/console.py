"""The two consoles of the command line, and how values are shown on them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 240)
err = Console(stderr=True, highlight=False, soft_wrap=True)

RunFolder = Annotated[str, typer.Argument(metavar="RUN", help="a run directory, or its URL")]


def safe(text: str) -> str:
    """Text from the corpus: no markup of rich, no control character that a terminal obeys."""
    from gpu_pile.present.tables import visible

    return escape(visible(text))


def as_line(value: Any) -> str:
    """JSON on one line; ASCII, so that nothing in a text can steer a terminal."""
    return json.dumps(value)


def number(value: float | int | None) -> str:
    return "-" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def show_warnings(warnings: Iterable[str]) -> None:
    for warning in warnings:
        err.print(f"[bold yellow]warning:[/] {safe(warning)}")


def exit_if_damaged(damages: Iterable[str]) -> None:
    """Print what is damaged; if anything is, end with the exit code 1."""
    damages = list(damages)
    for damage in damages:
        err.print(f"[red]damage:[/] {safe(damage)}")
    if damages:
        raise typer.Exit(1)
