r"""text_counts: all that is counted about the characters, words and lines of a document, in one pass over its bytes.

    text_counts(text)               = int64[n_docs, len(columns)]
    text_counts(text, marks=rows)   = int64[n_docs, len(columns) + len(rows)]

A row of gpu_pile.text.marks adds a column: lines that begin or end with one of some marks, or words that are one of
some words. Published rule sets declare theirs in gpu_pile/signals.

Character classes are those of gpu_pile.text.unicode; lengths are in code points. Columns, for a document t:

    chars               len(t)
    alpha_chars, numeric_chars, upper_chars, space_chars, punctuation_chars   characters of these classes
    ascii_digit_chars   characters in [0-9]
    ascii_prose_chars   characters in [a-zA-Z0-9\n?!,.]
    ascii_blank_chars   tabs, line feeds, carriage returns, backspaces, spaces
    bracket_chars       characters in { } ⟨ ⟩ [ ] ( )
    hashes              t.count("#")
    ellipses            t.count("...") + t.count("…"), without overlaps
    newlines            t.count("\n")
    url_chars           characters of matches of URL
    porn_urls           matches of URL with "porn"
    xml_header          1 where the first 100 characters have "<?xml version="
    unspaced_letters    ALPHA characters of scripts without spaces between words (UNSPACED)

Words are str.split(): runs without white space.

    words               len(t.split())
    word_chars          sum of the words' lengths
    plain_words         words with at least one character that is not PUNCTUATION
    plain_word_chars    sum of their lengths
    alpha_words         words with at least one ALPHA character
    symbol_words        words with # or …
    hash_words          words in which runs of # outnumber half of the characters
    twice_median_word   twice the median of the words' lengths (a whole number); 0 where there is no word
    longest_word        length of the longest word

Lines are those of t.split("\n"), except in the first column; a blank line is empty or white space alone:

    pieces              len(t.splitlines())
    newline_lines       lines, without an empty one at the end
    nonblank_lines      lines that are not blank
    terminal_lines      nonblank lines whose last character (not stripped) is TERMINAL
    short_lines         nonblank lines of at most 30 characters
    third_line_chars    length of the third-longest line, blank ones included; 0 where there are fewer than three
"""

from __future__ import annotations

from gpu_pile.ops.op import Op
from gpu_pile.ops.text_counts.documents import DOCUMENTS, MARKS

SHORT_CHARS = 30
XML_CHARS = 100
XML_HEADER = "<?xml version="
URL = r"http[s]?://(?:[a-zA-Z]|[0-9]|[$-_@.&+]|[!*\(\),]|(?:%[0-9a-fA-F][0-9a-fA-F]))+"
"""NeMo Curator 0.7.1, utils/constants.py, regex_url."""
PORN = "porn"

text_counts = Op(
    "text_counts",
    version=3,
    columns=(
        *("chars", "alpha_chars", "numeric_chars", "upper_chars", "space_chars", "punctuation_chars"),
        *(
            "ascii_digit_chars",
            "ascii_prose_chars",
            "ascii_blank_chars",
            "bracket_chars",
            "hashes",
            "ellipses",
            "newlines",
        ),
        *("url_chars", "porn_urls", "xml_header", "unspaced_letters"),
        *("words", "word_chars", "plain_words", "plain_word_chars", "alpha_words", "symbol_words", "hash_words"),
        *("twice_median_word", "longest_word"),
        *("pieces", "newline_lines", "nonblank_lines", "terminal_lines", "short_lines", "third_line_chars"),
    ),
    samples=({}, {"marks": MARKS}),
    documents=DOCUMENTS,
)

C = text_counts.index
