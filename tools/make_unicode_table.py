"""Make gpu_pile/text/unicode_table.npz from the running Python's Unicode data.

Run it with Python 3.11 (Unicode 14.0.0), uniseg 0.10.1 and regex 2026.11.15, which have what Python lacks: Word_Break
and Extended_Pictographic (Unicode 16.0.0), Script and Script_Extensions (Unicode 18.0.0).

Every backend and the references read this one table, so results do not depend on the Python that runs them.
"""

from __future__ import annotations

import pathlib
import unicodedata

import numpy as np
import regex
from uniseg.emoji import extended_pictographic
from uniseg.wordbreak import word_break

# Bits of a code point's class; gpu_pile/text/unicode.py gives them their names and definitions.
ALPHA, NUMERIC, WORD, SPACE, LINE_BREAK, UPPER, PUNCTUATION, TERMINAL, CASED, IGNORABLE, DECIMAL, UTS18_WORD = (
    1 << i for i in range(12)
)
DIGIT, MARK, UNSPACED = (1 << i for i in range(12, 15))

# The two sets that datatrove 0.10.1 (utils/text.py) calls TERMINAL_PUNCTUATION and PUNCTUATION_SET.
TERMINAL_CODES = """
21 2e 3f 589 61d 61e 61f 6d4 700 701 702 7f9 837 839 83d 83e 964 965 104a 104b 1362 1367 1368 166e 1735 1736
17d4 17d5 17d6 17d9 17da 1803 1809 1944 1945 1aa8 1aa9 1aaa 1aab 1b5a 1b5b 1b5e 1b5f 1b7d 1b7e 1c3b 1c3c 1c7e
1c7f 203c 203d 2047 2048 2049 2e2e 2e3c 2e53 2e54 3002 a4ff a60e a60f a6f3 a6f7 a876 a877 a8ce a8cf a92f a9c8
a9c9 aa5d aa5e aa5f aaf0 aaf1 abeb fe52 fe56 fe57 ff01 ff0e ff1f ff61 10a56 10a57 10f55 10f56 10f57 10f58 10f59
10f86 10f87 10f88 10f89 11047 11048 110be 110bf 110c0 110c1 11141 11142 11143 111c5 111c6 111cd 111de 111df
11238 11239 1123b 1123c 112a9 1144b 1144c 115c2 115c3 115c9 115ca 115cb 115cc 115cd 115ce 115cf 115d0 115d1
115d2 115d3 115d4 115d5 115d6 115d7 11641 11642 1173c 1173d 1173e 11944 11946 11a42 11a43 11a9b 11a9c 11c41
11c42 11ef7 11ef8 11f43 11f44 16a6e 16a6f 16af5 16b37 16b38 16b44 16e98 1bc9f 1da88
"""
TERMINAL_MARKS = {chr(int(code, 16)) for code in TERMINAL_CODES.split()}
MARKS = set("!/—”:％１〈&(、━\\【#%「」，】；+^]~“《„';’{|∶´[=-`*．（–？！：$～«〉,><》)?）。…@_.\"}►»")
MARKS |= {chr(c) for c in (*range(9), 11, 12, *range(13, 32), *range(127, 160))} | TERMINAL_MARKS


def classes(c: str) -> int:
    return (
        ALPHA * c.isalpha()
        | NUMERIC * c.isnumeric()
        | WORD * (c.isalnum() or c == "_")
        | SPACE * c.isspace()
        | LINE_BREAK * (len(f"a{c}b".splitlines()) == 2)
        | UPPER * c.isupper()
        | PUNCTUATION * (c in MARKS)
        | TERMINAL * (c in TERMINAL_MARKS)
        | CASED * (c.isupper() or c.islower() or c.istitle())
        | IGNORABLE * is_case_ignorable(c)
        | DECIMAL * c.isdecimal()
        | UTS18_WORD * is_uts18_word(c)
        | DIGIT * c.isdigit()
        | MARK * unicodedata.category(c).startswith("M")
        | UNSPACED * bool((c.isalnum() or c == "_") and WITHOUT_SPACES.match(c))
    )


WITHOUT_SPACES = regex.compile(
    r"[\p{scx=Han}\p{scx=Hiragana}\p{scx=Katakana}\p{sc=Thai}\p{sc=Lao}\p{sc=Khmer}\p{sc=Myanmar}\p{sc=Tibetan}]"
)
"""Script_Extensions of the first three add marks that go with Han and kana alone; in Thai they add an apostrophe."""


