"""What two texts have in common and where they differ, as segments for people to look at.

Lines are compared first (difflib), then words inside the lines that differ, so that long documents stay quick. Nothing
is decided by this: similarity is counted on shingles (gpu_pile.ops.jaccard).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence

from gpu_pile.display import html_text

Segment = tuple[str, str]
"""(kind, text): "equal", "removed" (in the first text only) or "added" (in the second only)."""

WORDS_MAX = 25_000_000
"""What differs is compared word by word where words x words is at most this: difflib's time can grow with it."""


def difference(first: str, second: str) -> list[Segment]:
    """Segments whose equal and removed ones give the first text, whose equal and added ones give the second."""
    out: list[Segment] = []
    for kind, a, b in _compared(first.splitlines(keepends=True), second.splitlines(keepends=True)):
        if kind == "equal":
            _append(out, "equal", "".join(a))
            continue
        for inner, x, y in _compared(_words("".join(a)), _words("".join(b)), WORDS_MAX):
            _append(out, "equal" if inner == "equal" else "removed", "".join(x))
            if inner != "equal":
                _append(out, "added", "".join(y))
    return out


def _words(text: str) -> list[str]:
    return re.findall(r"\s+|\w+|[^\w\s]", text)


def _compared(
    a: Sequence[str], b: Sequence[str], most: float = float("inf")
) -> Iterator[tuple[str, Sequence[str], Sequence[str]]]:
    """difflib's blocks; what both begin and end with is taken off first, which is most of a near duplicate.

    Where the rests are larger than `most`, as a product of their lengths, they are one block that differs.
    """
    short = min(len(a), len(b))
    head = next((i for i in range(short) if a[i] != b[i]), short)
    tail = next((i for i in range(short - head) if a[-1 - i] != b[-1 - i]), short - head)
    if head:
        yield "equal", a[:head], b[:head]
    x, y = a[head : len(a) - tail], b[head : len(b) - tail]
    if len(x) * len(y) > most:
        yield "replace", x, y
    elif x or y:
        for kind, i, j, k, m in difflib.SequenceMatcher(None, x, y).get_opcodes():
            yield kind, x[i:j], y[k:m]
    if tail:
        yield "equal", a[len(a) - tail :], b[len(b) - tail :]


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
