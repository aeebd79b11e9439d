"""Check a finished run from its files alone, by other code than made them.

Shards are read line by line with the zstandard and gzip libraries and parsed by Python's json; texts are compared by
BLAKE2b digests; shingles and signals come from the plain references of the operations; rules are applied value by
value. Only a damaged shard is read by the project's own recovering reader, and the check says so.

    counts       run.json, measured tables, decisions, reasons.parquet and report.json agree
    lines        every line of the input is a document, a bad line or blank
    kept lines   kept/<shard>, or what its bitmap marks, is exactly the kept lines of the input, byte for byte, in order
    signals      stored signals, hashes and sketches are those of the plain references; the reasons follow from them
    exact        each exact duplicate has a kept document of equal text
    exact left   no two kept documents have equal texts
    near         each near duplicate has a kept witness; its Jaccard similarity is as recorded, not below the threshold
    contained    each contained document has a kept document with the recorded share of it
    near left    no two kept documents are near duplicates that the run had to compare
    old          with input.against: each duplicate of an old document has a witness that the old run keeps
"""

from gpu_pile.explore.verify.check import Check
from gpu_pile.explore.verify.verification import verify

__all__ = ["Check", "verify"]