OTHER_ALPHABETIC = [(0x24B6, 0x24E9), (0x1F130, 0x1F149), (0x1F150, 0x1F169), (0x1F170, 0x1F189)]  # circled letters


def is_uts18_word(c: str) -> bool:
    """\\w of Unicode's UTS #18: alphabetic, marks, decimal digits, connectors, joiners."""
    category = unicodedata.category(c)
    return (
        (c.isalnum() and category != "No")
        or category in ("Mn", "Mc", "Me", "Pc")
        or c in "\u200c\u200d"
        or any(first <= ord(c) <= last for first, last in OTHER_ALPHABETIC)
    )


def is_case_ignorable(c: str) -> bool:
    """Whether str.lower() looks past c to find out if a capital sigma ends a word."""
    return ("A" + c + "\u03a3").lower()[-1] == "\u03c2" and (c + "\u03a3").lower()[-1] != "\u03c2"


# Values of Word_Break by class, as in gpu_pile/text/unicode.py. All others are class 0: no rule about words with a
# letter or digit distinguishes them.
BREAK_CLASSES = (
    (),
    ("CR", "LF", "Newline"),
    ("Extend", "Format"),
    ("ZWJ",),
    ("Katakana",),
    ("Single_Quote",),
    ("Double_Quote",),
    ("MidNumLet",),
    ("MidLetter",),
    ("MidNum",),
    (),
    (),
    ("ALetter",),
    ("Hebrew_Letter",),
    ("Numeric",),
    ("ExtendNumLet",),
)
PICTOGRAPHIC, LETTER_OR_DIGIT = 16, 32


def word_break_value(c: str) -> int:
    value = word_break(c).value
    classes = [i for i, names in enumerate(BREAK_CLASSES) if value in names]
    return (*classes, 0)[0] | PICTOGRAPHIC * extended_pictographic(c) | LETTER_OR_DIGIT * c.isalnum()


def two_stage(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Equal blocks of 128 code points are kept once: values[c] == leaves[stage[c >> 7] * 128 + (c & 127)]."""
    leaves, stage = np.unique(values.reshape(-1, 128), axis=0, return_inverse=True)
    return stage.reshape(-1).astype(np.uint16), leaves.reshape(-1)


def main() -> None:
    flags = np.array([classes(chr(c)) for c in range(0x110000)], np.uint16)
    for c in map(chr, range(0x110000)):  # what str.lower() takes for cased where a capital sigma follows
        assert flags[ord(c)] & IGNORABLE or bool(flags[ord(c)] & CASED) == ((c + "\u03a3").lower()[-1] == "\u03c2")
    lower = np.arange(0x110000, dtype=np.int32)
    for c in range(0x110000):
        small = chr(c).lower()
        lower[c] = ord(small[0])  # U+0130 alone becomes two; the second, U+0307, is named in gpu_pile/text/unicode.py
    hangul = range(0xAC00, 0xD7A4)  # decomposed by arithmetic
    whole = {c: unicodedata.normalize("NFD", chr(c)) for c in range(0x110000) if c not in hangul}
    parts = [0]  # decompositions: number of code points, then the code points; place 0 means none
    decomposition = np.zeros(0x110000, np.int32)
    for c, d in whole.items():
        if d != chr(c):
            decomposition[c] = len(parts)
            parts += [len(d), *map(ord, d)]
    decomposition_stage, decomposition_leaves = two_stage(decomposition)
    combining_stage, combining_leaves = two_stage(
        np.array([unicodedata.combining(chr(c)) for c in range(0x110000)], np.uint8)
    )
    break_stage, break_leaves = two_stage(np.array([word_break_value(chr(c)) for c in range(0x110000)], np.uint8))
    stage, leaves = two_stage(flags)
    lower_stage, lower_leaves = two_stage(lower - np.arange(0x110000, dtype=np.int32))
    target = pathlib.Path(__file__).parents[1] / "gpu_pile" / "text" / "unicode_table.npz"
    np.savez_compressed(
        target,
        version=np.array([int(x) for x in unicodedata.unidata_version.split(".")]),
        flag_stage=stage,
        flag_leaves=leaves,
        lower_stage=lower_stage,
        lower_leaves=lower_leaves.astype(np.int32),
        decomposition_stage=decomposition_stage,
        decomposition_leaves=decomposition_leaves,
        decomposition_parts=np.array(parts, np.int32),
        combining_stage=combining_stage,
        combining_leaves=combining_leaves,
        break_stage=break_stage,
        break_leaves=break_leaves,
    )


if __name__ == "__main__":
    main()
