"""URLs and the XML header in the pass over a text on the CPU: looked for where a colon or < is, which are rare."""

from __future__ import annotations

import re

import numpy as np

from gpu_pile.ops.text_counts.contract import PORN, XML_CHARS, XML_HEADER, C
from gpu_pile.ops.text_counts.scan import characters_before
from gpu_pile.text.blocks import lowest
from gpu_pile.text.jit import inlined, jit
from gpu_pile.text.simd import byte_at, count_trailing_zeros, starts_with

_1 = np.uint64(1)
_HTTP, _SLASHES, _PORN, _XML = (
    np.frombuffer(text.encode(), np.uint8).copy() for text in ("http", "://", PORN, XML_HEADER)
)
_IN_URL = np.array([c < 128 and bool(re.match("[a-zA-Z!$-_]", chr(c))) for c in range(256)])
"""Whether a byte may be in a URL after its ://. The other alternatives of URL are ASCII that this class includes."""


@inlined
def count_urls(data, colons, base, counted, end, row):
    """Count the URLs whose colon is in the block. counted: up to where URLs are counted. Returns the next `counted`."""
    while colons:
        i = base + count_trailing_zeros(colons)
        colons &= colons - _1
        if i + 3 < end and byte_at(data, i + 1) == ord("/") and byte_at(data, i + 2) == ord("/"):
            start, stop = _find_url(data, i, counted, end)
            if start < stop:
                counted = stop
                row[C.url_chars] += stop - start
                row[C.porn_urls] += _contains(data, start, stop, _PORN)
    return counted


@jit
def _find_url(data, colon, begin, end):
    """(start, end) of the URL in data[begin:end] with this colon after http or https; (colon, colon) for none."""
    start = colon - 4
    if start >= begin and data[colon - 1] == ord("s"):
        start -= 1
    if start < begin or not starts_with(data, start, colon, _HTTP) or not starts_with(data, colon, end, _SLASHES):
        return colon, colon
    first = colon + len(_SLASHES)
    i = first
    while i < end and _IN_URL[data[i]]:
        i += 1
    return (start, i) if i > first else (colon, colon)


@jit
def _contains(data, start, end, pattern):
    for i in range(start, end - len(pattern) + 1):  # noqa: SIM110, numba compiles no generators
        if starts_with(data, i, end, pattern):
            return True
    return False


@jit
def find_xml_header(data, less_signs, block, end, row):
    """Look for the header of XML at every < of a block."""
    while less_signs:
        bit = lowest(less_signs)
        less_signs ^= bit
        if characters_before(block, bit) + len(_XML) <= XML_CHARS:
            row[C.xml_header] |= starts_with(data, block.base + count_trailing_zeros(bit), end, _XML)
