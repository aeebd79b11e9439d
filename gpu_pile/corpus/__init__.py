"""Files, URLs and shards: finding, reading and writing them whatever state they are in."""
