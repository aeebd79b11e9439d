"""The repository speaks plain English: no comment, docstring, message or page has the habits listed here.

A finding is fixed by writing the sentence as a colleague would say it aloud. A real use of a word goes into ALLOWED.
"""

import ast
import functools
import io
import json
import re
import subprocess
import tokenize

import pytest

from tests.conftest import HERE

ROOT = HERE.parent

UNITS = (
    "band|batch|block|bucket|byte|call|character|cluster|code point|column|component|core|cycle|document|family|file|"
    "frame|GPU|group|job|kernel|key|lane|line|machine|MB|megabyte|million|node|operation|pair|part|piece|process|range|"
    "row|second|segment|shard|shingle|side|signal|sketch|stage|step|subset|task|term|text|thread|value|warp|word|worker"
)
THINGS = "bytes|bits|characters|CPU seconds|documents|files|instructions|lines|microseconds|[GKM]i?B|ms|ns|records|rows"

PREPOSITIONS = r"(?:as|at|by|for|from|in|of|on|to|with|without)\b"
VERBS = "can|had|has|holds|is|may|must|needs|takes|was|will"

HABITS = {
    "per": (
        rf"\b(?:(?:an?|one|two|\d+|[\d.]+ [GKM]i?B) (?!{PREPOSITIONS})[\w-]+|{THINGS}|values|words|seconds)"
        rf" an? (?:{UNITS})\b(?! (?:of|{VERBS})\b)",
        'write "one row per document", not "a row a document"',
    ),
    "anew": (r"\banew\b", 'write "again"'),
    "mend": (r"\bmend(?:s|ed|ing)?\b", 'write "fix"'),
    "dear": (r"\bdear(?:er|est)?\b", 'write "expensive"'),
    "behind": (r"\bbehind\b", 'write "after" for order, "past" for memory'),
    "whoever": (r"\b(?:whoever|(?:by|for|from|than|to) who)\b", "name the reader, the worker or the process"),
    "told": (r"\btold (?:apart|by|from)\b", 'write "recognised by" or "distinguished from"'),
    "by itself": (r"\bby (?:itself|themselves)\b", 'write "alone", "separately" or "on its own"'),
    "is no": (
        r"(?<!there )(?<!There )\b(?:is|are|was|were) no (?!longer\b|more\b|less\b|larger\b|smaller\b|different\b)\w+",
        'write "is not a" or "has no"',
    ),
    "affair": (r"\baffairs?\b", "say whose responsibility it is"),
    "so many": (r"\b[Ss]o (?:many|much) (?:bytes|words|rows|ahead|MB|of)\b", "give the quantity a name"),
    "are none": (r"(?<!there )(?<!There )\b(?:is|are|was|were) none\b", 'write "are not"'),
    "of these": (r"\b(?:of|by|than) these\b(?! \w)", "repeat the noun: each sentence is read alone"),
}
"""Name: (regular expression, advice)."""

COMPILED = {habit: (re.compile(pattern), advice) for habit, (pattern, advice) in HABITS.items()}

ALLOWED = {
    "behind": ("left behind",),
    "per": ("1 if a line",),
}
"""Real uses of a word: phrases in which a habit is none."""

PLACES = (
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "Makefile",
    "benchmarks",
    "configs",
    "docs",
    "examples",
    "gpu_pile",
    "gpu_pile/run",
    "kernels",
    "notebooks",
    "tests",
    "tools",
)
"""Files and folders whose texts are read by people."""


def python_prose(source, messages):
    """(line, text) of comments and docstrings; with messages, of every string."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.lineno, node.value.value  # docstrings, also those of variables
        elif messages and isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(str(v.value) if isinstance(v, ast.Constant) else "x" for v in node.values)
        elif messages and isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def prose(path):
    """(line, text) of everything in a file that is written for people."""
    source = (ROOT / path).read_text(encoding="utf-8")
    if path.endswith(".py"):
        yield from python_prose(source, messages=path.startswith("gpu_pile/"))
    elif path.endswith(".md"):
        code = r"```.*?```|`[^`\n]*`"
        text = re.sub(code, lambda m: "\n" * m[0].count("\n") or "`x`", source, flags=re.DOTALL)
        for paragraph in re.finditer(r"(?:.+\n)+", text):
            yield text.count("\n", 0, paragraph.start()) + 1, paragraph[0]
    elif path.endswith(".ipynb"):
        for cell in json.loads(source)["cells"]:
            if cell["cell_type"] == "markdown":
                yield 1, "".join(cell["source"])
    elif path.endswith((".cu", ".cuh", ".h")):
        yield from ((i, line.partition("//")[2]) for i, line in enumerate(source.splitlines(), 1))
    else:  # YAML, shell and make: comments, and what they print
        yield 1, source


def findings(name, text):
    """One line per habit in a text: where, the phrase, advice."""
    flat = re.sub(r"\n[ #/]*", " ", text)
    for habit, (pattern, advice) in COMPILED.items():
        for match in pattern.finditer(flat):
            phrase = flat[max(0, match.start() - 20) : match.end() + 20]
            if not any(allowed in phrase for allowed in ALLOWED.get(habit, ())):
                yield f"{name}: ...{phrase}...: {advice}"


@functools.cache
def tracked():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout: which files belong to the repository is unknown")
    endings = (".py", ".md", ".ipynb", ".cu", ".cuh", ".h", ".yaml", ".sh", "Makefile")
    return [p for p in listed.stdout.split() if p.endswith(endings) and not p.startswith("tests/data/")]


@pytest.mark.parametrize("place", PLACES)
def test_plain_english(place):
    found = [
        finding
        for path in tracked()
        if (path == place or path.startswith(f"{place}/"))
        and (place != "gpu_pile" or not path.startswith("gpu_pile/run/"))
        and path != "tests/test_language.py"
        and (ROOT / path).exists()
        for line, text in prose(path)
        for finding in findings(f"{path}:{line}", text)
    ]
    assert not found, "\n" + "\n".join(dict.fromkeys(found))


@pytest.mark.parametrize(
    ("habit", "text"),
    [
        ("per", "a row a document"),
        ("per", "it has one column a signal"),
        ("per", "7 to 14 MB of text, 20 bytes a shingle"),
        ("behind", "the byte\n# behind the end"),
        ("is no", "the text is no string"),
        ("told", "documents are told apart"),
        ("mend", "mend or uninstall it"),
    ],
)
def test_a_habit_is_found(habit, text):
    assert [f for f in findings("here", text) if f.endswith(HABITS[habit][1])]


@pytest.mark.parametrize("text", ["there is no file", "it is no longer needed", "one row per document", "left behind"])
def test_plain_sentences_are_accepted(text):
    assert not list(findings("here", text))
