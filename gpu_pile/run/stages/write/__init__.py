"""write: the kept lines of each shard, byte for byte as they came, into kept/<shard>.jsonl.zst (or another format).

A shard of one range is written as one zstd frame, a shard of several ranges as one frame per range: ranges are
compressed separately, into scratch/write/, and joined. Stretches of whole frames of which every line is kept are
copied as they are, and with write.frame_bytes the other lines are cut into frames of about that size.

Documents that decisions mark as edited get another text, and everything else in their lines stays. With write.removed,
the lines of all other documents go to removed/<shard>.jsonl.zst byte for byte, and their rows of the decisions to
removed_reasons/<shard>.parquet.

Kept rows of Parquet and Arrow go to kept/<shard>.parquet and .arrow with all their columns, a shard after the other in
one task each.

With write.format: parquet, the kept lines of a shard go to kept/<shard>.parquet as rows, its ranges one after the other
in one task.

stage: which shards are written, and in which tasks
parts: which stretches of a range are copied, and which lines are read again
copy:  the jobs that read a shard, or a range of one, and write its lines
convert: the job that writes the lines of a shard as rows
rows:  the job that reads a shard of rows and writes the kept ones
join:  the job that joins the ranges of a shard
"""
