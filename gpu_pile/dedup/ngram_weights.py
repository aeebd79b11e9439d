"""N-grams by how many documents have them: which are rare enough to start comparisons, and what matches weigh."""

from __future__ import annotations

import numpy as np

from gpu_pile.text.jit import jit
from gpu_pile.text.normal_form import LOGARITHMS, logarithm
from gpu_pile.text.tokens import WIDTH
from gpu_pile.types import Array

_MOST = 2**31 - 2
"""Documents that are counted, at most: `logarithm` takes less than 2^31."""


@jit
def choose_starts(windows, entries, occurrences, order, limits):
    """Choose the n-grams of texts that start comparisons.

    Args:
        windows: text t has the n-grams windows[t] .. windows[t + 1]. entries: the entry of each in a table.
        occurrences: n-grams that have an entry. order: of the n-grams by entry.
        limits: (shared, most): an n-gram that occurs more often than `shared` starts comparisons only at the texts that
            have no rarer one; and none starts more than `most`.

    Returns:
        (bool for each n-gram in the order given, whether it starts a comparison; number of texts that start none)
    """
    shared, most = limits
    wanted = np.zeros(len(entries), np.bool_)
    for t in range(len(windows) - 1):
        rarest = windows[t]
        for w in range(windows[t], windows[t + 1]):
            wanted[w] = occurrences[entries[w]] <= shared
            if occurrences[entries[w]] < occurrences[entries[rarest]]:
                rarest = w
        if windows[t] < windows[t + 1]:
            wanted[rarest] = True
    started = np.zeros(len(occurrences), np.int64)
    chosen = np.zeros(len(entries), np.bool_)
    for i in range(len(order)):
        w = order[i]
        if wanted[w] and started[entries[w]] < most:
            started[entries[w]] += 1
            chosen[i] = True
        else:
            wanted[w] = False
    passed_over = 0
    for t in range(len(windows) - 1):
        passed_over += windows[t] < windows[t + 1] and not wanted[windows[t] : windows[t + 1]].any()
    return chosen, passed_over


def entry_weights(documents: Array, n_documents: int) -> Array:
    """int64[n_entries]: ln((n_documents + 1) / documents) of each n-gram, in the unit of `logarithm`."""
    return np.asarray(_weights(documents, min(n_documents, _MOST - 1), LOGARITHMS))


@jit
def _weights(documents, n_documents, table):
    out = np.empty(len(documents), np.int64)
    most = logarithm(table, n_documents + 1)
    for e in range(len(documents)):
        out[e] = most - logarithm(table, min(max(documents[e], 1), n_documents))
    return out


@jit
def measure_pairs(bounds, text, at, length, numbers):
    """int64[n, 4] for each pair of a document and a text: tokens, weight, longest span, documents of its rarest n-gram.

    bounds: pair i has the spans bounds[i] .. bounds[i + 1]. numbers: (windows, entries, documents, weights).
    """
    windows, entries, documents, weights = numbers
    out = np.zeros((len(bounds) - 1, 4), np.int64)
    for i in range(len(bounds) - 1):
        t = text[bounds[i]]
        n = windows[t + 1] - windows[t]
        width = 0
        marks = np.zeros(n, np.bool_)
        least = np.int64(2**62)
        for s in range(bounds[i], bounds[i + 1]):
            out[i, 2] = max(out[i, 2], length[s])
            width = min(WIDTH, length[s])
            for w in range(at[s], at[s] + length[s] - width + 1):
                if not marks[w]:
                    marks[w] = True
                    out[i, 1] += weights[entries[windows[t] + w]]
                    least = min(least, documents[entries[windows[t] + w]])
        covered = 0  # tokens up to here are counted
        for w in range(n):
            if marks[w]:
                out[i, 0] += w + width - max(covered, w)
                covered = w + width
        out[i, 3] = least
    return out
