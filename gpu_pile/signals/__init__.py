"""Signals: numbers about a document, with no opinion about them.

Each file declares one family: signals that belong together, are computed together and share a version. Operations give
integer counts; a ratio is one float64 division, made here and nowhere else, and null where its denominator is 0. An
operation that several families need runs once per batch.

A family is declared as

    FAMILY = Family(name, version, source, ops=(op, ...), signals=(Signal(...), ...), compute=function, marks=(...))

where compute(counts) returns a dict of arrays by signal, and counts(op) gives the columns of an operation's result. ops
lists every operation that compute uses, so that nothing runs to list the signals or to name their versions. marks are
rows of gpu_pile.text.marks: what the rule set looks for at the ends of lines and among words. Each row is one more
column of counts(text_counts), under its name.

Other packages add families: an installed package names a family in the entry point group `gpu_pile.signals`; most
families are made by `from_function`. docs/plugins.md shows an example.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa

from gpu_pile.errors import ConfigError
from gpu_pile.gpu.detect import BACKENDS
from gpu_pile.gpu.device import Device
from gpu_pile.gpu.segments import to_host
from gpu_pile.ops.op import Op
from gpu_pile.ops.text_counts import text_counts
from gpu_pile.text.column import TextColumn
from gpu_pile.text.marks import Mark
from gpu_pile.types import Array, DeviceArray

PLUGINS = "gpu_pile.signals"
"""The group of entry points by which installed packages add families."""


class Counts:
    """The text of a batch, and the results of operations on this text, each computed once.

    Args:
        text: n documents.
        backend: an implementation by name, such as reference; None chooses the backend that holds the text.
        marks: rows that text_counts counts, those of the families to compute; None for those of all families.
        results: results of operations that are known, in host memory.
    """

    def __init__(
        self,
        text: TextColumn,
        backend: str | None = None,
        marks: Sequence[Mark] | None = None,
        results: Mapping[str, Array] = MappingProxyType({}),
    ) -> None:
        self.text, self.backend = text, backend
        self.marks = all_marks(families()) if marks is None else tuple(marks)
        self.results = dict(results)

    def __call__(self, op: Op) -> dict[str, Array]:
        """Return the columns of an operation's result by name, int64[n_docs] each."""
        if op.name not in self.results:
            self.results[op.name] = to_host(self.run(op))
        names = (*op.columns, *(row.name for row in self._marks_of(op)))
        return {name: self.results[op.name][:, i] for i, name in enumerate(names)}

    def run(self, op: Op) -> DeviceArray:
        """Return the result of an operation, where the text is."""
        marks = self._marks_of(op)
        run = op if self.backend is None else partial(op.run, self.backend)
        return run(self.text, **({"marks": marks} if marks else {}))

    def _marks_of(self, op: Op) -> tuple[Mark, ...]:
        return self.marks if op is text_counts else ()


@dataclass(frozen=True)
class Signal:
    """One number per document.

    unit: what is counted, or "fraction"; dtype: int64 or float64, null where undefined; definition: understood
    without reading any other; source: where the definition comes from, if the family's source is less exact.
    """

    name: str
    unit: str
    dtype: str
    definition: str
    source: str = ""

    @classmethod
    def count(cls, name: str, unit: str, definition: str, source: str = "") -> Signal:
        """A whole number of units."""
        return cls(name, unit, "int64", definition, source)

    @classmethod
    def fraction(cls, name: str, definition: str, source: str = "") -> Signal:
        """A quotient of two numbers of the same unit."""
        return cls(name, "fraction", "float64", definition, source)


@dataclass(frozen=True)
class Family:
    """Signals that are computed together, from these operations. Raise version whenever a value may change.

    about_words: those of the signals that suppose spaces between words; rules about them need not be applied to texts
    in other scripts (gpu_pile.policy.thresholds).
    """

    name: str
    version: int
    source: str
    ops: tuple[Op, ...]
    signals: tuple[Signal, ...]
    compute: Callable[[Counts], Mapping[str, Any]]
    marks: tuple[Mark, ...] = ()
    about_words: tuple[str, ...] = ()


def all_marks(families: Iterable[Family]) -> tuple[Mark, ...]:
    """The marks of some families, each once.

    Raises:
        ConfigError: two families give the same name to different marks.
    """
    rows: dict[str, tuple[Mark, Family]] = {}
    for family in families:
        for row in family.marks:
            known, other = rows.setdefault(row.name, (row, family))
            if known != row:
                raise ConfigError(
                    f"families {other.name} and {family.name} declare different marks under the name {row.name!r}; "
                    "rename one of them"
                )
    return tuple(row for row, _ in rows.values())


@cache
def _registry() -> dict[str, Family]:
    registry: dict[str, Family] = {}
    for module in pkgutil.iter_modules(__path__):
        family = importlib.import_module(f"{__name__}.{module.name}").FAMILY
        registry[family.name] = family
    for entry in sorted(importlib.metadata.entry_points(group=PLUGINS), key=lambda e: (e.name, e.value)):
        family = _plugin(entry)
        taken = {s.name for f in registry.values() for s in f.signals} | registry.keys()
        conflicts = taken & {family.name, *(s.name for s in family.signals)}
        if conflicts:
            raise ConfigError(
                f"{_describe(entry)} adds {', '.join(sorted(conflicts))}, but that name is taken; "
                "uninstall one of the packages, or rename the signal in one of them"
            )
        registry[family.name] = family
    return registry


def _describe(entry: importlib.metadata.EntryPoint) -> str:
    package = f"package {entry.dist.name} {entry.dist.version}" if entry.dist else "an installed package"
    return f"{package}, entry point {PLUGINS}: {entry.name} = {entry.value},"


