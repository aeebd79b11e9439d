"""normal_words: the lower-cased words of each document, joined by one space; a document without words is not changed.

    normal_words(text) = (data uint8[n_bytes], offsets int64[n_docs + 1]), the buffers of a TextColumn

Words are gpu_pile.text.unicode_reference.marked_words(document): runs of \\w of the text with their combining marks,
lower-cased code point by code point. Two documents have equal normal forms exactly when they have equal words, or no
words and equal bytes. Lower-casing can lengthen a text, by at most half (U+023A has two bytes, its lower case U+2C65
three).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpu_pile.gpu.launch import launch_warps
from gpu_pile.gpu.segments import Segments, exclusive_sum, gather, word_tables
from gpu_pile.ops.op import Op
from gpu_pile.text import unicode_reference
from gpu_pile.text.blocks import padded
from gpu_pile.text.column import TextColumn
from gpu_pile.text.jit import leaf
from gpu_pile.text.lower_words import MARKED, TABLES, find_lower_words, longest, room_for_words
from gpu_pile.text.simd import SLACK, copy_32, item, set_item
from gpu_pile.types import Array

normal_words = Op(
    "normal_words",
    version=3,
    documents=(
        "a",
        " a",
        "a ",
        "A  B\n\nc",
        "...",
        "under_score x-y z",
        "Ⱥ" * 40,
        "İstanbul aİ İ",
        "Kelvin \u212a Ångström \u212b",
        "e\u0301 é",
        "漢字、かな",
        "x\x00y",
        "ΑΣ ΣΑ",
        "😀a😀",
        "😀😀",
        " → ∑\n",
        "राम की गाय",
        "राम का गाया",
        "\u0301 \u0301a\u0301\u0302b 字\u0301c \u0301",
        "a" + "\u0301" * 70 + "b " + "\u0301" * 70 + "c",
        "İ\u0301İ",
        "❤\ufe0f a\ufe0f",
    ),
)


@normal_words.reference
def _reference(text: TextColumn) -> tuple[Array, Array]:
    out = TextColumn.from_documents(
        [" ".join(unicode_reference.marked_words(d.decode())) or d for d in text.documents()]
    )
    return out.data, out.offsets


_GAP = ord(" ")


@leaf
def _join(words, n, out, o):
    """Write n words to out from o on, spaces between them. Return where they end."""
    text, edges = words
    for w in range(n):
        start, end = item(edges, 2 * w), item(edges, 2 * w + 1)
        for k in range(0, end - start, 32):
            copy_32(out, o + k, text, start + k)
        o += end - start
        set_item(out, o, np.uint8(_GAP))
        o += 1
    return o - 1


@leaf
def _normalize(data, offsets, tables, words, out, bounds):
    o = 0
    for d in range(len(offsets) - 1):
        start, end = offsets[d], offsets[d + 1]
        n = find_lower_words(data, start, end, tables, words, MARKED)
        if n:
            o = _join(words, n, out, o)
        else:
            for i in range(start, end):
                out[o + i - start] = data[i]
            o += end - start
        bounds[d + 1] = o
    return o


@normal_words.cpu
def _cpu(text: TextColumn) -> tuple[Array, Array]:
    out = np.empty(text.n_bytes + text.n_bytes // 2 + SLACK, np.uint8)
    offsets = np.zeros(len(text) + 1, np.int64)
    words = room_for_words(longest(text.offsets))
    n = _normalize(padded(text.data), text.offsets, TABLES, words, out, offsets)
    return out[:n].copy(), offsets


@normal_words.cuda
def _cuda(xp: Any, text: TextColumn) -> tuple[Array, Array]:
    segments = Segments.of_text(xp, text)
    documents = (text.data, text.offsets, *segments.args, *word_tables(xp))
    n_bytes, n_words = xp.empty(segments.count, np.int64), xp.empty(segments.count, np.int64)
    launch_warps("normal_words", "normal_words_count", segments.count, *documents, n_bytes, n_words)
    bytes_before, words_before = exclusive_sum(xp, n_bytes), exclusive_sum(xp, n_words)
    words = xp.diff(words_before[segments.first])
    offsets = exclusive_sum(xp, xp.diff(bytes_before[segments.first]) + xp.maximum(words - 1, 0))
    out = xp.empty(int(offsets[-1]), np.uint8)
    launch_warps(
        "normal_words", "normal_words_write", segments.count, *documents, bytes_before, words_before, offsets, out
    )
    sizes = xp.diff(text.offsets)
    wordless = (words == 0) & (sizes > 0)
    if not bool(wordless.any()):
        return out, offsets
    starts = xp.where(wordless, len(out) + text.offsets[:-1], offsets[:-1])
    return gather(xp, xp.concatenate((out, text.data)), starts, xp.where(wordless, sizes, xp.diff(offsets)))
