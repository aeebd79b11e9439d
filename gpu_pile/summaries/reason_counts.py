"""Counts of documents by what they failed together: all that reports and comparisons of rules need, in one small table.

A table of combinations has a row for every subset and set of reasons that occurs, sorted:

    subset      string        as histograms.Names gives them
    reasons     list<string>  in the order of the rules; empty for the documents that stay
    documents   int64
    text_bytes  int64

Tables of several shards add up. What a rule removes, what it alone removes, what two rules remove both, and how many
documents stay of each subset are sums over its rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from gpu_pile.summaries.histograms import Names
from gpu_pile.types import Array

SCHEMA = pa.schema(
    [
        ("subset", pa.string()),
        ("reasons", pa.list_(pa.string())),
        ("documents", pa.int64()),
        ("text_bytes", pa.int64()),
    ]
)

Counts = dict[tuple[str, tuple[str, ...]], tuple[int, int]]


class Tally:
    """The combinations of one shard, added up table by table."""

    def __init__(self) -> None:
        self._names = Names()
        self._counts: Counts = {}

    def add(self, subset: pa.ChunkedArray, rules: Sequence[str], marks: Array, keep: Array, text_bytes: Array) -> None:
        """Add n documents: subset, bool[n, m] which of m rules each fails, bool[n] whether it fails none, int64[n]."""
        codes = self._names.of(subset)
        pattern, patterns = _patterns(marks, np.flatnonzero(~keep))
        n_subsets = int(codes.max(initial=-1)) + 1
        key = pattern * n_subsets + codes
        documents = np.bincount(key, minlength=len(patterns) * n_subsets)
        # float64 sums of whole numbers are exact below 2^53, more than any one table holds
        weights = np.bincount(key, text_bytes, minlength=len(patterns) * n_subsets)
        for k in np.flatnonzero(documents):
            failed = tuple(rules[int(i)] for i in np.flatnonzero(patterns[k // n_subsets]))
            _add(self._counts, (self._names.name(int(k % n_subsets)), failed), int(documents[k]), int(weights[k]))

    def table(self) -> pa.Table:
        return _table(self._counts)


def _patterns(marks: Array, failing: Array) -> tuple[Array, Array]:
    """Return (int64[n] pattern of each row, bool[patterns, m] the distinct rows); failing: the rows with any mark."""
    number = np.zeros(len(marks), np.int64)
    packed = np.packbits(marks[failing], axis=1)
    code = np.zeros(len(failing), np.int64)
    for byte in packed.T:  # numbers stay small: there are at most as many patterns as documents
        _, code = np.unique(code * 256 + byte, return_inverse=True)
    number[failing] = code + 1
    first = np.zeros(int(code.max(initial=-1)) + 1, np.int64)
    first[code] = failing
    return number, np.concatenate([np.zeros((1, marks.shape[1]), bool), marks[first]])


def _add(counts: Counts, key: tuple[str, tuple[str, ...]], documents: int, text_bytes: int) -> None:
    before = counts.get(key, (0, 0))
    counts[key] = before[0] + documents, before[1] + text_bytes


def _table(counts: Counts) -> pa.Table:
    rows = [
        {"subset": subset, "reasons": list(reasons), "documents": documents, "text_bytes": text_bytes}
        for (subset, reasons), (documents, text_bytes) in sorted(counts.items())
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def merged(tables: Iterable[pa.Table]) -> pa.Table:
    """Return the sums of several tables of combinations."""
    counts: Counts = {}
    for table in tables:
        for row in table.to_pylist():
            _add(counts, (row["subset"], tuple(row["reasons"])), row["documents"], row["text_bytes"])
    return _table(counts)


def by_subset(combinations: pa.Table) -> dict[str, dict[str, int]]:
    """Return documents, text_bytes, kept_documents, kept_text_bytes per subset, most text first."""
    out: dict[str, dict[str, int]] = {}
    for row in combinations.to_pylist():
        zeros = {"documents": 0, "text_bytes": 0, "kept_documents": 0, "kept_text_bytes": 0}
        counts = out.setdefault(row["subset"], zeros)
        for key in ("documents", "text_bytes"):
            counts[key] += row[key]
            counts[f"kept_{key}"] += 0 if row["reasons"] else row[key]
    return dict(sorted(out.items(), key=lambda item: (-item[1]["text_bytes"], item[0])))


def by_reason(combinations: pa.Table) -> list[dict[str, Any]]:
    """Return reason, documents, text_bytes, ..._only_this (no other rule removes it), by_subset; frequent first."""
    out: dict[str, dict[str, Any]] = {}
    for row in combinations.to_pylist():
        for reason in row["reasons"]:
            zeros = {"documents": 0, "text_bytes": 0, "documents_only_this": 0, "text_bytes_only_this": 0}
            counts = out.setdefault(reason, {"reason": reason, **zeros, "by_subset": defaultdict(int)})
            for key in ("documents", "text_bytes"):
                counts[key] += row[key]
                counts[f"{key}_only_this"] += row[key] if len(row["reasons"]) == 1 else 0
            counts["by_subset"][row["subset"]] += row["documents"]
    for counts in out.values():
        counts["by_subset"] = dict(sorted(counts["by_subset"].items(), key=lambda item: (-item[1], item[0])))
    return sorted(out.values(), key=lambda counts: (-counts["documents"], counts["reason"]))


def overlaps(combinations: pa.Table) -> dict[tuple[str, str], int]:
    """Return documents that fail both rules, per pair of rules with any: in both orders, and a rule with itself."""
    out: dict[tuple[str, str], int] = defaultdict(int)
    for row in combinations.to_pylist():
        for a in row["reasons"]:
            for b in row["reasons"]:
                out[a, b] += row["documents"]
    return dict(out)
