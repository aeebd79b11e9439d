"""The Python API over texts in memory: measure and dedupe. gpu_pile.explore.run opens runs over files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from gpu_pile import signals as _signals
from gpu_pile.dedup import banding
from gpu_pile.dedup.buckets import candidate_pairs, distinct_pairs, equal_hashes
from gpu_pile.dedup.survivors import connected_survivors
from gpu_pile.gpu import cudf, segments
from gpu_pile.gpu import detect as backends
from gpu_pile.gpu.device import Device, device_for
from gpu_pile.ops.band_keys import band_keys
from gpu_pile.ops.c4_lines import c4_lines
from gpu_pile.ops.components import components
from gpu_pile.ops.doc_hash import doc_hash
from gpu_pile.ops.jaccard import jaccard
from gpu_pile.ops.redpajama_lines import redpajama_lines
from gpu_pile.ops.shingle_set import shingle_set
from gpu_pile.ops.sketch import sketch
from gpu_pile.ops.sketch_matches import sketch_matches
from gpu_pile.ops.witnesses import witnesses
from gpu_pile.run.config import Fuzzy
from gpu_pile.run.threads import keep_freed_memory, map_threads, worker_count
from gpu_pile.text.column import TextColumn
from gpu_pile.types import Array


def text_column(texts: Any) -> TextColumn:
    """list[str], list[bytes], a column of strings of pyarrow, pandas or cuDF, or a TextColumn -> TextColumn.

    cuDF's is viewed where it is, on the GPU.

    Raises:
        ValueError: a text is None. TypeError: a text is no string.
    """
    if isinstance(texts, TextColumn):
        return texts
    if cudf.is_cudf(texts):
        return cudf.text_column(texts)
    if hasattr(texts, "__arrow_c_array__") and not isinstance(texts, (pa.Array, pa.ChunkedArray)):
        texts = pa.array(texts)
    if isinstance(texts, (pa.Array, pa.ChunkedArray)):
        return TextColumn.from_arrow(texts)
    texts = list(texts)
    try:
        return TextColumn.from_arrow(pa.array(texts, pa.large_string()))
    except (UnicodeEncodeError, pa.ArrowInvalid):  # lone surrogates, which Arrow cannot hold
        return TextColumn.from_documents(texts)


def measure(
    texts: Any, signals: Sequence[str] | None = None, *, backend: str = "auto", workers: int | None = None
) -> pa.Table:
    """Signals of each text: a row a text, a column a signal (int64, or float64 with nulls where undefined).

    Args:
        texts: list[str], a column of pyarrow, pandas or cuDF, or a TextColumn.
        signals: names of signals or of families; None for all. See `gpu-pile list signals`.
        backend: auto, cpu or cuda.
        workers: threads; None for one a core.
    """
    device = device_for(backends.choose(backend))
    text = text_column(texts)
    parts = _over_pieces(text, workers, device, lambda piece: _signals.compute(piece, signals))
    return pa.concat_tables(parts).combine_chunks()


def measure_lines(texts: Any, *, backend: str = "auto", workers: int | None = None) -> pa.Table:
    """RedPajama-Data v2's signals of single lines (gpu_pile.ops.redpajama_lines): a row a line, in the order of the texts.

    Args: as of measure().

    Returns:
        text (int64, the row of its text), start and end (in code points, line feed included), then by their published
        names without rps_lines_: ending_with_terminal_punctution_mark, start_with_bulletpoint (0 or 1), num_words,
        javascript_counts (int64), uppercase_letter_fraction, numerical_chars_fraction (float64, 0 for an empty line).
    """
    device = device_for(backends.choose(backend))
    parts = _over_pieces(
        text_column(texts), workers, device, lambda piece: tuple(map(segments.to_host, redpajama_lines(piece)))
    )
    lengths = np.concatenate([np.diff(offsets) for _, offsets in parts])
    rows = np.concatenate([counts for counts, _ in parts])
    c = dict(zip(redpajama_lines.columns, rows.T, strict=True))
    return pa.table(
        {
            "text": np.repeat(np.arange(len(lengths)), lengths),
            "start": c["start"],
            "end": c["end"],
            "ending_with_terminal_punctution_mark": c["terminal"],
            "start_with_bulletpoint": c["bullet"],
            "num_words": c["words"],
            "javascript_counts": c["javascript"],
            "uppercase_letter_fraction": c["upper"] / (c["end"] - c["start"]),
            "numerical_chars_fraction": c["numeric"] / np.maximum(c["normal_chars"], 1),
        }
    )


def keep_c4_lines(texts: Any, *, backend: str = "auto", workers: int | None = None) -> pa.Array:
    """Each text with the lines that the rules of C4 keep, citation marks removed (gpu_pile.ops.c4_lines).

    Args: as of measure().

    Returns:
        large_string[n]; of a text that the rules reject, the lines kept until then.
    """
    device = device_for(backends.choose(backend))

    def kept(piece: TextColumn) -> pa.Array:
        _, data, offsets = c4_lines(piece, kept_text=True)
        return TextColumn(segments.to_host(data), segments.to_host(offsets)).to_arrow()

    return pa.concat_arrays(_over_pieces(text_column(texts), workers, device, kept))


def _over_pieces(
    text: TextColumn, workers: int | None, device: Device, function: Callable[[TextColumn], Any]
) -> list[Any]:
    """function's results for consecutive pieces of the text, uploaded to the device, in order; at least one."""
    pieces = list(text.pieces(device.batch_bytes)) or [text]

    def compute(piece: TextColumn) -> Any:
        with device.session():
            return function(device.text(piece))

    return map_threads(compute, pieces, worker_count(workers))


