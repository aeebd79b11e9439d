"""The options of verbs that take a configuration, and the configuration that they stand for."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpu_pile.errors import UsageError

if TYPE_CHECKING:
    from gpu_pile.run.config import Config


Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="CONFIG|DATA",
        help="a YAML configuration (*.yaml, *.yml); or what to read: files, folders, globs or URLs",
    ),
]
ConfigName = Annotated[
    str | None,
    typer.Option("--config", metavar="NAME|FILE", help="a configuration that comes with gpu-pile, such as pile"),
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="override one setting; may be repeated")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="print the resolved configuration and the plan, read and write nothing more")
]


_OUTPUT = typer.Option("--output", "-o", metavar="FOLDER|URL", help="the run directory")
_USE = typer.Option("--use", metavar="NAME", help="named thresholds, such as gopher; may be repeated")
_THRESHOLD = typer.Option("--threshold", metavar="X", help="similarity of near duplicates, 0.8 if nothing is said")
_WORKERS = typer.Option("--workers", metavar="N", help="threads; one per core if nothing is said")
_BACKEND = typer.Option("--backend", metavar="auto|cpu|cuda", help="auto: a GPU where all that it needs is there")
_CLUSTER = typer.Option("--cluster", metavar="local|cuda|ADDRESS|scheduler-file=F", help="see docs/cluster.md")
_STRICT = typer.Option("--strict", help="warnings about the configuration are errors")

_AGAINST = typer.Option("--against", metavar="RUN|INDEX", help="what it keeps is not kept again; may be repeated")

SETTINGS: dict[str, tuple[str, Any]] = {
    "output": ("output", Annotated[str | None, _OUTPUT]),
    "against": ("input.against", Annotated[list[str] | None, _AGAINST]),
    "use": ("thresholds.use", Annotated[list[str] | None, _USE]),
    "threshold": ("dedupe.fuzzy.threshold", Annotated[float | None, _THRESHOLD]),
    "workers": ("workers", Annotated[int | None, _WORKERS]),
    "backend": ("backend", Annotated[str | None, _BACKEND]),
    "cluster": ("cluster.where", Annotated[str | None, _CLUSTER]),
    "strict": ("strict", Annotated[bool | None, _STRICT]),
}
"""The options that set one value of the configuration: by name, its path and the option."""


def source(inputs: list[str], name: str | None) -> tuple[Path | None, list[str]]:
    """The configuration file among the arguments of a verb, if there is one, and the data."""
    from gpu_pile.run import config

    sources = [Path(i) for i in inputs if i.endswith((".yaml", ".yml"))]
    data = [i for i in inputs if not i.endswith((".yaml", ".yml"))]
    if name is not None:
        sources.append(Path(name) if Path(name).suffix else config.bundled(name))
    if len(sources) > 1:
        raise UsageError(f"one configuration is expected, not {len(sources)}: {', '.join(map(str, sources))}")
    if not sources and not data:
        raise UsageError("there is nothing to read: give a configuration (*.yaml), or files or folders and -o FOLDER")
    return (sources[0] if sources else None), data


def load(path: Path | None, data: list[str], overrides: list[str], given: dict[str, Any]) -> Config:
    """The configuration that the arguments of a verb stand for."""
    from gpu_pile.run import config

    if path is None and given["output"] is None and not any(o.startswith("output=") for o in overrides):
        raise UsageError("where should the run go? Give its folder or URL: -o FOLDER")
    options: dict[str, tuple[str, Any]] = {"DATA": ("input.shards", data)} if data else {}
    for option, (key, _) in SETTINGS.items():
        value = given[option]
        if value is not None and value != []:
            shown = " ".join(value) if isinstance(value, list) else value
            options[f"--{option}" if value is True else f"--{option} {shown}"] = (key, value)
    return config.load(path, overrides, options)


def with_options(command: Callable[..., None], options: dict[str, tuple[Any, Any]]) -> Callable[..., None]:
    """Give a command options, by name the option and its default, in place of its **more."""
    signature = inspect.signature(command, eval_str=True)
    named = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    for name, (option, default) in options.items():
        named.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=option))
    command.__signature__ = signature.replace(parameters=named)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in named}
    return command
