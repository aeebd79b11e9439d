"""Units of documents on a device: the device half of gpu_pile.text.shingles."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpu_pile.gpu.segments import Segments, constants, count_then_write, flag_tables
from gpu_pile.text import unicode
from gpu_pile.text.column import TextColumn
from gpu_pile.text.shingles import word_classes
from gpu_pile.types import Array


def device_units(xp: Any, text: TextColumn, kind: str) -> tuple[Array, Array, str]:
    """Return the units of all documents on the device, in order, as kernels that include shingles.cuh take them.

    Returns:
        (units, starts, type): document d has units[starts[d]:starts[d + 1]]. For words and characters they are hashes,
        uint64; for bytes they are the text itself, uint8. type is the definition of the macro UNIT.
    """
    if kind == "byte":
        return text.data, text.offsets, "u8"
    segments = Segments.of_text(xp, text)
    inputs: tuple[Any, ...] = (text.data, text.offsets, *segments.args)
    kernels, lower = ("count_characters", "write_characters"), ()
    classes = word_classes(kind)
    if classes:
        kernels, inputs = ("count_words", "hash_words"), (*inputs, *flag_tables(xp), classes)
        lower = constants(xp, (unicode.LOWER_STAGE, unicode.LOWER_LEAVES))
    first, units = count_then_write(xp, "shingles", kernels, segments, inputs, np.uint64, write_inputs=lower)
    return units, first, "u64"


def shingle_counts(xp: Any, starts: Array, width: int) -> Array:
    """Return int64[n_docs]: how many shingles documents with these units have."""
    n = xp.diff(starts)
    return xp.maximum(n - (width - 1), xp.minimum(n, 1))
