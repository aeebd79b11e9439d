"""Exact and fuzzy deduplication over tables: no text, no file formats.

    bands     what a banding catches, and which one a threshold needs
    records   rows of numbers: grouped, sorted
    spill     records between processes, in files grouped by ranges
    buckets   equal keys -> groups of rows, candidate pairs
    rows      sets of rows
    clusters  verified pairs -> survivors, witnesses

Rows are dense int64 numbers: documents in the order of (shard, line).
"""
