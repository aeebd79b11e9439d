"""nemo_boilerplate: paragraphs that contain phrases of cookie banners and terms of use, as NeMo Curator finds them.

    nemo_boilerplate(text) = int64[n_docs, n_columns]

Paragraphs are the pieces of t.split("\\n\\n"), so the empty document has one. Columns:

    paragraphs       how many there are
    policy           paragraphs that contain one of POLICY in lower case
    lorem            paragraphs that contain "lorem ipsum" in lower case

Lower case is Unicode's: U+212A, the sign of the unit kelvin, becomes k. No other character outside ASCII becomes a
letter of the phrases: U+0130 becomes i and a mark, and no phrase ends with i.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpu_pile.gpu.launch import launch_warps
from gpu_pile.gpu.segments import Segments, constant, exclusive_sum, paragraphs
from gpu_pile.ops.op import Op
from gpu_pile.text import unicode_reference
from gpu_pile.text.column import TextColumn
from gpu_pile.text.jit import jit
from gpu_pile.text.simd import byte_at
from gpu_pile.types import Array

LOREM = "lorem ipsum"
POLICY = (
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "privacy overview",
    "use of cookies",
    "use cookies",
    "privacy & cookies policy",
    "privacy and cookies policy",
    "necessary cookies are absolutely essential for the website to function properly. this category only includes "
    "cookies that ensures basic functionalities and security features of the website. these cookies do not store any "
    "personal information.",
    "any cookies that may not be particularly necessary for the website to function and is used specifically to "
    "collect user personal data via analytics, ads, other embedded contents are termed as non-necessary cookies. it is "
    "mandatory to procure user consent prior to running these cookies on your website.",
    "if you continue to browse this site without changing your cookie settings, you agree to this use. acceptread more",
)
"""NeMo Curator's policy_substrings, without the two that contain "uses cookies" and so change no result."""

nemo_boilerplate = Op(
    "nemo_boilerplate",
    version=1,
    columns=("paragraphs", "policy", "lorem"),
    documents=(
        "\n",
        "\n\n",
        "\n\n\n",
        "\n\n\n\n",
        "a\n\nb\n\n\nc",
        *(f"x{p}x\n\n{p[1:]}\n\n{p[:-1]}\n\n{p.upper()}" for p in (LOREM, *POLICY)),
        "Terms of\nuse\n\nterms  of use\n\nterms of use terms of use\n\nPRIVACY policy, cookie policy",
        "uses coo\u212aies\n\nuse coo\u212aies\n\nprivacy and coo\u212aies policy\n\n\u212a\n\ncoo\u212bies\n\n\u2122",
        "use of use of cookies\n\nuses use cookies\n\nprivacy privacy & cookies policy\n\ncookies policy\n\nse cookies",
        "pr\u0130vacy policy\n\npr\u0131vacy policy\n\nlorem ipsu\u1d50\n\nlorem  ipsum\n\nLOREM IPSUM",
        "terms of use\n\n\nlorem ipsum\n\n\n\nuse of cookie",
        "é" * 20 + "privacy policy" + "漢" * 9 + "\n\nterms of usé",
        POLICY[9].replace("k", "\u212a") + "\n\n" + POLICY[10].replace("k", "\u212a"),
        "necessary " * 4 + POLICY[9],
        "\u212a" * 3 + "terms of use\n",
        "privacy policy",
        "rivacy policy\n",
        "\u212a",
    ),
)
C = nemo_boilerplate.index


@nemo_boilerplate.reference
def _reference(text: TextColumn) -> Array:
    rows = []
    for d in text.documents():
        pieces = [unicode_reference.lower(p) for p in d.decode().split("\n\n")]
        rows.append([len(pieces), sum(any(s in p for s in POLICY) for p in pieces), sum(LOREM in p for p in pieces)])
    return np.array(rows, np.int64).reshape(-1, len(C))


_LINE_FEED = ord("\n")
_KELVIN = tuple("\u212a".encode())
_WIDTH = 32
"""Classes of characters; class 0 is for characters that are in none of the texts."""


def _automaton() -> tuple[Array, Array, int, int, int]:
    """Build Aho and Corasick's automaton of all texts.

    Returns (class of each byte, table, special, is_policy, after_feed). The table gives the next state * _WIDTH for
    state * _WIDTH + class. Special states come last, in this order: "lorem ipsum" has just ended; after_feed, after a
    line feed; after a byte that U+212A may begin with (these two continue like the first state); from is_policy on, a
    text of POLICY has just ended.
    """
    letters = sorted({c for p in (LOREM, *POLICY) for c in p})
    feed, kelvin = len(letters) + 1, len(letters) + 2
    assert kelvin < _WIDTH
    classes = np.zeros(256, np.uint8)
    for i, letter in enumerate(letters):
        classes[ord(letter)] = classes[ord(letter.upper())] = i + 1
    classes[_LINE_FEED], classes[_KELVIN[0]] = feed, kelvin

    table, queue, ends = _transitions(classes)
    plain = [s for s in queue if s not in ends]
    lorem = [s for s in queue if ends.get(s) == LOREM]
    policy = [s for s in queue if ends.get(s, LOREM) != LOREM]
    n = len(table)
    order = [*plain, *lorem, n, n + 1, *policy]  # n: after a line feed; n + 1: after the first byte of U+212A
    table = np.concatenate((table, table[[0, 0]]))
    table[:, feed], table[:, kelvin] = n, n + 1
    numbers = np.empty(n + 2, np.int64)
    numbers[order] = np.arange(n + 2)
    table = numbers[table[order]] * _WIDTH
    assert table.max() < 1 << 16
    after_feed = int(numbers[n]) * _WIDTH
    return classes, table.reshape(-1).astype(np.uint16), len(plain) * _WIDTH, after_feed + 2 * _WIDTH, after_feed


