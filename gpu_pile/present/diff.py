"""What two texts have in common and where they differ, as segments for people to look at.

Words are compared by difflib, and the white space behind them where words are equal. Where that would take long, lines
are compared first, and words only inside the lines that differ. Nothing is decided by this: similarity is counted on
shingles (gpu_pile.ops.jaccard).
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from gpu_pile.present.tables import html_text

Segment = tuple[str, str]
"""(kind, text): "equal", "removed" (in the first text only) or "added" (in the second only)."""

MATCHES_MAX = 200_000
"""Pairs of equal words, one of each text, up to which difflib is exact; beyond, it leaves frequent words aside."""

WORDS_MAX = 25_000_000
"""Where words x words is more than this, what lies between the first and the last difference is not compared."""

Token = tuple[str, str]
"""A word or sign, and the white space behind it."""


def difference(first: str, second: str) -> list[Segment]:
    """Segments whose equal and removed ones give the first text, whose equal and added ones give the second."""
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


def _tokens(text: str) -> list[Token]:
    found = re.findall(r"(\w+|[^\w\s]|^)(\s*)", text)
    return [token for token in found if token != ("", "")]


def _matches(a: Sequence[Token], b: Sequence[Token]) -> int:
    """How many pairs of equal words difflib would look at, between the first and the last difference."""
    head, tail = _common(a, b)
    mine, theirs = (Counter(word for word, _ in x[head : len(x) - tail]) for x in (a, b))
    return sum(n * theirs[word] for word, n in mine.items())


def _compare_words(out: list[Segment], a: Sequence[Token], b: Sequence[Token]) -> None:
    words = [word for word, _ in a], [word for word, _ in b]
    exact = _matches(a, b) <= MATCHES_MAX
    for kind, i, j, k, m in _opcodes(*words, autojunk=not exact, most=WORDS_MAX):
        if kind != "equal":
            mine, theirs = _joined(a[i:j]), _joined(b[k:m])
            behind = a[j - 1][1] if mine and theirs and a[j - 1][1] == b[m - 1][1] else ""
            _append(out, "removed", mine.removesuffix(behind))
            _append(out, "added", theirs.removesuffix(behind))
            _append(out, "equal", behind)
            continue
        for (word, mine), (_, theirs) in zip(a[i:j], b[k:m], strict=True):
            _append(out, "equal", word)
            if mine == theirs:
                _append(out, "equal", mine)
            else:
                _append(out, "removed", mine)
                _append(out, "added", theirs)


def _joined(tokens: Sequence[Token]) -> str:
    return "".join(part for token in tokens for part in token)


def _common(a: Sequence[object], b: Sequence[object]) -> tuple[int, int]:
    """How many items both begin with, and how many of the others both end with."""
    short = min(len(a), len(b))
    head = next((i for i in range(short) if a[i] != b[i]), short)
    tail = next((i for i in range(short - head) if a[-1 - i] != b[-1 - i]), short - head)
    return head, tail


def _opcodes(
    a: Sequence[str],
    b: Sequence[str],
    junk: Callable[[str], bool] | None = None,
    autojunk: bool = True,
    most: float = float("inf"),
) -> Iterator[tuple[str, int, int, int, int]]:
    """difflib's opcodes; what both begin and end with is taken off first, which is most of a near duplicate."""
    head, tail = _common(a, b)
    x, y = a[head : len(a) - tail], b[head : len(b) - tail]
    if head:
        yield "equal", 0, head, 0, head
    if len(x) * len(y) > most:
        yield "replace", head, head + len(x), head, head + len(y)
    elif x or y:
        for kind, i, j, k, m in difflib.SequenceMatcher(junk, x, y, autojunk).get_opcodes():
            yield kind, head + i, head + j, head + k, head + m
    if tail:
        yield "equal", len(a) - tail, len(a), len(b) - tail, len(b)


def _append(out: list[Segment], kind: str, text: str) -> None:
    if not text:
        return
    if out and out[-1][0] == kind:
        out[-1] = (kind, out[-1][1] + text)
    else:
        out.append((kind, text))


def shortened(segments: Sequence[Segment], around: int = 200) -> list[Segment]:
    """The same with long equal passages cut to `around` characters on each side that has a difference.

    What was cut becomes a segment of the kind "left_out" that says how much it was.
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
    """HTML: the first text left, the second right, each with what the other lacks marked. Everything is escaped."""
    sides = []
    for title, own, tag in ((titles[0], "removed", "del"), (titles[1], "added", "ins")):
        colour = "#c9372c33" if own == "removed" else "#2e8b5733"
        parts = []
        for kind, text in segments:
            if kind == "equal":
                parts.append(html_text(text))
            elif kind == "left_out":
                parts.append(f'<span style="opacity:.6">{html_text(text)}</span>')
            elif kind == own:
                parts.append(f'<{tag} style="background:{colour};text-decoration:none">{html_text(text)}</{tag}>')
        style = "white-space:pre-wrap;overflow-wrap:anywhere;margin:.3em 0"
        text = f'<strong>{html_text(title)}</strong><pre style="{style}">{"".join(parts)}</pre>'
        sides.append(f'<div style="flex:1 1 20rem;min-width:0">{text}</div>')
    return f'<div style="display:flex;flex-wrap:wrap;gap:1.5em;text-align:left">{"".join(sides)}</div>'