def _plugin(entry: importlib.metadata.EntryPoint) -> Family:
    try:
        family = entry.load()
    except Exception as error:  # importing another package may raise anything
        raise ConfigError(
            f"{_describe(entry)} cannot be loaded ({type(error).__name__}: {error}); fix or uninstall it"
        ) from error
    if not isinstance(family, Family):
        raise ConfigError(
            f"{_describe(entry)} is a {type(family).__name__}, expected a gpu_pile.signals.Family, "
            "such as gpu_pile.signals.from_function gives"
        )
    return family


def from_function(
    name: str,
    *,
    unit: str,
    definition: str,
    source: str,
    version: int,
    function: Callable[[TextColumn], Any],
    dtype: str = "float64",
) -> Family:
    """Make a family of one signal that is a function of the text: a language, a model's score, ...

    Args:
        name: of the signal and of the family.
        unit, definition, source: as in Signal; shown by `gpu-pile list signals`.
        version: raise it whenever a value may change; values stored with another version are then computed again.
        function: TextColumn of n documents -> n values, a NumPy or Arrow array with nulls where undefined. It is called
            with batches from several threads at once; a value must not depend on other documents of the batch.
        dtype: int64 or float64.
    """
    if dtype not in ("int64", "float64"):
        raise ValueError(f"signal {name!r}: dtype is {dtype!r}, expected int64 or float64")

    def compute(counts: Counts) -> Mapping[str, Any]:
        values = function(Device().text(counts.text))
        if isinstance(values, pa.ChunkedArray):
            values = values.combine_chunks()
        if not isinstance(values, pa.Array):
            values = pa.array(np.asarray(values))
        if len(values) != len(counts.text):
            raise ValueError(f"signal {name!r} gave {len(values)} values for {len(counts.text)} documents")
        return {name: values.cast(pa.int64() if dtype == "int64" else pa.float64())}

    return Family(name, version, source, (), (Signal(name, unit, dtype, definition),), compute)


def families() -> list[Family]:
    """Return every family, sorted by name; those of other packages come last."""
    return list(_registry().values())


def _chosen(wanted: Sequence[str] | None) -> tuple[list[Family], list[str]]:
    """Return (families to compute, columns to give) for names of families and of signals; None is everything."""
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
            similar = difflib.get_close_matches(name, [*registry, *by_signal], 1)
            unknown.append(f"{name!r}" + (f" (did you mean {similar[0]!r}?)" if similar else ""))
    if unknown:
        raise ConfigError(
            f"unknown signals or families: {', '.join(unknown)}; families: {', '.join(registry)}; "
            "`gpu-pile list signals` shows them all"
        )
    return list(chosen.values()), list(columns)


def operations(wanted: Sequence[str] | None = None) -> list[Op]:
    """Return the operations that families and signals are computed from, by name, without running one of them."""
    ops = {op.name: op for family in _chosen(wanted)[0] for op in family.ops}
    return [op for _, op in sorted(ops.items())]


def backends(family: Family) -> list[str]:
    """Return the backends that compute a family: those that all its operations have."""
    if not family.ops:
        return ["cpu"]
    return [name for name in BACKENDS if all(name in op.implementations for op in family.ops)]


@cache
def about_words() -> frozenset[str]:
    """Return the signals that suppose spaces between words."""
    return frozenset(name for family in families() for name in family.about_words)


def check(wanted: Sequence[str]) -> None:
    """Raise ConfigError, with a suggestion, if a name is neither a family nor a signal."""
    _chosen(wanted)


def names(wanted: Sequence[str] | None = None) -> list[str]:
    """Return the columns that families and signals give; None is everything."""
    return _chosen(wanted)[1]


def definition_versions(wanted: Sequence[str]) -> dict[str, Any]:
    """Return what stored values depend on: the columns, and the versions of the families and of their operations."""
    chosen, columns = _chosen(wanted)
    return {
        "columns": columns,
        "families": {family.name: family.version for family in chosen},
        "ops": {op.name: op.version for op in operations(wanted)},
    }


def count(text: TextColumn, wanted: Sequence[str]) -> dict[str, DeviceArray]:
    """Run the operations that families and signals are computed from. Return their results by name, where the text is.

    Raises:
        ConfigError: an unknown name.
    """
    counts = Counts(text, marks=all_marks(_chosen(wanted)[0]))
    return {op.name: counts.run(op) for op in operations(wanted)}


def compute(
    text: TextColumn,
    wanted: Sequence[str] | None = None,
    backend: str | None = None,
    results: Mapping[str, Array] = MappingProxyType({}),
) -> pa.Table:
    """Compute a table with one row per document and one column per signal: int64, or float64 with nulls.

    Args:
        text: n documents.
        wanted: names of families or signals; None for all.
        backend: an implementation by name, such as reference; None chooses the backend that holds the text.
        results: what count() gave for this text and these signals, in host memory.

    Raises:
        ConfigError: an unknown name.
    """
    chosen, columns = _chosen(wanted)
    counts = Counts(text, backend, all_marks(chosen), results)
    values: dict[str, Any] = {}
    for family in chosen:
        values.update(family.compute(counts))
    arrays = {name: values[name] if isinstance(values[name], pa.Array) else pa.array(values[name]) for name in columns}
    # pa.table({}) would have no rows
    return pa.table(arrays) if arrays else pa.table({"_": pa.nulls(len(text))}).drop_columns(["_"])


def ratio(numerator: Array, denominator: Array) -> pa.Array:
    """Divide once, in float64; null where the denominator is 0."""
    undefined = denominator == 0
    return pa.array(numerator / np.where(undefined, 1, denominator), mask=undefined)
