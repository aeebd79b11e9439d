"""gpu-pile decontaminate: what a corpus has in common with evaluation sets."""
