"""What becomes of a line on the CPU: its last byte, and the phrases that it may not contain."""

from __future__ import annotations

import numpy as np

from gpu_pile.ops.c4_lines.contract import C
from gpu_pile.text import unicode
from gpu_pile.text.blocks import block, lowest
from gpu_pile.text.jit import inlined, jit
from gpu_pile.text.simd import bytes_of_64, count_trailing_zeros, letters_64
from gpu_pile.text.unicode import BEYOND_ASCII, CASE_BIT
from gpu_pile.types import Array

NEEDS_CLEANING = 0
"""The verdict on a line that depends on what citations leave of it."""

_0, _1 = np.uint64(0), np.uint64(1)
_LOREM, _JAVASCRIPT, _CURLY, _POLICY = 1, 2, 4, 8
_KELVIN_SIGN = np.frombuffer("\u212a".encode(), np.uint8).copy()
"""Its lower case is k."""
_KELVIN_START = chr(_KELVIN_SIGN[0])
_STEP = 62
"""From one block to the next: all three bytes that a phrase is found by lie in one block."""


def _bytes(text: str) -> Array:
    return np.frombuffer(text.encode(), np.uint8).copy()


_LOREM_IPSUM, _JAVA, _TERMS, _PRIVACY = map(_bytes, ("lorem ipsum", "javascript", "terms of use", "privacy policy"))
_COO, _IE_POLICY, _IES = map(_bytes, ("coo", "ie policy", "ies"))
_USES, _USE_OF, _USE = map(_bytes, ("uses ", "use of ", "use "))


@jit
def _is_at(line, i, start, end, phrase):
    """Whether line[start:end] has the phrase, in either case of ASCII, at position i."""
    if i < start or i + len(phrase) > end:
        return False
    for k in range(len(phrase)):  # noqa: SIM110, numba compiles no generators
        if unicode.ascii_lower(line[i + k]) != phrase[k]:
            return False
    return True


@jit
def _has_cookies(line, i, start, end):
    """Whether a phrase of POLICY has the k of its "cookie" at line[i]."""
    after = i + 1
    if line[i] >= BEYOND_ASCII:
        if not _is_at(line, i, start, end, _KELVIN_SIGN):
            return False
        after = i + len(_KELVIN_SIGN)
    if not _is_at(line, i - len(_COO), start, end, _COO):
        return False
    if _is_at(line, after, start, end, _IE_POLICY):
        return True
    i -= len(_COO)
    return _is_at(line, after, start, end, _IES) and (
        _is_at(line, i - len(_USES), start, end, _USES)
        or _is_at(line, i - len(_USE_OF), start, end, _USE_OF)
        or _is_at(line, i - len(_USE), start, end, _USE)
    )


@jit
def _phrase_at(line, i, start, end):
    """The phrase whose rare letter is line[i]: one of the bits above, or 0."""
    letter = line[i] | CASE_BIT
    if letter == ord("j"):
        return _JAVASCRIPT if _is_at(line, i, start, end, _JAVA) else 0
    if letter == ord("p"):
        return _LOREM if _is_at(line, i - 7, start, end, _LOREM_IPSUM) else 0
    if letter == ord("v"):
        return _POLICY if _is_at(line, i - 3, start, end, _PRIVACY) else 0
    if letter == ord("m"):
        return _POLICY if _is_at(line, i - 3, start, end, _TERMS) else 0
    return _POLICY if _has_cookies(line, i, start, end) else 0


@inlined
def _rare_letters(line, at):
    """Where a phrase may be: the last of three letters that are rare together: j, " ip", "riv", "erm", "ook"."""
    i, o, r = letters_64(line, at, "i"), letters_64(line, at, "o"), letters_64(line, at, "r")
    places = letters_64(line, at, "j")
    places |= (bytes_of_64(line, at, " ") << _1 & i) << _1 & letters_64(line, at, "p")
    places |= (r << _1 & i) << _1 & letters_64(line, at, "v")
    places |= (letters_64(line, at, "e") << _1 & r) << _1 & letters_64(line, at, "m")
    return places | (o << _1 & o) << _1 & (letters_64(line, at, "k") | bytes_of_64(line, at, _KELVIN_START))


@jit
def ends_as_sentence(line, start, end):
    """Whether line[start:end] ends with . ? ! " or ', and not with "..."."""
    last = line[end - 1]
    if last == ord("."):
        return end - start < 3 or line[end - 2] != ord(".") or line[end - 3] != ord(".")
    return last in (ord("?"), ord("!"), ord('"'), ord("'"))


@jit
def verdict_on(line, start, end, cleaned):
    """The column of what becomes of a stripped line[start:end] whose words are neither too long nor too few.

    cleaned: it has no citations any more. NEEDS_CLEANING if the verdict depends on that and it may have some.
    """
    if end == start:
        return C.no_terminal
    if not ends_as_sentence(line, start, end):
        return NEEDS_CLEANING if line[end - 1] == ord("]") and not cleaned else C.no_terminal
    phrases = 0
    base = start
    while True:
        at, shift, valid = block(line, base, end)
        if not cleaned and bytes_of_64(line, at, "[") >> shift & valid:
            return NEEDS_CLEANING
        if bytes_of_64(line, at, "{") >> shift & valid:
            phrases |= _CURLY
        places = _rare_letters(line, at) >> shift & valid
        while places:
            bit = lowest(places)
            places ^= bit
            phrases |= _phrase_at(line, base + count_trailing_zeros(bit), start, end)
        if end - base <= 64:
            break
        base += _STEP
    if phrases == 0:
        return C.kept
    if phrases & _LOREM:
        return C.lorem
    if phrases & _JAVASCRIPT:
        return C.javascript
    return C.curly if phrases & _CURLY else C.policy
