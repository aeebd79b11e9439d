"""dedupe: exact duplicates by hash, near duplicates by banded sketches, each pair verified.

    rows with equal hashes      -> sets of equal documents, each with a representative (its smallest row)
    sketches of representatives -> band keys -> buckets -> candidate pairs
    candidate pairs             -> verified: exact Jaccard of the texts read again, or estimated from the sketches
    verified pairs              -> pairs.parquet; connected components with the equal documents -> clusters.parquet

Which document of a cluster stays is not decided here: that depends on thresholds and is decide's part.

Memory: sorting stays within memory_bytes by partitioning; besides it a byte a document, 40 bytes a document with a
candidate and 32 bytes a verified pair. Band keys (16 bytes a band and document), candidate pairs (16 bytes a band
they meet in) and the shingles of candidate documents (8 bytes a shingle) go to scratch files.
"""

from __future__ import annotations

import hashlib
import threading
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
from gpu_pile.device import Place, to_host
from gpu_pile.ops.band_keys import band_keys
from gpu_pile.ops.components import components
from gpu_pile.ops.jaccard import jaccard
from gpu_pile.ops.shingle_set import shingle_set
from gpu_pile.ops.sketch_matches import sketch_matches
from gpu_pile.parallel import run_jobs, run_tasks
from gpu_pile.shards import Block, Shard
from gpu_pile.stages.context import Context
from gpu_pile.stages.tables import Rows, doc_ids, parse_spans, scan, subset_codes

VERSION = 2

