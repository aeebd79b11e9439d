"""What adds up over shards: histograms, samples of texts, counts of reasons."""
