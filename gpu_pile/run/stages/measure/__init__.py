"""measure: read each shard once; everything that later stages need becomes a row of measured/<shard>.parquet.

stage:   which shards are measured, and in which tasks
read:    the jobs that read and measure: of a shard, and of a range of a shard
merge:   the job that puts the ranges of a shard together
columns: the columns of a measured file, and what they depend on
"""
