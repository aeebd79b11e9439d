"""signals: stored signals, hashes and sketches are those of the plain references; the reasons follow from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.parquet as pq

from gpu_pile import signals
from gpu_pile.corpus import files
from gpu_pile.corpus.files import AnyPath
from gpu_pile.explore.tables import RunTables
from gpu_pile.explore.verify.check import Check, shortened
from gpu_pile.explore.verify.documents import Document, ShardDecisions, TextCheck
from gpu_pile.explore.verify.exact import compared
from gpu_pile.ops import op
from gpu_pile.text.column import TextColumn
from gpu_pile.text.unicode import ALPHA, UNSPACED
from gpu_pile.text.unicode_reference import flags
from gpu_pile.types import Array

SIGNALS_SAMPLE = 200
"""Documents whose signals are computed again unless all are."""

SIGNALS_BYTES_MAX = 1 << 20
"""Longer texts are left out of a sample: the references are plain Python."""


class Signals(TextCheck):
    def __init__(self, run: RunTables, everything: bool, rng: np.random.Generator) -> None:
        self.check = Check("signals", "documents whose signals, hashes and reasons are computed again")
        self.run, self.config, self.everything = run, run.config, everything
        total = sum(s["documents"] for s in run.info["shards"])
        n = total if everything else min(total, SIGNALS_SAMPLE)
        self.check.total = total
        self.rows = np.arange(total) if everything else np.sort(rng.choice(total, n, replace=False))
        self.first = self.left_out = 0

    def wants(self, decided: ShardDecisions) -> Array:
        n = len(decided.line)
        lo, hi = np.searchsorted(self.rows, [self.first, self.first + n])
        wanted = np.zeros(n, bool)
        wanted[self.rows[lo:hi] - self.first] = True
        self.first += n
        self.decided = decided
        self.measured = MeasuredRows(self.run.directory.measured(decided.shard.name))
        self.joined = MeasuredRows(self.run.directory.joined(decided.shard.name))
        return wanted

    def look(self, document: Document) -> None:
        if len(document.text) > SIGNALS_BYTES_MAX and not self.everything:
            self.left_out += 1
            return
        stored = self.measured.row(document.row)
        computed = self._computed(document.text)
        wrong = [name for name, value in computed.items() if stored[name] != value]
        wrong += [name for name, value in document.fields.items() if not self._same(stored[name], value)]
        computed |= {**document.fields, **self._joined(document.row)}
        sentence = ", ".join(
            f"{k} is {shortened(stored[k])}, the reference gives {shortened(computed[k])}" for k in wrong[:3]
        )
        self.check.expect(not wrong, f"{document.place}: {sentence}")
        if not wrong:
            self._check_reasons(document, computed)

    def _joined(self, row: int) -> dict[str, Any]:
        """What measure.join has stored for a document: the tables that it comes from are not read again."""
        return self.joined.row(row) if self.config.joined_columns else {}

    def _same(self, stored: Any, value: Any) -> bool:
        if self.decided.shard.is_table and isinstance(stored, float) and isinstance(value, float):
            return bool(np.float32(stored) == np.float32(value))  # the column may have floats of 32 bits
        return bool(stored == value)

    def finish(self) -> None:
        if self.left_out:
            self.check.notes.append(
                f"{self.left_out:,} texts of over {SIGNALS_BYTES_MAX >> 20} MiB were left out; all with --all"
            )

    def _computed(self, text: str) -> dict[str, Any]:
        """What the plain references of the operations give for a text."""
        ops, fuzzy = op.load_all(), self.config.dedupe.fuzzy
        column = TextColumn.from_documents([text])
        computed = signals.compute(column, self.config.measure.signals, backend="reference").to_pylist()[0]
        hashed = TextColumn.from_documents([compared(text, self.config.dedupe.exact.normalize)])
        high, low = ops["doc_hash"].run("reference", hashed)[0]
        given = {"kind": fuzzy.shingle, "width": fuzzy.width, "method": fuzzy.sketch, "k": fuzzy.size}
        sketch, shingles = ops["sketch"].run("reference", column, **given, seed=fuzzy.seed)
        return computed | {
            "text_bytes": len(text.encode()),
            "hash_hi": int(high),
            "hash_lo": int(low),
            "sketch": sketch.tobytes(),
            "shingles": int(shingles[0]),
        }

    def _check_reasons(self, document: Document, computed: dict[str, Any]) -> None:
        """The recorded reasons are the rules that these signals fail."""
        row = self.decided.table.slice(document.row, 1).to_pylist()[0]
        failing = []
        policy = self.config.thresholds
        spaced = policy.word_rules == "always" or not _without_spaces(document.text)
        for name, rule in policy.rules_of(row["subset"]).items():
            if name in signals.about_words() and not spaced:
                continue
            value = computed[name]
            if (value is None and rule.required) or (value is not None and rule.min is not None and value < rule.min):
                failing.append(f"{name}.min")
            if value is not None and rule.max is not None and value > rule.max:
                failing.append(f"{name}.max")
        recorded = [r for r in row["reasons"] if "." in r]  # others are of duplicates and removal lists
        if sorted(recorded) != sorted(failing):
            self.check.fail(f"{document.place}: fails {failing}, recorded is {recorded}")


def _without_spaces(text: str) -> bool:
    """Whether more than half of the letters are of scripts without spaces between words."""
    letters = [flags(c) & UNSPACED > 0 for c in text if flags(c) & ALPHA]
    return 2 * sum(letters) > len(letters)


class MeasuredRows:
    """Rows of a measured table, asked for in ascending order: one row group is held."""

    def __init__(self, path: AnyPath) -> None:
        self.path = path
        self.group, self.first = -1, 0
        self.table: Any = None

    def row(self, row: int) -> dict[str, Any]:
        while self.table is None or row >= self.first + len(self.table):
            self.first += 0 if self.table is None else len(self.table)
            self.group += 1
            with pq.ParquetFile(files.table(self.path)) as file:
                self.table = file.read_row_group(self.group)
        values: dict[str, Any] = self.table.slice(row - self.first, 1).to_pylist()[0]
        return values
