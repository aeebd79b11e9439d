"""lines and kept lines: every line of the input is accounted for, and kept/ has exactly the kept ones."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow.parquet as pq

from gpu_pile.corpus import files
from gpu_pile.corpus.bitmap import read_bitmap
from gpu_pile.corpus.shards import Shard
from gpu_pile.corpus.sinks import PARQUET, SAME, sink_of
from gpu_pile.errors import DataError
from gpu_pile.explore.tables import RunTables
from gpu_pile.explore.verify.check import Check, shortened
from gpu_pile.explore.verify.documents import Document, ShardDecisions
from gpu_pile.explore.verify.lines import BLANK, fields_of, input_lines, text_of, with_text, without_text
from gpu_pile.explore.verify.rows import DAMAGED, row_lines, rows_of, schema_of

NO_DOCUMENT = (ValueError, KeyError, TypeError)
"""What Python's json and looking up the text raise for a line that is not a document."""


class Lines:
    """One pass over the input: checks every line and hands out the texts that other checks asked for."""

    def __init__(self, run: RunTables) -> None:
        self.run = run
        self.lines = Check("lines", "documents; every other line of the input is bad or blank")
        self.converted = run.config.write.format == PARQUET and not any(shard.is_table for shard in run.shards)
        how = "by value, with their texts put back" if self.converted else "byte for byte"
        self.kept = Check("kept lines", f"lines of the input, {how}, in order, and no others")

    def read(self, decided: ShardDecisions, wanted: Callable[[int], bool], look: Callable[[Document], None]) -> None:
        """Check one shard.

        Args:
            wanted: whether the text of a row of the decisions is needed. look: takes each such document.
        """
        name = decided.shard.name
        state = self.run.directory.state("measure", name)
        if state["damage"]:
            self.kept.notes.append(f"{name} is damaged: its lines come from the recovering reader")
        kept = self._kept(decided, state)
        keep, edited = decided.keep.tolist(), decided.table.column("edited_bytes").to_pylist()
        self.cut = self._cut(decided)
        for row, place, line in self._documents(decided, state):
            self.lines.checked += 1
            if keep[row]:
                self._compare(place, line, next(kept, None), edited[row], self.cut.get(int(decided.doc_id[row]), []))
            if wanted(row):
                try:
                    text = text_of(line, self.run.config.input, decided.shard.is_table)
                    fields = fields_of(line, self.run.config.input, decided.shard.is_table)
                except NO_DOCUMENT as error:
                    self.lines.fail(f"{place}: is a document, but json says {error!r}")
                    continue
                look(Document(row, int(decided.doc_id[row]), place, text, fields))
        extra = next(kept, None)
        if extra is not None:
            self.kept.fail(f"{name}: kept has more lines than were decided: {shortened(extra)}")

    def _cut(self, decided: ShardDecisions) -> dict[int, list[tuple[int, int]]]:
        """(start, length) of what is cut out of the texts of documents, by doc_id."""
        if not self.run.config.dedupe.cuts:
            return {}
        path = files.table(self.run.directory.substrings(decided.shard.name))
        names = ["doc_id", "starts", "lengths"]
        columns = pq.read_table(path, columns=names).to_pydict()
        return {i: list(zip(s, n, strict=True)) for i, s, n in zip(*(columns[c] for c in names), strict=True)}

    def _kept(self, decided: ShardDecisions, state: dict[str, Any]) -> Iterator[bytes | None]:
        """What is kept of a shard, line by line."""
        shard, written = decided.shard, self.run.config.write
        if written.keep == "bitmap":
            return self._marked_lines(decided, state)
        if shard.is_table and written.format in (SAME, PARQUET):
            return self._kept_rows(shard)
        return self._converted(shard.name) if written.format == PARQUET else self._kept_lines(shard.name)

    def _converted(self, name: str) -> Iterator[bytes | None]:
        path = self.run.directory.kept(name)
        try:
            for row in rows_of(path):
                yield None if row is None else with_text(row["json"].encode(), row["text"], self.run.config.input)
        except (*DAMAGED, *NO_DOCUMENT) as error:
            self.kept.fail(f"{path} is damaged: {error!r}")

    def _kept_rows(self, shard: Shard) -> Iterator[bytes | None]:
        path = self.run.directory.kept(shard.name)
        try:
            if not schema_of(path).equals(schema_of(shard.path), check_metadata=True):
                self.kept.fail(f"{path}: the columns or their metadata differ from those of {shard.path}")
            yield from row_lines(path)
        except DAMAGED as error:
            self.kept.fail(f"{path} is damaged: {error}")

    def _kept_lines(self, name: str) -> Iterator[bytes | None]:
        try:
            yield from sink_of(self.run.config.write.format).lines(self.run.directory.kept(name))
        except DataError as error:
            self.kept.fail(str(error))

    def _marked_lines(self, decided: ShardDecisions, state: dict[str, Any]) -> Iterator[bytes | None]:
        """Each line of the input whose bit is set."""
        try:
            keep = read_bitmap(self.run.directory.bitmap(decided.shard.name))
        except DataError as error:
            self.kept.fail(str(error))
            return
        yield from itertools.compress(input_lines(self.run, decided.shard, bool(state["damage"])), keep.tolist())

    def _documents(self, decided: ShardDecisions, state: dict[str, Any]) -> Iterator[tuple[int, str, bytes]]:
        """(row, place in words, line) of each document; checks the lines between the documents."""
        name = decided.shard.name
        bad = {b["line"] for b in state["bad_lines"]}
        stopped = max(bad) if state["stopped"] else None
        documents = decided.line.tolist()
        row = number = 0
        for number, line in enumerate(input_lines(self.run, decided.shard, bool(state["damage"])), 1):
            if number == stopped:
                break
            if row == len(documents) or number < documents[row]:
                if number not in bad and line is not None and line.strip(BLANK):
                    self.lines.fail(f"{name} line {number}: neither a document nor a bad line nor blank")
                continue
            if line is None:
                self.lines.fail(f"{name} line {number}: is over the limit and yet a document")
            else:
                yield row, f"{name} line {number}", line
            row += 1
        if row < len(documents):
            self.lines.fail(f"{name}: {len(documents) - row:,} documents are beyond the shard's end")
        if stopped is None and number != state["lines"]:
            self.lines.fail(f"{name}: {number:,} lines, {state['lines']:,} were measured")

    def _compare(
        self, place: str, line: bytes, kept: bytes | None, edited_bytes: int, cut: list[tuple[int, int]]
    ) -> None:
        self.kept.checked += 1
        if kept is None or not edited_bytes:
            if kept != line and not (self.converted and kept is not None and json.loads(kept) == json.loads(line)):
                self.kept.fail(f"{place}: kept is {shortened(kept)}, the input has {shortened(line)}")
            return
        settings = self.run.config.input
        try:
            text, left = (text_of(each, settings).encode(errors="replace") for each in (line, kept))
            gone = len(text) - len(left)
            same = without_text(line, settings) == without_text(kept, settings)
        except NO_DOCUMENT as error:
            self.kept.fail(f"{place}: the edited line {shortened(kept)} is not a document: {error!r}")
            return
        if gone != edited_bytes or not same:
            what = f"{gone:,} bytes of text are gone" if same else "more than the text differs"
            self.kept.fail(f"{place}: editing should take away {edited_bytes:,} bytes of text, but {what}")
        elif cut and left != without(text, cut):
            self.kept.fail(f"{place}: {shortened(left)} is not the text without what is cut out of it")


def without(text: bytes, spans: list[tuple[int, int]]) -> bytes:
    """A text without some spans of it, (start, length) each."""
    for start, length in reversed(spans):
        text = text[:start] + text[start + length :]
    return text
