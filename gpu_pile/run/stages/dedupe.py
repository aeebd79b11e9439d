"""dedupe: exact duplicates by hash, near duplicates by banded sketches, each pair verified.

    rows with equal hashes      -> sets of equal documents, each with a representative (its smallest row)
    sketches of representatives -> band keys -> buckets -> candidate pairs
    candidate pairs             -> verified: exact Jaccard of the texts read again, or estimated from the sketches
    verified pairs              -> pairs.parquet; connected components with the equal documents -> clusters.parquet

Which document of a cluster stays is not decided here: that depends on thresholds and is decide's part.

Workers do the first three lines (gpu_pile.run.stages.candidates, _ReadAgain, _Compare), the process that asks them
the last (gpu_pile.run.stages.clusters).

Memory: what sorts stays within memory_bytes; this process holds 9 bits for 8 documents, 64 bytes a document that has
an equal one, and what gpu_pile.run.stages.clusters says. Band keys (16 bytes a band and document), candidate pairs (16
bytes a band they meet in) and the shingles of candidate documents (8 bytes a shingle) go to scratch files.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gpu_pile.corpus import files
from gpu_pile.corpus.reader import Block
from gpu_pile.dedup import banding
from gpu_pile.dedup.rowset import RowSet, scatter_sets
from gpu_pile.errors import DataError
from gpu_pile.gpu.device import Device
from gpu_pile.gpu.segments import take, to_host
from gpu_pile.ops.band_keys import band_keys
from gpu_pile.ops.components import components
from gpu_pile.ops.jaccard import jaccard
from gpu_pile.ops.normal_words import normal_words
from gpu_pile.ops.op import Op
from gpu_pile.ops.shingle_set import shingle_set
from gpu_pile.ops.sketch_matches import sketch_matches
from gpu_pile.run.config import Dedupe
from gpu_pile.run.context import Context
from gpu_pile.run.reading import open_shard, read_blocks
from gpu_pile.run.stages.candidates import candidates, candidates_path, equal_documents, save, sketch_array
from gpu_pile.run.stages.clusters import Clusters
from gpu_pile.run.tables import MeasuredRange, Rows, measured_ranges, parse_spans, scan, table_rows
from gpu_pile.run.tasks import Task
from gpu_pile.text.column import TextColumn
from gpu_pile.types import Array

VERSION = 3

SIMILARITY_BINS = 20
"""Candidate pairs are counted by similarity in this many equal bins from 0 to 1."""

PAIRS_A_WORK = 1 << 20
PAIRS_A_STEP = 1 << 14
"""Candidate pairs that a worker compares, and how many at a time."""

PAGE = 1 << 17
"""Values (of 8 bytes) to whose multiples what a range of a shard writes of the file of shingles is aligned: no two
machines write to one page of it, which network file systems do not forgive."""


def dedupe_key(context: Context) -> str:
    c = context.config
    measured = [context.directory.state("measure", s.name) for s in context.shards]
    return files.key_of(
        {
            "version": VERSION,
            "ops": {o.name: o.version for o in _ops(c.dedupe)},
            "shards": [
                [s.name, m["identity"], m["definition"], m["stopped"]]
                for s, m in zip(context.shards, measured, strict=True)
            ],
            "dedupe": c.dedupe.model_dump(exclude={"survivor": True, "fuzzy": {"resolve"}}),
        }
    )


def _ops(config: Dedupe) -> Iterator[Op]:
    """The operations that deduplication by this configuration uses."""
    if config.exact.normalize == "words":
        yield normal_words
    yield components
    if config.fuzzy.enabled:
        yield band_keys
        yield from (shingle_set, jaccard) if config.fuzzy.verify == "exact" else (sketch_matches,)


def dedupe(context: Context) -> dict[str, Any]:
    """Write pairs.parquet and clusters.parquet. Return what the report says of them."""
    run = context.directory
    run.clear_scratch()
    with context.stage("dedupe", context.shards) as entry, files.disk_errors(run.scratch):
        facts = _Dedupe(context).run()
        entry["text_bytes"] = sum(run.state("measure", s.name)["text_bytes"] for s in context.shards)
    run.clear_scratch()
    return facts


class _Dedupe:
    def __init__(self, context: Context) -> None:
        self.context = context
        self.config = context.config.dedupe
        self.rows = Rows.of(context)
        self.scratch = context.directory.scratch
        fuzzy = self.config.fuzzy
        if fuzzy.bands is not None and fuzzy.rows is not None:
            self.bands, self.band_rows = fuzzy.bands, fuzzy.rows
        else:
            self.bands, self.band_rows = banding.choose(fuzzy.threshold, fuzzy.size)

    def run(self) -> dict[str, Any]:
        span = self.context.reporter.span
        members, representatives = np.empty(0, np.int64), np.empty(0, np.int64)
        involved = RowSet.empty(self.rows.total)
        found: list[Path] = []
        if self.config.exact.enabled:
            members, representatives = equal_documents(self.context, self.rows)
        if self.config.fuzzy.enabled:
            copies = members[members != representatives]
            found = candidates(self.context, self.rows, self.bands, self.band_rows, copies)
            with span("dedupe", "involved"):
                for path in found:
                    for pairs in _some(_mapped(path, np.int64).reshape(-1, 2)):
                        involved.add(pairs[:, 0])
                        involved.add(pairs[:, 1])
        if self.config.fuzzy.verify == "exact":
            self.read_again(involved, members, representatives)
            members, representatives = self.checked(members, representatives)
        elif self.config.fuzzy.enabled:
            self.gather_sketches(involved)
        verified, counts = self.compare(found)
        with span("dedupe", "clusters"):
            Clusters(self.context, self.rows, verified, members, representatives).write()
        return self.facts(members, representatives, counts)

    def facts(self, members: Array, representatives: Array, counts: Array) -> dict[str, Any]:
        """What the report says; counts: int64[2, SIMILARITY_BINS], candidate and verified pairs by similarity."""
        fuzzy = self.config.fuzzy
        return {
            "documents": self.rows.total,
            "exact_duplicates": len(members) - len(np.unique(representatives)),
            "bands": self.bands,
            "rows": self.band_rows,
            "threshold": fuzzy.threshold,
            "verify": fuzzy.verify,
            "candidate_pairs": int(counts[0].sum()),
            "verified_pairs": int(counts[1].sum()),
            "pairs_by_similarity": [
                {"from": i / SIMILARITY_BINS, "to": (i + 1) / SIMILARITY_BINS, "candidates": int(c), "verified": int(v)}
                for i, (c, v) in enumerate(counts.T)
            ],
        }

    # verification

    def checked(self, members: Array, representatives: Array) -> tuple[Array, Array]:
        """Drop from sets of equal documents those whose text differs after all from their representative's."""
        position = np.searchsorted(members, representatives)
        same = (self.digests == self.digests[position]).all(axis=1)
        if not same.all():
            self.context.reporter.note(
                f"{int((~same).sum())} documents share a 128-bit hash with a different text; they stay"
            )
        members, representatives = members[same], representatives[same]
        _, inverse, size = np.unique(representatives, return_inverse=True, return_counts=True)
        several = size[inverse] > 1
        return members[several], representatives[several]

    def read_again(self, involved: RowSet, members: Array, representatives: Array) -> None:
        """Shingle sets of the candidates and digests of the equal documents, from the texts.

        Every candidate has a place of its own in one file: the shingles of its text, counted with repetitions, are room
        enough. So whoever reads a shard writes its sets without asking, and twice is as good as once.
        """
        self.digests = np.zeros((len(members), 16), np.uint8)
        store = self.scratch / f"shingles-{secrets.token_hex(4)}"  # no late worker of another run knows the name
        tasks, asked, n_values = [], [], 0
        for shard, before in zip(self.context.shards, self.rows.first.tolist(), strict=False):
            for measured in measured_ranges(self.context, shard):
                first, end = before + measured.first, before + measured.end
                nodes = involved.rows(first, end) - first
                mine = slice(*np.searchsorted(members, [first, end]))
                rows = np.union1d(nodes, members[mine] - first)
                if not len(rows):
                    continue
                ask = np.empty(len(rows), WANTED)
                ask["row"], ask["place"] = rows, -1
                at = np.searchsorted(rows, nodes)
                ask["place"][at], n_values = _places(self.shingles(measured, nodes), n_values)
                ask["digest"] = np.isin(rows, members[mine] - first)
                save(_wanted(self.scratch, measured), ask)
                answer, n_bytes = _found(self.scratch, measured), measured.shard_range.n_bytes
                tasks.append(Task(_ReadAgain, (measured, store.name), n_bytes, measured.label, (answer,), n_bytes))
                asked.append((measured, mine))
        store.parent.mkdir(parents=True, exist_ok=True)
        with store.open("wb") as f:
            f.truncate(8 * n_values)
        self.context.do("dedupe", tasks)
        with (self.scratch / "spans").open("wb") as f:
            for measured, mine in asked:
                ask = files.load_array(_wanted(self.scratch, measured))
                found = files.load_array(_found(self.scratch, measured))
                self.digests[mine] = found["digest"][ask["digest"]]
                placed = ask["place"] >= 0
                places = ask["place"][placed]
                np.stack([places, places + found["size"][placed]], axis=1).tofile(f)
        self.keep_nodes(involved, store.name)

    def shingles(self, measured: MeasuredRange, rows: Array) -> Array:
        """int64: the shingles of these rows of a range, counted with repetitions."""
        table = table_rows(
            self.context.directory.measured(measured.shard.name), measured.first, measured.end, ["shingles"]
        )
        counts: Array = table.column("shingles").to_numpy()[rows]
        return counts

    def gather_sketches(self, involved: RowSet) -> None:
        """The sketches of the candidates, in one file."""
        path = self.scratch / "sketches"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as f:
            for first, table in scan(self.context, ["sketch"]):
                rows = involved.rows(first, first + len(table))
                sketch_array(table, self.config.fuzzy.size)[rows - first].tofile(f)
        self.keep_nodes(involved, path.name)

    def keep_nodes(self, involved: RowSet, store: str) -> None:
        """Leave in scratch what _Compare looks up: which rows are candidates; and which file holds their sets."""
        self.store = store
        save(self.scratch / "nodes.npy", involved.bits)
        save(self.scratch / "before.npy", involved.before)

    def compare(self, found: list[Path]) -> tuple[list[Path], Array]:
        """(files of verified pairs, int64[2, SIMILARITY_BINS] counts of candidate and verified pairs).

        found: files of candidates.
        """
        tasks, outputs, counts = [], [], np.zeros((2, SIMILARITY_BINS), np.int64)
        for number, path in enumerate(found):
            n = path.stat().st_size // 16
            for start in range(0, n, PAIRS_A_WORK):
                stop = min(n, start + PAIRS_A_WORK)
                output = _verified(self.scratch, number, start)
                what = f"pairs {number}, {start} to {stop}"
                tasks.append(Task(_Compare, (self.store, number, start, stop), stop - start, what, (output,)))
                outputs.append(output)
        self.context.do("dedupe", tasks)
        for output in outputs:
            with np.load(output, allow_pickle=False) as verified:
                counts += verified["counts"]
        return outputs, counts


