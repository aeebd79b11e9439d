"""What numba lacks: unaligned 8-byte loads, scans of 32 and 64 bytes, access without index checks, operations on bits.

A buffer that is loaded or scanned must have SLACK readable bytes past the last byte that is asked for, or the caller
stays SLACK bytes away from its end. Functions whose names end in _64 read 64 bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from gpu_pile.text.jit import inlined, jit, leaf

SLACK = 32

_I8 = ir.IntType(8)
_I32 = ir.IntType(32)
_I64 = ir.IntType(64)
_V32 = ir.VectorType(_I8, 32)
_V64 = ir.VectorType(_I8, 64)


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(builder.bitcast(data, _I8.as_pointer()), [index])


def _splat(byte: int) -> Any:
    return ir.Constant(_V32, [byte] * 32)


@intrinsic
def byte_at(typing: Any, array: Any, index: Any) -> Any:
    """byte_at(uint8 array, int64 i) -> uint8: array[i] without Python's negative-index check."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_pointer(context, builder, signature.args[0], args[0], args[1]))

    return types.uint8(array, types.int64), codegen


@intrinsic
def item(typing: Any, array: Any, index: Any) -> Any:
    """item(array, int64 i): array[i] of any contiguous array, without Python's negative-index check."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return context.unpack_value(builder, array.dtype, builder.gep(data, [args[1]]))

    return array.dtype(array, types.int64), codegen


@intrinsic
def set_item(typing: Any, array: Any, index: Any, value: Any) -> Any:
    """set_item(array, int64 i, value): array[i] = value, without Python's negative-index check."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        context.pack_value(builder, array.dtype, args[2], builder.gep(data, [args[1]]))
        return context.get_dummy_value()

    return types.void(array, types.int64, array.dtype), codegen


@intrinsic
def prefetch(typing: Any, array: Any, index: Any) -> Any:
    """prefetch(array, int64 i): array[i] will soon be read and written."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        p = builder.bitcast(builder.gep(data, [args[1]]), _I8.as_pointer())
        kind = ir.FunctionType(ir.VoidType(), (p.type, _I32, _I32, _I32))
        function = builder.module.declare_intrinsic("llvm.prefetch", (p.type,), kind)
        builder.call(function, (p, *(ir.Constant(_I32, n) for n in (1, 3, 1))))  # to write; to keep; data
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen


@intrinsic
def load_u64(typing: Any, array: Any, index: Any) -> Any:
    """load_u64(uint8 array, int64 i) -> uint64: bytes i to i + 8, little-endian, any alignment."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        p = _pointer(context, builder, signature.args[0], args[0], args[1])
        return builder.load(builder.bitcast(p, _I64.as_pointer()), align=1)

    return types.uint64(array, types.int64), codegen


@intrinsic
def store_byte(typing: Any, array: Any, index: Any, value: Any) -> Any:
    """store_byte(uint8 array, int64 i, int64 value): array[i] = the lowest byte of value, as set_item."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        p = _pointer(context, builder, signature.args[0], args[0], args[1])
        builder.store(builder.trunc(args[2], _I8), p)
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64), codegen


@intrinsic
def copy_32(typing: Any, target: Any, to: Any, source: Any, start: Any) -> Any:
    """copy_32(uint8 target, int64 to, uint8 source, int64 start): 32 bytes, any alignment."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        p = _pointer(context, builder, signature.args[0], args[0], args[1])
        q = _pointer(context, builder, signature.args[2], args[2], args[3])
        builder.store(
            builder.load(builder.bitcast(q, _V32.as_pointer()), align=1), builder.bitcast(p, _V32.as_pointer()), align=1
        )
        return context.get_dummy_value()

    return types.void(target, types.int64, source, types.int64), codegen


@leaf
def copy_items(source, start, n, target, to):
    """Copy source[start:start + n] to target[to:]. Slices do the same, and add two seconds of compiling to a run."""
    for i in range(n):
        target[to + i] = source[start + i]


@inlined
def copy_bytes(target, to, source, start, n):
    """Copy n bytes; SLACK bytes more of the target may be written. 32 at a time, but at the end of the source."""
    if start + n + 32 <= len(source):
        for k in range(0, n, 32):
            copy_32(target, to + k, source, start + k)
    else:
        for k in range(n):
            set_item(target, to + k, item(source, start + k))


_BYTE = np.uint64(0xFF)