@dataclass(frozen=True)
class Deduplicated:
    """What dedupe() found. Rows are positions in the texts given.

    keep:       bool[n], the documents that stay
    witness:    int64[n], the kept document that a removed one duplicates; -1 for kept ones
    similarity: float64[n], to the witness; 1 for equal texts, NaN for kept documents
    cluster:    int64[n], the smallest row of the document's cluster; its own row where it has no duplicate
    pairs:      table of a, b, similarity: verified pairs of distinct texts, a < b
    """

    keep: Array
    witness: Array
    similarity: Array
    cluster: Array
    pairs: pa.Table = field(repr=False)

    def __len__(self) -> int:
        return len(self.keep)


def dedupe(
    texts: Any, threshold: float = 0.8, *, backend: str = "auto", workers: int | None = None, **options: Any
) -> Deduplicated:
    """Exact and near duplicates among texts in memory; the longest of each cluster stays, then the first.

    Args:
        texts: list[str], a column of pyarrow, pandas or cuDF, or a TextColumn.
        threshold: Jaccard similarity of shingles at which two texts are near duplicates.
        backend: auto, cpu or cuda.
        workers: threads; None for one a core.
        options: any other setting of the configuration's dedupe.fuzzy section (shingle, width, sketch, size, seed,
            bands, rows, verify, resolve).
    """
    device = device_for(backends.choose(backend))
    keep_freed_memory()
    fuzzy = Fuzzy(threshold=threshold, **options)
    return _Memory(text_column(texts), fuzzy, worker_count(workers), device).run()


