"""Make a corpus of many gigabytes on the machine that measures: nothing of it has to be copied there.

    python benchmarks/big_corpus.py SOURCE OUT [--gigabytes 16] [--shards 64] [--workers 16]

SOURCE is a folder of shards whose sentences are used, in new orders. Lengths of texts are as natural as a log-normal
distribution is (median 2 kB, mean 6 kB, up to 2 MB). A tenth of the texts has ten words. A tenth is a near copy of
another text of its shard, with 4 % of the sentences exchanged; one in fifty is an exact copy. One in 4,000 is a line of
4 MB. Each shard is one frame, made by a process of its own, a few texts at a time; the same arguments make the same
bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import zstandard

from gpu_pile.corpus.reader import ShardReader

MEDIAN_BYTES, SPREAD, LONGEST = 2000, 1.5, 2_000_000
LONG_BYTES, ONE_LONG_IN = 4_000_000, 4000
SHORT_WORDS, SHORT = 10, 0.1
NEAR, EXACT, EXCHANGED = 0.1, 0.02, 0.04
REMEMBERED = 64
"""Texts of a shard of which copies are made."""

SUBSETS = ("Pile-CC", "Github", "ArXiv", "StackExchange", "PubMed Abstracts", "FreeLaw", "Wikipedia (en)")


def sentences_of(folder: Path) -> list[bytes]:
    """The distinct sentences of the shards, as they stand in JSON strings."""
    found: dict[bytes, None] = {}
    for path in sorted(folder.glob("*.jsonl.zst")):
        for block in ShardReader(path):
            for line in block.data[: block.n_bytes].tobytes().splitlines():
                for sentence in re.split(r"(?<=[.!?]\s)|(?<=\n)", json.loads(line)["text"]):
                    if 20 <= len(sentence) <= 1000:
                        found[json.dumps(sentence, ensure_ascii=False)[1:-1].encode()] = None
            block.release()
    return list(found)


class Texts:
    """Texts as sequences of numbers of sentences."""

    def __init__(self, sentences: list[bytes], seed: list[int]) -> None:
        self.sentences = sentences
        self.random = np.random.default_rng(seed)
        self.mean = sum(map(len, sentences)) / len(sentences)
        self.recent: deque[np.ndarray] = deque(maxlen=REMEMBERED)

    def next(self) -> bytes:
        """The next text, as it stands in a JSON string."""
        kind = self.random.random()
        if kind < SHORT:
            return b" ".join(self.sentences[self.random.integers(len(self.sentences))].split()[:SHORT_WORDS])
        if self.recent and kind < SHORT + NEAR + EXACT:
            chosen = self.recent[self.random.integers(len(self.recent))]
            if kind < SHORT + NEAR:
                chosen = self._exchanged(chosen)
        else:
            chosen = self.random.integers(len(self.sentences), size=self._length())
            if len(chosen) * self.mean < LONGEST / 10:
                self.recent.append(chosen)
        return b"".join([self.sentences[i] for i in chosen.tolist()])

    def _length(self) -> int:
        if self.random.integers(ONE_LONG_IN) == 0:
            return round(LONG_BYTES / self.mean)
        n_bytes = min(LONGEST, MEDIAN_BYTES * np.exp(SPREAD * self.random.standard_normal()))
        return max(1, round(n_bytes / self.mean))

    def _exchanged(self, chosen: np.ndarray) -> np.ndarray:
        places = self.random.random(len(chosen)) < EXCHANGED
        return np.where(places, self.random.integers(len(self.sentences), size=len(chosen)), chosen)


def write_shard(source: Path, path: Path, number: int, n_bytes: int) -> tuple[int, int]:
    """Write a shard of about n_bytes of lines. Returns (bytes of lines, bytes of the file)."""
    texts = Texts(sentences_of(source), [1, number])
    written = 0
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file, zstandard.ZstdCompressor(level=1).stream_writer(file) as stream:
        while written < n_bytes:
            subset = json.dumps(SUBSETS[texts.random.integers(len(SUBSETS))]).encode()
            line = b'{"text": "' + texts.next() + b'", "meta": {"pile_set_name": ' + subset + b"}}\n"
            stream.write(line)
            written += len(line)
    partial.rename(path)
    return written, path.stat().st_size


def make(source: Path, out: Path, n_bytes: int, shards: int, workers: int) -> tuple[int, int]:
    """Write all shards. Returns (bytes of lines, bytes of the files)."""
    out.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(workers) as pool:
        jobs = [
            pool.submit(write_shard, source, out / f"{i:03d}.jsonl.zst", i, n_bytes // shards) for i in range(shards)
        ]
        sizes = [job.result() for job in jobs]
    return sum(a for a, _ in sizes), sum(b for _, b in sizes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--gigabytes", type=float, default=16)
    parser.add_argument("--shards", type=int, default=64)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    a = parser.parse_args()
    lines, files = make(a.source, a.out, int(a.gigabytes * 1e9), a.shards, a.workers)
    print(
        f"{a.out}: {lines / 1e9:.2f} GB of lines in {a.shards} shards of {files / 1e9:.2f} GB ({lines / files:.1f} : 1)"
    )


if __name__ == "__main__":
    main()
