"""What str does with Unicode, in plain Python over the package's own table: for references and tests."""

from __future__ import annotations

import itertools

from gpu_pile.text.unicode import (
    BREAK_KINDS,
    BREAK_LEAVES,
    BREAK_STAGE,
    CASED,
    COMBINING_LEAVES,
    COMBINING_STAGE,
    DECOMPOSITION_LEAVES,
    DECOMPOSITION_PARTS,
    DECOMPOSITION_STAGE,
    DOTTED_CAPITAL_I,
    DOUBLE_QUOTE,
    EXTEND_NUM_LET,
    FLAG_LEAVES,
    FLAG_STAGE,
    HEBREW,
    IGNORABLE,
    IGNORED,
    KATAKANA,
    LETTER,
    LINE_BREAK,
    LOWER_LEAVES,
    LOWER_STAGE,
    MARK,
    MID_LETTER,
    MID_NUM,
    MID_NUM_LET,
    NEWLINE,
    NUMBER,
    PICTOGRAPHIC,
    SINGLE_QUOTE,
    SPACE,
    UNSPACED,
    WORD,
    ZWJ,
)


def flags(c: str) -> int:
    """The class bits of one code point: for references and tests."""
    return int(FLAG_LEAVES[int(FLAG_STAGE[ord(c) >> 7]) * 128 + (ord(c) & 127)])


def lower(text: str) -> str:
    """Return the lower case of each code point on its own: for references and tests."""
    out = []
    for c in text:
        n = ord(c)
        out.append(chr(n + int(LOWER_LEAVES[int(LOWER_STAGE[n >> 7]) * 128 + (n & 127)])))
        if n == DOTTED_CAPITAL_I:
            out.append("\u0307")
    return "".join(out)


CAPITAL_SIGMA, SMALL_SIGMA, FINAL_SIGMA = 0x3A3, 0x3C3, 0x3C2
HANGUL, HANGUL_END = 0xAC00, 0xD7A4


def lower_in_context(text: str) -> str:
    """str.lower(), final sigmas included: for references and tests."""

    def cased(neighbours: str) -> bool:
        for c in neighbours:
            if not flags(c) & IGNORABLE:
                return bool(flags(c) & CASED)
        return False

    out = []
    for i, c in enumerate(text):
        if ord(c) == CAPITAL_SIGMA and cased(text[:i][::-1]) and not cased(text[i + 1 :]):
            out.append(chr(FINAL_SIGMA))
        else:
            out.append(lower(c))
    return "".join(out)


def combining(c: str) -> int:
    """The canonical combining class: for references and tests."""
    return int(COMBINING_LEAVES[int(COMBINING_STAGE[ord(c) >> 7]) * 128 + (ord(c) & 127)])


