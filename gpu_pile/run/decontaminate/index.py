"""The n-grams of evaluation items, and which texts have them where.

An n-gram that is in many texts of the evaluation sets, such as "answer the following question with yes or", says little
about which of them a document has, and would cost a comparison with each. So from SHARED_MAX texts on it starts none,
unless a text has no rarer one: each text keeps its rarest n-gram.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gpu_pile.dedup.ngram_weights import choose_starts
from gpu_pile.run.decontaminate.items import Items
from gpu_pile.text.ngram_table import NgramTable
from gpu_pile.text.token_spans import Starts
from gpu_pile.text.tokens import WIDTH, ngram_keys
from gpu_pile.types import Array

SHARED_MAX = 16
"""Places in the evaluation sets that an n-gram may have to start comparisons at all of them."""
CANDIDATES_MAX = 1024
"""Places at which an n-gram starts comparisons, at most, those of texts without a rarer one included."""


class Index(NamedTuple):
    """What documents are compared with.

    table, widths: for the operation ngram_hits
    windows: int64[n_texts + 1], text t has the n-grams windows[t] .. windows[t + 1], in its order
    entries: uint32[n], the entry of each n-gram in the table
    starts:  where entries start comparisons
    passed_over: texts that start no comparison, because CANDIDATES_MAX others have each of their n-grams
    """

    table: NgramTable
    widths: tuple[int, ...]
    windows: Array
    entries: Array
    starts: Starts
    passed_over: int


def build_index(items: Items) -> Index:
    tokens = items.tokens
    lengths = np.diff(tokens.first)
    width = np.minimum(lengths, WIDTH)
    counts = np.where(items.searched, lengths - width + 1, 0)
    windows = np.concatenate(([0], np.cumsum(counts)))
    keys, texts, at = ngram_keys(tokens.first, tokens.sums, windows, width)
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    new = np.ones(len(keys), bool)
    new[1:] = keys[1:] != keys[:-1]
    entry = np.cumsum(new) - 1
    entries = np.empty(len(keys), np.uint32)
    entries[order] = entry
    occurrences = np.bincount(entry, minlength=int(new.sum())).astype(np.int64)
    chosen, passed_over = choose_starts(windows, entries, occurrences, order, (SHARED_MAX, CANDIDATES_MAX))
    first = np.concatenate(([0], np.cumsum(np.bincount(entry[chosen], minlength=len(occurrences)))))
    places = order[chosen]
    widths = tuple(int(w) for w in np.unique(width[items.searched]))
    table = NgramTable.of(keys[new])
    return Index(table, widths or (WIDTH,), windows, entries, Starts(first, texts[places], at[places]), passed_over)
