"""Make gpu_pile/text/token_table.npz from the running Python's Unicode data: what gpu_pile/text/tokens.py makes of each
character. Run it with Python 3.11 (Unicode 14.0.0), the version of gpu_pile/text/unicode_table.npz.
"""

from __future__ import annotations

import pathlib
import unicodedata

import numpy as np

from gpu_pile.text.unicode import BREAK_KINDS, BREAK_LEAVES, BREAK_STAGE, KATAKANA

# Kinds of characters; gpu_pile/text/tokens.py gives them their definitions.
SEPARATOR, IGNORED, LETTER, ALONE, MANY, HANGUL = range(6)
KIND_BITS = 3

VARIATION_SELECTORS = (0x180B, 0x180C, 0x180D, 0x180F, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))
GRAPHEME_JOINER = 0x34F


def is_ignored(c: str) -> bool:
    """Accents and other marks of a combining class, enclosing marks, and format characters such as soft hyphens."""
    invisible = unicodedata.category(c) in ("Cf", "Me") or ord(c) in (*VARIATION_SELECTORS, GRAPHEME_JOINER)
    return unicodedata.combining(c) != 0 or invisible


def is_letter(c: str) -> bool:
    """Letters, digits, and marks without a combining class, such as the vowel signs of Indic scripts."""
    return not is_ignored(c) and (c.isalnum() or unicodedata.category(c) in ("Mn", "Mc"))


def folded(c: str) -> str:
    """A character without its case, decomposed."""
    before, text = "", c
    while text != before:
        before = text
        text = unicodedata.normalize("NFD", unicodedata.normalize("NFD", text).upper().casefold())
    return text


def is_alone(c: str) -> bool:
    """Whether words of the letter's script are not separated by spaces: it has no class in UAX #29, or is katakana."""
    n = ord(c)
    return c.isalpha() and int(BREAK_LEAVES[int(BREAK_STAGE[n >> 7]) * 128 + (n & 127)]) & BREAK_KINDS in (0, KATAKANA)


def value(n: int, parts: list[int]) -> int:
    """The entry of a code point; parts: the letters of the characters that become several, which may be added to."""
    if 0xD800 <= n < 0xE000:
        return SEPARATOR
    if 0xAC00 <= n < 0xD7A4:
        return HANGUL
    text = folded(chr(n))
    letters = [c for c in text if is_letter(c)]
    if not letters:
        return IGNORED if all(map(is_ignored, text)) else SEPARATOR
    if len(letters) > 1:
        parts += [len(letters), *map(ord, letters)]
        return MANY | (len(parts) - len(letters) - 1) << KIND_BITS
    return (ALONE if is_alone(letters[0]) else LETTER) | (ord(letters[0]) - n) << KIND_BITS


def main() -> None:
    parts: list[int] = []
    values = np.array([value(n, parts) for n in range(0x110000)], np.int32)
    leaves, stage = np.unique(values.reshape(-1, 128), axis=0, return_inverse=True)
    target = pathlib.Path(__file__).parents[1] / "gpu_pile" / "text" / "token_table.npz"
    np.savez_compressed(
        target, stage=stage.reshape(-1).astype(np.uint16), leaves=leaves.reshape(-1), parts=np.array(parts, np.int32)
    )


if __name__ == "__main__":
    main()
