"""c4_lines: what becomes of each line under the rules of C4, counted, as datatrove 0.10.1 applies them.

    c4_lines(text)                  = int64[n_docs, n_columns]
    c4_lines(text, kept_text=True)  = (counts as above, data uint8[n_bytes], offsets int64[n_docs + 1])

Lines are str.splitlines(). For each line, in this order; the first test that applies decides:

    too_long_word   a word of the stripped line has more than 1,000 characters
                    then re.sub(r"\\[\\d*]|\\[edit]|\\[citation needed]", "", line), \\d any decimal digit
    no_terminal     does not end with . ? ! " or ', or ends with ...
    too_few_words   fewer than 3 words, counted before citations were removed
    lorem           contains "lorem ipsum" in lower case: the document is rejected, later lines are not looked at
    javascript      contains "javascript" in lower case
    curly           contains {: the document is rejected, later lines are not looked at
    policy          contains one of POLICY in lower case
    kept            otherwise

Columns: lines (looked at), one of each of these, `sentences`, those of the kept lines together, and `kept_bytes`, the
UTF-8 bytes of the kept text. That is "\\n".join(kept lines without citations).strip(); of a rejected document, what was
kept until then.

Sentences: a line has one, and one more for every word that a further sentence follows. A word ends a sentence if,
without the closing marks behind it, it ends with . ! or ? (or 。 ！ ？), and is neither one capital letter and a full
stop, nor has a full stop inside, nor is in ABBREVIATIONS, and does not end with "..."; what follows it must have a word
that is not made of PUNCTUATION alone. The rule is of this project: datatrove asks a tokenizer of the language.
On 3,000 documents of 13 subsets of The Pile both say the same about "five sentences or more" in 99 of 100 of those
where it matters (1 to 4 kept lines).
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import numpy as np
from numba import njit

from gpu_pile.gpu.launch import launch_warps
from gpu_pile.gpu.segments import Segments, constant, exclusive_sum, flag_tables, gather, split_at
from gpu_pile.ops.op import Op
from gpu_pile.text import unicode, unicode_reference
from gpu_pile.text.blocks import BLOCK, beyond_ascii, block, padded, runs_with
from gpu_pile.text.column import TextColumn
from gpu_pile.text.jit import jit
from gpu_pile.text.simd import (
    byte_at,
    bytes_between_64,
    count_trailing_zeros,
    highest_bit,
    letters_64,
    slot_table,
    starts_with,
)
from gpu_pile.types import Array

WORD_CHARS_MAX = 1000
WORDS_MIN = 3
POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
ABBREVIATIONS = (
    *("adm", "bros", "co", "corp", "dr", "etc", "gen", "gov", "inc", "jr", "ltd", "messrs", "mr", "mrs", "ms", "no"),
    *("prof", "rep", "rev", "sen", "sr", "st", "vs", "jan", "feb", "apr", "aug", "sep", "sept", "oct", "nov", "dec"),
)
"""In lower case, without the full stop; seven bytes at most."""

_ENDS = ".!?。！？"
_CLOSING = "\"'”’)]}»」』"

c4_lines = Op(
    "c4_lines",
    version=1,
    columns=(
        "lines",
        "too_long_word",
        "no_terminal",
        "too_few_words",
        "lorem",
        "javascript",
        "curly",
        "policy",
        "kept",
        "sentences",
        "kept_bytes",
    ),
    samples=({}, {"kept_text": True}),
    documents=(
        " ",
        "\n",
        'One two three.\r\nFour five six!\rSeven eight nine?\x0bTen eleven "twelve"\x85A b c\'\u2028d e f.\u2029',
        "Two words.\nNow three words.\n  \u3000Now three words. \t\n",
        "ends in dots...\nends in two dots..\nends in … really…\nends in a quote ”",
        "x" * 1000 + " b c.\n" + "x" * 1001 + " b c.\n" + "é" * 1000 + " b c.",
        "A claim was made.[12]\nA claim was made. [4]\nA claim[] was[٣٤] made[edit].\n[citation needed] A b c.",
        "[edit] [1] [2].\nnot [ edit] [12a] [[3]] [edit.\na b c.[edit][[1]]",
        "a b c [citation neededx] d.\na b c [1\na b [",
        "Enable JavaScript to see.\nSee java script here.\njavascriptjavascript a b.\nJAVASCRIP T a b.",
        "Lorem Ipsum is dummy.\nNever seen at all.",
        "Seen before that one.\nlorem  ipsum a b.\nA b LOREM IPSUM.\nNever seen at all.",
        "lorem ipsum without end\na b c { d.\nNever seen at all.",
        "a { b } c without end\nA b } c.\nA b c.",
        "Our terms of use apply.\nThe Privacy Policy applies.\nCOOKIE POLICY is here.\nIt uses cookies now.",
        "The use of cookies is.\nWe use cookies here.\nWe use coo\u212aies here.\nUses cookie it.\nterms of  use here.",
        "cookie policyx is here.\nxterms of usex is here.\nlovely privacy, policy here.\nhave coo kies here.",
        "javascr\u0130pt is not it.\nloREM ips\u0130um is not.\nse cookies it is.\ne of cookies it is.",
        "Mr. Lee met Dr. Wu at 9 a.m. in the U.K. with us. It costs 2.5 dollars, i.e. not much. Good? Great! Bye.",
        'He said "Go." and went. "Stay!" (She did.) Then? ... No... Yes! ! ! End.',
        "Съешь ещё этих. Мягких французских булок! Да.\n你好。 世界！ 再见？ 好 好.",
        "One two three. \u3000- -- .\nOne two three. x",
        "A B C D. E. F. G h i.",
        "I met \x00mr. Lee \x00. And \x00I. So\x00 it {\x00 is.\nI met \x00mr. Lee.",
        "etc. etc. Inc. abcdefghij. k l.",
        "'",
        "a b \"'.",
        "A b c.\n[1][2]\n[3] [4] [5] .",
        "\n".join(f"a b {'c' * n}[citation needed][12] java[1]scr[edit]ipt{'.' * (n % 3)}" for n in range(32)),
        "\n".join(f'a {"c" * n}. Mr. Lee: {"é" * n} "no.") - Then e.g. A. this! terms[7] of usage.' for n in range(32)),
        "\n".join(f"a b {'c' * n} - - ! {'- ' * n} d? {'?' * n}. Or so.)'" for n in range(32)),
        "a b c d e f g h i j k l m n op.\r\n",  # a line break that is cut in two where segments have 32 bytes
        "a b c. [" + "1" * 70 + "] d.\na b c. [" + "1" * 70 + " d.\n" + "e " * 40 + "[2",
    ),
)
COLUMNS = c4_lines.columns


@c4_lines.reference
def _reference(text: TextColumn, kept_text: bool = False) -> Any:
    counts, kept = [], []
    for d in text.documents():
        row, lines = _reference_lines(d.decode())
        kept.append(unicode_reference.strip("\n".join(lines)))
        counts.append([*row[:-1], len(kept[-1].encode())])
    out = np.array(counts, np.int64).reshape(-1, len(COLUMNS))
    if not kept_text:
        return out
    column = TextColumn.from_documents(kept)
    return out, column.data, column.offsets


@cache
def _citation() -> re.Pattern[str]:
    digits = "".join(chr(c) for c in range(0x110000) if unicode_reference.flags(chr(c)) & unicode.DECIMAL)
    return re.compile(rf"\[[{digits}]*]|\[edit]|\[citation needed]")


def _reference_lines(t: str) -> tuple[list[int], list[str]]:
    count = dict.fromkeys(COLUMNS, 0)
    kept = []
    for raw in unicode_reference.split_lines(t):
        count["lines"] += 1
        line = unicode_reference.strip(raw)
        words = unicode_reference.split(line)
        if any(len(w) > WORD_CHARS_MAX for w in words):
            count["too_long_word"] += 1
            continue
        line = _citation().sub("", line)
        low = unicode_reference.lower(line)
        if not line.endswith((".", "?", "!", '"', "'")) or line.endswith("..."):
            verdict = "no_terminal"
        elif len(words) < WORDS_MIN:
            verdict = "too_few_words"
        elif "lorem ipsum" in low:
            verdict = "lorem"
        elif "javascript" in low:
            verdict = "javascript"
        elif "{" in line:
            verdict = "curly"
        elif any(p in low for p in POLICY):
            verdict = "policy"
        else:
            verdict = "kept"
            kept.append(line)
            count["sentences"] += _reference_sentences(line)
        count[verdict] += 1
        if verdict in ("lorem", "curly"):
            break
    return list(count.values()), kept


def _reference_sentences(line: str) -> int:
    ended, n = False, 1
    for word in unicode_reference.split(line):
        if all(unicode_reference.flags(c) & unicode.PUNCTUATION for c in word):
            ended = ended or _reference_ends(word)
            continue
        n += ended
        ended = _reference_ends(word)
    return n


def _reference_ends(word: str) -> bool:
    word = word.rstrip(_CLOSING)
    if not word.endswith(tuple(_ENDS)) or word.endswith("..."):
        return False
    if not word.endswith("."):
        return True
    before = word[:-1]
    if "." in before or (len(before) == 1 and unicode_reference.flags(before) & unicode.UPPER):
        return False
    return before.lower() not in ABBREVIATIONS if before.isascii() else True


def _codes(text: str) -> Array:
    return np.frombuffer(text.encode(), np.uint8).copy()


_LOREM, _JAVASCRIPT, _TERMS, _PRIVACY = map(_codes, ("lorem ipsum", "javascript", "terms of use", "privacy policy"))
_COO, _IE_POLICY, _IES = map(_codes, ("coo", "ie policy", "ies"))
_USES, _USE_OF, _USE = map(_codes, ("uses ", "use of ", "use "))
_EDIT, _NEEDED = map(_codes, ("edit]", "citation needed]"))


def _abbreviation_keys() -> Array:
    return np.array([int.from_bytes(a.encode(), "big") | len(a) << 56 for a in ABBREVIATIONS], np.uint64)


_KEYS = _abbreviation_keys()
_SLOTS, _FACTOR = slot_table(map(int, _KEYS), 8)
_MAY_END = np.isin(np.arange(256), list(b".?!\"']"))
"""Whether a line that ends in a byte may be kept; it ends in ] if a citation is there."""

_SPACE, _UPPER, _DECIMAL = unicode.SPACE, unicode.UPPER, unicode.DECIMAL
_0, _1, _63 = np.uint64(0), np.uint64(1), np.uint64(63)


@njit
def _is_at(line, i, start, end, pattern):
    """Whether line[start:end] has the pattern, in either case of ASCII, at position i."""
    if i < start or i + len(pattern) > end:
        return False
    for k in range(len(pattern)):
        b = line[i + k]
        if 0x41 <= b <= 0x5A:
            b |= 0x20
        if b != pattern[k]:
            return False
    return True


@njit
def _clean(data, i, end, stage, leaves, out, o):
    """Copy data[i:end] to out[o:] without citations; returns where the copy ends."""
    while i < end:
        b = data[i]
        if b == 0x5B:
            if i + 5 < end and data[i + 1] == 0x65 and starts_with(data, i + 1, end, _EDIT):
                i += 6
                continue
            if data[min(i + 1, end - 1)] == 0x63 and starts_with(data, i + 1, end, _NEEDED):
                i += 17
                continue
            j = i + 1
            while j < end:
                c, n = unicode.decode_at(data, j)
                if unicode.table_value(stage, leaves, c) & _DECIMAL == 0:
                    break
                j += n
            if j < end and data[j] == 0x5D:
                i = j + 1
                continue
        out[o] = b
        o += 1
        i += 1
    return o


@njit
def _before(line, i):
    """Where the character before line[i] begins."""
    i -= 1
    while line[i] & 0xC0 == 0x80:
        i -= 1
    return i


@njit(inline="always")
def _breaks(data, i, end):
    """Bytes of the block at data[i] that a line break may begin with."""
    at, shift, valid = block(data, i, end)
    found = bytes_between_64(data, at, 0x0A, 0x0D) | bytes_between_64(data, at, 0x1C, 0x1E)
    found |= bytes_between_64(data, at, 0xC2, 0xC2) | bytes_between_64(data, at, 0xE2, 0xE2)
    return found >> shift & valid


@njit
def _break_length(data, i, end):
    """Bytes of the line break at data[i], of which _breaks says that there may be one; 0 if there is none."""
    b = byte_at(data, i)
    if b < 0x80:
        return 2 if b == 13 and i + 1 < end and data[i + 1] == 10 else 1
    if b == 0xC2:
        return 2 if data[i + 1] == 0x85 else 0
    return 3 if data[i + 1] == 0x80 and (data[i + 2] == 0xA8 or data[i + 2] == 0xA9) else 0


@njit
def _strip(data, i, end, stage, leaves):
    """Where data[i:end] begins and ends without white space around it."""
    while i < end:
        c, n = unicode.decode_at(data, i)
        if unicode.table_value(stage, leaves, c) & _SPACE == 0:
            break
        i += n
    while end > i:
        last = _before(data, end)
        c, _ = unicode.decode_at(data, last)
        if unicode.table_value(stage, leaves, c) & _SPACE == 0:
            break
        end = last
    return i, end


@njit
def _speaks_of_cookies(line, i, start, end):
    """Whether one of POLICY has its "cookie" where line[i] is its k, or U+212A, whose lower case is k."""
    after = i + 1
    if line[i] == 0xE2:
        if i + 3 > end or line[i + 1] != 0x84 or line[i + 2] != 0xAA:
            return False
        after = i + 3
    if not _is_at(line, i - 3, start, end, _COO):
        return False
    if _is_at(line, after, start, end, _IE_POLICY):
        return True
    return _is_at(line, after, start, end, _IES) and (
        _is_at(line, i - 8, start, end, _USES)
        or _is_at(line, i - 10, start, end, _USE_OF)
        or _is_at(line, i - 7, start, end, _USE)
    )


@njit
def _verdict(line, start, end, cleaned):
    """The position among COLUMNS of what becomes of a stripped line if its words are neither too long nor too few; 0 if
    that needs it cleaned of citations."""
    if end == start:
        return 2
    last = line[end - 1]
    if last != 0x2E and last != 0x3F and last != 0x21 and last != 0x22 and last != 0x27:
        return 0 if last == 0x5D and not cleaned else 2
    if last == 0x2E and end - start >= 3 and line[end - 2] == 0x2E and line[end - 3] == 0x2E:
        return 2
    lorem = javascript = curly = policy = False
    base = start
    while True:
        at, shift, valid = block(line, base, end)
        brackets = bytes_between_64(line, at, 0x5B, 0x5B) >> shift & valid
        curls = bytes_between_64(line, at, 0x7B, 0x7B) >> shift & valid
        if brackets and not cleaned:
            return 0
        curly |= curls != _0
        # in each text three letters that are rare: j, " ip", "riv", "erm", "ook", of which k may be U+212A
        i, o, r = letters_64(line, at, 0x69), letters_64(line, at, 0x6F), letters_64(line, at, 0x72)
        found = letters_64(line, at, 0x6A)
        found |= (bytes_between_64(line, at, 0x20, 0x20) << _1 & i) << _1 & letters_64(line, at, 0x70)
        found |= (r << _1 & i) << _1 & letters_64(line, at, 0x76)
        found |= (letters_64(line, at, 0x65) << _1 & r) << _1 & letters_64(line, at, 0x6D)
        found |= (o << _1 & o) << _1 & (letters_64(line, at, 0x6B) | bytes_between_64(line, at, 0xE2, 0xE2))
        found = found >> shift & valid
        while found:
            p = base + count_trailing_zeros(found)
            found &= found - _1
            letter = line[p] | 0x20
            if letter == 0x6A:
                javascript |= _is_at(line, p, start, end, _JAVASCRIPT)
            elif letter == 0x70:
                lorem |= _is_at(line, p - 7, start, end, _LOREM)
            elif letter == 0x76:
                policy |= _is_at(line, p - 3, start, end, _PRIVACY)
            elif letter == 0x6D:
                policy |= _is_at(line, p - 3, start, end, _TERMS)
            else:
                policy |= _speaks_of_cookies(line, p, start, end)
        if end - base <= 64:
            break
        base += 62  # all three of the next letters are in one block
    if lorem:
        return 4
    if javascript:
        return 5
    if curly:
        return 6
    return 7 if policy else 8


@njit
def _ends_sentence(line, start, end, stage, leaves, keys):
    """Whether the word line[start:end] ends a sentence if another one follows."""
    while True:
        if end == start:
            return False
        i = _before(line, end)
        c, _ = unicode.decode_at(line, i)
        if not (
            c in (0x22, 0x27, 0x29, 0x5D, 0x7D, 0xBB)  # the closing marks
            or c in (0x2019, 0x201D, 0x300D, 0x300F)
        ):
            break
        end = i
    if c in (0x21, 0x3F, 0x3002, 0xFF01, 0xFF1F):
        return True
    if c != 0x2E:
        return False
    end -= 1
    key = np.uint64(0)
    ascii = True
    for k in range(start, end):
        b = line[k]
        if b == 0x2E:
            return False
        ascii &= b < 0x80
        if 0x41 <= b <= 0x5A:
            b |= 0x20
        key = (key << np.uint64(8)) | np.uint64(b)
    if end == start:
        return True
    if _before(line, end) == start:
        c, _ = unicode.decode_at(line, start)
        if unicode.table_value(stage, leaves, c) & _UPPER:
            return False
    if ascii and end - start < 8:
        key |= np.uint64(end - start) << np.uint64(56)
        return keys[key * _FACTOR >> np.uint64(56)] != key
    return True


@njit
def _words(line, i, end, enough, stage, leaves):
    """(words of line[i:end] but no more than `enough`, whether one of those is longer than WORD_CHARS_MAX)."""
    words = length = 0
    while i < end and words + (length == 0) <= enough:
        c, n = unicode.decode_at(line, i)
        i += n
        if unicode.table_value(stage, leaves, c) & _SPACE:
            length = 0
        else:
            words += length == 0
            length += 1
            if length > WORD_CHARS_MAX:
                return words, True
    return words, False


@njit
def _sentences(line, start, end, stage, leaves, keys):
    """Sentences of line[start:end], which has one at least."""
    sentences = 1
    ended = False  # a word ends a sentence, if a plain one follows
    word = start  # where the word begins that goes on from block to block
    in_word = has_plain = after_mark = space_rest = _0
    for base in range(start, end + 1, 64):
        at, shift, valid = block(line, base, end)
        white = bytes_between_64(line, at, 0x09, 0x0D) | bytes_between_64(line, at, 0x1C, 0x20)
        white = white >> shift & valid | space_rest
        plain = bytes_between_64(line, at, 0x61, 0x7A) | bytes_between_64(line, at, 0x41, 0x5A)
        plain = (plain | bytes_between_64(line, at, 0x30, 0x39)) >> shift & valid
        marks = bytes_between_64(line, at, 0x21, 0x22) | bytes_between_64(line, at, 0x2E, 0x2E)  # ! " .
        marks |= bytes_between_64(line, at, 0x3F, 0x3F) | bytes_between_64(line, at, 0x27, 0x27)  # ? '
        marks |= bytes_between_64(line, at, 0x29, 0x29) | bytes_between_64(line, at, 0x5D, 0x5D)  # ) ]
        marks = (marks | bytes_between_64(line, at, 0x7D, 0x7D)) >> shift & valid  # }
        beyond = bytes_between_64(line, at, 0x80, 0xFF) >> shift & valid
        space_rest = _0
        if beyond:
            tails = bytes_between_64(line, at, 0x80, 0xBF) >> shift & valid
            far = beyond_ascii(line, base, beyond & ~tails, stage, leaves)
            alpha = far.letters
            for _ in range(3):
                alpha |= alpha << _1 & tails
            marks |= beyond & ~alpha
            plain |= far.plain
            white |= far.spaces
            space_rest = far.spaces_after
        inks = valid & ~white
        after_ink = inks << _1 | in_word
        starts, ends = inks & ~after_ink, after_ink & ~inks
        in_word = inks >> _63
        plain_ends, has_plain = runs_with(inks, plain, has_plain)
        marked_ends = ends & (marks << _1 | after_mark)
        after_mark = marks >> _63
        todo = ~_0
        while True:
            found = (plain_ends if ended else marked_ends) & todo
            if found == _0:
                break
            bit = found & (_0 - found)
            todo = _0 - bit  # from this word on
            if ended:
                sentences += 1
                ended = False
            else:
                own = starts & (bit - _1)
                first = base + highest_bit(own) if own else word
                ended = _ends_sentence(line, first, base + count_trailing_zeros(bit), stage, leaves, keys)
                todo ^= bit
        if starts:
            word = base + highest_bit(starts)
    return sentences


@jit
def _lines(data, offsets, stage, leaves, may_end, keys, keep, counts, out, bounds):
    total = 0
    for d in range(len(offsets) - 1):
        i, end = offsets[d], offsets[d + 1]
        row = counts[d]
        row[:] = 0
        first_kept = total
        rejected = False
        base, found = i, _breaks(data, i, end)
        while i < end and not rejected:
            stop = after = end
            while base < end:
                if found == _0:
                    base += 64
                    found = _breaks(data, min(base, end), end)
                    continue
                p = base + count_trailing_zeros(found)
                found &= found - _1
                n = _break_length(data, p, end)
                if n and p >= i:  # before i is the line feed of \r\n
                    stop, after = p, p + n
                    break
            first, last = i, stop
            if first < last and not (0x20 < byte_at(data, first) < 0x7F and 0x20 < byte_at(data, last - 1) < 0x7F):
                first, last = _strip(data, first, last, stage, leaves)
            i = after
            row[0] += 1
            if last - first > WORD_CHARS_MAX and _words(data, first, last, last - first, stage, leaves)[1]:
                row[1] += 1
                continue
            start = o = total + (total > first_kept)  # a line feed before it, if it is not the first kept line
            verdict = 2
            if first < last and may_end[byte_at(data, last - 1)]:
                verdict = _verdict(data, first, last, False)
            clean = verdict > 0
            if not clean:
                o = _clean(data, first, last, stage, leaves, out, start)
                verdict = _verdict(out, start, o, True)
            if verdict > 3 and _words(data, first, last, WORDS_MIN, stage, leaves)[0] < WORDS_MIN:
                verdict = 3
            row[verdict] += 1
            if verdict == 8:
                if clean:
                    row[9] += _sentences(data, first, last, stage, leaves, keys)
                    row[10] += last - first + (row[8] > 1)
                    if keep:
                        out[start : start + last - first] = data[first:last]
                        o = start + last - first
                else:
                    row[9] += _sentences(out, start, o, stage, leaves, keys)
                    # the joined text is stripped: a citation may have stood before a space
                    skip = _strip(out, start, o, stage, leaves)[0] if row[8] == 1 else start
                    row[10] += o - skip + (row[8] > 1)
                    if keep and skip > start:
                        for k in range(start, o - (skip - start)):
                            out[k] = out[k + skip - start]
                        o -= skip - start
                if keep:
                    if start > total:
                        out[total] = 10
                    total = o
            rejected = verdict == 4 or verdict == 6
        bounds[d + 1] = total
    return total


@c4_lines.cpu
def _cpu(text: TextColumn, kept_text: bool = False) -> Any:
    counts = np.empty((len(text), len(COLUMNS)), np.int64)
    longest = int(np.diff(text.offsets).max(initial=0))
    # a kept line is never longer than it was, and each needs one byte more, which its line break had
    out = np.empty((text.n_bytes if kept_text else longest) + BLOCK, np.uint8)
    bounds = np.zeros(len(text) + 1, np.int64)
    u = unicode
    n = _lines(
        *(
            padded(text.data),
            text.offsets,
            u.FLAG_STAGE,
            u.FLAG_LEAVES,
            _MAY_END,
            _SLOTS,
            kept_text,
            counts,
            out,
            bounds,
        ),
    )
    return (counts, out[:n].copy(), bounds) if kept_text else counts


def _device_lines(xp: Any, text: TextColumn) -> tuple[Array, Array, Array]:
    """(bounds, first, owners) of str.splitlines() of each document, as split_at gives them."""
    segments = Segments.of(xp, xp.diff(text.offsets), 16_384)
    documents = (text.data, text.offsets, *segments.args, *flag_tables(xp))
    counts = xp.empty(segments.count, np.int64)
    launch_warps("c4_lines", "count_breaks", segments.count, *documents, counts)
    before = exclusive_sum(xp, counts)
    ends, begins, owners = (xp.empty(int(before[-1]), np.int64) for _ in range(3))
    launch_warps("c4_lines", "find_breaks", segments.count, *documents, before, ends, begins, owners)
    bounds, _, owners = split_at(xp, text.offsets[:-1], text.offsets[1:], owners, ends, begins)
    lines = bounds[:, 0] < text.offsets[1:][owners]  # nothing behind the last line break is no line
    owners = owners[lines]
    return bounds[lines], xp.searchsorted(owners, xp.arange(len(text) + 1, dtype=np.int64)), owners


@c4_lines.cuda
def _cuda(xp: Any, text: TextColumn, kept_text: bool = False) -> Any:
    bounds, first, owners = _device_lines(xp, text)
    n = len(owners)
    keys = constant(xp, _KEYS)
    cleaned, verdicts = xp.empty(text.n_bytes, np.uint8), xp.empty(n, np.uint8)
    lengths, spaces, sentences = (xp.empty(n, np.int64) for _ in range(3))
    launch_warps(
        "c4_lines", "c4_lines", n, text.data, text.offsets, bounds, owners, n, *flag_tables(xp), keys, len(keys),
        cleaned, verdicts, lengths, spaces, sentences,
    )  # fmt: skip

    def sums(values: Array) -> Array:
        return xp.diff(exclusive_sum(xp, values.astype(np.int64))[first])

    rejecting = (verdicts == COLUMNS.index("lorem")) | (verdicts == COLUMNS.index("curly"))
    rejections = exclusive_sum(xp, rejecting.astype(np.int64))
    looked_at = rejections[:-1] == rejections[first[owners]]  # no line of the document before it
    counts = xp.empty((len(text), len(COLUMNS)), np.int64)
    counts[:, 0] = sums(looked_at)
    for column in range(1, 9):
        counts[:, column] = sums(looked_at & (verdicts == column))
    counts[:, 9] = sums(looked_at * sentences)
    kept = xp.flatnonzero(looked_at & (verdicts == COLUMNS.index("kept")))
    owners = owners[kept]
    first = xp.searchsorted(owners, xp.arange(len(text) + 1, dtype=np.int64))
    places = xp.arange(len(kept), dtype=np.int64)
    skipped = xp.where(places == first[owners], spaces[kept], 0)  # the joined text is stripped
    line_feeds = (places + 1 < first[owners + 1]).astype(np.int64)
    lengths = lengths[kept] - skipped + line_feeds
    counts[:, 10] = xp.diff(exclusive_sum(xp, lengths)[first])
    if not kept_text:
        return counts
    data, offsets = gather(xp, cleaned, bounds[kept, 0] + skipped, lengths)
    return counts, data, offsets[first]
