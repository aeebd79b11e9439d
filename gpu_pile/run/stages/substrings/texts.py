"""The jobs that read the texts of documents that pass: contexts, windows, and what is cut out of them."""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from gpu_pile.corpus import files
from gpu_pile.dedup.substrings import pieces, places
from gpu_pile.gpu.device import Device
from gpu_pile.gpu.segments import to_host
from gpu_pile.run.context import Context
from gpu_pile.run.reading import changed
from gpu_pile.run.rereading import Group, Wanted, read_again
from gpu_pile.run.stages.dedupe.candidates import mapped
from gpu_pile.run.stages.substrings.tasks import STAGE, FilesJob, Sorted, Spill, numbered, scratch_folder
from gpu_pile.run.stages.substrings.windows import Windows, span_hashes
from gpu_pile.run.tables import MeasuredRange, parse_again, subset_codes, table_rows
from gpu_pile.text.column import TextColumn
from gpu_pile.text.single_spaces import Tokens, as_it_was
from gpu_pile.types import Array

COLUMNS = ("line", "start", "length", "text_bytes", "subset")


class Part(NamedTuple):
    """A measured range, its number among all, and the positions of its text: low .. high. Small, sent to workers."""

    measured: MeasuredRange
    number: int
    low: int
    high: int


class Block(NamedTuple):
    """Some documents of a part, as they are to be read: rows group.lo .. group.hi of `rows`.

    position: int64, where each document of the part begins
    wanted: what the job wants of the part
    """

    part: Part
    table: pa.Table
    position: Array
    rows: Array
    group: Group
    wanted: Any


class Texts(NamedTuple):
    """Some documents of a part whose texts are being looked at.

    text:     in the memory of the run's device, prepared by Windows, with its tokens; offsets: its offsets, here
    row:      int64[n], of the part; position: int64[n], where each text begins
    salt:     uint64[n], what is mixed into hashes, so that only documents of one scope are equal; None: all may be
    """

    text: TextColumn
    tokens: Tokens | None
    offsets: Array
    row: Array
    position: Array
    salt: Array | None


def passing_path(context: Context, shard: str) -> Path:
    """Return the path of the array that says which documents of a shard pass, bool[n]."""
    return scratch_folder(context) / "passing" / f"{shard}.npy"


def _rows_at(position: Array, positions: Array) -> Array:
    """Return the distinct rows of the documents that these positions are in; position: where the documents begin."""
    return np.unique(np.searchsorted(position, positions, "right") - 1)


class TextJob(FilesJob, abc.ABC):
    """Reads documents of some parts, one part after the other."""

    def __init__(self, context: Context, parts: Sequence[Part], windows: Windows) -> None:
        super().__init__(context, sum(part.measured.shard_range.n_bytes for part in parts))
        self.parts, self.windows = parts, windows

    def open(self) -> Iterator[Block]:
        self.begin()
        for part in self.parts:
            yield from self._open(part)

    def begin(self) -> None:
        """Open what is written."""

    def _open(self, part: Part) -> Iterator[Block]:
        context, measured = self.context, part.measured
        table = table_rows(context.directory.measured(measured.shard.name), measured.first, measured.end, COLUMNS)
        sizes = table.column("text_bytes").to_numpy()
        position = part.low + np.cumsum(sizes + 1) - (sizes + 1)
        passing = files.load_array(passing_path(context, measured.shard.name), mapped=True)
        long = sizes >= self.windows.size
        rows, wanted = self.choose(part, position, np.flatnonzero(passing[measured.first : measured.end] & long))
        start, length = (table.column(name).to_numpy()[rows] for name in ("start", "length"))
        if not len(rows):
            context.reporter.advance(STAGE, measured.shard_range.n_bytes)
            return
        request = Wanted.of(start, length, context.batch_bytes)
        for group in read_again(context, STAGE, measured, [request]):
            yield Block(part, table, position, rows, group, wanted)

    @abc.abstractmethod
    def choose(self, part: Part, position: Array, rows: Array) -> tuple[Array, Any]:
        """Return which of these rows have texts that are wanted, and what is wanted of the part."""

    def texts(self, block: Block) -> Texts:
        """Parse a group of lines again."""
        part, table, group = block.part, block.table, block.group
        rows = block.rows[group.lo : group.hi]
        with self.context.reporter.span(STAGE, "parse again"):
            text = parse_again(self.context, part.measured.shard, group.lines())
        if not np.array_equal(np.diff(to_host(text.offsets)), table.column("text_bytes").to_numpy()[rows]):
            raise changed(part.measured.shard)
        text, tokens = self.windows.prepared(text, self.context.device)
        return Texts(text, tokens, to_host(text.offsets), rows, block.position[rows], self._salt(table, rows))

    def _salt(self, table: pa.Table, rows: Array) -> Array | None:
        if self.context.config.dedupe.scope == "corpus":
            return None
        names, codes = subset_codes(table)
        salts = [int.from_bytes(hashlib.blake2b(n.encode(), digest_size=8).digest(), "little") for n in names]
        return np.array(salts, np.uint64)[codes[rows]]


