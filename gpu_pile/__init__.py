"""gpu_pile: deduplicate and filter language-model corpora of The Pile's shape."""

__version__ = "0.1.0"
