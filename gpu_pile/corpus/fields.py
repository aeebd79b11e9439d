"""Fields of documents beside their text and subset: found in JSON lines, or carried with the records of rows.

A line is read a second time for them, as a document that parse_lines has accepted: what is in no field's path is passed
over, texts 64 bytes at a time. Of equal keys the last counts, on every level of a path, as in parse_lines.

A string is its value, a number what the line says, true and false are these words; null, lists and objects count as
missing. A field of numbers is a float64: true and false are 1 and 0, and what is not a finite number counts as
missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpu_pile.ops.parse_lines import ESCAPED, long_escape, skip_space
from gpu_pile.text.blocks import read_only
from gpu_pile.text.column import TextColumn
from gpu_pile.text.jit import inlined, jit, leaf
from gpu_pile.text.simd import bytes_of_64, copy_items, count_trailing_zeros
from gpu_pile.types import Array

_QUOTE, _BACKSLASH, _COMMA, _MINUS, _ZERO, _NINE = map(ord, '"\\,-09')
_BEGIN_OBJECT, _END_OBJECT, _BEGIN_LIST, _END_LIST = map(ord, "{}[]")
_SPACE, _TAB, _RETURN = map(ord, " \t\r")
_SMALL_F, _SMALL_N, _SMALL_T = map(ord, "fnt")
_ESCAPE_MAX = 6
"""Bytes of the line for one byte of a string, at most: \\u0041."""


class Field(NamedTuple):
    """A field to be read.

    path:   keys joined by dots
    number: whether it is read as a number
    option: how the configuration calls it, for errors
    """

    path: str
    number: bool = False
    option: str = "input.id_field"


class _Tree(NamedTuple):
    """The paths of fields as a tree. Node 0 is the whole line; node t has the key keys[bounds[t]:bounds[t + 1]].

    parent: int64[nodes]; begins: bool[nodes], whether a node has others below it
    field:  int64[nodes, 1 + fields]: the field that ends at a node, -1 for none; then 1 for each field in or below it
    """

    keys: Array
    bounds: Array
    parent: Array
    begins: Array
    field: Array

    @classmethod
    def of(cls, paths: Sequence[str]) -> _Tree:
        nodes: dict[tuple[str, ...], int] = {(): 0}
        ways = [tuple(path.split(".")) for path in paths]
        for way in ways:
            for n in range(1, len(way) + 1):
                nodes.setdefault(way[:n], len(nodes))
        raw = [way[-1].encode() if way else b"" for way in nodes]
        parent = np.array([nodes[way[:-1]] if way else -1 for way in nodes], np.int64)
        field = np.zeros((len(nodes), 1 + len(ways)), np.int64)
        field[:, 0] = -1
        for f, way in enumerate(ways):
            field[nodes[way], 0] = f
            for n in range(len(way) + 1):
                field[nodes[way[:n]], 1 + f] = 1
        begins = np.zeros(len(nodes), np.bool_)
        begins[parent[1:]] = True
        return cls(
            np.frombuffer(b"".join(raw), np.uint8),
            np.cumsum([0, *map(len, raw)], dtype=np.int64),
            parent,
            begins,
            field,
        )


@leaf
def _after_string(data, i):
    """Return the position after the closing quote of the string whose opening quote is data[i - 1]."""
    start = i
    while True:
        if i + 64 <= len(data):
            mask = bytes_of_64(data, i, '"')
            if mask == 0:
                i += 64
                continue
            i += count_trailing_zeros(mask)
        if data[i] == _QUOTE:
            k = i
            while k > start and data[k - 1] == _BACKSLASH:
                k -= 1
            if (i - k) % 2 == 0:  # the backslashes before it escape each other
                return i + 1
        i += 1


@leaf
def _after_container(data, i):
    """Return the position after the list or object that begins at data[i]."""
    depth = 0
    while True:
        if i + 64 <= len(data):
            mask = bytes_of_64(data, i, '"[]{}')
            if mask == 0:
                i += 64
                continue
            i += count_trailing_zeros(mask)
        b = data[i]
        i += 1
        if b == _QUOTE:
            i = _after_string(data, i)
        elif b in (_BEGIN_LIST, _BEGIN_OBJECT):
            depth += 1
        elif b in (_END_LIST, _END_OBJECT):
            depth -= 1
            if depth == 0:
                return i


@leaf
def _after_value(data, i, end):
    """Return the position after the value that begins at data[i]."""
    b = data[i]
    if b == _QUOTE:
        return _after_string(data, i + 1)
    if b in (_BEGIN_LIST, _BEGIN_OBJECT):
        return _after_container(data, i)
    while i < end and data[i] not in (_COMMA, _END_LIST, _END_OBJECT, _SPACE, _TAB, _RETURN):
        i += 1
    return i


@leaf
def _decode(data, i, end, out, o):
    """Write the string whose content is data[i:end] to out[o:]; return the position after it."""
    while i < end:
        if data[i] != _BACKSLASH:
            out[o] = data[i]
            i += 1
            o += 1
        elif ESCAPED[data[i + 1]]:
            out[o] = ESCAPED[data[i + 1]]
            i += 2
            o += 1
        else:
            i, o, _ = long_escape(data, i, end, out, o)
    return o


@inlined
def _is_key(tree, node, data, start, end):
    """Whether data[start:end] is the key of a node."""
    first = tree.bounds[node]
    if end - start != tree.bounds[node + 1] - first:
        return False
    equal = True
    for k in range(end - start):
        equal &= data[start + k] == tree.keys[first + k]
    return equal


@leaf
def _node(data, start, end, tree, parent, scratch):
    """Return the node below `parent` whose key the string with the content data[start:end] is, 0 for none."""
    if end - start > len(scratch):
        return 0
    n = _decode(data, start, end, scratch, 0)
    for node in range(1, len(tree.parent)):
        if tree.parent[node] == parent and _is_key(tree, node, scratch, 0, n):
            return node
    return 0


@leaf
def _find_in_line(data, i, end, tree, buffers, spans):
    """Find the fields of the object whose first key or end comes at data[i].

    buffers: (the nodes of the objects that data[i] is in, scratch for a key)
    spans:   int64[fields, 2], the first byte and the bytes of each value; what is missing stays as it is
    """
    stack, scratch = buffers
    depth = stack[0] = 0
    while depth >= 0:
        i = skip_space(data, i, end)
        if data[i] == _COMMA:
            i += 1
            continue
        if data[i] == _END_OBJECT:
            depth -= 1
            i += 1
            continue
        start = i + 1
        i = _after_string(data, start)
        node = _node(data, start, i - 1, tree, stack[depth], scratch)
        i = skip_space(data, skip_space(data, i, end) + 1, end)
        if node:
            for f in range(len(spans)):  # of equal keys the last counts
                if tree.field[node, 1 + f]:
                    spans[f, 1] = 0
            if data[i] == _BEGIN_OBJECT and tree.begins[node]:
                depth += 1
                stack[depth] = node
                i += 1
                continue
        stop = _after_value(data, i, end)
        if node and tree.field[node, 0] >= 0 and data[i] not in (_BEGIN_OBJECT, _BEGIN_LIST, _SMALL_N):
            spans[tree.field[node, 0], 0], spans[tree.field[node, 0], 1] = i, stop - i
        i = stop


@jit
def _find(data, starts, lengths, tree, buffers, spans):
    """Find the fields of lines: spans[d] of each, zeros before."""
    for d in range(len(starts)):
        end = starts[d] + lengths[d]
        i = skip_space(data, starts[d], end)
        if data[i] == _BEGIN_OBJECT:
            _find_in_line(data, i + 1, end, tree, buffers, spans[d])


@jit
def _strings(data, spans, out, offsets):
    """Write values as strings to out; offsets: int64[n + 1], zeros before."""
    o = 0
    for d in range(len(spans)):
        start, n = spans[d]
        if n and data[start] == _QUOTE:
            o = _decode(data, start + 1, start + n - 1, out, o)
        else:
            copy_items(data, start, n, out, o)
            o += n
        offsets[d + 1] = o


@jit
def _no_numbers_but(data, spans):
    """Leave only the spans of numbers, true and false."""
    for d in range(len(spans)):
        b = data[spans[d, 0]]
        if b not in (_MINUS, _SMALL_T, _SMALL_F) and not _ZERO <= b <= _NINE:
            spans[d, 1] = 0


def fields_of_lines(data: Array, starts: Array, lengths: Array, fields: Sequence[Field]) -> list[pa.Array]:
    """Return the fields of documents, each as an array of strings or of float64, null where it is missing.

    Args:
        data: a block that parse_lines has read. starts, lengths: of the lines that are documents.
    """
    paths = list(dict.fromkeys(field.path for field in fields))
    tree = _Tree.of(paths)
    spans = np.zeros((len(starts), len(paths), 2), np.int64)
    longest = int(np.diff(tree.bounds).max())
    buffers = np.empty(len(tree.parent), np.int64), np.empty(_ESCAPE_MAX * longest, np.uint8)
    data = read_only(data)
    _find(data, read_only(starts), read_only(lengths), tree, buffers, spans)
    found = []
    for field in fields:
        own = spans[:, paths.index(field.path)].copy()
        if field.number and len(own):
            _no_numbers_but(data, own)
        out, offsets = np.empty(int(own[:, 1].sum()), np.uint8), np.zeros(len(own) + 1, np.int64)
        _strings(data, own, out, offsets)
        strings = TextColumn(out[: offsets[-1]], offsets).to_arrow()
        strings = pc.if_else(pa.array(own[:, 1] > 0), strings, pa.scalar(None, strings.type))
        found.append(numbers_of(strings) if field.number else strings.cast(pa.string()))
    return found


def numbers_of(strings: pa.Array) -> pa.Array:
    """Return float64 of strings that are numbers, or true or false, and of nulls; null for what is not finite."""
    flag = pc.equal(strings, "true")
    words = pc.fill_null(pc.or_(flag, pc.equal(strings, "false")), False)
    values = pc.if_else(words, None, strings).cast(pa.float64())
    values = pc.if_else(words, flag.cast(pa.int8()).cast(pa.float64()), values)
    return pc.if_else(pc.is_finite(values), values, None)


def packed(columns: Sequence[pa.Array]) -> TextColumn:
    """Return one string of bytes per row that holds the strings of several columns: see unpacked()."""
    n = len(columns[0])
    sizes = np.full((n, len(columns)), -1, np.int64)
    for i, column in enumerate(columns):
        size = pc.binary_length(column)
        sizes[:, i] = size.fill_null(-1).to_numpy(zero_copy_only=False)
    head = pa.FixedSizeBinaryArray.from_buffers(pa.binary(8 * len(columns)), n, [None, pa.py_buffer(sizes)])
    parts = [head.cast(pa.large_binary()), *(pc.fill_null(c.cast(pa.large_binary()), b"") for c in columns)]
    joined = pc.binary_join_element_wise(*parts, pa.scalar(b"", pa.large_binary()))
    return TextColumn.from_arrow(_as_text(joined))


def _as_text(binary: pa.Array) -> pa.Array:
    """Return large_binary as large_string, which it need not be."""
    return pa.Array.from_buffers(pa.large_string(), len(binary), binary.buffers(), offset=binary.offset)


def unpacked(column: TextColumn, fields: Sequence[Field]) -> list[pa.Array]:
    """Return the fields of rows, as fields_of_lines() does.

    column: what packed() gave: the bytes of each of the strings, int64, -1 for null, then the strings.
    """
    k, begins = len(fields), column.offsets[:-1]
    at = begins[:, None] + np.arange(8 * k)
    sizes = np.ascontiguousarray(column.data[at]).view(np.int64).reshape(-1, k)
    lengths = np.maximum(sizes, 0)
    ends = begins[:, None] + 8 * k + np.cumsum(lengths, axis=1)
    found = []
    for i, field in enumerate(fields):
        strings = taken(column.data, ends[:, i] - lengths[:, i], lengths[:, i]).to_arrow()
        strings = pc.if_else(pa.array(sizes[:, i] >= 0), strings, pa.scalar(None, strings.type))
        found.append(numbers_of(strings) if field.number else strings.cast(pa.string()))
    return found


def taken(data: Array, starts: Array, lengths: Array) -> TextColumn:
    """Return the strings data[starts[i]:starts[i] + lengths[i]]."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    out = np.empty(int(offsets[-1]), np.uint8)
    _take(read_only(data), np.ascontiguousarray(starts), offsets, out)
    return TextColumn(out, offsets)


@jit
def _take(data, starts, offsets, out):
    """Copy string d, which begins at data[starts[d]], to out[offsets[d]:offsets[d + 1]]."""
    for d in range(len(starts)):
        copy_items(data, starts[d], offsets[d + 1] - offsets[d], out, offsets[d])
