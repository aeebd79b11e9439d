"""dedupe: exact duplicates by hash, near duplicates by banded sketches, each pair verified.

    rows with equal hashes      -> sets of equal documents, each with a representative (its smallest row)
    sketches of representatives -> band keys -> buckets -> candidate pairs
    candidate pairs             -> verified: exact Jaccard of the texts read again, or estimated from the sketches
    verified pairs              -> pairs.parquet; connected components with the equal documents -> clusters.parquet

Which document of a cluster stays is not decided here: that depends on thresholds and is decide's part.

Memory: sorting stays within memory_bytes by partitioning; besides it a byte a document, 72 bytes a document with a
candidate and 32 bytes a verified pair. Band keys (16 bytes a band and document), candidate pairs (16 bytes a band
they meet in) and the shingles of candidate documents (8 bytes a shingle) go to scratch files.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gpu_pile import files
from gpu_pile.columns import TextColumn
from gpu_pile.dedup import bands as banding
from gpu_pile.dedup.buckets import (
    HASH_RECORD,
    KEY_RECORD,
    PAIR_RECORD,
    Partitions,
    candidate_pairs,
    distinct_pairs,
    equal_hashes,
)
from gpu_pile.dedup.sets import set_down
from gpu_pile.device import Place, to_host
from gpu_pile.errors import DataError
from gpu_pile.ops.band_keys import band_keys
from gpu_pile.ops.components import components
from gpu_pile.ops.jaccard import jaccard
from gpu_pile.ops.shingle_set import shingle_set
from gpu_pile.ops.sketch_matches import sketch_matches
from gpu_pile.shards import Block, Shard
from gpu_pile.stages.context import Context, Work
from gpu_pile.stages.tables import Rows, doc_ids, parse_spans, scan, subset_codes

VERSION = 2

SIMILARITY_BINS = 20
"""Candidate pairs are counted by similarity in this many equal bins from 0 to 1."""

PAIRS_A_WORK = 1 << 20
PAIRS_A_STEP = 1 << 14
"""Candidate pairs that a worker compares, and how many at a time."""

PAGE = 1 << 17
"""Values (of 8 bytes) to whose multiples a shard's part of the file of shingles is aligned: no two machines write to
one page of it, which network file systems do not forgive."""

Array = np.ndarray[Any, Any]


def dedupe_key(context: Context) -> str:
    c = context.config
    measured = [context.run.state("measure", s.name) for s in context.shards]
    return files.key_of(
        {
            "version": VERSION,
            "shards": [
                [s.name, m["identity"], m["definition"], m["stopped"]]
                for s, m in zip(context.shards, measured, strict=True)
            ],
            "dedupe": c.dedupe.model_dump(exclude={"survivor": True, "fuzzy": {"resolve"}}),
        }
    )


def dedupe(context: Context) -> None:
    run, key = context.run, dedupe_key(context)
    if run.state("dedupe").get("key") == key and run.pairs.is_file() and run.clusters.is_file():
        return
    run.forget("dedupe")
    run.clear_scratch()
    with context.stage("dedupe", context.shards) as entry, files.disk_errors(run.scratch):
        facts = _Dedupe(context).run()
        entry["text_bytes"] = sum(run.state("measure", s.name)["text_bytes"] for s in context.shards)
    run.clear_scratch()
    run.set_state({"key": key, **facts}, "dedupe")


class _Dedupe:
    def __init__(self, context: Context) -> None:
        self.context = context
        self.config = context.config.dedupe
        self.rows = Rows.of(context)
        self.scratch = context.run.scratch
        fuzzy = self.config.fuzzy
        if fuzzy.bands is not None and fuzzy.rows is not None:
            self.bands, self.band_rows = fuzzy.bands, fuzzy.rows
        else:
            self.bands, self.band_rows = banding.choose(fuzzy.threshold, fuzzy.size)

    def run(self) -> dict[str, Any]:
        part = self.context.stopwatch.part
        total = self.rows.total
        members, representatives = np.empty(0, np.int64), np.empty(0, np.int64)
        if self.config.exact.enabled:
            with part("dedupe", "exact"):
                members, representatives = self.equal_documents()
        if not self.config.fuzzy.enabled:
            if self.config.fuzzy.verify == "exact":
                self.read_again(np.zeros(total, bool), members, representatives)
                members, representatives = self.checked(members, representatives)
            self.write([], members, representatives)
            return self.facts(members, representatives, np.zeros((2, SIMILARITY_BINS), np.int64))
        with part("dedupe", "buckets"):
            parts = self.candidates(members, representatives)
        involved = np.zeros(total, bool)
        for number in range(len(parts)):
            a, b = np.load(_candidates(self.scratch, number), allow_pickle=False)
            involved[a] = involved[b] = True
        if self.config.fuzzy.verify == "exact":
            self.read_again(involved, members, representatives)
            members, representatives = self.checked(members, representatives)
        else:
            self.gather_sketches(involved)
        verified, counts = self.compare(parts)
        with part("dedupe", "clusters"):
            self.write(verified, members, representatives)
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

    # exact

    def equal_documents(self) -> tuple[Array, Array]:
        records = Partitions(HASH_RECORD, self.rows.total, self.context.config.memory_bytes, self.scratch / "hashes")
        for first, table in scan(self.context, ["subset", "hash_hi", "hash_lo"]):
            found = np.empty(len(table), HASH_RECORD)
            scope, skipped = self.scope(table, self.config.exact.skip_subsets)
            found["hi"] = table.column("hash_hi").to_numpy() ^ scope
            found["lo"] = table.column("hash_lo").to_numpy()
            found["row"] = first + np.arange(len(table))
            found = found[~skipped]
            records.add(found["hi"], found)
        return equal_hashes(records)

    def scope(self, table: pa.Table, skip: list[str]) -> tuple[Array, Array]:
        """(uint64 mixed into keys so that only documents of one scope meet, rows that take no part)."""
        names, codes = subset_codes(table)
        salt = np.zeros(len(names), np.uint64)
        if self.config.scope == "subset":
            salt = np.array(
                [int.from_bytes(hashlib.blake2b(n.encode(), digest_size=8).digest(), "little") for n in names],
                np.uint64,
            )
        skipped = np.array([n in set(skip) for n in names], bool)
        return salt[codes], skipped[codes]

    def checked(self, members: Array, representatives: Array) -> tuple[Array, Array]:
        """Drop from sets of equal documents those whose text differs after all from their representative's."""
        position = np.searchsorted(members, representatives)
        same = (self.digests == self.digests[position]).all(axis=1)
        if not same.all():
            self.context.notes.append(
                f"{int((~same).sum())} documents share a 128-bit hash with a different text; they stay"
            )
        members, representatives = members[same], representatives[same]
        _, inverse, size = np.unique(representatives, return_inverse=True, return_counts=True)
        several = size[inverse] > 1
        return members[several], representatives[several]

    # candidates

    def candidates(self, members: Array, representatives: Array) -> list[int]:
        """Write candidate pairs to files, int64[2, n] rows a < b each; returns the number of pairs in each."""
        memory, total, place = self.context.config.memory_bytes, self.rows.total, self.context.place
        keys = Partitions(KEY_RECORD, total * self.bands, memory, self.scratch / "bands")
        copies = members[members != representatives]
        for first, table in scan(self.context, ["subset", "shingles", "sketch"]):
            scope, skipped = self.scope(table, self.config.fuzzy.skip_subsets)
            skipped |= table.column("shingles").to_numpy() == 0
            lo, hi = np.searchsorted(copies, [first, first + len(table)])
            skipped[copies[lo:hi] - first] = True
            chosen = np.flatnonzero(~skipped)
            sketches = sketch_array(table, self.config.fuzzy.size)[chosen]
            with place.session():
                bucket = place.download(band_keys(place.upload(sketches), bands=self.bands, rows=self.band_rows))
            bucket = bucket ^ scope[chosen, None]
            found = np.empty(bucket.size, KEY_RECORD)
            found["key"] = bucket.reshape(-1)
            found["row"] = np.repeat(first + chosen, self.bands)
            keys.add(found["key"], found)
        pairs = Partitions(PAIR_RECORD, total, memory, self.scratch / "pairs")
        candidate_pairs(keys, self.config.fuzzy.bucket_neighbours_max, pairs, total, place.argsort)
        parts: list[int] = []
        for a, b in distinct_pairs(pairs):
            _save(_candidates(self.scratch, len(parts)), np.stack([a, b]))
            parts.append(len(a))
        return parts

    # verification

    def read_again(self, involved: Array, members: Array, representatives: Array) -> None:
        """Shingle sets of the candidates and digests of the equal documents, from the texts.

        Every candidate has a place of its own in one file: the shingles of its text, counted with repetitions, are room
        enough. So whoever reads a shard writes its sets without asking, and twice is as good as once.
        """
        self.digests = np.zeros((len(members), 16), np.uint8)
        nodes = np.flatnonzero(involved)
        room = np.zeros(len(nodes), np.int64)
        for first, table in scan(self.context, ["shingles"]):
            lo, hi = np.searchsorted(nodes, [first, first + len(table)])
            room[lo:hi] = table.column("shingles").to_numpy()[nodes[lo:hi] - first]
        places, n_values = _places(room, np.searchsorted(nodes, self.rows.first))
        store = self.scratch / f"shingles-{secrets.token_hex(4)}"  # no late worker of another run knows the name
        store.parent.mkdir(parents=True, exist_ok=True)
        with store.open("wb") as f:
            f.truncate(8 * n_values)
        works, asked = [], []
        for i, shard in enumerate(self.context.shards):
            first, end = int(self.rows.first[i]), int(self.rows.first[i + 1])
            lo, hi = np.searchsorted(members, [first, end])
            wanted = involved[first:end].copy()
            wanted[members[lo:hi] - first] = True
            if not wanted.any():
                continue
            rows = np.flatnonzero(wanted)
            ask = np.empty(len(rows), WANTED)
            ask["row"], ask["place"] = rows, -1
            mine = slice(*np.searchsorted(nodes, [first, end]))
            ask["place"][np.searchsorted(rows, nodes[mine] - first)] = places[mine]
            ask["digest"] = False
            ask["digest"][np.searchsorted(rows, members[lo:hi] - first)] = True
            _save(_wanted(self.scratch, shard), ask)
            found = _found(self.scratch, shard)
            works.append(Work(_ReadAgain, (shard, store.name), shard.n_bytes, shard.name, (found,), shard.n_bytes))
            asked.append((shard, mine, slice(lo, hi), ask))
        self.context.do("dedupe", works)
        size = np.zeros(len(nodes), np.int64)
        for shard, mine, equal, ask in asked:
            found = np.load(_found(self.scratch, shard), allow_pickle=False)
            size[mine] = found["size"][ask["place"] >= 0]
            self.digests[equal] = found["digest"][ask["digest"]]
        spans = np.stack([places, places + size], axis=1)
        self.keep_nodes(nodes, store.name, spans.reshape(-1))

    def keep_nodes(self, nodes: Array, store: str, spans: Array) -> None:
        """Leave in scratch what _Compare looks up: candidates' rows, and where in which file their sets are."""
        self.store = store
        _save(self.scratch / "nodes.npy", nodes)
        _save(self.scratch / "spans.npy", spans)

    def compare(self, parts: list[int]) -> tuple[list[tuple[Array, Array, Array]], Array]:
        """([a, b, similarity] of verified pairs, int64[2, SIMILARITY_BINS] counts of candidate and verified pairs).

        parts: the number of pairs in each file of candidates.
        """
        works, counts = [], np.zeros((2, SIMILARITY_BINS), np.int64)
        for number, n in enumerate(parts):
            for start in range(0, n, PAIRS_A_WORK):
                stop = min(n, start + PAIRS_A_WORK)
                output = _verified(self.scratch, number, start)
                what = f"pairs {number}, {start} to {stop}"
                works.append(Work(_Compare, (self.store, number, start, stop), stop - start, what, (output,)))
        self.context.do("dedupe", works)
        verified = []
        for work in works:
            with np.load(str(work.outputs[0]), allow_pickle=False) as found:
                verified.append((found["a"], found["b"], found["similarity"]))
                counts += found["counts"]
        return verified, counts

    def gather_sketches(self, involved: Array) -> None:
        """The sketches of the candidates, in one file."""
        nodes = np.flatnonzero(involved)
        path = self.scratch / "sketches"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as f:
            for first, table in scan(self.context, ["sketch"]):
                lo, hi = np.searchsorted(nodes, [first, first + len(table)])
                sketch_array(table, self.config.fuzzy.size)[nodes[lo:hi] - first].tofile(f)
        self.keep_nodes(nodes, path.name, np.empty(0, np.int64))

    # results

    def write(self, verified: list[tuple[Array, Array, Array]], members: Array, representatives: Array) -> None:
        a = np.concatenate([v[0] for v in verified]) if verified else np.empty(0, np.int64)
        b = np.concatenate([v[1] for v in verified]) if verified else np.empty(0, np.int64)
        similarity = np.concatenate([v[2] for v in verified]) if verified else np.empty(0)
        nodes = np.unique(np.concatenate([a, b, members]))
        place = self.context.place
        with place.session():
            ends = (
                place.upload(np.searchsorted(nodes, np.concatenate(x))) for x in ((a, members), (b, representatives))
            )
            component = place.download(components(*ends, n=len(nodes)))
        identifiers = doc_ids(self.context, self.rows, nodes)
        representative = np.arange(len(nodes))
        representative[np.searchsorted(nodes, members)] = np.searchsorted(nodes, representatives)
        run = self.context.run
        with files.atomic(run.pairs) as partial:
            pq.write_table(
                pa.table(
                    {
                        "a": identifiers[np.searchsorted(nodes, a)],
                        "b": identifiers[np.searchsorted(nodes, b)],
                        "similarity": similarity,
                    }
                ),
                partial,
                compression="zstd",
            )
        with files.atomic(run.clusters) as partial:
            pq.write_table(
                pa.table(
                    {
                        "doc_id": identifiers,
                        "cluster": identifiers[component],
                        "representative": identifiers[representative],
                    }
                ),
                partial,
                compression="zstd",
            )


