"""doc_hash: a 128-bit hash of each document's bytes.

    doc_hash(text) = uint64[n_docs, 2]

All arithmetic is modulo 2^64. A document of n bytes is padded with zero bytes to whole 8-byte little-endian words
w[0], w[1], ... With mix = gpu_pile.text.hashing.mix64 and the constants below,

    lane j = sum over i of mix((w[i] + (i + 1) * STEP[j]) ^ KEY[j])          j = 0, 1
    result[j] = mix(lane j + n * LENGTH[j])

Each word is combined with its position and mixed before it is added, and mix is not linear, so swapped or repeated
words change the sum. A sum can be taken in any order: segments of a long document are hashed in parallel and added.
An empty document hashes its length, 0. The hash is not cryptographic: collisions can be made, so documents of equal
hash are compared by a cryptographic digest before one of them is removed (gpu_pile.dedup.engine).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpu_pile.gpu.launch import launch_threads, launch_warps
from gpu_pile.gpu.segments import Segments
from gpu_pile.ops.op import Op
from gpu_pile.text.column import TextColumn
from gpu_pile.text.hashing import M64, mix64, mix64_int
from gpu_pile.text.jit import jit
from gpu_pile.text.simd import load_u64
from gpu_pile.types import Array

STEP = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F)
KEY = (0x243F6A8885A308D3, 0x13198A2E03707344)
LENGTH = (0xA0761D6478BD642F, 0xE7037ED1A0B428DB)

doc_hash = Op(
    "doc_hash",
    version=1,
    documents=(
        b"\x00",
        b"\x00" * 8,
        b"\x00" * 9,
        "a",
        "1234567",
        "12345678",
        "123456789",
        "12345678" * 2,
        "1234567812345679",
        "x" * 31,
        "x" * 32,
        "x" * 33,
        "x" * 1000,
        "é漢😀",
    ),
)


@doc_hash.reference
def _reference(text: TextColumn) -> Array:
    out = []
    for document in text.documents():
        padded = document + b"\x00" * (-len(document) % 8)
        words = [int.from_bytes(padded[i : i + 8], "little") for i in range(0, len(padded), 8)]
        for j in (0, 1):
            lane = sum(mix64_int(((w + (i + 1) * STEP[j]) & M64) ^ KEY[j]) for i, w in enumerate(words))
            out.append(mix64_int((lane + len(document) * LENGTH[j]) & M64))
    return np.array(out, np.uint64).reshape(-1, 2)


_S0, _S1, _K0, _K1, _L0, _L1 = (np.uint64(c) for c in (*STEP, *KEY, *LENGTH))


@jit
def hash_spans(data, starts, ends, out):
    """Write the hashes of data[starts[d]:ends[d]] to out, uint64[n, 2], as if each were a document."""
    for d in range(len(starts)):
        start, end = starts[d], ends[d]
        whole = (end - start) >> 3
        a = b = p = q = np.uint64(0)
        for i in range(whole):
            w = load_u64(data, start + 8 * i)
            p += _S0
            q += _S1
            a += mix64((w + p) ^ _K0)
            b += mix64((w + q) ^ _K1)
        if (end - start) & 7:
            w = np.uint64(0)
            for i in range(end - 1, start + 8 * whole - 1, -1):
                w = (w << np.uint64(8)) | np.uint64(data[i])
            a += mix64((w + p + _S0) ^ _K0)
            b += mix64((w + q + _S1) ^ _K1)
        n = np.uint64(end - start)
        out[d, 0] = mix64(a + n * _L0)
        out[d, 1] = mix64(b + n * _L1)


@doc_hash.cpu
def _cpu(text: TextColumn) -> Array:
    out = np.empty((len(text), 2), np.uint64)
    hash_spans(text.data, text.offsets[:-1], text.offsets[1:], out)
    return out


@doc_hash.cuda
def _cuda(xp: Any, text: TextColumn) -> Array:
    out = xp.zeros((len(text), 2), np.uint64)
    segments = Segments.of_text(xp, text)
    launch_warps(
        "doc_hash", "doc_hash_segments", segments.count, text.data, text.n_bytes, text.offsets, *segments.args, out
    )
    launch_threads("doc_hash", "doc_hash_finish", len(text), text.offsets, len(text), out)
    return out
