"""Signals of NeMo Curator, DCLM and FineWeb against their definitions in plain Python."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gpu_pile

PIECES = [
    *("the", "The", "of", "a", "b", "word", "x" * 40, "#", "...", "…", "[...]", "-»", "read more", "• ", "* ", "● "),
    *(
        ". ",
        "!",
        '"',
        "\n",
        "\n\n",
        "\n\n\n",
        " ",
        "\t",
        "(",
        "]",
        "9",
        "٣",
        "http://a.b/porn",
        "https://c",
        "é",
        "\r\n",
    ),
]
texts = st.lists(st.sampled_from(PIECES), min_size=1, max_size=60).map("".join)


def over(a, b):
    return a / b if b else None


def nemo(t):
    lines = [x for x in t.split("\n") if x.strip()]
    paragraphs = t.split("\n\n")
    words = t.split()
    urls = re.findall(r"http[s]?://(?:[a-zA-Z]|[0-9]|[$-_@.&+]|[!*\(\),]|(?:%[0-9a-fA-F][0-9a-fA-F]))+", t)
    ellipses = ("...", "[...]", "…", "(...)", "[…]", "-»", "read more..", "read more")
    out = {
        "nemo_non_alnum_fraction": over(len(t) - len(re.findall("[a-zA-Z0-9\n?!,.]", t)), len(t)),
        "nemo_symbol_word_fraction": over(
            sum(w in ellipses or len(re.findall("#+", w)) / len(w) > 0.5 for w in words), len(words)
        ),
        "nemo_digit_fraction": over(len(re.findall("[0-9]", t)), len(t)),
        "nemo_url_char_fraction": over(sum(map(len, urls)), len(t)),
        "nemo_bullet_line_fraction": over(sum(x.strip().startswith(("•", "●")) for x in lines), len(lines)),
        "nemo_white_space_fraction": over(sum(c in "\t\n\r\b " for c in t), len(t)),
        "nemo_parenthesis_fraction": over(sum(c in "{}⟨⟩[]()" for c in t), len(t)),
        "longest_word_chars": max(map(len, words), default=0),
        "nemo_no_end_mark_line_fraction": over(
            sum(not x.strip().endswith((".", "?", "!", '"', "'")) for x in lines), len(lines)
        ),
        "nemo_ellipsis_line_fraction": over(sum(x.strip().lower().endswith(ellipses) for x in lines), len(lines)),
        "nemo_common_word_count": sum(w in {"the", "of"} for w in words),
        "nemo_porn_url_count": sum("porn" in u for u in urls),
        "nemo_unique_line_fraction": over(len(set(lines)), len(lines)),
        "nemo_unique_line_char_fraction": over(len("".join(set(lines))), len("".join(lines))),
        "nemo_unique_paragraph_fraction": over(len(set(paragraphs)), len(paragraphs)),
        "nemo_unique_paragraph_char_fraction": over(len("".join(set(paragraphs))), len("".join(paragraphs))),
        "code_line_count": t.count("\n") + 1,
        "code_xml_header": 0,
    }
    for n in range(5, 11):
        seen, chars, counted = set(), 0, 0
        for gram in zip(*(words[k:] for k in range(n)), strict=False):
            if gram in seen:
                chars += sum(map(len, gram[counted:])) + min(n - counted, n - 1)
                counted = n
            seen.add(gram)
            counted = max(counted - 1, 0)
        out[f"nemo_dup_{n}gram_char_fraction"] = over(chars, len(t)) if len(words) >= n else None
    return out


@settings(max_examples=200, deadline=None)
@given(texts)
def test_nemo(text):
    assert gpu_pile.measure([text], ["nemo"], workers=1).to_pylist()[0] == pytest.approx(nemo(text), abs=1e-15)


@settings(max_examples=200, deadline=None)
@given(texts)
def test_fineweb(text):
    lines = [x for x in text.split("\n") if x.strip()]
    again = [x for i, x in enumerate(lines) if x in lines[:i]]
    chars = len(text.replace("\n", ""))
    got = gpu_pile.measure([text], ["fineweb"], workers=1).to_pylist()[0]
    assert got["nonblank_line_count"] == len(lines)
    assert got["terminal_line_fraction"] == over(sum(x.endswith((".", "!", "?")) for x in lines), len(lines))
    assert got["short_line_fraction"] == over(sum(len(x) <= 30 for x in lines), len(lines))
    assert got["dup_nonblank_line_char_fraction"] == over(sum(map(len, again)), chars)
    assert got["newline_per_word"] == over(text.count("\n"), len(text.split()))


@settings(max_examples=200, deadline=None)
@given(texts)
def test_dclm(text):
    lines = [x.strip() for x in text.split("\n") if x.strip()]
    got = gpu_pile.measure([text], ["dclm"], workers=1).to_pylist()[0]
    assert got["dclm_stop_word_count"] == sum(w.lower() in {"the", "of"} for w in text.split())
    assert got["dclm_bullet_line_fraction"] == over(sum(x.startswith(tuple("●•*-")) for x in lines), len(lines))
    assert got["dclm_ellipsis_line_fraction"] == over(sum(x.endswith(("...", ". . .", "…")) for x in lines), len(lines))


def test_digits_of_nemo_curator_are_those_of_ascii():
    """[[:digit:]] of the regex module, in NeMo Curator from 2023.12 to 2026.11."""
    table = gpu_pile.measure(["売上は１２３４５円 abc", "a1٣ 2½"], ["nemo_digit_fraction"])
    assert table["nemo_digit_fraction"].to_pylist() == [0.0, 2 / 6]
