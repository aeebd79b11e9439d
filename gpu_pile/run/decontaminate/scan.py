"""Look for evaluation items in the ranges of shards; what is found stays in contamination/, whatever the rule is.

spans    line, subset, text, at, length (tokens), start, end (bytes of the document), excerpt of each longest span
answers  line, item, answer: short answers that stand beside a span of their question or passage
counts   entry, documents: in how many documents each n-gram is that is in any

Lines are counted from the range's first. A file without rows is not written.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpu_pile.corpus import files
from gpu_pile.corpus.blocks import Block
from gpu_pile.corpus.files import AnyPath, AtomicFile
from gpu_pile.corpus.identity import file_identity
from gpu_pile.corpus.ranges import ShardRange
from gpu_pile.corpus.shards import Shard
from gpu_pile.errors import DataError, UsageError
from gpu_pile.gpu.device import Device
from gpu_pile.gpu.segments import constants, take
from gpu_pile.ops.ngram_hits import ngram_hits
from gpu_pile.run.context import Context
from gpu_pile.run.decontaminate.index import Index, build_index
from gpu_pile.run.decontaminate.items import Items, files_of, read_items
from gpu_pile.run.reading import check_unchanged, open_shard, parse, read_blocks
from gpu_pile.run.stages.by_shard import write_parquet
from gpu_pile.text.blocks import padded
from gpu_pile.text.column import TextColumn
from gpu_pile.text.token_spans import Spans, find_spans
from gpu_pile.text.tokens import TABLES, WIDTH, Tokens, split_tokens
from gpu_pile.types import Array, DeviceArray

STAGE = "decontaminate"
VERSION = 1
"""Raised whenever what is stored of a range may change."""

REACH = 64
"""Tokens before and after a span of a question in which an answer is looked for."""
USERS_MAX = 64
"""Items that are looked at for a text that many items share."""
EXCERPT_BYTES = 1000
SUBSETS_MAX = 10_000

SPANS = pa.schema(
    [
        *[("line", pa.int64()), ("subset", pa.string()), ("text", pa.int64()), ("at", pa.int64())],
        *[("length", pa.int64()), ("start", pa.int64()), ("end", pa.int64()), ("excerpt", pa.string())],
    ]
)
ANSWERS = pa.schema([("line", pa.int64()), ("item", pa.int64()), ("answer", pa.int64())])
COUNTS = pa.schema([("entry", pa.int64()), ("documents", pa.int64())])


@dataclass(frozen=True)
class Wanted:
    """What is looked for; short: of items, the answers of fewer than WIDTH tokens, with a space around each token."""

    items: Items
    index: Index
    short: dict[int, list[tuple[int, bytes]]]


_LOCK = threading.Lock()
_READY: list[tuple[str, Wanted]] = []


def definition_key(context: Context) -> str:
    """What changes whenever what is found in a range may: evaluation sets, how shards are read, versions."""
    settings, sets = context.config.input, context.config.decontaminate.against
    read = settings.model_dump(exclude={"shards", "preset", "range_bytes", "id_field", "subsets"})
    content = [[file_identity(shard.path) for shard in files_of(s)] for s in sets]
    return files.key_of([VERSION, ngram_hits.version, read, [s.model_dump() for s in sets], content])


def wanted(context: Context, definition: str) -> Wanted:
    """Read the evaluation sets and index them, once per process."""
    with _LOCK:
        if not _READY or _READY[0][0] != definition:
            if definition_key(context) != definition:
                raise UsageError(
                    "the evaluation sets, or the versions of operations, are others here than where the run began: "
                    "install the same gpu_pile on all machines, and do not change the sets while it runs"
                )
            with context.reporter.span(STAGE, "index"):
                items = read_items(context.config.decontaminate.against)
                short: dict[int, list[tuple[int, bytes]]] = {}
                for number, item in enumerate(items.items):
                    own = [(a, items.words(a)) for a in item.answers if items.n_tokens(a) < WIDTH]
                    if own:
                        short[number] = own
                _READY[:] = [(definition, Wanted(items, build_index(items), short))]
        return _READY[0][1]


class PartFiles:
    """What is stored of a range. facts is written last, and has the key of what made the files."""

    def __init__(self, context: Context, shard: Shard, shard_range: ShardRange, definition: str) -> None:
        self.key = files.key_of([definition, asdict(shard_range)])
        name = f"{shard.name}-{shard_range.index:06d}-of-{shard_range.of:06d}"
        folder = context.directory.path / "contamination" / "found"
        self.tables: dict[str, AnyPath] = {
            what: folder / f"{name}.{what}.parquet" for what in ("spans", "answers", "counts")
        }
        self.facts = folder / f"{name}.json"

    def read(self, shard: Shard) -> dict[str, Any]:
        """The facts, {} if the range has to be looked through."""
        facts = files.read_json(self.facts) or {}
        if facts.get("key") != self.key or not all(self.tables[t].is_file() for t in facts["tables"]):
            return {}
        with files.read_errors(shard.path):
            now = files.fingerprint(shard.path)
            if now != facts["file"] and (
                now["bytes"] != facts["file"]["bytes"] or file_identity(shard.path) != facts["identity"]
            ):
                return {}
        return dict(facts)


Tables = tuple[pa.Table, pa.Table, pa.Table]
"""Spans, answers and counts."""


class Documents(NamedTuple):
    """The documents of a block: int64[n] lines and bytes of text, and their subsets; and the n-grams of the table that
    they have: pairs of line and entry, each once."""

    lines: Array
    n_bytes: Array
    subsets: pa.Array
    pair_lines: Array
    pair_entries: Array

    def before(self, line: int) -> Documents:
        """Those before a line."""
        kept, pairs = self.lines < line, self.pair_lines < line
        columns = (self.lines[kept], self.n_bytes[kept], self.subsets.filter(pa.array(kept)))
        return Documents(*columns, self.pair_lines[pairs], self.pair_entries[pairs])

    def counts(self) -> pa.Table:
        """COUNTS of these documents."""
        found, counts = np.unique(self.pair_entries, return_counts=True)
        return pa.table([pa.array(found, pa.int64()), pa.array(counts, pa.int64())], schema=COUNTS)


class Found(NamedTuple):
    """What a block has: tables as the module describes them, its documents and bad lines, and its last line."""

    spans: pa.Table
    answers: pa.Table
    documents: Documents
    bad_lines: Array
    last_line: int


class RangeScanner:
    """The job of a range (see run.threads.Job)."""

    def __init__(self, context: Context, shard: Shard, shard_range: ShardRange, definition: str) -> None:
        self.context, self.shard, self.shard_range = context, shard, shard_range
        self.cost = shard_range.n_bytes
        self.wanted = wanted(context, definition)
        self.files = PartFiles(context, shard, shard_range, definition)
        self.found: list[Tables] = []
        self.bad_lines: list[int] = []
        self.stopped = False
        self.documents = self.text_bytes = 0
        self.subsets: Counter[str] = Counter()
        self.made: list[AtomicFile] = []

    def open(self) -> Iterator[Block]:
        with files.read_errors(self.shard.path):
            self.fingerprint = files.fingerprint(self.shard.path)
            self.identity = file_identity(self.shard.path)
        self.reader = open_shard(self.context, self.shard, shard_range=self.shard_range)
        yield from read_blocks(self.context, STAGE, self.reader)

    def process(self, block: Block) -> Found:
        try:
            with self.context.device.session():
                found = _look(self.context, self.shard, self.wanted, block)
        except MemoryError as error:
            raise DataError(
                f"{self.shard.path}, line {block.first_line + 1} and after: {block.n_bytes} bytes do not fit the "
                f"memory of backend {self.context.device.backend}; lower batch_bytes, or use --backend cpu"
            ) from error
        block.release()
        return found

    def consume(self, found: Found) -> bool:
        bad = [line for line, _ in self.reader.bad_lines if line <= found.last_line]
        self.bad_lines = sorted({*self.bad_lines, *found.bad_lines.tolist(), *bad})
        limit, documents = self.context.config.input.bad_lines_max, found.documents
        if len(self.bad_lines) > limit:  # documents end here, as measure has them
            self.bad_lines, self.stopped = self.bad_lines[: limit + 1], True
            last = self.bad_lines[-1]
            keep = [t.filter(pc.less(t.column("line"), last)) for t in (found.spans, found.answers)]
            found, documents = found._replace(spans=keep[0], answers=keep[1]), documents.before(last)
        self.documents += len(documents.lines)
        self.text_bytes += int(documents.n_bytes.sum())
        self.subsets.update({s["values"]: s["counts"] for s in documents.subsets.value_counts().to_pylist()})
        self.found.append((found.spans, found.answers, documents.counts()))
        if len(self.found) > 64:
            self.found = [_merged(self.found)]
        return not self.stopped

    def close(self) -> None:
        check_unchanged(self.shard, self.fingerprint, self.identity)
        reader = self.reader
        self.bad_lines = sorted({*self.bad_lines, *(line for line, _ in reader.bad_lines)})
        merged = _merged(self.found) if self.found else ()
        tables = {name: table for name, table in zip(self.files.tables, merged, strict=False) if len(table)}
        self.files.facts.unlink(missing_ok=True)
        self.made = [write_parquet(self.files.tables[t], table) for t, table in tables.items()]
        files.commit_together(self.made)
        facts = {
            "key": self.files.key,
            "file": self.fingerprint,
            "identity": self.identity,
            "tables": list(tables),
            "alone": not reader.damages and not self.stopped,
            "lines": reader.n_lines,
            "documents": self.documents,
            "text_bytes": self.text_bytes,
            "bad_lines": len(self.bad_lines),
            "damage": [d.reason for d in reader.damages],
            "stopped": self.stopped,
            "subsets": dict(sorted(self.subsets.most_common(SUBSETS_MAX))),
        }
        files.write_json(self.files.facts, facts)
        self.context.reporter.advance(STAGE, self.shard_range.n_bytes - reader.compressed_bytes_read)

    def abandon(self) -> None:
        files.discard_together(self.made)


def _merged(found: Sequence[Tables]) -> Tables:
    """Put what several blocks have together."""
    spans, answers, counts = (pa.concat_tables(tables) for tables in zip(*found, strict=True))
    if len(counts):
        entries, place = np.unique(counts.column("entry").to_numpy(), return_inverse=True)
        sums = np.zeros(len(entries), np.int64)
        np.add.at(sums, place, counts.column("documents").to_numpy())
        counts = pa.table([pa.array(entries), pa.array(sums)], schema=COUNTS)
    return spans, answers, counts


def _look(context: Context, shard: Shard, wanted: Wanted, block: Block) -> Found:
    """Look for all n-grams in a block, and for the spans around them."""
    device, span = context.device, context.reporter.span
    with span(STAGE, "parse"):
        parsed = parse(context, shard, block.data[: block.n_bytes], skip_bom=block.start == 0)
    with span(STAGE, "look up"):
        first, places, entries = ngram_hits(parsed.text, *_table(device, wanted.index), widths=wanted.index.widths)
    arrays = {"first": first, "places": places, "entries": entries, "line": parsed.line, "bad": parsed.bad_line}
    arrays["offsets"] = parsed.text.offsets
    here = device.download_all(arrays)
    rows = np.flatnonzero(np.diff(here["first"]))
    with span(STAGE, "join"):
        text = Device().text(take(parsed.text, rows)) if len(rows) else TextColumn.empty()
        hit_first = np.append(here["first"][rows], here["first"][-1:] if len(rows) else [0])
        documents = Tokens(*split_tokens(padded(text.data), text.offsets, TABLES))
        hits = (hit_first, here["places"], here["entries"])
        spans = find_spans(documents, hits, wanted.items.tokens, wanted.index.starts)
        subsets = Device().text(parsed.subset).to_arrow()
        lines = here["line"] + block.first_line + 1
        rows_of = {"line": lines[rows], "subset": subsets.take(pa.array(rows))}
        table = _span_table(spans, documents, text, rows_of)
        answers = _answers(spans, documents, wanted, rows_of["line"])
    pair_lines, pair_entries = _pairs_of(hit_first, here["entries"], rows_of["line"])
    columns = (lines, np.diff(here["offsets"]), subsets.cast(pa.string()), pair_lines, pair_entries)
    bad = here["bad"] + block.first_line + 1
    return Found(table, answers, Documents(*columns), bad, block.first_line + parsed.n_lines)


def _table(device: Device, index: Index) -> tuple[DeviceArray, ...]:
    """The table where the device is; it is copied there once."""
    if device.backend == "cpu":
        return tuple(index.table)
    import cupy

    return constants(cupy, index.table)


def _pairs_of(first: Array, entries: Array, lines: Array) -> tuple[Array, Array]:
    """The lines of documents and the n-grams that they have, each pair once; lines: of the documents with hits."""
    n = int(entries.max(initial=0)) + 1
    pairs = np.unique(np.repeat(np.arange(len(lines)), np.diff(first)) * n + entries)
    return lines[pairs // n], pairs % n


def _pairs(spans: Spans) -> Array:
    """int64[n + 1]: the spans of pair i of a document and a text are bounds[i] .. bounds[i + 1]."""
    n = len(spans.text)
    new = np.ones(n, bool)
    new[1:] = (spans.document[1:] != spans.document[:-1]) | (spans.text[1:] != spans.text[:-1])
    return np.append(np.flatnonzero(new), n)


def _longest(spans: Spans, bounds: Array) -> Array:
    """The first of the longest spans of each pair."""
    pair = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    order = np.lexsort((np.arange(len(pair)), -spans.length, pair))
    return order[bounds[:-1]]


def _span_table(spans: Spans, documents: Tokens, text: TextColumn, rows: dict[str, Any]) -> pa.Table:
    base = text.offsets[spans.document]
    start = documents.starts[spans.place] - base
    end = documents.ends[spans.place + spans.length - 1] - base
    excerpts: list[str | None] = [None] * len(start)
    for i in _longest(spans, _pairs(spans)).tolist():
        lo, hi = int(base[i] + start[i]), int(base[i] + end[i])
        excerpts[i] = text.data[lo : min(hi, lo + EXCERPT_BYTES)].tobytes().decode("utf-8", "ignore")
    columns = [
        pa.array(rows["line"][spans.document], pa.int64()),
        rows["subset"].take(pa.array(spans.document)).cast(pa.string()),
        *(pa.array(a, pa.int64()) for a in (spans.text, spans.at, spans.length, start, end)),
        pa.array(excerpts, pa.string()),
    ]
    return pa.table(columns, schema=SPANS)


def _answers(spans: Spans, documents: Tokens, wanted: Wanted, lines: Array) -> pa.Table:
    """Short answers that stand before or after the longest span of a question or passage."""
    items, bounds, found = wanted.items, _pairs(spans), []
    for i in _longest(spans, bounds).tolist():
        text, d = int(spans.text[i]), int(spans.document[i])
        users = [n for n in items.users.get(text, ())[:USERS_MAX] if n in wanted.short]
        users = [n for n in users if text in (items.items[n].question, items.items[n].passage)]
        if not users or 2 * spans.length[i] < items.n_tokens(text):
            continue
        lo, hi = int(spans.place[i]), int(spans.place[i] + spans.length[i])
        before = _words(documents, max(int(documents.first[d]), lo - REACH), lo)
        after = _words(documents, hi, min(int(documents.first[d + 1]), hi + REACH))
        for n in users:
            found += [(int(lines[d]), n, a) for a, words in wanted.short[n] if words in before or words in after]
    columns = list(zip(*sorted(set(found)), strict=True)) if found else [(), (), ()]
    return pa.table([pa.array(c, pa.int64()) for c in columns], schema=ANSWERS)


def _words(tokens: Tokens, first: int, end: int) -> bytes:
    """Tokens, with a space before and after each."""
    return b" " + tokens.letters[tokens.bounds[first] : tokens.bounds[end]].tobytes()
