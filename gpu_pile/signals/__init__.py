"""Signals: numbers about a document, with no opinion about them.

One family of signals a file: what belongs together, computed together, versioned together. Counts come from operations
(integers), a ratio is one float64 division here and nowhere else, null where its denominator is 0. An operation that
several families need runs once.

A family is declared as

    FAMILY = Family(name, version, source, signals=[Signal(...), ...], compute=function)

where compute(counts) gets a function that runs an operation once per batch, and returns a dict of arrays by signal.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from gpu_pile.columns import TextColumn
from gpu_pile.device import to_host
from gpu_pile.errors import ConfigError
from gpu_pile.op import Op

Array = np.ndarray[Any, Any]
Counts = Callable[[Op, Sequence[str]], Mapping[str, Array]]
"""counts(op, columns) -> the op's result by column name: int64[n_docs] each."""


@dataclass(frozen=True)
class Signal:
    """One number a document. unit: what is counted, or "fraction"; dtype: int64 or float64 (null where undefined)."""

    name: str
    unit: str
    dtype: str
    definition: str
    source: str = ""


@dataclass(frozen=True)
class Family:
    """Signals that are computed together. Raise version whenever a value may change."""

    name: str
    version: int
    source: str
    signals: tuple[Signal, ...]
    compute: Callable[[Counts], Mapping[str, Any]]


@cache
def _registry() -> dict[str, Family]:
    found = {}
    for module in pkgutil.iter_modules(__path__):
        family = importlib.import_module(f"{__name__}.{module.name}").FAMILY
        found[family.name] = family
    return found


def families() -> list[Family]:
    """Every family, by name."""
    return list(_registry().values())


def _chosen(wanted: Sequence[str] | None) -> tuple[list[Family], list[str]]:
    """(families to compute, columns to give) for names of families and of signals; None is everything."""
    registry = _registry()
    if wanted is None:
        wanted = list(registry)
    by_signal = {s.name: f for f in registry.values() for s in f.signals}
    chosen: dict[str, Family] = {}
    columns: dict[str, None] = {}
    unknown = []
    for name in wanted:
        if name in registry:
            chosen[name] = registry[name]
            columns.update(dict.fromkeys(s.name for s in registry[name].signals))
        elif name in by_signal:
            chosen[by_signal[name].name] = by_signal[name]
            columns[name] = None
        else:
            near = difflib.get_close_matches(name, [*registry, *by_signal], 1)
            unknown.append(f"{name!r}" + (f" (did you mean {near[0]!r}?)" if near else ""))
    if unknown:
        raise ConfigError(
            f"unknown signals or families: {', '.join(unknown)}; families: {', '.join(registry)}; "
            "gpu-pile list signals names all"
        )
    return list(chosen.values()), list(columns)


def check(wanted: Sequence[str]) -> None:
    """Raises ConfigError, with a suggestion, if a name is neither a family nor a signal."""
    _chosen(wanted)


def names(wanted: Sequence[str] | None = None) -> list[str]:
    """The columns that these families and signals give."""
    return _chosen(wanted)[1]


def definition_versions(wanted: Sequence[str]) -> dict[str, Any]:
    """What stored values of these depend on: columns, and the version of each family."""
    chosen, columns = _chosen(wanted)
    return {"columns": columns, "families": {f.name: f.version for f in chosen}}


def compute(text: TextColumn, wanted: Sequence[str] | None = None, backend: str | None = None) -> pa.Table:
    """A row a document, a column a signal: int64, or float64 with nulls.

    Args:
        text: n documents.
        wanted: names of families or signals; None for all.
        backend: an implementation by name, such as reference; None for where the text is.

    Raises:
        ConfigError: an unknown name.
    """
    chosen, columns = _chosen(wanted)
    results: dict[str, Array] = {}

    def counts(op: Op, names_: Sequence[str]) -> dict[str, Array]:
        if op.name not in results:
            results[op.name] = to_host(op(text) if backend is None else op.run(backend, text))
        return {name: results[op.name][:, i] for i, name in enumerate(names_)}

    values: dict[str, Any] = {}
    for family in chosen:
        values.update(family.compute(counts))
    arrays = {name: values[name] if isinstance(values[name], pa.Array) else pa.array(values[name]) for name in columns}
    # a table without columns still has rows, which pa.table({}) would forget
    return pa.table(arrays) if arrays else pa.table({"_": pa.nulls(len(text))}).drop_columns(["_"])


def ratio(numerator: Array, denominator: Array) -> pa.Array:
    """float64: one division, null where the denominator is 0."""
    undefined = denominator == 0
    return pa.array(numerator / np.where(undefined, 1, denominator), mask=undefined)
