"""Every operation on its documents on the GPU, in small segments: what compute-sanitizer is run on.

    compute-sanitizer --tool memcheck --error-exitcode 9 python -m tests.gpu_small [OPERATION ...]

Memory comes from the driver itself, without a pool, so that the tool sees where each array ends.
"""

from __future__ import annotations

import sys

import cupy

from gpu_pile.ops import op
from gpu_pile.testing import assert_same_bits
from tests import emulator
from tests.test_conformance import SEAMS


def main(names: list[str]) -> None:
    cupy.cuda.set_allocator(None)
    cases = 0
    operations = op.load_all()
    for operation in [operations[name] for name in names or operations]:
        for params in operation.samples:
            for segment in (None, 40):
                with emulator.installed(segment=segment):
                    assert_same_bits(operation, "cuda", [*operation.documents, *SEAMS], params)
                    cases += 1
    print(f"{cases} cases are right")


if __name__ == "__main__":
    main(sys.argv[1:])
