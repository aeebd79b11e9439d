"""What makes two documents exact duplicates: the text that is hashed, and digests of it.

Everything that hashes or compares whole texts (measure, dedupe, gp.dedupe) takes the definition from here; verify
states it a second time, on purpose, in plain Python (gpu_pile.explore.verify.exact).
"""

from __future__ import annotations

import hashlib

import numpy as np

from gpu_pile.gpu.device import Device
from gpu_pile.ops.normal_words import normal_words
from gpu_pile.text.column import TextColumn
from gpu_pile.types import Array

DIGEST_BYTES = 16


def exact_text(text: TextColumn, normalize: str, backend: str | None = None) -> TextColumn:
    """Return the texts whose equality makes exact duplicates (dedupe.exact.normalize), where the given text is.

    backend: an implementation of the operations by name; None for that of the device where the text is.
    """
    if normalize == "none":
        return text
    return TextColumn(*(normal_words(text) if backend is None else normal_words.run(backend, text)))


def digests(text: TextColumn, normalize: str, backend: str | None = None) -> Array:
    """Return uint8[n, DIGEST_BYTES], BLAKE2b of what exact_text gives for each document; one C call per document."""
    hashed = Device().text(exact_text(text, normalize, backend))
    out = np.empty((len(hashed), DIGEST_BYTES), np.uint8)
    for i in range(len(hashed)):
        document = hashed.data[hashed.offsets[i] : hashed.offsets[i + 1]]
        out[i] = np.frombuffer(hashlib.blake2b(document, digest_size=DIGEST_BYTES).digest(), np.uint8)
    return out
