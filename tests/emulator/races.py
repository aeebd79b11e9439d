"""Operations on some of their documents, emulated under the thread sanitizer, which reports on stderr.

    python -m tests.emulator.races OPERATION...              prints "done" at the end
    python -m tests.emulator.races OPERATION --without N     the same without barrier N of the source, from 0 on

Run with the sanitizer's library loaded first and addresses that are not random; see tests/test_kernels.py.
"""

from __future__ import annotations

import argparse
import re

from gpu_pile.ops import op
from gpu_pile.text.column import TextColumn
from tests import emulator
from tests.test_conformance import SEAMS

DOCUMENTS = 12
BARRIER = "__syncwarp();"


def between_lanes(log: str) -> list[str]:
    """The reports of the sanitizer whose accesses are both by lanes; the emulator itself is the main thread."""
    reports = [r for r in log.split("=" * 18) if "WARNING: ThreadSanitizer: data race" in r]
    return [r for r in reports if not any("main thread" in who for who in re.findall(r"^  .* by (.*):$", r, re.M)[:2])]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("operations", nargs="+")
    parser.add_argument("--without", type=int)
    asked = parser.parse_args()

    def change(source: str) -> str:
        parts = source.split(BARRIER)
        if asked.without is None or asked.without + 1 >= len(parts):
            return source
        before, after = parts[: asked.without + 1], parts[asked.without + 1 :]
        return BARRIER.join(before) + BARRIER.join(after)

    for name in asked.operations:
        operation = op.load_all()[name]
        every = max(1, len(operation.documents) // DOCUMENTS)
        text = TextColumn.from_documents([*operation.documents[::every], *SEAMS[:3]])
        params = operation.samples[-1]
        with emulator.installed(change, sanitize="thread", guard=False, segment=40, optimize="-O1", order=7):
            operation.run("cuda-emulated", *operation.inputs(text, params), **params)
    print("done")


if __name__ == "__main__":
    main()
