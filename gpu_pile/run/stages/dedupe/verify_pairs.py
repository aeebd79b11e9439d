"""Candidate pairs verified: texts read again for their shingle sets and digests, then pairs compared.

A task reads one range of a shard again and writes shingle sets to places in one file that are computed beforehand: the
shingles of a text, counted with repetitions, are room enough for its set. So workers need no coordination, and
repeating a write is harmless. Then tasks compare the candidate pairs, some pairs of one file each.
"""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gpu_pile.corpus import files
from gpu_pile.dedup.rowset import RowSet, scatter_sets
from gpu_pile.dedup.similarity import Evidence, ShingleSets, SimilarPairs, Sketches
from gpu_pile.gpu.segments import take, to_host
from gpu_pile.ops.doc_hash import doc_hash
from gpu_pile.ops.shingle_set import shingle_set
from gpu_pile.run.context import Context
from gpu_pile.run.exact_text import DIGEST_BYTES, digests
from gpu_pile.run.index.old import opened
from gpu_pile.run.index.runs import check_shard, old_ranges, source_of
from gpu_pile.run.reading import changed
from gpu_pile.run.rereading import Group, Wanted, read_again
from gpu_pile.run.stages.dedupe.candidates import (
    candidates_folder,
    mapped,
    numbered,
    save,
    scratch_folder,
    sketch_array,
)
from gpu_pile.run.tables import MeasuredRange, Rows, measured_ranges, parse_again, scan, table_rows
from gpu_pile.run.tasks import Task
from gpu_pile.text.column import TextColumn
from gpu_pile.types import Array

SIMILARITY_BINS = 20
"""Candidate pairs are counted by similarity in this many equal bins from 0 to 1."""

PAIRS_PER_TASK = 1 << 20
PAIRS_PER_STEP = 1 << 14
"""Candidate pairs that a task compares, and how many of them at a time."""

PAGE = 1 << 17
"""What a task writes to the file of shingles begins at a multiple of this many values (of 8 bytes): no two machines
write to one page of it, which network file systems do not forgive."""

WANTED = np.dtype([("row", "<i8"), ("place", "<i8"), ("digest", "?")])
"""A document to read again: its row in the range; where its shingles go, -1 for nowhere; whether to digest its text."""

FOUND = np.dtype([("size", "<i8"), ("digest", "u1", DIGEST_BYTES)])
"""What was read of it: how many distinct shingles, and the digest of its text."""


class Source(NamedTuple):
    """A measured range of this run, or of an old one; small, sent to workers.

    run: the directory of the old run; None for this one
    """

    measured: MeasuredRange
    run: str | None

    def context(self, context: Context) -> Context:
        """Return what reads the range."""
        return context if self.run is None else source_of(context, self.run)


class Verification(NamedTuple):
    """Names what one search leaves in the scratch folder; small, sent to workers.

    search: the folder; store: the file in it with the shingle sets or the sketches of the involved rows
    """

    search: str
    store: str

    def folder(self, context: Context) -> Path:
        return scratch_folder(context) / self.search

    def of_range(self, context: Context, kind: str, source: Source) -> Path:
        """Return the path of what is "wanted" of a range, or was "found" there."""
        folder = kind if source.run is None else f"{kind}-old-{files.key_of(source.run)}"
        return (
            self.folder(context) / folder / source.measured.shard.name / f"{source.measured.shard_range.index:06d}.npy"
        )

    def verified(self, context: Context, number: int, start: int) -> Path:
        """Return the path of the verified pairs among those of a file of candidates from `start` on."""
        return self.folder(context) / "verified" / f"{number:05d}-{start:012d}.npz"


def read_texts(
    context: Context, rows: Rows, search: str, shingled: RowSet, members: Array, old: Sequence[str] = ()
) -> tuple[str, Array]:
    """Read again the texts that decide: (file of the shingle sets, uint8[n, 16] digests of the members).

    shingled: rows whose shingle sets are needed. members: int64, ascending, rows whose digests are needed.
    old: paths of indexes, whose documents are the rows before those of the run.
    """
    verification = Verification(search, f"shingles-{secrets.token_hex(4)}")  # unknown to late workers of another run
    tasks, wanted, n_values = [], [], 0
    old_sources = _old_sources(context, old, shingled, members) if old else iter(())
    for source, first in itertools.chain(old_sources, _measured_ranges(context, rows)):
        measured = source.measured
        end = first + measured.end - measured.first
        lo, hi = np.searchsorted(members, [first, end])
        own = source.context(context)
        request, n_values = _request(own, measured, shingled.rows(first, end) - first, members[lo:hi] - first, n_values)
        if not len(request):
            continue
        save(verification.of_range(context, "wanted", source), request)
        answer, n_bytes = verification.of_range(context, "found", source), measured.shard_range.n_bytes
        label = measured.label if source.run is None else f"{source.run}: {measured.label}"
        tasks.append(Task(ShardReReader, (source, verification), n_bytes, label, (answer,), n_bytes))
        wanted.append((source, request, slice(lo, hi)))
    verification.folder(context).mkdir(parents=True, exist_ok=True)
    with (verification.folder(context) / verification.store).open("wb") as f:
        f.truncate(8 * n_values)
    context.do("dedupe", tasks)
    out = np.zeros((len(members), DIGEST_BYTES), np.uint8)
    with (verification.folder(context) / "spans").open("wb") as f:
        for source, request, places_of_members in wanted:
            found = files.load_array(verification.of_range(context, "found", source))
            out[places_of_members] = found["digest"][request["digest"]]
            placed = request["place"] >= 0
            places = request["place"][placed]
            np.stack([places, places + found["size"][placed]], axis=1).tofile(f)
    return verification.store, out