def _trie(classes: Array) -> tuple[list[dict[int, int]], dict[int, str]]:
    """Return (the next states of each state by class of letter, the texts that end in states)."""
    edges: list[dict[int, int]] = [{}]
    ends: dict[int, str] = {}
    for pattern in (LOREM, *POLICY):
        state = 0
        for letter in classes[list(pattern.encode())].tolist():
            if letter not in edges[state]:
                edges[state][letter] = len(edges)
                edges.append({})
            state = edges[state][letter]
        ends[state] = pattern
    return edges, ends


def _transitions(classes: Array) -> tuple[Array, list[int], dict[int, str]]:
    """Return (the next state for state and class, the states by length of their text, the texts that end in states)."""
    edges, ends = _trie(classes)
    table = np.zeros((len(edges), _WIDTH), np.int64)
    shorter = [0] * len(edges)  # the state of the longest suffix of this state's text that has a state
    queue = [0]
    for state in queue:
        if shorter[state] in ends:
            ends.setdefault(state, ends[shorter[state]])
        table[state] = table[shorter[state]] if state else 0
        for letter_class, following in edges[state].items():
            shorter[following] = int(table[shorter[state], letter_class]) if state else 0
            table[state, letter_class] = following
            queue.append(following)
    return table, queue, ends


_CLASSES, _NEXT, _SPECIAL, _IS_POLICY, _AFTER_FEED = _automaton()
_K = int(_CLASSES[ord("k")])


@jit
def _count(data, offsets, classes, table, out):
    for d in range(len(offsets) - 1):
        i, end = offsets[d], offsets[d + 1]
        paragraphs, policies, lorems = 1, 0, 0
        policy = lorem = pending = False  # pending: the last line feed is not part of a separator
        state = np.int64(0)
        while i < end:
            before = state
            state = np.int64(table[before + classes[byte_at(data, i)]])
            i += 1
            if state < _SPECIAL:
                continue
            if state == _AFTER_FEED:
                if pending and data[i - 2] == _LINE_FEED:
                    paragraphs += 1
                    policies += policy
                    lorems += lorem
                    policy = lorem = pending = False
                else:
                    pending = True
            elif state >= _IS_POLICY:
                policy = True
            elif state < _AFTER_FEED:
                lorem = True
            elif i + 2 <= end and data[i] == _KELVIN[1] and data[i + 1] == _KELVIN[2]:
                # no text ends with k
                state = np.int64(table[before + _K])
                i += 2
        row = out[d]
        row[C.paragraphs], row[C.policy], row[C.lorem] = paragraphs, policies + policy, lorems + lorem


@nemo_boilerplate.cpu
def _cpu(text: TextColumn) -> Array:
    out = np.empty((len(text), len(C)), np.int64)
    _count(text.data, text.offsets, _CLASSES, _NEXT, out)
    return out


_LOREM_BIT, _POLICY_BIT = 1, 2
"""What kernels/nemo_boilerplate.cu sets for a paragraph."""
_TEXTS = np.frombuffer("".join((LOREM, *POLICY)).encode(), np.uint8).copy()
_BOUNDS = np.cumsum([0, len(LOREM), *map(len, POLICY)], dtype=np.int64)


@nemo_boilerplate.cuda
def _cuda(xp: Any, text: TextColumn) -> Array:
    bounds, first, _ = paragraphs(xp, text)
    texts = xp.zeros(len(bounds), np.uint32)
    segments = Segments.of(xp, bounds[:, 1] - bounds[:, 0])
    launch_warps(
        "nemo_boilerplate", "boilerplate_segments", segments.count, text.data, bounds, *segments.args,
        constant(xp, _TEXTS), constant(xp, _BOUNDS), len(_BOUNDS) - 1, texts,
    )  # fmt: skip
    out = xp.empty((len(text), len(C)), np.int64)
    out[:, C.paragraphs] = xp.diff(first)
    for column, bit in ((C.policy, _POLICY_BIT), (C.lorem, _LOREM_BIT)):
        out[:, column] = xp.diff(exclusive_sum(xp, (texts & bit > 0).astype(np.int64))[first])
    return out
