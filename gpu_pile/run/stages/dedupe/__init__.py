"""The stage dedupe: duplicates among the documents of a run.

stage         the order of the steps; what is done, what the report says
candidates    measured rows -> sets of equal hashes, candidate pairs: tasks over partitioned files
contained     shards read again -> candidate pairs of documents that stand in another one
verify_pairs  texts read again -> digests and shingle sets; candidate pairs -> verified pairs
clusters      verified pairs and sets of equal documents -> pairs.parquet, clusters.parquet
"""