WANTED = np.dtype([("row", "<i8"), ("place", "<i8"), ("digest", "?")])
"""A document to read again: its row in the shard's table; where its shingles go, -1 for nowhere; whether its digest is
wanted."""

FOUND = np.dtype([("size", "<i8"), ("digest", "u1", 16)])


def _wanted(scratch: Path, shard: Shard) -> Path:
    return scratch / "wanted" / f"{shard.name}.npy"


def _found(scratch: Path, shard: Shard) -> Path:
    return scratch / "found" / f"{shard.name}.npy"


def _candidates(scratch: Path, number: int) -> Path:
    return scratch / "candidates" / f"{number:05d}.npy"


def _verified(scratch: Path, number: int, start: int) -> Path:
    return scratch / "verified" / f"{number:05d}-{start:012d}.npz"


def _save(path: Path, array: Array) -> None:
    with files.atomic(path) as partial, partial.open("wb") as f:
        np.save(f, array, allow_pickle=False)


def _places(room: Array, shard_starts: Array) -> tuple[Array, int]:
    """(int64[n] where each set of up to room[i] values goes, values in all): a shard begins at a multiple of PAGE.

    shard_starts: int64[shards + 1], the first set of each shard.
    """
    places = np.zeros(len(room), np.int64)
    at = 0
    for lo, hi in itertools.pairwise(shard_starts):
        before = np.concatenate(([0], np.cumsum(room[lo:hi])))
        places[lo:hi] = at + before[:-1]
        at += -(-int(before[-1]) // PAGE) * PAGE
    return places, at


class _ReadAgain:
    """The job of one shard: the wanted documents' shingle sets and digests (see parallel.Job)."""

    def __init__(self, context: Context, shard: Shard, store: str) -> None:
        self.context, self.shard, self.store = context, shard, store
        self.config = context.config.dedupe
        self.cost = shard.n_bytes

    def open(self) -> Iterator[Block]:
        context = self.context
        self.wanted = np.load(_wanted(context.run.scratch, self.shard), allow_pickle=False)
        self.found = np.zeros(len(self.wanted), FOUND)
        self.file = (context.run.scratch / self.store).open("rb+", buffering=0)
        table = pq.read_table(
            files.table(context.run.measured(self.shard.name)), columns=["start", "length", "shingles"]
        )
        self.start, self.length, self.room = (
            table.column(n).to_numpy()[self.wanted["row"]] for n in table.column_names
        )
        for block in context.blocks("dedupe", context.reader(self.shard)):
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
        part = context.stopwatch.part
        try:
            with context.place.session():
                with part("dedupe", "parse again"):
                    text = parse_spans(context, block, self.start[lo:hi] - block.start, self.length[lo:hi])
                with part("dedupe", "shingle"):
                    self.keep_shingles(text, lo + np.flatnonzero(self.wanted["place"][lo:hi] >= 0), lo)
                with part("dedupe", "digest"):
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
        values, offsets = map(to_host, shingle_set(text.take(chosen - lo), kind=fuzzy.shingle, width=fuzzy.width))
        sizes, places = np.diff(offsets), self.wanted["place"][chosen]
        if (sizes > self.room[chosen]).any():
            raise DataError(
                f"{self.shard.path} changed while the run was going on; run the same command again to measure it anew"
            )
        room = np.zeros(int(places[-1] - places[0] + sizes[-1]), np.uint64)
        set_down(values, offsets, places - places[0], room)
        at, data = 8 * int(places[0]), memoryview(room.tobytes())
        while data:
            n = os.pwrite(self.file.fileno(), data, at)
            at, data = at + n, data[n:]
        self.found["size"][chosen] = sizes

    def keep_digests(self, text: TextColumn, chosen: Array, lo: int) -> None:
        if not len(chosen):
            return
        text = text.take(chosen - lo)
        if self.config.exact.normalize == "words":
            from gpu_pile.ops.normal_words import normal_words

            text = TextColumn(*normal_words(text))
        text = Place().text(text)
        for n, i in enumerate(chosen):  # only documents that have an equal: one call of a C function each
            document = text.data[text.offsets[n] : text.offsets[n + 1]]
            digest = hashlib.blake2b(document, digest_size=16).digest()
            self.found["digest"][i] = np.frombuffer(digest, np.uint8)

    def consume(self, result: None) -> bool:
        return True

    def close(self) -> None:
        os.fsync(self.file.fileno())
        self.file.close()
        _save(_found(self.context.run.scratch, self.shard), self.found)

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
        scratch = self.context.run.scratch
        self.nodes = np.load(scratch / "nodes.npy", mmap_mode="r", allow_pickle=False)
        if self.fuzzy.verify == "exact":
            self.values = _mapped(scratch / self.store, np.uint64)
            self.spans = np.load(scratch / "spans.npy", mmap_mode="r", allow_pickle=False)
        else:
            self.sketches = _mapped(scratch / self.store, np.uint32).reshape(-1, self.fuzzy.size)
        pairs = np.load(_candidates(scratch, self.number), mmap_mode="r", allow_pickle=False)
        for at in range(self.start, self.start + self.cost, PAIRS_A_STEP):
            a, b = np.array(pairs[:, at : min(at + PAIRS_A_STEP, self.start + self.cost)])
            yield a, b

    def process(self, block: tuple[Array, Array]) -> tuple[Array, Array, Array]:
        nodes = np.stack([np.searchsorted(self.nodes, rows) for rows in block], axis=1)
        with self.context.stopwatch.part("dedupe", "compare"):
            return (*block, self.exact(nodes) if self.fuzzy.verify == "exact" else self.estimated(nodes))

    def exact(self, nodes: Array) -> Array:
        """float64[n]: the Jaccard similarity of the shingle sets of each pair of nodes."""
        place, pairs = self.context.place, 2 * nodes  # between two sets is the room that the first one did not need
        if place.backend == "cpu":
            counts = jaccard(self.values, self.spans, pairs)
            return counts[:, 0] / counts[:, 1]
        try:
            with place.session():
                sets = map(place.upload, sets_of(self.values, self.spans, pairs))
                counts = place.download(jaccard(*sets))
                return counts[:, 0] / counts[:, 1]
        except MemoryError:
            if len(nodes) == 1:
                raise
            middle = len(nodes) // 2
        return np.concatenate([self.exact(nodes[:middle]), self.exact(nodes[middle:])])

    def estimated(self, nodes: Array) -> Array:
        """float64[n]: the same from their sketches."""
        place = self.context.place
        used, index = np.unique(nodes, return_inverse=True)
        with place.session():
            sketches = place.upload(self.sketches[used])
            matches = place.download(sketch_matches(sketches, place.upload(index.reshape(nodes.shape))))
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
        output = _verified(self.context.run.scratch, self.number, self.start)
        with files.atomic(output) as partial, partial.open("wb") as f:
            np.savez(f, a=a, b=b, similarity=similarity, counts=self.counts)

    def abandon(self) -> None:
        pass


def sketch_array(table: pa.Table, size: int) -> Array:
    """uint32[rows, size]: the sketch column, without a copy."""
    column = table.column("sketch").combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], pa.binary(4 * size))
    values = np.frombuffer(column.buffers()[1] or b"", np.uint32)
    return values.reshape(-1, size)[column.offset : column.offset + len(column)]


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
