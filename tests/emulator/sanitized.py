"""Every operation on its documents, emulated under the address and the undefined-behaviour sanitizers.

Run with the sanitizer's library loaded first; see tests/test_kernels.py. Prints how many cases ran.
"""

from __future__ import annotations

from gpu_pile.ops import op
from gpu_pile.testing import assert_same_bits
from tests import emulator
from tests.test_conformance import SEAMS


def main() -> None:
    cases = 0
    for operation in op.load_all().values():
        for params in operation.samples:
            for segment in (None, 40):
                with emulator.installed(
                    sanitize="address,undefined", guard=False, segment=segment, optimize="-O1", order=7
                ):
                    assert_same_bits(operation, "cuda-emulated", [*operation.documents, *SEAMS], params)
            cases += 1
    print(cases)


if __name__ == "__main__":
    main()