def powers_of(base: int) -> tuple[np.uint64, ...]:
    """Return base to the powers 1 to 7, mod 2^64: what polynomial() takes."""
    return tuple(np.uint64(pow(base, n, 1 << 64)) for n in range(1, 8))


@inlined
def polynomial(x, powers):
    """Return the polynomial of eight bytes, the lowest first: eight products of which none waits for another.

    Zeros at the beginning add nothing. powers: a constant, by powers_of().
    """
    return (
        (x & _BYTE) * powers[6]
        + ((x >> np.uint64(8)) & _BYTE) * powers[5]
        + ((x >> np.uint64(16)) & _BYTE) * powers[4]
        + ((x >> np.uint64(24)) & _BYTE) * powers[3]
        + ((x >> np.uint64(32)) & _BYTE) * powers[2]
        + ((x >> np.uint64(40)) & _BYTE) * powers[1]
        + ((x >> np.uint64(48)) & _BYTE) * powers[0]
        + (x >> np.uint64(56))
    )


@intrinsic
def lower_64(typing: Any, target: Any, to: Any, source: Any, start: Any) -> Any:
    """lower_64(uint8 target, int64 to, uint8 source, int64 start): 64 bytes, capitals of ASCII as small letters."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        p = _pointer(context, builder, signature.args[0], args[0], args[1])
        q = _pointer(context, builder, signature.args[2], args[2], args[3])
        v = builder.load(builder.bitcast(q, _V64.as_pointer()), align=1)
        distance = builder.sub(v, ir.Constant(_V64, [ord("A")] * 64))
        capital = builder.icmp_unsigned("<", distance, ir.Constant(_V64, [26] * 64))
        small = builder.or_(v, ir.Constant(_V64, [ord("a") ^ ord("A")] * 64))
        builder.store(builder.select(capital, small, v), builder.bitcast(p, _V64.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(target, types.int64, source, types.int64), codegen


@inlined
def lower_bytes(target, to, source, start, n):
    """Copy n bytes, capitals of ASCII as small letters; 63 bytes more of the target may be written."""
    if start + n + 64 <= len(source):
        for k in range(0, n, 64):
            lower_64(target, to + k, source, start + k)
    else:
        for k in range(n):
            b = item(source, start + k)
            set_item(target, to + k, b | np.uint8(0x20) if np.uint8(b - 65) < 26 else b)


def _mask(builder: Any, bits: Any) -> Any:
    return builder.bitcast(bits, _I32)


@intrinsic
def string_mask(typing: Any, array: Any, index: Any) -> Any:
    """string_mask(uint8 array, int64 i) -> uint32: bit k is set where byte i + k needs care inside a JSON string:
    a quote, a backslash, a control character (< 0x20) or the start of something beyond ASCII (>= 0x80)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        p = _pointer(context, builder, signature.args[0], args[0], args[1])
        v = builder.load(builder.bitcast(p, _V32.as_pointer()), align=1)
        quote = builder.icmp_unsigned("==", v, _splat(ord('"')))
        backslash = builder.icmp_unsigned("==", v, _splat(ord("\\")))
        # signed: bytes >= 0x80 are negative, so one comparison finds both them and control characters
        low = builder.icmp_signed("<", v, _splat(ord(" ")))
        return _mask(builder, builder.or_(builder.or_(quote, backslash), low))

    return types.uint32(array, types.int64), codegen


@intrinsic(prefer_literal=True)
def bytes_between(typing: Any, array: Any, index: Any, first: Any, last: Any) -> Any:
    """bytes_between(uint8 array, int64 i, first, last) -> uint32: of 32 bytes, bit k is set where byte i + k is in
    first .. last. These are constants where the function is called."""
    if not (isinstance(first, types.IntegerLiteral) and isinstance(last, types.IntegerLiteral)):
        return None
    low, high = first.literal_value, last.literal_value

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        p = _pointer(context, builder, signature.args[0], args[0], args[1])
        distance = builder.sub(builder.load(builder.bitcast(p, _V32.as_pointer()), align=1), _splat(low))
        return _mask(builder, builder.icmp_unsigned("<=", distance, _splat(high - low)))

    return types.uint32(array, types.int64, first, last), codegen


def _ranges(characters: str) -> list[tuple[int, int]]:
    """The codes of some characters below 256, as ranges (first, last)."""
    ranges: list[tuple[int, int]] = []
    for code in sorted(set(map(ord, characters))):
        if ranges and code == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], code)
        else:
            ranges.append((code, code))
    return ranges