def _measured_ranges(context: Context, rows: Rows) -> Iterator[tuple[Source, int]]:
    """Yield each measured range of each shard, with the dense row of its first document."""
    for shard, first in zip(context.shards, rows.first.tolist(), strict=False):
        for measured in measured_ranges(context, shard):
            yield Source(measured, None), first + measured.first


def _old_sources(
    context: Context, old: Sequence[str], shingled: RowSet, members: Array
) -> Iterator[tuple[Source, int]]:
    """Yield the measured ranges of the shards of old runs that have rows of interest, as _measured_ranges does."""
    for shard in opened(old).shards:
        lo, hi = np.searchsorted(members, [shard.first, shard.end])
        if lo < hi or len(shingled.rows(shard.first, shard.end)):
            for measured in old_ranges(context, shard.run, shard.name):
                yield Source(measured, shard.run), shard.first + measured.first


def _request(
    context: Context, measured: MeasuredRange, shingled: Array, members: Array, n_values: int
) -> tuple[Array, int]:
    """Return (WANTED[n] for a measured range, how many values the file of shingles has with them).

    shingled, members: rows of the range, see read_texts(). n_values: those of the ranges before.
    """
    rows = np.union1d(shingled, members)
    request = np.empty(len(rows), WANTED)
    request["row"], request["place"] = rows, -1
    if len(shingled):
        table = table_rows(context.directory.measured(measured.shard.name), measured.first, measured.end, ["shingles"])
        room = table.column("shingles").to_numpy()[shingled]
        request["place"][np.searchsorted(rows, shingled)], n_values = places(room, n_values)
    request["digest"] = np.isin(rows, members)
    return request, n_values


