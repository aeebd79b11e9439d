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

Columns: lines (looked at), one for each of these verdicts, `sentences`, those of the kept lines together, and
`kept_bytes`, the UTF-8 bytes of the kept text. That is "\\n".join(kept lines without citations).strip(); of a rejected
document, what was kept until then.

Sentences: a line has one, and one more for every word that a further sentence follows. A word ends a sentence if,
without closing marks at its end, it ends with . ! or ? (or 。 ！ ？), does not end with "..", and is not an
abbreviation: one capital letter and a full stop, a word with a full stop between two letters, or one of ABBREVIATIONS.
What follows must have a word that is not made of PUNCTUATION alone. The rule is of this project: datatrove asks a
tokenizer of the language. On 1,000 documents of The Pile, the sentencizer of spaCy 3.8, which datatrove uses for
English, finds as many sentences in 5,418 of 5,687 kept lines, and says the same about "five sentences or more" of 992
documents.
"""

from __future__ import annotations

from gpu_pile.ops.op import Op

WORD_CHARS_MAX = 1000
WORDS_MIN = 3
POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
ABBREVIATIONS = (
    *("adm", "bros", "co", "corp", "dr", "etc", "gen", "gov", "inc", "jr", "ltd", "messrs", "mr", "mrs", "ms", "no"),
    *("prof", "rep", "rev", "sen", "sr", "st", "vs", "jan", "feb", "apr", "aug", "sep", "sept", "oct", "nov", "dec"),
)
"""In lower case, without the full stop; seven bytes at most."""

ENDS = ".!?。！？"
CLOSING = "\"'”’)]}»」』"

c4_lines = Op(
    "c4_lines",
    version=2,
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
        "P < 0.05). A 3.5. B 4.b. C a.5. D a.b. E é.ß. F é.5. G .a. H a.. I ..a. J a.1.b. K 1.a.b. L.",
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

C = c4_lines.index
