"""A rule set hands its marks to text_counts as data: a new "line ends with one of ..." is a row, with no other edit."""

import numpy as np
import pytest

from gpu_pile import signals
from gpu_pile.errors import ConfigError
from gpu_pile.ops.text_counts import text_counts
from gpu_pile.testing import assert_same_bits
from gpu_pile.text.column import TextColumn
from gpu_pile.text.marks import LineEnds, LineStarts, WordSet
from tests import emulator

MARKS = (
    LineEnds("greeting_lines", ("Best regards,", "–Ed", "¡fin!")),
    LineStarts("section_lines", ("§", "chapter"), any_case=True),
    WordSet("modal_words", ("may", "must", "can"), any_case=True),
)
RULES = signals.Family(
    "letters",
    1,
    "a rule set of this test",
    ops=(text_counts,),
    signals=tuple(signals.Signal(row.name, "lines", "int64", "a count of this test") for row in MARKS),
    compute=lambda counts: {row.name: counts(text_counts)[row.name] for row in MARKS},
    marks=MARKS,
)
TEXT = TextColumn.from_documents(
    [
        "Chapter one\n  § 2\nWe may go, and MUST.\nBest regards,\n–Ed \t\n\nno: ¡fin! no\n¡fin!",
        "",
        "can can Can\u2028§",
        ("x" * 61 + "\nCHAPTER " + "y" * 50 + "–Ed\n") * 5,
    ]
)
EXPECTED = {"greeting_lines": [3, 0, 0, 5], "section_lines": [2, 0, 0, 5], "modal_words": [1, 0, 3, 0]}


@pytest.mark.parametrize("backend", ["reference", "cpu", "cuda-emulated"])
def test_a_rule_set_with_marks_of_its_own_is_counted(backend):
    with emulator.installed(segment=40):
        values = RULES.compute(signals.Counts(TEXT, backend, RULES.marks))
    assert {name: column.tolist() for name, column in values.items()} == EXPECTED


def test_marks_of_one_family_do_not_change_what_another_counts():
    alone = signals.Counts(TEXT, "cpu", RULES.marks)(text_counts)
    together = signals.Counts(TEXT, "cpu", signals.all_marks([*signals.families(), RULES]))(text_counts)
    assert all(np.array_equal(alone[name], together[name]) for name in alone)


def test_one_name_for_different_marks_is_refused():
    other = signals.Family("other", 1, "s", (), (), RULES.compute, (LineEnds("greeting_lines", "!"),))
    with pytest.raises(ConfigError, match="letters and other declare different marks under the name 'greeting_lines'"):
        signals.all_marks([RULES, other])


@pytest.mark.parametrize("backend", ["cpu", "cuda-emulated"])
def test_the_published_marks_on_the_documents_of_the_operation(backend):
    with emulator.installed():
        marks = signals.all_marks(signals.families())
        assert_same_bits(text_counts, backend, text_counts.documents, {"marks": marks})