WANTED = np.dtype([("row", "<i8"), ("place", "<i8"), ("digest", "?")])
"""A document to read again: its row among the range's; where its shingles go, -1 for nowhere; whether its digest is
wanted."""

FOUND = np.dtype([("size", "<i8"), ("digest", "u1", 16)])


def _wanted(scratch: Path, measured: MeasuredRange) -> Path:
    return scratch / "wanted" / measured.shard.name / f"{measured.shard_range.index:06d}.npy"


def _found(scratch: Path, measured: MeasuredRange) -> Path:
    return scratch / "found" / measured.shard.name / f"{measured.shard_range.index:06d}.npy"


def _verified(scratch: Path, number: int, start: int) -> Path:
    return scratch / "verified" / f"{number:05d}-{start:012d}.npz"


def _places(room: Array, first: int) -> tuple[Array, int]:
    """(int64[n] where each set of up to room[i] values of a range goes, where the next range's go): both from `first`
    on, the latter at a multiple of PAGE."""
    ends = first + np.cumsum(room)
    return ends - room, -(-int(ends[-1] if len(ends) else first) // PAGE) * PAGE


def _some(pairs: Array) -> Iterator[Array]:
    """The rows of an array, PAIRS_A_WORK at a time."""
    for start in range(0, len(pairs), PAIRS_A_WORK):
        yield pairs[start : start + PAIRS_A_WORK]


class _ReadAgain:
    """The job of one range of a shard: the wanted documents' shingle sets and digests (see parallel.Job)."""

    def __init__(self, context: Context, measured: MeasuredRange, store: str) -> None:
        self.context, self.measured, self.shard, self.store = context, measured, measured.shard, store
        self.config = context.config.dedupe
        self.cost = measured.shard_range.n_bytes

    def open(self) -> Iterator[Block]:
        context = self.context
        self.wanted = files.load_array(_wanted(context.directory.scratch, self.measured))
        self.found = np.zeros(len(self.wanted), FOUND)
        self.file = (context.directory.scratch / self.store).open("rb+", buffering=0)
        path, columns = context.directory.measured(self.shard.name), ["start", "length", "shingles"]
        table = table_rows(path, self.measured.first, self.measured.end, columns)
        self.start, self.length, self.room = (
            table.column(n).to_numpy()[self.wanted["row"]] for n in table.column_names
        )
        for block in read_blocks(
            context, "dedupe", open_shard(context, self.shard, shard_range=self.measured.shard_range)
        ):
            yield block
            if len(self.start) and block.start + block.n_bytes > self.start[-1]:
                return  # nothing more is wanted from this shard

    def process(self, block: Block) -> None:
        lo, hi = np.searchsorted(self.start, [block.start, block.start + block.n_bytes])
        if hi > lo:
            self.keep(block, int(lo), int(hi))
        block.release()

    def keep(self, block: Block, lo: int, hi: int) -> None:
        """What is wanted of documents lo .. hi; those that do not fit the place's memory together go in halves."""
        context = self.context
        span = context.reporter.span
        try:
            with context.device.session():
                with span("dedupe", "parse again"):
                    text = parse_spans(context, block, self.start[lo:hi] - block.start, self.length[lo:hi])
                with span("dedupe", "shingle"):
                    self.keep_shingles(text, lo + np.flatnonzero(self.wanted["place"][lo:hi] >= 0), lo)
                with span("dedupe", "digest"):
                    self.keep_digests(text, lo + np.flatnonzero(self.wanted["digest"][lo:hi]), lo)
        except MemoryError:
            if hi - lo == 1:
                raise
            self.keep(block, lo, (lo + hi) // 2)
            self.keep(block, (lo + hi) // 2, hi)

    def keep_shingles(self, text: TextColumn, chosen: Array, lo: int) -> None:
        """Write the sets of the chosen documents, which are text's from lo on, to their places."""
        if not len(chosen):
            return
        fuzzy = self.config.fuzzy
        values, offsets = map(to_host, shingle_set(take(text, chosen - lo), kind=fuzzy.shingle, width=fuzzy.width))
        sizes, places = np.diff(offsets), self.wanted["place"][chosen]
        if (sizes > self.room[chosen]).any():
            raise DataError(
                f"{self.shard.path} changed while the run was going on; run the same command again to measure it anew"
            )
        room = np.zeros(int(places[-1] - places[0] + sizes[-1]), np.uint64)
        scatter_sets(values, offsets, places - places[0], room)
        at, data = 8 * int(places[0]), memoryview(room.tobytes())
        while data:
            n = os.pwrite(self.file.fileno(), data, at)
            at, data = at + n, data[n:]
        self.found["size"][chosen] = sizes

    def keep_digests(self, text: TextColumn, chosen: Array, lo: int) -> None:
        if not len(chosen):
            return
        text = take(text, chosen - lo)
        if self.config.exact.normalize == "words":
            text = TextColumn(*normal_words(text))
        text = Device().text(text)
        for n, i in enumerate(chosen):  # only documents that have an equal: one call of a C function each
            document = text.data[text.offsets[n] : text.offsets[n + 1]]
            digest = hashlib.blake2b(document, digest_size=16).digest()
            self.found["digest"][i] = np.frombuffer(digest, np.uint8)

    def consume(self, result: None) -> bool:
        return True

    def close(self) -> None:
        os.fsync(self.file.fileno())
        self.file.close()
        save(_found(self.context.directory.scratch, self.measured), self.found)

    def abandon(self) -> None:
        if hasattr(self, "file"):
            self.file.close()


class _Compare:
    """The job of a part of a file of candidates: similarities, and the pairs that are verified (see parallel.Job)."""

    def __init__(self, context: Context, store: str, number: int, start: int, stop: int) -> None:
        self.context, self.store = context, store
        self.number, self.start, self.cost = number, start, stop - start
        self.fuzzy = context.config.dedupe.fuzzy
        self.counts = np.zeros((2, SIMILARITY_BINS), np.int64)
        self.verified: list[tuple[Array, Array, Array]] = []

    def open(self) -> Iterator[tuple[Array, Array]]:
        scratch = self.context.directory.scratch
        arrays = (files.load_array(scratch / f"{n}.npy", mapped=True) for n in ("nodes", "before"))
        self.nodes = RowSet(*arrays)
        if self.fuzzy.verify == "exact":
            self.values = _mapped(scratch / self.store, np.uint64)
            self.spans = _mapped(scratch / "spans", np.int64)
        else:
            self.sketches = _mapped(scratch / self.store, np.uint32).reshape(-1, self.fuzzy.size)
        pairs = _mapped(candidates_path(self.context, self.number), np.int64).reshape(-1, 2)
        for at in range(self.start, self.start + self.cost, PAIRS_A_STEP):
            b, a = np.ascontiguousarray(pairs[at : min(at + PAIRS_A_STEP, self.start + self.cost)].T)
            yield a, b

    def process(self, block: tuple[Array, Array]) -> tuple[Array, Array, Array]:
        nodes = np.stack([self.nodes.rank(rows) for rows in block], axis=1)
        with self.context.reporter.span("dedupe", "compare"):
            return (*block, self.exact(nodes) if self.fuzzy.verify == "exact" else self.estimated(nodes))

    def exact(self, nodes: Array) -> Array:
        """float64[n]: the Jaccard similarity of the shingle sets of each pair of nodes."""
        device, pairs = self.context.device, 2 * nodes  # between two sets is the room that the first one did not need
        if device.backend == "cpu":
            counts = jaccard(self.values, self.spans, pairs)
            return counts[:, 0] / counts[:, 1]
        try:
            with device.session():
                sets = map(device.upload, sets_of(self.values, self.spans, pairs))
                counts = device.download(jaccard(*sets))
                return counts[:, 0] / counts[:, 1]
        except MemoryError:
            if len(nodes) == 1:
                raise
            middle = len(nodes) // 2
        return np.concatenate([self.exact(nodes[:middle]), self.exact(nodes[middle:])])

    def estimated(self, nodes: Array) -> Array:
        """float64[n]: the same from their sketches."""
        device = self.context.device
        used, index = np.unique(nodes, return_inverse=True)
        with device.session():
            sketches = device.upload(self.sketches[used])
            matches = device.download(sketch_matches(sketches, device.upload(index.reshape(nodes.shape))))
        return matches / self.fuzzy.size

    def consume(self, result: tuple[Array, Array, Array]) -> bool:
        a, b, similarity = result
        found = similarity >= self.fuzzy.threshold
        self.verified.append((a[found], b[found], similarity[found]))
        bins = np.minimum((similarity * SIMILARITY_BINS).astype(np.int64), SIMILARITY_BINS - 1)
        self.counts += [np.bincount(x, minlength=SIMILARITY_BINS) for x in (bins, bins[found])]
        return True

    def close(self) -> None:
        a, b, similarity = (np.concatenate(x) for x in zip(*self.verified, strict=True))
        output = _verified(self.context.directory.scratch, self.number, self.start)
        with files.atomic(output, durable=False) as partial, partial.open("wb") as f:
            np.savez(f, a=a, b=b, similarity=similarity, counts=self.counts)
        self.abandon()

    def abandon(self) -> None:
        """Nothing that is mapped or found is needed any more; the job itself is held until all are done."""
        self.verified = []
        for name in ("nodes", "values", "spans", "sketches"):
            self.__dict__.pop(name, None)


def sets_of(values: Array, offsets: Array, pairs: Array) -> tuple[Array, Array, Array]:
    """The sets that the pairs are of, by themselves: their values and offsets, and the pairs renumbered."""
    used, index = np.unique(pairs, return_inverse=True)
    sizes = offsets[used + 1] - offsets[used]
    bounds = np.concatenate(([0], np.cumsum(sizes)))
    places = np.repeat(offsets[used] - bounds[:-1], sizes) + np.arange(bounds[-1])
    return values[places], bounds, index.reshape(pairs.shape)


def _mapped(path: Path, dtype: Any) -> Array:
    """A file as a read-only array."""
    if path.stat().st_size == 0:
        return np.empty(0, dtype)
    return np.memmap(path, dtype, "r")