SIMILARITY_BINS = 20
"""Candidate pairs are counted by similarity in this many equal bins from 0 to 1."""

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
            candidates = self.candidates(members, representatives)
        involved = np.zeros(total, bool)
        for a, b in candidates():
            involved[a] = involved[b] = True
        exact = self.config.fuzzy.verify == "exact"
        if exact:
            self.read_again(involved, members, representatives)
            members, representatives = self.checked(members, representatives)
        else:
            self.gather_sketches(involved)
        verified = []
        counts = np.zeros((2, SIMILARITY_BINS), np.int64)
        for a, b in candidates():
            with part("dedupe", "compare"):
                similarity = self.exact_similarity(a, b) if exact else self.sketch_similarity(a, b)
            found = similarity >= self.config.fuzzy.threshold
            verified.append((a[found], b[found], similarity[found]))
            bins = np.minimum((similarity * SIMILARITY_BINS).astype(np.int64), SIMILARITY_BINS - 1)
            counts += [np.bincount(x, minlength=SIMILARITY_BINS) for x in (bins, bins[found])]
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

    def candidates(self, members: Array, representatives: Array) -> Any:
        """A function that iterates over (a, b) of all candidate pairs, any number of times."""
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
        target = self.scratch / "candidates"
        target.mkdir(parents=True, exist_ok=True)
        count = 0
        for a, b in distinct_pairs(pairs):
            np.save(target / f"{count:05d}.npy", np.stack([a, b]))
            count += 1

        def iterate() -> Iterator[tuple[Array, Array]]:
            for i in range(count):
                a, b = np.load(target / f"{i:05d}.npy", allow_pickle=False)
                yield a, b

        return iterate

    # verification

    def read_again(self, involved: Array, members: Array, representatives: Array) -> None:
        """Shingle sets of the candidates and digests of the equal documents, from the texts."""
        self.digests = np.zeros((len(members), 16), np.uint8)
        self.nodes = np.flatnonzero(involved)
        self.place = np.empty(len(self.nodes), np.int64)
        self.store = _Shingles(self.scratch / "shingles")
        jobs = []
        for i, shard in enumerate(self.context.shards):
            first, end = int(self.rows.first[i]), int(self.rows.first[i + 1])
            lo, hi = np.searchsorted(members, [first, end])
            wanted = involved[first:end].copy()
            wanted[members[lo:hi] - first] = True
            if wanted.any():
                jobs.append(_ReadAgain(self, shard, first, np.flatnonzero(wanted), involved, members))
        run_jobs(jobs, self.context.config.n_workers)
        self.store.close()

    def exact_similarity(self, a: Array, b: Array) -> Array:
        if not len(a):
            return np.empty(0)
        values, offsets = self.store.open()
        place = self.context.place
        pairs = np.stack([self.place[np.searchsorted(self.nodes, x)] for x in (a, b)], axis=1)
        counts = np.empty((len(pairs), 2), np.int64)
        step = 1 << 14

        def compare(start: int, stop: int) -> None:
            chosen = pairs[start:stop]
            if place.backend == "cpu":
                counts[start:stop] = jaccard(values, offsets, chosen)
                return
            try:
                with place.session():
                    sets = map(place.upload, sets_of(values, offsets, chosen))
                    counts[start:stop] = place.download(jaccard(*sets))
            except MemoryError:
                if stop - start == 1:
                    raise
                compare(start, (start + stop) // 2)
                compare((start + stop) // 2, stop)

        tasks = [lambda s=s: compare(s, min(s + step, len(pairs))) for s in range(0, len(pairs), step)]
        run_tasks(tasks, self.context.config.n_workers)
        return counts[:, 0] / counts[:, 1]

    def gather_sketches(self, involved: Array) -> None:
        wanted = self.nodes = np.flatnonzero(involved)
        size = self.config.fuzzy.size
        path = self.scratch / "sketches"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as f:
            for first, table in scan(self.context, ["sketch"]):
                lo, hi = np.searchsorted(wanted, [first, first + len(table)])
                sketch_array(table, size)[wanted[lo:hi] - first].tofile(f)
        self.sketches = _mapped(path, np.uint32).reshape(-1, size)

    def sketch_similarity(self, a: Array, b: Array) -> Array:
        pairs = np.stack([np.searchsorted(self.nodes, a), np.searchsorted(self.nodes, b)], axis=1)
        place = self.context.place
        used, index = np.unique(pairs, return_inverse=True)
        with place.session():
            sketches = place.upload(self.sketches[used])
            matches = place.download(sketch_matches(sketches, place.upload(index.reshape(pairs.shape))))
        return matches / self.config.fuzzy.size

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


class _Shingles:
    """Shingle sets in one scratch file, in the order in which threads bring them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("wb")
        self._sizes: list[Array] = []
        self._count = 0
        self._lock = threading.Lock()

    def add(self, values: Array, offsets: Array) -> int:
        """Returns the number of the first set among all."""
        with self._lock:
            values.tofile(self._file)
            self._sizes.append(np.diff(offsets))
            first, self._count = self._count, self._count + len(offsets) - 1
            return first

    def close(self) -> None:
        self._file.close()

    def open(self) -> tuple[Array, Array]:
        sizes = np.concatenate(self._sizes) if self._sizes else np.empty(0, np.int64)
        return _mapped(self.path, np.uint64), np.concatenate(([0], np.cumsum(sizes, dtype=np.int64)))


class _ReadAgain:
    """The job of one shard: the wanted documents' shingle sets and digests (see parallel.Job)."""

    def __init__(
        self, owner: _Dedupe, shard: Shard, first: int, wanted: Array, involved: Array, members: Array
    ) -> None:
        self.owner, self.shard, self.first, self.wanted = owner, shard, first, wanted
        self.involved, self.members = involved, members
        self.cost = shard.n_bytes

    def open(self) -> Iterator[Block]:
        context = self.owner.context
        table = pq.read_table(context.run.measured(self.shard.name), columns=["start", "length"])
        self.start = table.column("start").to_numpy()[self.wanted]
        self.length = table.column("length").to_numpy()[self.wanted]
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
        context, rows = self.owner.context, self.first + self.wanted[lo:hi]
        part = context.stopwatch.part
        try:
            with context.place.session():
                with part("dedupe", "parse again"):
                    text = parse_spans(context, block, self.start[lo:hi] - block.start, self.length[lo:hi])
                with part("dedupe", "shingle"):
                    self.keep_shingles(text, rows)
                with part("dedupe", "digest"):
                    self.keep_digests(text, rows)
        except MemoryError:
            if hi - lo == 1:
                raise
            self.keep(block, lo, (lo + hi) // 2)
            self.keep(block, (lo + hi) // 2, hi)

    def keep_shingles(self, text: TextColumn, rows: Array) -> None:
        owner, fuzzy = self.owner, self.owner.config.fuzzy
        chosen = np.flatnonzero(self.involved[rows])
        if not len(chosen):
            return
        sets = shingle_set(text.take(chosen), kind=fuzzy.shingle, width=fuzzy.width)
        values, offsets = map(to_host, sets)
        first = owner.store.add(values, offsets)
        owner.place[np.searchsorted(owner.nodes, rows[chosen])] = first + np.arange(len(chosen))

    def keep_digests(self, text: TextColumn, rows: Array) -> None:
        owner = self.owner
        position = np.searchsorted(self.members, rows)
        position[position == len(self.members)] = 0
        chosen = np.flatnonzero(self.members[position] == rows) if len(self.members) else np.empty(0, np.int64)
        if not len(chosen):
            return
        text = text.take(chosen)
        if owner.config.exact.normalize == "words":
            from gpu_pile.ops.normal_words import normal_words

            text = TextColumn(*normal_words(text))
        text = Place().text(text)
        for n, i in enumerate(chosen):  # only documents that have an equal: one call of a C function each
            document = text.data[text.offsets[n] : text.offsets[n + 1]]
            digest = hashlib.blake2b(document, digest_size=16).digest()
            owner.digests[position[i]] = np.frombuffer(digest, np.uint8)

    def consume(self, result: None) -> bool:
        return True

    def close(self) -> None:
        pass

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
