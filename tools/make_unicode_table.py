"""Make gpu_pile/unicode_table.npz from the running Python's Unicode data. Run it with Python 3.11 (Unicode 14.0.0).

Every backend and the references read this one table, so results do not depend on the Python that runs them.
"""

from __future__ import annotations

import pathlib
import unicodedata

import numpy as np

# Bits of a code point's class; gpu_pile/unicode.py gives them their names and definitions.
ALPHA, NUMERIC, WORD, SPACE, LINE_BREAK, UPPER = (1 << i for i in range(6))


def classes(c: str) -> int:
    return (
        ALPHA * c.isalpha()
        | NUMERIC * c.isnumeric()
        | WORD * (c.isalnum() or c == "_")
        | SPACE * c.isspace()
        | LINE_BREAK * (len(f"a{c}b".splitlines()) == 2)
        | UPPER * c.isupper()
    )


def two_stage(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Equal blocks of 128 code points are kept once: values[c] == leaves[stage[c >> 7] * 128 + (c & 127)]."""
    leaves, stage = np.unique(values.reshape(-1, 128), axis=0, return_inverse=True)
    return stage.reshape(-1).astype(np.uint16), leaves.reshape(-1)


def main() -> None:
    flags = np.array([classes(chr(c)) for c in range(0x110000)], np.uint16)
    lower = np.arange(0x110000, dtype=np.int32)
    for c in range(0x110000):
        small = chr(c).lower()
        lower[c] = ord(small[0])  # U+0130 alone becomes two; the second, U+0307, is named in gpu_pile/unicode.py
    stage, leaves = two_stage(flags)
    lower_stage, lower_leaves = two_stage(lower - np.arange(0x110000, dtype=np.int32))
    target = pathlib.Path(__file__).parents[1] / "gpu_pile" / "unicode_table.npz"
    np.savez_compressed(
        target,
        version=np.array([int(x) for x in unicodedata.unidata_version.split(".")]),
        flag_stage=stage,
        flag_leaves=leaves,
        lower_stage=lower_stage,
        lower_leaves=lower_leaves.astype(np.int32),
    )


if __name__ == "__main__":
    main()
