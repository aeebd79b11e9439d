"""ngram_hits: where n-grams of a table occur in documents.

    ngram_hits(text, keys uint64[n], starts uint32, filter uint64, widths=(8,))
        = (first int64[n_docs + 1], places int64[hits], entries int64[hits])

The table is a gpu_pile.text.ngram_table.NgramTable. Tokens are those of gpu_pile.text.tokens: case, accents, white
space and punctuation do not count. Document d has the hits first[d] .. first[d + 1], in the order of its tokens: from
token places[i] on (0 is the document's first), the next tokens have the key keys[entries[i]], which was made of as many
tokens as one of the widths says. Several hits at one token are in the order of the widths. Keys are 64-bit hashes: a
caller that needs certainty compares the tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gpu_pile.gpu.launch import launch_threads
from gpu_pile.gpu.segments import Segments, constants, count_then_write, exclusive_sum
from gpu_pile.ops.op import Op
from gpu_pile.text.blocks import padded
from gpu_pile.text.column import TextColumn
from gpu_pile.text.jit import inlined, leaf
from gpu_pile.text.lower_words import longest
from gpu_pile.text.ngram_table import NgramTable, find, may_have, place_of, shift_of
from gpu_pile.text.simd import item, prefetch, set_item
from gpu_pile.text.tokens import (
    HASHED_BYTES,
    TABLES,
    WIDTH,
    Tokens,
    find_tokens,
    hash_tokens,
    ngram_key,
    ngram_keys,
    power_of,
    reference_keys,
    reference_tokens,
    split_tokens,
)
from gpu_pile.types import Array, DeviceArray


def _inputs(text: TextColumn, params: Mapping[str, Any]) -> tuple[Any, ...]:
    """Look for every other n-gram of the documents."""
    tokens = Tokens(*split_tokens(padded(text.data), text.offsets, TABLES))
    found = [np.empty(0, np.uint64)]
    for width in params.get("widths", (WIDTH,)):
        counts = np.maximum(np.diff(tokens.first) - width + 1, 0)
        windows = np.concatenate(([0], np.cumsum(counts)))
        found.append(ngram_keys(tokens.first, tokens.sums, windows, np.full(len(counts), width))[0])
    return (text, *NgramTable.of(np.unique(np.concatenate(found))[::2].copy()))


ngram_hits = Op(
    "ngram_hits",
    version=1,
    samples=({"widths": (8,)}, {"widths": (1,)}, {"widths": (1, 2, 5)}),
    documents=(
        "a",
        "one two three four five six seven eight",
        "One, TWO;\nthree -- four\tfive (six) [seven] eight nine ten eleven twelve!",
        "Straße STRASSE strasse \ufb01ne FINE Stra\u00adße",
        "Stra\u00dfe \u0130stanbul \u0131s ISTANBUL",
        "caf\u00e9 cafe\u0301 CAFE\u0301\u0323 cafe",
        "\u0301\u00ad \u0301a\u0301 b\u00ad\u00adc \u00ad",
        "漢字かなカナ漢字 abc漢字abc 漢\u0301字",
        "한국어 한국어 값 각각",
        "हिन्दी भाषा ภาษาไทย ภาษา",
        "under_score don't 3.14 x² Ⅻ",
        "x" * 200 + " " + "x" * 64 + " " + "x" * 65 + " " + "é" * 90,
        "\U0001d400\U0001d401 a😀b",
        "a b c d e f g h " * 30,
        " ".join(str(i * i % 100) for i in range(300)),
        "\x00a\x00b\x7f",
    ),
    inputs=_inputs,
)


@ngram_hits.reference
def _reference(
    text: TextColumn, keys: Array, starts: Array, filter: Array, widths: Sequence[int] = (WIDTH,)
) -> tuple[Array, Array, Array]:
    entry = {k: e for e, k in enumerate(keys.tolist())}
    first, hits = [0], []
    for document in text.documents():
        tokens = reference_tokens(document)
        by_width = [reference_keys(tokens, w) for w in widths]
        for t in range(len(tokens)):
            hits += [(t, entry[own[t]]) for own in by_width if t < len(own) and own[t] in entry]
        first.append(len(hits))
    places, entries = (np.array([h[k] for h in hits], np.int64) for k in (0, 1))
    return np.array(first, np.int64), places, entries


_AHEAD = 32
"""Keys whose words of the filter are fetched before the first of them is looked up: most words are in no cache."""


@leaf
def _look_up(sums, n, table, hits):
    """Write the hits of a document with n tokens to `hits` as (token, entry). Return how many there are, which may be
    more than fit. sums: of hash_tokens; overwritten if there is one width."""
    keys, starts, words, start_shift, word_shift, widths = table
    n_hits = 0
    if len(widths) > 1:
        for t in range(n):
            for k in range(len(widths)):
                width = item(widths, k)
                if t + width <= n:
                    key = ngram_key(sums, t, width, power_of(width))
                    if may_have(words, word_shift, key):
                        n_hits = _add_hit(hits, n_hits, t, find(keys, starts, start_shift, key))
        return n_hits
    width = widths[0]
    power = power_of(width)
    for base in range(0, n - width + 1, _AHEAD):
        stop = min(base + _AHEAD, n - width + 1)
        for t in range(base, stop):
            key = ngram_key(sums, t, width, power)
            set_item(sums, t, key)
            prefetch(words, place_of(key, word_shift))
        for t in range(base, stop):
            if may_have(words, word_shift, item(sums, t)):
                n_hits = _add_hit(hits, n_hits, t, find(keys, starts, start_shift, item(sums, t)))
    return n_hits


@inlined
def _add_hit(hits, n, token, entry):
    """Add a hit, if there is an entry and room. Return how many there are then."""
    if entry < 0:
        return n
    if 2 * n + 1 < len(hits):
        set_item(hits, 2 * n, token)
        set_item(hits, 2 * n + 1, entry)
    return n + 1


@leaf
def _find_hits(data, offsets, d, buffers, table, first, hits):
    """Find the hits of the documents from d on. Return the first document whose hits do not fit, or their number."""
    tables, edges, scratch, sums = buffers
    n_docs = len(offsets) - 1
    while d < n_docs:
        n = find_tokens(data, offsets[d], offsets[d + 1], tables, edges)
        hash_tokens(data, edges, n, tables, scratch, sums)
        n_hits = _look_up(sums, n, table, hits[2 * first[d] :])
        first[d + 1] = first[d] + n_hits
        if 2 * first[d + 1] > len(hits):
            return d
        d += 1
    return n_docs


@ngram_hits.cpu
def _cpu(
    text: TextColumn, keys: Array, starts: Array, filter: Array, widths: Sequence[int] = (WIDTH,)
) -> tuple[Array, Array, Array]:
    size = longest(text.offsets)
    scratch = np.zeros(2 * HASHED_BYTES, np.uint8)
    buffers = (TABLES, np.empty(size + 2, np.int64), scratch, np.empty(size // 2 + 2, np.uint64))
    table = (keys, starts, filter, shift_of(starts), shift_of(filter), np.array(widths, np.int64))
    first, hits = np.zeros(len(text) + 1, np.int64), np.empty(1024, np.int64)
    data, d = padded(text.data), 0
    while (d := _find_hits(data, text.offsets, d, buffers, table, first, hits)) < len(text):
        larger = np.empty(2 * max(len(hits), int(first[d + 1])), np.int64)
        larger[: 2 * first[d]] = hits[: 2 * first[d]]
        hits = larger
    found = hits[: 2 * first[-1]].reshape(-1, 2)
    return first, found[:, 0].copy(), found[:, 1].copy()


@ngram_hits.cuda
def _cuda(
    xp: Any, text: TextColumn, keys: Array, starts: Array, filter: Array, widths: Sequence[int] = (WIDTH,)
) -> tuple[DeviceArray, DeviceArray, DeviceArray]:
    segments = Segments.of_text(xp, text)
    inputs = (text.data, text.offsets, *segments.args, *constants(xp, TABLES[:2]))
    parts = constants(xp, TABLES[2:])
    kernels = "count_tokens", "hash_tokens"
    before, hashes = count_then_write(xp, "ngram_hits", kernels, segments, inputs, np.uint64, write_inputs=parts)
    n, n_widths = len(hashes), len(widths)
    asked = xp.asarray(np.array(widths, np.int64))
    shifts = shift_of(starts), shift_of(filter)
    found = xp.empty((n, n_widths), np.int64)
    launch_threads(
        "ngram_hits", "look_up_ngrams", n, hashes, n, before, len(text), asked, n_widths, keys, starts, filter, *shifts,
        found,
    )  # fmt: skip
    places = xp.flatnonzero(found.reshape(-1) >= 0)
    tokens = places // n_widths
    hits_before = exclusive_sum(xp, (found >= 0).sum(axis=1).astype(np.int64)) if n else xp.zeros(1, np.int64)
    owners = xp.searchsorted(before[1:], tokens, side="right")
    return hits_before[before], tokens - before[owners], found.reshape(-1)[places]
