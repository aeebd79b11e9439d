"""Exact and fuzzy deduplication over tables: no text, no file formats.

    bands     what a banding catches, and which one a threshold needs
    buckets   equal keys -> groups of rows, candidate pairs; spills to disk past a memory budget
    clusters  verified pairs -> connected components, survivors, witnesses

Rows are dense int64 numbers: documents in the order of (shard, line).
"""