class ContextJob(TextJob):
    """Leaves the contexts of all documents that pass."""

    def __init__(self, context: Context, spill: Spill, number: int, parts: Sequence[Part], windows: Windows) -> None:
        super().__init__(context, parts, windows)
        self.spill, self.number = spill, number

    def begin(self) -> None:
        self.records = self.writer(self.spill, self.number)

    def choose(self, part: Part, position: Array, rows: Array) -> tuple[Array, Any]:
        return rows, None

    def process(self, block: Block) -> Array:
        device = self.context.device
        with device.session():
            texts = self.texts(block)
            with self.context.reporter.span(STAGE, "anchors"):
                groups = self.windows.groups(texts.text, texts.tokens, device)
            with self.context.reporter.span(STAGE, "hash"):
                content = span_hashes(texts.text, groups.start, groups.length, device)[:, 0]
        gram = groups.gram
        if texts.salt is not None:
            content, gram = content ^ texts.salt[groups.document], gram ^ texts.salt[groups.document]
        position = texts.position[groups.document] + groups.start - texts.offsets[groups.document]
        return np.stack([content, gram, places(position, groups.length)], axis=1)

    def consume(self, result: Array) -> bool:
        self.records.add(result)
        return True


class WindowJob(TextJob):
    """Leaves the windows of the contexts that may share a window with another one."""

    def __init__(
        self, context: Context, spill: Spill, number: int, parts: Sequence[Part], windows: Windows, shared: Sorted
    ) -> None:
        super().__init__(context, parts, windows)
        self.spill, self.number, self.shared = spill, number, shared

    def begin(self) -> None:
        self.records = self.writer(self.spill, self.number)

    def choose(self, part: Part, position: Array, rows: Array) -> tuple[Array, Any]:
        wanted = self.shared.gathered(part.low, part.high)[:, 0].astype(np.int64)
        return rows[np.isin(rows, _rows_at(position, wanted))], wanted

    def process(self, block: Block) -> Array:
        device, wanted = self.context.device, block.wanted
        with device.session():
            texts = self.texts(block)
            with self.context.reporter.span(STAGE, "anchors"):
                groups = self.windows.groups(texts.text, texts.tokens, device)
            shift = texts.position[groups.document] - texts.offsets[groups.document]
            at = np.minimum(np.searchsorted(wanted, groups.start + shift), len(wanted) - 1)
            chosen = wanted[at] == groups.start + shift
            start, length = self.windows.inside(groups.start[chosen], groups.length[chosen], texts.tokens)
            with self.context.reporter.span(STAGE, "hash"):
                hashes = span_hashes(texts.text, start, length, device)
        owner = np.searchsorted(texts.offsets, start, "right") - 1
        if texts.salt is not None:
            hashes ^= texts.salt[owner][:, None]
        position = start + texts.position[owner] - texts.offsets[owner]
        return np.concatenate([hashes, places(position, length)[:, None]], axis=1)

    def consume(self, result: Array) -> bool:
        self.records.add(result)
        return True


class Requests(NamedTuple):
    """Spans of a part whose digests are wanted, ascending: int64[m] each.

    position, length: of the span; source: where the equal text begins; number: of the match, -1 for a source itself
    """

    position: Array
    length: Array
    source: Array
    number: Array

    def within(self, low: int, high: int) -> Requests:
        lo, hi = np.searchsorted(self.position, [low, high])
        return Requests(*(values[lo:hi] for values in self))


class Cut(NamedTuple):
    """What is cut out of documents of a part, and which of them others are cut for.

    row: int64[n], the document; start, length: int64[n], in its text, ascending and without overlaps
    number: int64[n], the match; offset: int64[n], where in the match the cut text begins
    referred: int64, ascending: documents with sources
    """

    row: Array
    start: Array
    length: Array
    number: Array
    offset: Array
    referred: Array

    @classmethod
    def joined(cls, cuts: Sequence[Cut]) -> Cut:
        empty = cls(*(np.empty(0, np.int64) for _ in cls._fields))
        return cls(*(np.concatenate(columns) for columns in zip(empty, *cuts, strict=True)))


