"""line_counts: how the lines of a document begin, end, and how long they are, under the rules that look at lines.

    line_counts(text) = int64[n_docs, len(COLUMNS)]

Lines are text.split("\\n"); a blank line is white space alone or empty; lengths are in code points. Columns:

    nonblank_lines       lines that are not blank
    terminal_lines       of these, those whose last character (not stripped) is TERMINAL
    short_lines          of these, those of at most 30 characters
    third_line_chars     length of the third-longest line, blank ones included; 0 where there are fewer than three
    longest_line_chars   length of the longest line
    ellipsis_lines       lines that end with ... or … when white space at the end is left out

    rps_lines            lines, without an empty one at the end
    rps_terminal_lines   as ellipsis_lines, with . ! ? or ”
    rps_bullet_lines     lines whose first character that is no white space is one of • ‣ ▶ ◀ ◦ ■ □ ▪ ▫ –

    dolma_bullet_lines   lines that begin with * or -
    dolma_ellipsis_lines lines that end with …

    dclm_bullet_lines    as rps_bullet_lines, with ● • * -
    dclm_ellipsis_lines  as ellipsis_lines, or with ". . ."

    nemo_bullet_lines    as rps_bullet_lines, with • ‣ ⁃ ⁌ ⁍ ∙ ○ ● ◘ ◦ ⦾ ⦿
    nemo_end_mark_lines  as ellipsis_lines, with . ? ! " or '
    nemo_ellipsis_lines  as ellipsis_lines, in lower case, with one of NEMO_ELLIPSES
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from gpu_pile import unicode
from gpu_pile.columns import TextColumn
from gpu_pile.compiled import compiled
from gpu_pile.device import Segments, constant, cut, flag_tables, line_feeds
from gpu_pile.kernel import launch_threads, launch_warps
from gpu_pile.native import is_one_of
from gpu_pile.op import Op

Array = np.ndarray[Any, Any]

COLUMNS = (
    "nonblank_lines",
    "terminal_lines",
    "short_lines",
    "third_line_chars",
    "longest_line_chars",
    "ellipsis_lines",
    "rps_lines",
    "rps_terminal_lines",
    "rps_bullet_lines",
    "dolma_bullet_lines",
    "dolma_ellipsis_lines",
    "dclm_bullet_lines",
    "dclm_ellipsis_lines",
    "nemo_bullet_lines",
    "nemo_end_mark_lines",
    "nemo_ellipsis_lines",
)

SHORT_CHARS = 30
RPS_BULLETS = "•‣▶◀◦■□▪▫–"
DCLM_BULLETS = "●•*-"
NEMO_BULLETS = "•‣⁃⁌⁍∙○●◘◦⦾⦿"
NEMO_ELLIPSES = ("...", "[...]", "…", "(...)", "[…]", "-»", "read more..", "read more")

line_counts = Op(
    "line_counts",
    version=1,
    documents=(
        " ",
        "\n",
        "\n\n\n",
        "a.\nb!\r\nc? \nd。\ne…\nf...\ng”\nh\"\ni'",
        "x" * 30 + "\n" + "x" * 31 + "\n" + "é" * 30 + "\n" + "é" * 31 + "\n" + " " * 40,
        "a\nbb\nccc\ndddd",
        "dddd\nccc\nbb\na",
        "aa\naa\naa\n",
        "a\n\n",
        "漢字\nb",
        "\n".join(f"{b} x" for b in RPS_BULLETS + NEMO_BULLETS + DCLM_BULLETS),
        "\n".join(f"\u3000\t{b}" for b in RPS_BULLETS + NEMO_BULLETS + DCLM_BULLETS),
        "* a\n - b\n-c\n\n-",
        "a ... \nb. . .\nc . . . \t\nd…\ne…\u00a0\nf. ..\ng....\n. . .\n..\n...",
        "a [...]\nb (...)\nc […]\nd -»\ne read more..\nf READ MORE\ng Read more \nh read  more\nread more.\n»\n-»",
        "read more",
        "\x00\n\x00• x\n\x00...\n...\x00\n\x00 read more\n*\x00",
        "\x85\n\u2028a.\x0b",
        " \n \n a. \n",
        " " * 70 + "• " + "x" * 70 + " (...)" + " " * 70 + "\n* " + "é" * 70 + " read more" + "\t" * 70,
    ),
)


@line_counts.reference
def _reference(text: TextColumn) -> Array:
    return np.array([_reference_counts(d.decode()) for d in text.documents()], np.int64).reshape(-1, len(COLUMNS))


def _reference_counts(t: str) -> list[int]:
    lines = t.split("\n")
    stripped = [unicode.strip(x) for x in lines]
    nonblank = [x for x in lines if unicode.strip(x)]
    lengths = sorted(map(len, lines), reverse=True)
    return [
        len(nonblank),
        sum(bool(unicode.flags(x[-1]) & unicode.TERMINAL) for x in nonblank),
        sum(len(x) <= SHORT_CHARS for x in nonblank),
        lengths[2] if len(lengths) > 2 else 0,
        lengths[0],
        sum(s.endswith(("...", "…")) for s in stripped),
        len(lines) - (lines[-1] == ""),
        sum(s.endswith((".", "!", "?", "”")) for s in stripped),
        sum(s.startswith(tuple(RPS_BULLETS)) for s in stripped),
        sum(x.startswith(("*", "-")) for x in lines),
        sum(x.endswith("…") for x in lines),
        sum(s.startswith(tuple(DCLM_BULLETS)) for s in stripped),
        sum(s.endswith(("...", "…", ". . .")) for s in stripped),
        sum(s.startswith(tuple(NEMO_BULLETS)) for s in stripped),
        sum(s.endswith((".", "?", "!", '"', "'")) for s in stripped),
        sum(unicode.lower(s).endswith(NEMO_ELLIPSES) for s in stripped),
    ]


_SPACE, _TERMINAL = unicode.SPACE, unicode.TERMINAL
_RPS, _DCLM, _NEMO = (np.array(sorted(map(ord, b)), np.int64) for b in (RPS_BULLETS, DCLM_BULLETS, NEMO_BULLETS))
_READ_MORE = np.frombuffer(b"read more", np.uint8).copy()


@njit
def _reads_more(data, start, end):
    n = len(_READ_MORE)
    if end - start < n:
        return False
    for k in range(n):
        b = data[end - n + k]
        if 0x41 <= b <= 0x5A:
            b |= 0x20
        if b != _READ_MORE[k]:
            return False
    return True


@compiled
def _count(data, offsets, ascii_flags, stage, leaves, out):
    for d in range(len(offsets) - 1):
        i, end = offsets[d], offsets[d + 1]
        row = out[d]
        row[:] = 0
        lines = longest = second = third = 0
        while i <= end:
            start = i
            chars = 0
            first, first_c, last_c, after, flags = -1, 0, 0, i, 0  # of the characters that are no white space
            while i < end and data[i] != 10:
                b = data[i]
                if b < 0x80:
                    flags, n = np.int64(ascii_flags[b]), 1
                    if flags & _SPACE == 0:
                        if first < 0:
                            first, first_c = i, np.int64(b)
                        last_c, after = np.int64(b), i + 1
                else:
                    c, n = unicode.decode_at(data, i)
                    flags = np.int64(unicode.table_value(stage, leaves, c))
                    if flags & _SPACE == 0:
                        if first < 0:
                            first, first_c = i, c
                        last_c, after = c, i + n
                chars += 1
                i += n
            lines += 1
            if chars > third:
                if chars > longest:
                    longest, second, third = chars, longest, second
                elif chars > second:
                    second, third = chars, second
                else:
                    third = chars
            if first >= 0:
                row[0] += 1
                row[1] += (flags & _TERMINAL) != 0
                row[2] += chars <= SHORT_CHARS
                dots = after - first >= 3 and last_c == 0x2E and data[after - 2] == 0x2E and data[after - 3] == 0x2E
                ellipsis = dots or last_c == 0x2026
                row[5] += ellipsis
                row[7] += last_c == 0x2E or last_c == 0x21 or last_c == 0x3F or last_c == 0x201D
                if first == start:
                    row[9] += first_c == 0x2A or first_c == 0x2D
                row[10] += last_c == 0x2026 and after == i
                spaced = (
                    after - first >= 5
                    and (last_c == 0x2E and data[after - 2] == 0x20 and data[after - 3] == 0x2E)
                    and (data[after - 4] == 0x20 and data[after - 5] == 0x2E)
                )
                row[12] += ellipsis or spaced
                if first_c >= 0x2000 or first_c == 0x2A or first_c == 0x2D:
                    row[8] += is_one_of(first_c, _RPS)
                    row[11] += is_one_of(first_c, _DCLM)
                    row[13] += is_one_of(first_c, _NEMO)
                row[14] += last_c == 0x2E or last_c == 0x3F or last_c == 0x21 or last_c == 0x22 or last_c == 0x27
                ends = ellipsis
                if not ends and (last_c == 0x5D or last_c == 0x29):  # [...] […] (...)
                    n = after - first
                    three = n >= 5 and data[after - 2] == 0x2E and data[after - 3] == 0x2E and data[after - 4] == 0x2E
                    if last_c == 0x29:
                        ends = three and data[after - 5] == 0x28
                    elif n >= 5:  # … has three bytes too
                        sign = data[after - 4] == 0xE2 and data[after - 3] == 0x80 and data[after - 2] == 0xA6
                        ends = (three or sign) and data[after - 5] == 0x5B
                elif not ends and last_c == 0xBB:
                    ends = after - first >= 3 and data[after - 3] == 0x2D
                elif not ends and last_c == 0x2E:
                    ends = after - first >= 3 and data[after - 2] == 0x2E and _reads_more(data, first, after - 2)
                elif not ends and (last_c == 0x65 or last_c == 0x45):
                    ends = _reads_more(data, first, after)
                row[15] += ends
            i += 1
        row[3] = third if lines > 2 else 0
        row[4] = longest
        row[6] = lines - (end == offsets[d] or data[end - 1] == 10)


@line_counts.cpu
def _cpu(text: TextColumn) -> Array:
    out = np.empty((len(text), len(COLUMNS)), np.int64)
    u = unicode
    _count(text.data, text.offsets, u.ASCII_FLAGS, u.FLAG_STAGE, u.FLAG_LEAVES, out)
    return out


def _marks() -> Array:
    """uint32: a code point that is a bullet, and from bit 24 on a bit for each of RPS_, DCLM_ and NEMO_BULLETS."""
    bits: dict[str, int] = {}
    for i, bullets in enumerate((RPS_BULLETS, DCLM_BULLETS, NEMO_BULLETS)):
        for c in bullets:
            bits[c] = bits.get(c, 0) | 1 << (24 + i)
    return np.array([ord(c) | b for c, b in bits.items()], np.uint32)


_MARKS = _marks()


@line_counts.cuda
def _cuda(xp: Any, text: TextColumn) -> Array:
    feeds = line_feeds(xp, text.data)
    documents = xp.searchsorted(text.offsets[1:], feeds, side="right").astype(np.int64)
    bounds, first, owners = cut(xp, text.offsets[:-1], text.offsets[1:], documents, feeds, feeds + 1)
    segments = Segments.of(xp, bounds[:, 1] - bounds[:, 0], 16_384)
    n = len(bounds)
    chars = xp.zeros(n, np.int64)
    inks = xp.empty((n, 2), np.int64)
    inks[:, 0], inks[:, 1] = text.n_bytes, -1
    flags, marks = flag_tables(xp), constant(xp, _MARKS)
    launch_warps(
        "line_counts", "line_counts_lines", segments.count, text.data, bounds, *segments.args, *flags, chars, inks
    )
    out = xp.zeros((len(text), len(COLUMNS)), np.int64)
    launch_threads(
        "line_counts", "line_counts_judge", n, text.data, bounds, owners, n, *flags, marks, len(marks), chars, inks, out
    )
    ascending = chars[xp.lexsort(xp.stack([chars, owners]))]  # within each document
    third = first[1:] - 3
    out[:, 3] = xp.where(third >= first[:-1], ascending[xp.maximum(third, 0)], 0)
    out[:, 4] = ascending[first[1:] - 1]
    out[:, 6] = xp.diff(first) - (bounds[first[1:] - 1, 0] == text.offsets[1:])
    return out
