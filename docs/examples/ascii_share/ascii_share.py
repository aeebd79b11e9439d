"""A signal from a package of its own: which share of a document's bytes is ASCII."""

import numpy as np

from gpu_pile.signals import from_function


def ascii_share(text):
    """text: a gpu_pile.TextColumn, documents back to back in text.data, bounds in text.offsets."""
    before = np.concatenate(([0], np.cumsum(text.data < 0x80)))
    ascii_bytes = before[text.offsets[1:]] - before[text.offsets[:-1]]
    n_bytes = np.diff(text.offsets)
    return np.where(n_bytes > 0, ascii_bytes / np.maximum(n_bytes, 1), 1.0)


FAMILY = from_function(
    "ascii_share",
    unit="fraction",
    definition="bytes below 128 / bytes; 1 for an empty document",
    source="this example",
    version=1,
    function=ascii_share,
)