def decomposed(text: str) -> str:
    """unicodedata.normalize("NFD", text): for references and tests."""
    out: list[str] = []
    for c in text:
        n = ord(c)
        at = int(DECOMPOSITION_LEAVES[int(DECOMPOSITION_STAGE[n >> 7]) * 128 + (n & 127)])
        if HANGUL <= n < HANGUL_END:
            s = n - HANGUL
            out += [chr(0x1100 + s // 588), chr(0x1161 + s % 588 // 28), *([chr(0x11A7 + s % 28)] if s % 28 else [])]
        elif at:
            out += [chr(x) for x in DECOMPOSITION_PARTS[at + 1 : at + 1 + DECOMPOSITION_PARTS[at]]]
        else:
            out.append(c)
    start = 0
    while start < len(out):  # marks after a letter go in the order of their classes
        end = start + 1
        while end < len(out) and combining(out[end]):
            end += 1
        first = start if combining(out[start]) else start + 1
        out[first:end] = sorted(out[first:end], key=combining)
        start = end
    return "".join(out)


def words(text: str) -> list[str]:
    """Runs of word characters of the lower-cased text: for references and tests."""
    out, run = [], ""
    for c in lower(text):
        if flags(c) & WORD:
            run += c
        elif run:
            out.append(run)
            run = ""
    return [*out, run] if run else out


def words_of_any_script(text: str) -> list[str]:
    """marked_words(), a character of a script without spaces between words being one: for references and tests."""
    return marked_words(text, UNSPACED)


def marked_words(text: str, apart: int = 0) -> list[str]:
    """Runs of word characters of the lower-cased text with their combining marks: for references and tests.

    A character of the classes `apart` is a word of its own, with the marks after it. A mark after anything but a word
    is left out.
    """
    out: list[str] = []
    inside = alone = False  # whether the character before is part of a word, and of one that takes only marks
    for c in lower(text):
        kind = flags(c)
        if kind & WORD and not (inside and not alone and not kind & apart):
            out.append(c)
        elif kind & WORD or (kind & MARK and inside):
            out[-1] += c
        if not kind & MARK:
            inside, alone = bool(kind & WORD), bool(kind & apart)
    return out


def split(text: str) -> list[str]:
    """str.split(): for references and tests."""
    out, run = [], ""
    for c in text:
        if not flags(c) & SPACE:
            run += c
        elif run:
            out.append(run)
            run = ""
    return [*out, run] if run else out


def strip(text: str) -> str:
    """str.strip(): for references and tests."""
    kept = [i for i, c in enumerate(text) if not flags(c) & SPACE]
    return text[kept[0] : kept[-1] + 1] if kept else ""


def split_lines(text: str) -> list[str]:
    """str.splitlines(): for references and tests."""
    out, line, before = [], "", ""
    for c in text:
        if not flags(c) & LINE_BREAK:
            line += c
        elif not (c == "\n" and before == "\r"):
            out.append(line)
            line = ""
        before = c
    return [*out, line] if line else out


def word_segments(text: str) -> list[str]:
    """The text cut at the word boundaries of UAX #29: for references and tests.

    Two spaces and two regional indicators in a row are cut apart, which concerns no piece that begins with a letter or
    digit.
    """
    values = [int(BREAK_LEAVES[int(BREAK_STAGE[ord(c) >> 7]) * 128 + (ord(c) & 127)]) for c in text]
    kinds = [value & BREAK_KINDS for value in values]
    kept = [i for i, kind in enumerate(kinds) if kind not in (IGNORED, ZWJ)]
    joined = [False] * len(text)  # with what is before
    for i in range(1, len(text)):
        if NEWLINE not in kinds[i - 1 : i + 1]:  # WB3a, WB3b
            joined[i] = kinds[i] in (IGNORED, ZWJ) or (
                kinds[i - 1] == ZWJ and values[i] & PICTOGRAPHIC > 0
            )  # WB4, WB3c
    window = [0, 0, *(kinds[i] for i in kept), 0]
    for n, i in enumerate(kept):
        joined[i] |= _belongs(*window[n : n + 4])
    starts = [i for i in range(len(text)) if not joined[i]]
    return [text[a:b] for a, b in itertools.pairwise([*starts, len(text)])]


def _belongs(two_before: int, before: int, kind: int, after: int) -> bool:
    """WB5 to WB13b: whether there is no boundary before a character of this class."""
    letters, word = (LETTER, HEBREW), (LETTER, HEBREW, NUMBER, EXTEND_NUM_LET)
    mid_letter, mid_number = (MID_LETTER, MID_NUM_LET, SINGLE_QUOTE), (MID_NUM, MID_NUM_LET, SINGLE_QUOTE)
    return (
        (before in word and kind in word)
        or (before in letters and kind in mid_letter and after in letters)
        or (two_before in letters and before in mid_letter and kind in letters)
        or (before == HEBREW and kind == SINGLE_QUOTE)
        or (before == HEBREW and kind == DOUBLE_QUOTE and after == HEBREW)
        or (two_before == HEBREW and before == DOUBLE_QUOTE and kind == HEBREW)
        or (two_before == NUMBER and before in mid_number and kind == NUMBER)
        or (before == NUMBER and kind in mid_number and after == NUMBER)
        or (before in (KATAKANA, EXTEND_NUM_LET) and kind == KATAKANA)
        or (before == KATAKANA and kind == EXTEND_NUM_LET)
    )
