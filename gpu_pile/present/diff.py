"""The differences of two texts as segments, for people to read.

difflib compares the words, and where words are equal, the white space after them. Where that would take long, lines are
compared first, and words only inside the lines that differ. No decision depends on this: similarity is counted on
shingles (gpu_pile.ops.jaccard).
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from gpu_pile.present.tables import MONOSPACE, html_text

Segment = tuple[str, str]
"""(kind, text): "equal", "removed" (in the first text only) or "added" (in the second only)."""

MATCHES_MAX = 200_000
"""Pairs of equal words, one in each text, up to which difflib is exact; beyond that it ignores frequent words."""

WORDS_MAX = 25_000_000
"""Most pairs of words to compare; where there are more, everything from the first to the last difference is marked."""

Token = tuple[str, str]
"""A word or punctuation mark, and the white space after it."""


def difference(first: str, second: str) -> list[Segment]:
    """Segments: the equal and removed ones joined are the first text, the equal and added ones the second."""
    out: list[Segment] = []
    a, b = _tokens(first), _tokens(second)
    if _matches(a, b) <= MATCHES_MAX:
        _compare_words(out, a, b)
        return out
    x, y = first.splitlines(keepends=True), second.splitlines(keepends=True)
    for kind, i, j, k, m in _opcodes(x, y, junk=lambda line: not line.strip()):
        if kind == "equal":
            _append(out, "equal", "".join(x[i:j]))
        else:
            _compare_words(out, _tokens("".join(x[i:j])), _tokens("".join(y[k:m])))
    return out


_ALONE = (
    "[\u0e00-\u109f\u1780-\u17ff\u3005-\u30ff\u31f0-\u31ff\u3400-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]"
)
"""Characters of scripts without spaces between words, about: each is compared as a word."""

_TOKEN = re.compile(rf"({_ALONE}|(?:(?!{_ALONE})\w)+|[^\w\s]|^)(\s*)")


def _tokens(text: str) -> list[Token]:
    tokens = _TOKEN.findall(text)
    return [token for token in tokens if token != ("", "")]


def _matches(a: Sequence[Token], b: Sequence[Token]) -> int:
    """The number of pairs of equal words between the first and the last difference, which difflib looks at."""
    head, tail = _common(a, b)
    first, second = (Counter(word for word, _ in tokens[head : len(tokens) - tail]) for tokens in (a, b))
    return sum(n * second[word] for word, n in first.items())


def _compare_words(out: list[Segment], a: Sequence[Token], b: Sequence[Token]) -> None:
    """Append the segments of two sequences of tokens."""
    words = [word for word, _ in a], [word for word, _ in b]
    exact = _matches(a, b) <= MATCHES_MAX
    for kind, i, j, k, m in _opcodes(*words, autojunk=not exact, pairs_max=WORDS_MAX):
        if kind != "equal":
            removed, added = _joined(a[i:j]), _joined(b[k:m])
            space = a[j - 1][1] if removed and added and a[j - 1][1] == b[m - 1][1] else ""
            _append(out, "removed", removed.removesuffix(space))
            _append(out, "added", added.removesuffix(space))
            _append(out, "equal", space)
            continue
        for (word, first), (_, second) in zip(a[i:j], b[k:m], strict=True):
            _append(out, "equal", word)
            if first == second:
                _append(out, "equal", first)
            else:
                _append(out, "removed", first)
                _append(out, "added", second)


def _joined(tokens: Sequence[Token]) -> str:
    return "".join(word + space for word, space in tokens)


def _common(a: Sequence[object], b: Sequence[object]) -> tuple[int, int]:
    """(length of the common beginning, length of the common end of the rest)"""
    short = min(len(a), len(b))
    head = next((i for i in range(short) if a[i] != b[i]), short)
    tail = next((i for i in range(short - head) if a[-1 - i] != b[-1 - i]), short - head)
    return head, tail


def _opcodes(
    a: Sequence[str],
    b: Sequence[str],
    junk: Callable[[str], bool] | None = None,
    autojunk: bool = True,
    pairs_max: float = float("inf"),
) -> Iterator[tuple[str, int, int, int, int]]:
    """difflib's opcodes; the common beginning and end are skipped first: most of a near duplicate."""
    head, tail = _common(a, b)
    x, y = a[head : len(a) - tail], b[head : len(b) - tail]
    if head:
        yield "equal", 0, head, 0, head
    if len(x) * len(y) > pairs_max:
        yield "replace", head, head + len(x), head, head + len(y)
    elif x or y:
        for kind, i, j, k, m in difflib.SequenceMatcher(junk, x, y, autojunk).get_opcodes():
            yield kind, head + i, head + j, head + k, head + m
    if tail:
        yield "equal", len(a) - tail, len(a), len(b) - tail, len(b)


def _append(out: list[Segment], kind: str, text: str) -> None:
    """Append a segment, joined to the last one if both are of one kind."""
    if not text:
        return
    if out and out[-1][0] == kind:
        out[-1] = (kind, out[-1][1] + text)
    else:
        out.append((kind, text))


def shortened(segments: Sequence[Segment], around: int = 200) -> list[Segment]:
    """Shorten long equal passages to `around` characters next to each difference.

    A segment of the kind "left_out" says how many characters were left out.
    """
    out: list[Segment] = []
    for i, (kind, text) in enumerate(segments):
        before, after = (around if i else 0), (around if i + 1 < len(segments) else 0)
        if len(segments) == 1:
            before = 2 * around
        if kind != "equal" or len(text) <= before + after + 80:
            out.append((kind, text))
            continue
        if before:
            out.append(("equal", text[:before]))
        out.append(("left_out", f"[{len(text) - before - after:,} equal characters]"))
        if after:
            out.append(("equal", text[-after:]))
    return out


def side_by_side(segments: Sequence[Segment], titles: tuple[str, str]) -> str:
    """HTML: the first text left, the second right; what only one of them has is marked. Everything is escaped."""
    sides = []
    for title, own, tag in ((titles[0], "removed", "del"), (titles[1], "added", "ins")):
        colour = "#c9372c33" if own == "removed" else "#2e8b5733"
        pieces = []
        for kind, text in segments:
            if kind == "equal":
                pieces.append(html_text(text))
            elif kind == "left_out":
                pieces.append(f'<span style="opacity:.6">{html_text(text)}</span>')
            elif kind == own:
                pieces.append(f'<{tag} style="background:{colour};text-decoration:none">{html_text(text)}</{tag}>')
        style = f"{MONOSPACE};margin:.3em 0"
        text = f'<strong>{html_text(title)}</strong><pre style="{style}">{"".join(pieces)}</pre>'
        sides.append(f'<div style="flex:1 1 20rem;min-width:0">{text}</div>')
    return f'<div style="display:flex;flex-wrap:wrap;gap:1.5em;text-align:left">{"".join(sides)}</div>'
