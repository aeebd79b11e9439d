"""Exact and fuzzy deduplication over arrays: no text, no tables of a run, no file formats.

    engine      the order of the steps, for any source of documents
    equal_sets  rows with equal hashes -> sets of equal documents, checked by digests
    banding     what a banding catches, and which one a threshold needs
    buckets     rows that share a hash, or a band
    contained   samples of shingles -> candidates for documents that stand in another one
    similarity  candidate pairs -> verified pairs, by shingle sets or by sketches
    survivors   verified pairs -> survivors and witnesses
    radix       records grouped and sorted
    partition   records in files, partitioned by ranges of a column
    rowset      sets of rows

Rows are dense int64 numbers: documents in the order of the texts given, or of (shard, line).
"""
