"""nemo_code_comments: characters of comments in source code, as comment_parser 1.2.4 finds them for NeMo Curator.

    nemo_code_comments(text) = int64[n_docs, n_columns]

One text is read in six ways, since the language of the document is not known here:

    c           C, C++, Java: // to the end of the line, /* to */; "..." without line feed, in which \\ has no meaning
    go          comments as in c; strings in " ' ` over several lines, in which \\ escapes the next character. A / also
                escapes the next character, whatever it is
    javascript  as go, without `
    markup      HTML, XML: <!-- to -->; strings as in c
    ruby        # to the end of the line; strings in " and ' that end in the line, at the first such quote without a \\
                before it, otherwise at the last one
    shell       # to the end of the line; strings in " and ' over several lines; \\ escapes the next character, inside
                and outside of strings

Columns: X_chars, the characters of all comments joined by one space, without the marks that begin and end comments; for
the first four languages also X_unterminated, 1 if a comment has no end, in which case X_chars is 0.

A quote that would begin a string without an end is an ordinary character (c, markup, ruby). Each reading is a finite
automaton, once it is known which quotes are the last ones of their kind in their line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from gpu_pile.gpu.launch import launch_threads, launch_warps
from gpu_pile.gpu.segments import Segments, constant
from gpu_pile.ops.op import Op
from gpu_pile.text.column import TextColumn
from gpu_pile.text.jit import jit
from gpu_pile.text.simd import byte_at
from gpu_pile.types import Array

LANGUAGES = ("c", "go", "javascript", "markup", "ruby", "shell")
WITH_END = LANGUAGES[:4]
"""The languages with comments that may lack their end."""


nemo_code_comments = Op(
    "nemo_code_comments",
    version=1,
    columns=(*(f"{x}_chars" for x in LANGUAGES), *(f"{x}_unterminated" for x in WITH_END)),
    documents=(
        "\n",
        "// a\n//\n///b\n// c",
        "/**//*a*//***//* b\nc */ d /*/ e */ f",
        "/* open\n",
        "/*/",
        "/**",
        "a / b /\n/ c /",
        'x = "// no"; // yes',
        'x = "a""/* no */" /* yes */ "',
        '5" // "yes"\n5" // yes\n"/* yes\n"*/',
        '"\\"// yes"\n"\\\\" // yes\n"a\nb" // yes "',
        "'//' // yes \"\n'/*' /* no */",
        "`// a\n` // b\n'\\'// no' // yes\n/'// a' // b\n/\"// a",
        "'\\",
        '"\\',
        "/",
        "<!-- a --> <!--b\nc--><!---->d<!-->e-->",
        "<<!-- a--><!<!-- b --><!-<!--c--- --> <!- - d",
        '<a b="<!-- no -->"> "<!-- x --> <!--"-->"\n"<!-- y -->',
        "<!-- open -- >",
        "<!--",
        "# a\n#b ## c\n \\# d\n '#' # e \"#\n\" f # g",
        "'a\\'#b' # c\n'a\\' # d\n'\\'\\' # e' # f\n\"\\\"# g\n\\'# h'",
        "it's # a\nit's '# b\n'\\\\' # c\n\"'# d\"'# e",
        "#",
        "# é漢😀\u2028 # b\r\n// é漢😀\u2028\r\n/* é漢\n😀 */ <!-- é-é--é -->",
        "// é\\\n/é// a\n\\é# b\n'\\é' # c",
        '"é" // é" //\n/*é*é**é*/',
        "\x00// a\x00\n# \x00",
        "x" * 70 + '"' + "y" * 70 + '// a" // b\n' + "x" * 33 + '"' + "y" * 100 + "// c\n'" + "z" * 100 + "# '# d",
        '"' + "x" * 200,
        'print("a") # b // c\n' * 8,
        "\n".join(f"{' ' * n}'{'x' * n}\\'{'y' * n}# {n}' # \"{n}" for n in range(40)),
        "\n".join(f"{'a' * n}/*{'b' * n}*/<!--{'-' * n}-->{'/' * n}" for n in range(40)),
    ),
)
C = nemo_code_comments.index

_STRING_IN_LINE = r'"[^"\n]*"'
_STRING = r"(?P<quote>[{}])(?:\\.|(?!(?P=quote))[^\\])*(?P=quote)?"
_SLASHES = r"/(?:/(?P<a>[^\n]*)|\*(?P<b>.*?)\*/|(?P<open>\*)|.)|" + _STRING
_PATTERNS = {
    "c": _STRING_IN_LINE + r"|//(?P<a>[^\n]*)|/\*(?P<b>.*?)\*/|(?P<open>/\*)",
    "go": _SLASHES.format("\"'`"),
    "javascript": _SLASHES.format("\"'"),
    "markup": _STRING_IN_LINE + r"|<!--(?P<a>.*?)-->|(?P<open><!--)",
    "ruby": r"(?P<quote>[\"'])(?:\\(?P=quote)|(?!(?P=quote))[^\n])*(?P=quote)|\#(?P<a>[^\n]*)",
    "shell": r"\#(?P<a>[^\n]*)|\\.|" + _STRING.format("\"'"),
}


@nemo_code_comments.reference
def _reference(text: TextColumn) -> Array:
    patterns = {name: re.compile(pattern, re.DOTALL) for name, pattern in _PATTERNS.items()}
    rows = []
    for d in text.documents():
        found = {name: [m.groupdict() for m in pattern.finditer(d.decode())] for name, pattern in patterns.items()}
        is_open = {name: any(m.get("open") for m in matches) for name, matches in found.items()}
        row = []
        for name, matches in found.items():
            parts = [m[group] for m in matches for group in ("a", "b") if m.get(group) is not None]
            row.append(0 if is_open[name] else len(" ".join(parts)))
        rows.append(row + [is_open[name] for name in WITH_END])
    return np.array(rows, np.int64).reshape(-1, len(C))


_CLASSES = (
    *("other", "inside", "slash", "star", "hash", "backslash", "backtick", "less", "bang", "dash", "greater"),
    *("newline", "double", "single", "last_double", "last_single"),
)
"""Classes of bytes. inside: not the first of a character; last_X: the last quote of its kind in the line."""
_NEWLINE, _DOUBLE, _SINGLE, _LAST_DOUBLE, _LAST_SINGLE = range(11, 16)

_CLASS = np.zeros(256, np.uint8)
_CLASS[0x80:0xC0] = 1
for _sign, _class in zip("/*#\\`<!->\n\"'", range(2, 14), strict=True):
    _CLASS[ord(_sign)] = _class

_Rules = Mapping[str, Mapping[str, tuple[str, int]]]
"""{state: {class, or "" for any other class: (next state, characters to add)}}; the first state is the initial one."""


def _string(name: str, quote: str, escapes: bool) -> _Rules:
    """Return the states inside of a string that ends with the quote."""
    ends = {quote: ("code", 0), f"last_{quote}": ("code", 0)}
    if not escapes:
        return {name: {**ends, "": (name, 0)}}
    return {name: {**ends, "backslash": (name + "\\", 0), "": (name, 0)}, name + "\\": {"": (name, 0)}}


_TO_LINE_END: _Rules = {"line": {"newline": ("code", 0), "": ("line", 1)}}
_BLOCK: _Rules = {
    "block": {"star": ("block*", 0), "": ("block", 1)},
    "block*": {"slash": ("code", 0), "star": ("block*", 1), "": ("block", 2)},
}
_OPENING = {"slash": ("line", 1), "star": ("block", 1)}  # 1 for the space before a comment
_IN_LINE = {"double": ("string", 0)}  # the last one of its line begins nothing


def _slashes(*quotes: str) -> _Rules:
    opening = {f"{last}{q}": (q, 0) for q in quotes for last in ("", "last_")}
    strings = {k: v for q in quotes for k, v in _string(q, q, True).items()}
    return {
        "code": {"slash": ("slash", 0), **opening, "": ("code", 0)},
        "slash": {**_OPENING, "": ("code", 0)},
        **_TO_LINE_END,
        **_BLOCK,
        **strings,
    }


def _markup(state: str, sign: str, following: tuple[str, int]) -> _Rules:
    return {state: {"less": ("<", 0), **_IN_LINE, sign: following, "": ("code", 0)}}


def _ruby(quote: str) -> _Rules:
    """Return the states of a string; after a \\ the last quote of the line ends the string, as no other quote can."""
    rules = _string(quote, quote, True)
    escaped = {"backslash": (quote + "\\", 0), f"last_{quote}": ("code", 0), "": (quote, 0)}
    return {quote: rules[quote], quote + "\\": escaped}


_MACHINES: Mapping[str, _Rules] = {
    "c": {
        "code": {"slash": ("slash", 0), **_IN_LINE, "": ("code", 0)},
        "slash": {**_OPENING, **_IN_LINE, "": ("code", 0)},
        **_TO_LINE_END,
        **_BLOCK,
        **_string("string", "double", False),
    },
    "go": _slashes("double", "single", "backtick"),
    "javascript": _slashes("double", "single"),
    "markup": {
        **_markup("code", "less", ("<", 0)),
        **_markup("<", "bang", ("<!", 0)),
        **_markup("<!", "dash", ("<!-", 0)),
        **_markup("<!-", "dash", ("block", 1)),
        "block": {"dash": ("block-", 0), "": ("block", 1)},
        "block-": {"dash": ("block--", 0), "": ("block", 2)},
        "block--": {"greater": ("code", 0), "dash": ("block--", 1), "": ("block", 3)},
        **_string("string", "double", False),
    },
    "ruby": {
        "code": {"hash": ("line", 1), "double": ("double", 0), "single": ("single", 0), "": ("code", 0)},
        **_TO_LINE_END,
        **_ruby("double"),
        **_ruby("single"),
    },
    "shell": {
        "code": {
            "hash": ("line", 1),
            **{f"{last}{q}": (q, 0) for q in ("double", "single") for last in ("", "last_")},
            "backslash": ("\\", 0),
            "": ("code", 0),
        },
        "\\": {"": ("code", 0)},
        **_TO_LINE_END,
        **_string("double", "double", True),
        **_string("single", "single", True),
    },
}


def _tables() -> tuple[Array, Array, Array]:
    """(steps, runs, open): steps[256 * machine + 16 * state + class] = 16 * next state + what is counted; runs: every
    256 * machine + 16 * state; open[256 * machine + 16 * state]: 1 where a comment lacks its end."""
    steps, runs = np.zeros(256 * len(LANGUAGES), np.uint8), []
    is_open = np.zeros(len(steps), np.uint8)
    for machine, name in enumerate(LANGUAGES):
        rules = _MACHINES[name]
        number = {state: i for i, state in enumerate(rules)}
        for state, row in rules.items():
            at = 256 * machine + 16 * number[state]
            runs.append(at)
            is_open[at] = state.startswith("block")
            for k, byte_class in enumerate(_CLASSES):
                following, count = row.get(byte_class, row[""])
                if byte_class == "inside":
                    following, count = state, 0
                steps[at + k] = 16 * number[following] + count
    return steps, np.array(runs, np.int64), is_open


_STEPS, _RUNS, _OPEN = _tables()
_FIRST_RUNS = np.searchsorted(_RUNS, np.arange(0, len(_STEPS) + 1, 256)).astype(np.int64)
_C, _GO, _JAVASCRIPT, _MARKUP, _RUBY, _SHELL = range(0, len(_STEPS), 256)


@jit
def _count(data, offsets, classes, steps, is_open, line, out):
    # line: scratch, the classes of the bytes of one line
    low, high = np.int64(3), np.int64(0xF0)
    for d in range(len(offsets) - 1):
        i, end = offsets[d], offsets[d + 1]
        c = go = javascript = markup = ruby = shell = np.int64(0)  # states, times 16
        n_c = n_go = n_javascript = n_markup = n_ruby = n_shell = np.int64(0)
        while i < end:
            n = 0
            double = single = -1
            while i < end:
                k = classes[byte_at(data, i)]
                line[n] = k
                i += 1
                n += 1
                if k >= _NEWLINE:
                    if k == _DOUBLE:
                        double = n - 1
                    elif k == _SINGLE:
                        single = n - 1
                    else:
                        break
            if double >= 0:
                line[double] = _LAST_DOUBLE
            if single >= 0:
                line[single] = _LAST_SINGLE
            for j in range(n):
                k = np.int64(byte_at(line, j))
                c = np.int64(byte_at(steps, _C + (c & high) + k))
                go = np.int64(byte_at(steps, _GO + (go & high) + k))
                javascript = np.int64(byte_at(steps, _JAVASCRIPT + (javascript & high) + k))
                markup = np.int64(byte_at(steps, _MARKUP + (markup & high) + k))
                ruby = np.int64(byte_at(steps, _RUBY + (ruby & high) + k))
                shell = np.int64(byte_at(steps, _SHELL + (shell & high) + k))
                n_c += c & low
                n_go += go & low
                n_javascript += javascript & low
                n_markup += markup & low
                n_ruby += ruby & low
                n_shell += shell & low
        row = out[d]
        row[C.c_chars], row[C.go_chars], row[C.javascript_chars] = n_c, n_go, n_javascript
        row[C.markup_chars], row[C.ruby_chars], row[C.shell_chars] = n_markup, n_ruby, n_shell
        row[C.c_unterminated] = is_open[_C + (c & high)]
        row[C.go_unterminated] = is_open[_GO + (go & high)]
        row[C.javascript_unterminated] = is_open[_JAVASCRIPT + (javascript & high)]
        row[C.markup_unterminated] = is_open[_MARKUP + (markup & high)]


def _joined(out: Array) -> Array:
    """Turn counts with a space before each comment into counts with a space between two, 0 if a comment is open."""
    chars, unterminated = out[:, : C.c_unterminated], out[:, C.c_unterminated :]
    chars -= chars > 0
    chars[:, : len(WITH_END)] *= 1 - unterminated
    return out


@nemo_code_comments.cpu
def _cpu(text: TextColumn) -> Array:
    out = np.empty((len(text), len(C)), np.int64)
    line = np.empty(int(np.diff(text.offsets).max(initial=0)), np.uint8)
    _count(text.data, text.offsets, _CLASS, _STEPS, _OPEN, line, out)
    return _joined(out)


@nemo_code_comments.cuda
def _cuda(xp: Any, text: TextColumn) -> Array:
    segments = Segments.of_text(xp, text, 4096)
    runs, first_runs = constant(xp, _RUNS), constant(xp, _FIRST_RUNS)
    steps = constant(xp, _STEPS)
    ends = xp.empty((segments.count, len(_RUNS)), np.uint8)
    chars = xp.empty((segments.count, len(_RUNS)), np.uint32)
    launch_warps(
        "nemo_code_comments", "code_comments_segments", segments.count, text.data, text.offsets, *segments.args,
        constant(xp, _CLASS), steps, runs, len(_RUNS), ends, chars,
    )  # fmt: skip
    out = xp.empty((len(text), len(C)), np.int64)
    launch_threads(
        "nemo_code_comments", "code_comments_join", len(text) * len(LANGUAGES), segments.first, len(text), first_runs,
        len(LANGUAGES), len(_RUNS), ends, chars, constant(xp, _OPEN), out,
    )  # fmt: skip
    return _joined(out)