@intrinsic(prefer_literal=True)
def bytes_of_64(typing: Any, array: Any, index: Any, characters: Any) -> Any:
    """bytes_of_64(uint8 array, int64 i, characters) -> uint64: of 64 bytes, bit k is set where byte i + k is one of the
    characters, all below 256. The string is a constant where the function is called."""
    if not isinstance(characters, types.StringLiteral):
        return None
    ranges = _ranges(characters.literal_value)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        p = _pointer(context, builder, signature.args[0], args[0], args[1])
        v = builder.load(builder.bitcast(p, _V64.as_pointer()), align=1)
        mask = ir.Constant(ir.VectorType(ir.IntType(1), 64), [0] * 64)
        for low, high in ranges:
            distance = builder.sub(v, ir.Constant(_V64, [low] * 64))
            mask = builder.or_(mask, builder.icmp_unsigned("<=", distance, ir.Constant(_V64, [high - low] * 64)))
        return builder.bitcast(mask, _I64)

    return types.uint64(array, types.int64, characters), codegen


@intrinsic(prefer_literal=True)
def letters_64(typing: Any, array: Any, index: Any, letter: Any) -> Any:
    """letters_64(uint8 array, int64 i, letter) -> uint64: of 64 bytes, bit k is set where byte i + k is this small
    letter of ASCII or its capital. The letter is a constant where the function is called."""
    if not isinstance(letter, types.StringLiteral):
        return None
    small = ord(letter.literal_value)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        p = _pointer(context, builder, signature.args[0], args[0], args[1])
        v = builder.load(builder.bitcast(p, _V64.as_pointer()), align=1)
        v = builder.or_(v, ir.Constant(_V64, [ord("a") ^ ord("A")] * 64))
        return builder.bitcast(builder.icmp_unsigned("==", v, ir.Constant(_V64, [small] * 64)), _I64)

    return types.uint64(array, types.int64, letter), codegen


@intrinsic
def count_ones(typing: Any, value: Any) -> Any:
    """count_ones(uint32 or uint64) -> int64: the number of set bits."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _widened(builder, builder.ctpop(args[0]))

    return types.int64(types.uint64 if value == types.uint64 else types.uint32), codegen


@intrinsic
def count_trailing_zeros(typing: Any, value: Any) -> Any:
    """count_trailing_zeros(uint32 or uint64) -> int64; 32 or 64 for 0."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _widened(builder, builder.cttz(args[0], ir.Constant(ir.IntType(1), 0)))

    return types.int64(types.uint64 if value == types.uint64 else types.uint32), codegen


def _widened(builder: Any, value: Any) -> Any:
    return value if value.type == _I64 else builder.zext(value, _I64)


@intrinsic
def highest_bit(typing: Any, value: Any) -> Any:
    """highest_bit(uint64) -> int64: the number of the highest set bit; -1 for 0."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.sub(_I64(63), builder.ctlz(args[0], ir.Constant(ir.IntType(1), 0)))

    return types.int64(types.uint64), codegen


@intrinsic
def swap_bytes(typing: Any, value: Any) -> Any:
    """swap_bytes(uint64) -> uint64: the bytes in reverse order."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bswap(args[0])

    return types.uint64(types.uint64), codegen


def slot_table(numbers: Iterable[int], bits: int) -> tuple[Any, np.uint64]:
    """Build a table without collisions: (uint64[1 << bits], factor). Number n is in slot n * factor >> 64 - bits."""
    wanted = sorted(numbers)
    factor = 0x9E3779B97F4A7C15
    while len({n * factor % 2**64 >> (64 - bits) for n in wanted}) < len(wanted):
        factor = (factor * 5 + 2) % 2**64 | 1
    table = np.zeros(1 << bits, np.uint64)
    for n in wanted:
        table[n * factor % 2**64 >> (64 - bits)] = n
    return table, np.uint64(factor)


@jit
def starts_with(data, i, end, pattern):
    """Whether data[i:end] begins with the bytes of the pattern."""
    if i + len(pattern) > end:
        return False
    k = 0
    while k < len(pattern) and data[i + k] == pattern[k]:
        k += 1
    return k == len(pattern)


@jit
def count_newlines(data, n):
    """Line feeds among the first n bytes; SLACK bytes past them can be read."""
    lines = 0
    for i in range(0, n, 32):
        mask = bytes_between(data, i, 10, 10)
        if i + 32 > n:
            mask &= (np.uint32(1) << np.uint32(n - i)) - np.uint32(1)
        while mask:
            lines += 1
            mask &= mask - np.uint32(1)
    return lines