def places(room: Array, first: int) -> tuple[Array, int]:
    """Place sets of up to room[i] values one after the other, from `first` on.

    Returns:
        (int64[n], where each set begins; where those of the next range begin, a multiple of PAGE)
    """
    ends = first + np.cumsum(room)
    return ends - room, -(-int(ends[-1] if len(ends) else first) // PAGE) * PAGE


def gather_sketches(context: Context, search: str, involved: RowSet, old: Sequence[str] = ()) -> str:
    """Copy the sketches of the involved rows to one file; return its name. old: as of read_texts()."""
    verification = Verification(search, "sketches")
    path = verification.folder(context) / verification.store
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as f:
        before = opened(old).total if old else 0
        if old:
            for sketches in opened(old).sketches(involved.rows(0, before)):
                sketches.tofile(f)
        for row, table in scan(context, ["sketch"]):
            first = before + row
            chosen = involved.rows(first, first + len(table))
            sketch_array(table, context.config.dedupe.fuzzy.size)[chosen - first].tofile(f)
    return verification.store


def fingerprints(context: Context, rows: Rows, members: Array, old: Sequence[str]) -> Array:
    """Return what is compared in the place of texts of documents that share a hash with an old one, uint8[n, 16].

    It is made of the bytes of text, the number of shingles and the sketch; of nothing where only words count, since
    texts of equal words differ in these.
    """
    out = np.zeros((len(members), DIGEST_BYTES), np.uint8)
    if not len(members) or context.config.dedupe.exact.normalize != "none":
        return out
    theirs = members[: np.searchsorted(members, rows.old)]
    documents, at = opened(old).documents(theirs), 0
    for sketches in opened(old).sketches(theirs):
        here = slice(at, at + len(sketches))
        _fingerprint(documents["text_bytes"][here], documents["shingles"][here], sketches, out[here])
        at = here.stop
    for row, table in scan(context, ["text_bytes", "shingles", "sketch"]):
        lo, hi = np.searchsorted(members, [rows.old + row, rows.old + row + len(table)])
        chosen = members[lo:hi] - rows.old - row
        text_bytes, shingles = (table.column(name).to_numpy()[chosen] for name in ("text_bytes", "shingles"))
        sketches = sketch_array(table, context.config.dedupe.fuzzy.size)[chosen]
        _fingerprint(text_bytes, shingles, sketches, out[lo:hi])
    return out


def _fingerprint(text_bytes: Array, shingles: Array, sketches: Array, out: Array) -> None:
    sizes = np.stack([text_bytes, shingles], axis=1).astype(np.int64).view(np.uint8)
    content = np.concatenate([sizes, np.ascontiguousarray(sketches).view(np.uint8)], axis=1)
    offsets = np.arange(len(content) + 1, dtype=np.int64) * content.shape[1]
    out[:] = doc_hash(TextColumn(content.reshape(-1), offsets)).view(np.uint8).reshape(-1, DIGEST_BYTES)


class VerifiedFiles:
    """The verified pairs of all comparing tasks, read from their files one file at a time.

    counts: int64[2, SIMILARITY_BINS], candidate and verified pairs by similarity
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths
        self.counts = np.zeros((2, SIMILARITY_BINS), np.int64)
        for path in paths:
            with np.load(path, allow_pickle=False) as arrays:
                self.counts += arrays["counts"]

    def __iter__(self) -> Iterator[SimilarPairs]:
        for path in self.paths:
            with np.load(path, allow_pickle=False) as arrays:
                yield SimilarPairs(*(arrays[name] for name in SimilarPairs._fields))

    def __len__(self) -> int:
        return len(self.paths)

    def __contains__(self, pairs: object) -> bool:
        return any(pairs is p for p in self)


def compare(context: Context, verification: Verification, involved: RowSet, paths: Sequence[Path]) -> VerifiedFiles:
    """Compare all candidate pairs; paths: their files, by number."""
    folder = verification.folder(context)
    save(folder / "involved.npy", involved.bits)
    save(folder / "before.npy", involved.before)
    tasks, outputs = [], []
    for number, path in enumerate(paths):
        n = path.stat().st_size // 16
        for start in range(0, n, PAIRS_PER_TASK):
            stop = min(n, start + PAIRS_PER_TASK)
            outputs.append(verification.verified(context, number, start))
            label = f"pairs {number}, {start} to {stop}"
            tasks.append(Task(PairComparer, (verification, number, start, stop), stop - start, label, (outputs[-1],)))
    context.do("dedupe", tasks)
    return VerifiedFiles(outputs)


class ShardReReader:
    """Reads a range of a shard again and leaves the wanted shingle sets and digests (see gpu_pile.run.threads.Job)."""

    def __init__(self, context: Context, source: Source, verification: Verification) -> None:
        self.context, self.source, self.verification = context, source, verification
        self.measured, self.reading = source.measured, source.context(context)
        self.shard, self.config = self.measured.shard, context.config.dedupe
        self.cost = self.measured.shard_range.n_bytes

    def open(self) -> Iterator[Group]:
        context = self.context
        if self.source.run is not None:
            check_shard(self.reading, self.shard, self.source.run)
        self.wanted = files.load_array(self.verification.of_range(context, "wanted", self.source))
        self.found = np.zeros(len(self.wanted), FOUND)
        self.file = (self.verification.folder(context) / self.verification.store).open("rb+", buffering=0)
        columns = ["start", "length", "shingles"]
        path = self.reading.directory.measured(self.shard.name)
        table = table_rows(path, self.measured.first, self.measured.end, columns)
        start, self.length, self.room = (table.column(n).to_numpy()[self.wanted["row"]] for n in columns)
        yield from read_again(
            self.reading, "dedupe", self.measured, [Wanted.of(start, self.length, context.batch_bytes)]
        )

    def process(self, group: Group) -> None:
        self.read(group.lines(), group.lo, group.hi)

    def read(self, lines: Array, lo: int, hi: int) -> None:
        """Keep what is wanted of documents lo .. hi; too many for the device's memory are read in halves."""
        try:
            return self._read_at_once(lines, lo, hi)
        except MemoryError:
            if hi - lo == 1:
                raise
        # the error is gone, and with it the arrays on the device that it held
        middle = (lo + hi) // 2
        cut = int(self.length[lo:middle].sum()) + middle - lo
        self.read(lines[:cut], lo, middle)
        self.read(lines[cut:], middle, hi)

    def _read_at_once(self, lines: Array, lo: int, hi: int) -> None:
        span = self.context.reporter.span
        with self.context.device.session():
            with span("dedupe", "parse again"):
                text = parse_again(self.reading, self.shard, lines)
            with span("dedupe", "shingle"):
                self.keep_shingles(text, lo + np.flatnonzero(self.wanted["place"][lo:hi] >= 0), lo)
            with span("dedupe", "digest"):
                self.keep_digests(text, lo + np.flatnonzero(self.wanted["digest"][lo:hi]), lo)

    def keep_shingles(self, text: TextColumn, chosen: Array, first: int) -> None:
        """Write the sets of the chosen documents to their places; document `first` is the first one of the text."""
        if not len(chosen):
            return
        fuzzy = self.config.fuzzy
        values, offsets = map(to_host, shingle_set(take(text, chosen - first), kind=fuzzy.shingle, width=fuzzy.width))
        sizes, begin = np.diff(offsets), self.wanted["place"][chosen]
        if (sizes > self.room[chosen]).any():
            raise changed(self.shard)
        packed = np.zeros(int(begin[-1] - begin[0] + sizes[-1]), np.uint64)
        scatter_sets(values, offsets, begin - begin[0], packed)
        byte, data = 8 * int(begin[0]), memoryview(packed.tobytes())
        while data:
            n = os.pwrite(self.file.fileno(), data, byte)
            byte, data = byte + n, data[n:]
        self.found["size"][chosen] = sizes

    def keep_digests(self, text: TextColumn, chosen: Array, first: int) -> None:
        """Keep the digests of the chosen documents; only documents that have an equal one are chosen."""
        if len(chosen):
            self.found["digest"][chosen] = digests(take(text, chosen - first), self.config.exact.normalize)

    def consume(self, result: None) -> bool:
        return True

    def close(self) -> None:
        if self.context.config.cluster.where is not None:
            os.fsync(self.file.fileno())  # for workers on other machines
        self.file.close()
        save(self.verification.of_range(self.context, "found", self.source), self.found)

    def abandon(self) -> None:
        if hasattr(self, "file"):
            self.file.close()


class PairComparer:
    """Compares some pairs of a file of candidates; leaves the verified ones (see gpu_pile.run.threads.Job)."""

    def __init__(self, context: Context, verification: Verification, number: int, start: int, stop: int) -> None:
        self.context, self.verification = context, verification
        self.number, self.start, self.cost = number, start, stop - start
        self.fuzzy, self.rule = context.config.dedupe.fuzzy, context.config.dedupe.rule()
        self.counts = np.zeros((2, SIMILARITY_BINS), np.int64)
        self.verified: list[SimilarPairs] = []

    def open(self) -> Iterator[Array]:
        folder = self.verification.folder(self.context)
        self.involved = RowSet(*(files.load_array(folder / f"{n}.npy", mapped=True) for n in ("involved", "before")))
        self.evidence: Evidence
        if self.fuzzy.verify == "exact":
            spans = mapped(folder / "spans", np.int64).reshape(-1, 2)
            self.evidence = ShingleSets(mapped(folder / self.verification.store, np.uint64), spans)
        else:
            sketches = mapped(folder / self.verification.store, np.uint32)
            self.evidence = Sketches(sketches.reshape(-1, self.fuzzy.size))
        path = numbered(self.context, candidates_folder(self.verification.search), self.number)
        pairs = mapped(path, np.int64).reshape(-1, 2)[self.start : self.start + self.cost]
        for step in range(0, len(pairs), PAIRS_PER_STEP):
            yield pairs[step : step + PAIRS_PER_STEP]

    def process(self, block: Array) -> SimilarPairs:
        with self.context.reporter.span("dedupe", "compare"):
            return SimilarPairs.of(block, self.involved, self.evidence, self.context.device)

    def consume(self, result: SimilarPairs) -> bool:
        near = result.similarity >= self.fuzzy.threshold
        self.verified.append(result.take(near | self.rule.contained(result).any(axis=0)))
        for counts, similarity in zip(self.counts, (result.similarity, result.similarity[near]), strict=True):
            bins = np.minimum((similarity * SIMILARITY_BINS).astype(np.int64), SIMILARITY_BINS - 1)
            counts += np.bincount(bins, minlength=SIMILARITY_BINS)
        return True

    def close(self) -> None:
        verified = SimilarPairs(*(np.concatenate(x) for x in zip(*self.verified, strict=True)))
        output = self.verification.verified(self.context, self.number, self.start)
        with files.atomic(output, durable=False) as partial, partial.open("wb") as f:
            np.savez(f, counts=self.counts, **verified._asdict())
        self.abandon()

    def abandon(self) -> None:
        """Let go of mapped files and pairs: the job itself is held until all jobs are done."""
        self.verified = []
        for name in ("involved", "evidence"):
            self.__dict__.pop(name, None)
