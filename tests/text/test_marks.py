"""Rows of marks: what is refused, and that tables find what plain Python finds."""

import pytest

from gpu_pile.ops.text_counts import text_counts
from gpu_pile.testing import assert_same_bits
from gpu_pile.text.marks import DISTINCT_MAX, MARKS_MAX, LineEnds, LineStarts, WordSet, mark_tables
from tests import emulator


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (lambda: LineEnds("x", ("",)), "mark '' is empty"),
        (lambda: LineEnds("x", ("a ",)), "white space at its ends"),
        (lambda: LineStarts("x", ("\u3000a",)), "white space at its ends"),
        (lambda: LineEnds("x", ("a\nb",)), "line break"),
        (lambda: LineEnds("x", ("Read more",), any_case=True), "capitals"),
        (lambda: WordSet("x", ("a",)), "neither 2 to 4 small ASCII letters"),
        (lambda: WordSet("x", ("The",)), "neither 2 to 4"),
        (lambda: WordSet("x", ("about",)), "neither 2 to 4"),
        (lambda: WordSet("x", ("…………",)), "1 to 7 bytes of punctuation"),
        (lambda: mark_tables((LineEnds("x", "."), LineStarts("x", "."))), "different names"),
        (lambda: mark_tables(tuple(LineEnds(f"x{i}", ".") for i in range(MARKS_MAX + 1))), "at most 64 rows"),
        (
            lambda: mark_tables(
                (WordSet("x", tuple(f"a{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(33)), distinct=True),)
            ),
            f"more than {DISTINCT_MAX}",
        ),
    ],
)
def test_rows_that_are_refused(row, says):
    with pytest.raises(ValueError, match=says):
        row()


def many(n):
    """n rows of all kinds."""
    ends = [LineEnds(f"end{i}", (chr(97 + i % 26), f". {chr(65 + i % 26)}"), splitlines=i % 2 == 1) for i in range(n)]
    ends[::5] = [LineStarts(f"start{i}", (chr(97 + i % 26) + "x",), any_case=True) for i in range(0, n, 5)]
    return tuple(ends)


@pytest.mark.parametrize("n", [1, 33, 64])
def test_as_many_rows_as_there_may_be(n):
    """Columns beyond the 32nd are counted by another register of a lane, and the last bit is that of a sign."""
    documents = ["".join(f"{chr(97 + i)}X {chr(98 + i)}\u2028aa. {chr(65 + i)}\n" for i in range(25))]
    assert_same_bits(text_counts, "cpu", documents, {"marks": many(n)})
    with emulator.installed(segment=40):
        assert_same_bits(text_counts, "cuda-emulated", documents, {"marks": many(n)})