class _Memory:
    def __init__(self, text: TextColumn, fuzzy: Fuzzy, workers: int, device: Device) -> None:
        self.text, self.fuzzy, self.workers, self.device = text, fuzzy, workers, device
        self.n = len(text)

    def over_pieces(self, text: TextColumn, function: Any) -> list[tuple[Array, ...]]:
        """The arrays that the function gives for each piece, in host memory."""
        return _over_pieces(
            text, self.workers, self.device, lambda piece: tuple(map(segments.to_host, function(piece)))
        )

    def run(self) -> Deduplicated:
        fuzzy, n = self.fuzzy, self.n
        options = {"kind": fuzzy.shingle, "width": fuzzy.width}

        def sketched(piece: TextColumn) -> Any:
            return (doc_hash(piece), *sketch(piece, **options, method=fuzzy.sketch, k=fuzzy.size, seed=fuzzy.seed))

        hashes, sketches, shingles = (
            np.concatenate(x) for x in zip(*self.over_pieces(self.text, sketched), strict=True)
        )
        rows = np.arange(n)
        representative = rows.copy()
        members = equal_hashes(np.column_stack([hashes, rows.astype(np.uint64)])).astype(np.int64)
        representative[members[:, 0]] = members[:, 1]

        chosen = np.flatnonzero((representative == rows) & (shingles > 0))
        bands, band_rows = (fuzzy.bands, fuzzy.rows) if fuzzy.bands else banding.choose(fuzzy.threshold, fuzzy.size)
        device = self.device
        with device.session():
            distinct = device.upload(np.ascontiguousarray(sketches[chosen]))
            keys = device.download(band_keys(distinct, bands=bands, rows=band_rows))
        records = np.stack([keys.reshape(-1), np.repeat(chosen.astype(np.uint64), bands or 0)], axis=1)
        pairs = [np.empty((0, 2), np.uint64)]
        out = np.empty((max(fuzzy.bucket_neighbours_max, 1 << 14), 2), np.uint64)
        argsort = None if device.backend == "cpu" else device.argsort
        for some in candidate_pairs(records, fuzzy.bucket_neighbours_max, out, argsort=argsort):
            pairs.append(some.copy())
        b, a = distinct_pairs(np.concatenate(pairs)).astype(np.int64).T.copy()
        if fuzzy.verify == "exact":
            similarity = self.exact_similarity(a, b)
        else:
            with device.session():
                both = device.upload(np.stack([a, b], axis=1))
                similarity = device.download(sketch_matches(device.upload(sketches), both)) / fuzzy.size
        found = similarity >= fuzzy.threshold
        return self.resolve(representative, a[found], b[found], similarity[found])

    def exact_similarity(self, a: Array, b: Array) -> Array:
        wanted = np.unique(np.concatenate([a, b]))
        if not len(wanted):
            return np.empty(0)
        sets = self.over_pieces(
            segments.take(self.text, wanted),
            lambda piece: shingle_set(piece, kind=self.fuzzy.shingle, width=self.fuzzy.width),
        )
        values = np.concatenate([s[0] for s in sets])
        offsets = np.concatenate(([0], np.cumsum(np.concatenate([np.diff(s[1]) for s in sets]))))
        both = np.stack([np.searchsorted(wanted, a), np.searchsorted(wanted, b)], axis=1)
        with self.device.session():
            counts = self.device.download(jaccard(*map(self.device.upload, (values, offsets, both))))
        return counts[:, 0] / counts[:, 1]

    def resolve(self, representative: Array, a: Array, b: Array, similarity: Array) -> Deduplicated:
        n = self.n
        rows = np.arange(n)
        device = self.device
        with device.session():
            ends = (device.upload(np.concatenate(x)) for x in ((a, rows), (b, representative)))
            component = device.download(components(*ends, n=n))
        # a set of equal texts is one node, its representative: equal texts are equally long, the first one stays
        order = np.lexsort((rows, -np.diff(segments.to_host(self.text.offsets))))
        rank = np.empty(n, np.int64)
        rank[order] = rows
        eligible = representative == rows
        if self.fuzzy.resolve == "witness":
            with device.session():
                graph = map(device.upload, (order, eligible, rank, a, b, similarity))
                kept, witness, at = map(device.download, witnesses(*graph))
        else:
            kept, witness, at = connected_survivors(order, eligible, component, a, b, similarity)
        node_witness = witness[representative]
        copy = kept[representative] & ~eligible
        witness = np.where(copy, representative, np.where(kept[representative], -1, node_witness))
        at = np.where(copy, 1.0, np.where(kept[representative], np.nan, at[representative]))
        table = pa.table({"a": a, "b": b, "similarity": similarity})
        return Deduplicated(kept, witness, at, component, table)
