"""A whole run with a configuration of one's own, and what it kept: python examples/run_and_read.py [CONFIG] [OUT]

Without arguments it takes examples/my.yaml, which reads the demo corpus of this repository, and writes to out/.
"""

from __future__ import annotations

import io
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import zstandard

import gpu_pile as gp


def kept_documents(folder: Path) -> Iterator[dict]:
    """Every kept document: the lines of kept/, which are those of the input byte for byte."""
    for file in sorted(folder.glob("kept/*.jsonl.zst")):
        with file.open("rb") as compressed:
            lines = zstandard.ZstdDecompressor().stream_reader(compressed, read_across_frames=True)
            yield from map(json.loads, io.BufferedReader(lines))


def main(config: str = "examples/my.yaml", out: str = "out") -> None:
    # As gpu-pile run does. It goes on after an interruption, and does nothing where everything is done.
    run = gp.run(config, {"output": out})

    kept = Counter(document["meta"]["pile_set_name"] for document in kept_documents(Path(out)))
    print(f"kept by subset: {dict(kept.most_common())}")

    # Every document has a row in decisions/, with all reasons and their values.
    decisions = run.decisions.to_table(["shard", "line", "keep", "reasons", "values"])
    removed = [row for row in decisions.to_pylist() if not row["keep"]]
    for row in removed[:3]:
        print(f"{row['shard']}:{row['line']} was removed: {dict(zip(row['reasons'], row['values'], strict=True))}")

    # The text of a removed document, and of the document that stays in its place.
    (doc_id,) = run.with_reason("near_duplicate", 1)
    story = run.document(doc_id)
    print(f"{doc_id} duplicates {story['witness']}: {story['text'][:60]!r} ...")


if __name__ == "__main__":
    main(*sys.argv[1:])
