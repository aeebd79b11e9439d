"""band_keys: one 64-bit key per band of a sketch; two documents with an equal key are a candidate pair.

    band_keys(sketches uint32[n_docs, k], bands=b, rows=r) = uint64[n_docs, b],  b * r <= k

Arithmetic modulo 2^64, mix is gpu_pile.text.hashing.mix64. Band j covers positions j * r .. j * r + r - 1:

    key = mix(j + 1); for each value v of the band: key = mix(key ^ v)

Equal values in different bands give different keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gpu_pile.gpu.launch import launch_threads
from gpu_pile.ops.op import Op
from gpu_pile.ops.sketch import sketch
from gpu_pile.text.column import TextColumn
from gpu_pile.text.hashing import mix64, mix64_int
from gpu_pile.text.jit import jit
from gpu_pile.text.shingles import DOCUMENTS
from gpu_pile.types import Array


def _inputs(text: TextColumn, params: Mapping[str, Any]) -> tuple[Any, ...]:
    return (sketch.run("cpu", text)[0],)


band_keys = Op(
    "band_keys",
    version=1,
    samples=({"bands": 16, "rows": 8}, {"bands": 25, "rows": 5}, {"bands": 1, "rows": 128}, {"bands": 128, "rows": 1}),
    documents=DOCUMENTS,
    inputs=_inputs,
)


@band_keys.reference
def _reference(sketches: Array, bands: int, rows: int) -> Array:
    out = []
    for values in sketches.tolist():
        for j in range(bands):
            key = mix64_int(j + 1)
            for v in values[j * rows : (j + 1) * rows]:
                key = mix64_int(key ^ v)
            out.append(key)
    return np.array(out, np.uint64).reshape(-1, bands)


@jit
def _keys(sketches, bands, rows, out):
    for d in range(len(sketches)):
        for j in range(bands):
            key = mix64(np.uint64(j + 1))
            for i in range(j * rows, (j + 1) * rows):
                key = mix64(key ^ np.uint64(sketches[d, i]))
            out[d, j] = key


def _check(sketches: Array, bands: int, rows: int) -> None:
    if bands * rows > sketches.shape[1]:
        raise ValueError(
            f"{bands} bands of {rows} rows need {bands * rows} values per sketch, and these sketches have "
            f"{sketches.shape[1]}; choose fewer bands or rows, or a larger sketch"
        )


@band_keys.cpu
def _cpu(sketches: Array, bands: int, rows: int) -> Array:
    _check(sketches, bands, rows)
    out = np.empty((len(sketches), bands), np.uint64)
    _keys(sketches, bands, rows, out)
    return out


@band_keys.cuda
def _cuda(xp: Any, sketches: Array, bands: int, rows: int) -> Array:
    _check(sketches, bands, rows)
    n, k = sketches.shape
    out = xp.empty((n, bands), np.uint64)
    launch_threads("band_keys", "band_keys", n * bands, xp.ascontiguousarray(sketches), n, k, bands, rows, out)
    return out