class CutJob(TextJob):
    """Leaves what is cut out of each part, and digests of the targets and sources of all matches.

    The records of digests are (source, length, number + 1 of the match or 0 for a source, two halves of the digest).
    """

    def __init__(
        self,
        context: Context,
        spills: tuple[Spill, Spill],
        number: int,
        parts: Sequence[Part],
        windows: Windows,
        sources: Sorted,
    ) -> None:
        super().__init__(context, parts, windows)
        self.spills, self.number, self.sources = spills, number, sources
        self.found: dict[int, list[Cut]] = {part.number: [] for part in parts}

    def begin(self) -> None:
        self.records = [self.writer(spill, self.number) for spill in self.spills]
        self.chosen = Chosen.mapped(self.context)

    def choose(self, part: Part, position: Array, rows: Array) -> tuple[Array, Any]:
        lo, hi = np.searchsorted(self.chosen.target, np.array([part.low, part.high], np.uint64))
        target, source, length = (values[lo:hi].astype(np.int64) for values in self.chosen)
        targets = Requests(target, length, source, np.arange(lo, hi))
        where, length = self.sources.gathered(part.low, part.high).astype(np.int64).T
        sources = Requests(where, length, where, np.full(len(where), -1))
        both = np.concatenate([_rows_at(position, targets.position), _rows_at(position, sources.position)])
        return rows[np.isin(rows, both)], (targets, sources)

    def process(self, block: Block) -> tuple[int, Cut, tuple[Array, Array]]:
        with self.context.device.session():
            texts = self.texts(block)
            data = Device().text(texts.text).data
        end = int(texts.position[-1] + texts.offsets[-1] - texts.offsets[-2])
        targets, sources = (request.within(int(texts.position[0]), end) for request in block.wanted)
        with self.context.reporter.span(STAGE, "digest"):
            records = _digests(data, texts, sources), _digests(data, texts, targets)
        return block.part.number, _cut(data, texts, targets, sources), records

    def consume(self, result: tuple[int, Cut, tuple[Array, Array]]) -> bool:
        number, cut, records = result
        self.found[number].append(cut)
        for writer, digests in zip(self.records, records, strict=True):
            writer.add(digests)
        return True

    def close(self) -> None:
        for number, cuts in self.found.items():
            np.savez(self.create(cut_path(self.context, number)), **Cut.joined(cuts)._asdict())
        super().close()


def cut_path(context: Context, number: int) -> Path:
    """Return the path of what is cut out of a part."""
    return numbered(context, "cut", number)


def _owners(texts: Texts, position: Array) -> Array:
    owners: Array = np.searchsorted(texts.position, position, "right") - 1
    return owners


def _digests(data: Array, texts: Texts, request: Requests) -> Array:
    """Return uint64[m, 5], the records of digests of spans of texts; BLAKE2b, 128 bits."""
    owner = _owners(texts, request.position)
    starts = (texts.offsets[owner] + request.position - texts.position[owner]).tolist()
    out, view = np.empty((len(owner), 5), np.uint64), memoryview(data)  # type: ignore[arg-type]
    for i, (start, length) in enumerate(zip(starts, request.length.tolist(), strict=True)):
        out[i, 3:] = np.frombuffer(hashlib.blake2b(view[start : start + length], digest_size=16).digest(), np.uint64)
    out[:, 0], out[:, 1], out[:, 2] = request.source, request.length, request.number + 1
    return out


def _cut(data: Array, texts: Texts, targets: Requests, sources: Requests) -> Cut:
    """Return what the targets cut out of the texts."""
    owner = _owners(texts, targets.position)
    begin = targets.position + texts.offsets[owner] - texts.position[owner]
    start, end, match = pieces(data, texts.offsets[owner + 1], begin, targets.length).T
    first, last = start - texts.offsets[owner[match]], end - texts.offsets[owner[match]]
    if texts.tokens is not None:
        first, last = as_it_was(texts.tokens, start, end)
    return Cut(
        texts.row[owner[match]],
        first,
        last - first,
        targets.number[match],
        start - begin[match],
        texts.row[np.unique(_owners(texts, sources.position))],
    )


class Chosen(NamedTuple):
    """The matches of the cover, ascending: uint64[n] each."""

    target: Array
    source: Array
    length: Array

    @classmethod
    def mapped(cls, context: Context) -> Chosen:
        return cls(*(mapped(chosen_path(context, name), np.uint64) for name in cls._fields))


def chosen_path(context: Context, column: str) -> Path:
    """Return the path of a column of Chosen, without a header."""
    return scratch_folder(context) / "chosen" / column
