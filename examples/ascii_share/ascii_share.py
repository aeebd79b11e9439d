"""A signal from a package of its own: the fraction of a document's bytes that are ASCII."""

import numpy as np

from gpu_pile.signals import from_function


def ascii_share(text):
    """Return one fraction per document of text, a gpu_pile.TextColumn: bytes in text.data, bounds in text.offsets."""
    before = np.concatenate(([0], np.cumsum(text.data < 0x80)))
    ascii_bytes = before[text.offsets[1:]] - before[text.offsets[:-1]]
    n_bytes = np.diff(text.offsets)
    return np.where(n_bytes > 0, ascii_bytes / np.maximum(n_bytes, 1), 1.0)


FAMILY = from_function(
    "ascii_share",
    unit="fraction",
    definition="ASCII bytes / bytes; 1 for an empty document",
    source="this example",
    version=1,
    function=ascii_share,
)
