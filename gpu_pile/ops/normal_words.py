"""normal_words: the lower-cased words of each document, joined by one space; a document without words is not changed.

    normal_words(text) = (data uint8[n_bytes], offsets int64[n_docs + 1]), the buffers of a TextColumn

Words are gpu_pile.text.unicode_reference.words(document): runs of \\w of the text, lower-cased code point by code
point. Two documents have equal normal forms exactly when they have equal words, or no words and equal bytes.
Lower-casing can lengthen a text, by at most half (U+023A has two bytes, its lower case U+2C65 three).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpu_pile.gpu.launch import launch_warps
from gpu_pile.gpu.segments import Segments, exclusive_sum, gather, word_tables
from gpu_pile.ops.op import Op
from gpu_pile.text import unicode, unicode_reference
from gpu_pile.text.column import TextColumn
from gpu_pile.text.jit import jit
from gpu_pile.types import Array

normal_words = Op(
    "normal_words",
    version=2,
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
    ),
)


@normal_words.reference
def _reference(text: TextColumn) -> tuple[Array, Array]:
    out = TextColumn.from_documents([" ".join(unicode_reference.words(d.decode())) or d for d in text.documents()])
    return out.data, out.offsets


_WORD = unicode.WORD

_ASCII_LOWER = np.array(
    [ord(chr(c).lower()) if unicode.ASCII_FLAGS[c] & unicode.WORD else 0 for c in range(128)], np.uint8
)

_BEYOND_ASCII, _SPACE, _CAPITAL_I_DOT = 0x80, ord(" "), ord("İ")


@jit
def _normalize(data, offsets, tables, out, bounds):
    ascii_lower, flag_stage, flag_leaves, lower_stage, lower_leaves = tables
    o = 0
    for d in range(len(offsets) - 1):
        start = o
        gap = False  # a separator is due before the next word character
        i, end = offsets[d], offsets[d + 1]
        while i < end:
            b = data[i]
            if b < _BEYOND_ASCII:
                i += 1
                folded = ascii_lower[b]
                if folded == 0:
                    gap = True
                    continue
                if gap and o > start:
                    out[o] = _SPACE
                    o += 1
                gap = False
                out[o] = folded
                o += 1
                continue
            c, n = unicode.decode_at(data, i)
            i += n
            if unicode.table_value(flag_stage, flag_leaves, c) & _WORD == 0:
                gap = True
                continue
            if gap and o > start:
                out[o] = _SPACE
                o += 1
            gap = c == _CAPITAL_I_DOT  # its lower case is "i" and a mark that is not a word character
            c += unicode.table_value(lower_stage, lower_leaves, c)
            o = unicode.put_code_point(out, o, c)
        if o == start:
            n = offsets[d + 1] - offsets[d]
            out[o : o + n] = data[offsets[d] : offsets[d + 1]]
            o += n
        bounds[d + 1] = o
    return o


@normal_words.cpu
def _cpu(text: TextColumn) -> tuple[Array, Array]:
    out = np.empty(text.n_bytes + text.n_bytes // 2 + 8, np.uint8)
    offsets = np.zeros(len(text) + 1, np.int64)
    tables = _ASCII_LOWER, unicode.FLAG_STAGE, unicode.FLAG_LEAVES, unicode.LOWER_STAGE, unicode.LOWER_LEAVES
    n = _normalize(text.data, text.offsets, tables, out, offsets)
    return out[:n].copy(), offsets


@normal_words.cuda
def _cuda(xp: Any, text: TextColumn) -> tuple[Array, Array]:
    segments = Segments.of(xp, xp.diff(text.offsets))
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
