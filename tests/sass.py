"""What the machine code of kernels/*.cu holds: the instructions in the main loop of each kernel, on Hopper.

The main loop of a kernel is its largest set of instructions that can all be reached from each other. So it has the
loops inside it and its rare branches; what the compiler adds for warps that have come apart is left out. Instructions
are 16 bytes each; of their encoding, only what leads elsewhere is read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

BYTES = 16

BRANCH, OPEN, SYNC, EXIT = 0x947, 0x945, 0x941, 0x94D
"""Operations: the second one says where its barrier leads, the third goes there."""
ALWAYS = 7
"""The predicate that always holds."""
IF_APART = 1 << 27
"""Of a branch that is taken only by warps that have come apart."""


def code_of(cubin: bytes) -> dict[str, bytes]:
    """The machine code of each kernel of an ELF file; of no file, none."""
    if not cubin:
        return {}
    (table,) = struct.unpack_from("<Q", cubin, 0x28)
    size, count, names = struct.unpack_from("<HHH", cubin, 0x3A)
    sections = [struct.unpack_from("<IIQQQQ", cubin, table + i * size) for i in range(count)]
    strings = sections[names][4]

    def name(at: int) -> str:
        return cubin[strings + at : cubin.index(b"\0", strings + at)].decode()

    code = {name(at): cubin[offset : offset + length] for at, _, _, _, offset, length in sections}
    return {key.removeprefix(".text."): text for key, text in code.items() if key.startswith(".text.")}


def main_loop(code: bytes) -> int:
    """Instructions in the main loop of a kernel, 0 if it has none."""
    after = _successors(list(struct.iter_unpack("<QQ", code)))
    before: dict[int, list[int]] = {i: [] for i in after}
    for i, others in after.items():
        for j in others:
            before[j].append(i)
    largest, left = 0, set(after)
    for i in reversed(_finished(after)):  # Kosaraju: what reaches i, of what is left
        component, new = 0, [i] if i in left else []
        left.discard(i)
        while new:
            component += 1
            found = {k for k in before[new.pop()] if k in left}
            left -= found
            new.extend(found)
        largest = max(largest, component)
    return largest if largest > 1 else 0


def _successors(words: list[tuple[int, int]]) -> dict[int, list[int]]:
    """For each instruction that can be reached, those that may come next."""
    after: dict[int, list[int]] = {}
    todo: list[tuple[int, dict[int, int]]] = [(0, {})]  # an instruction; where each barrier leads that is open there
    while todo:
        i, barriers = todo.pop()
        if i in after or i >= len(words):
            continue
        word, modifiers = words[i]
        operation, always, barrier = word & 0xFFF, word >> 12 & 15 == ALWAYS, word >> 16 & 15
        if operation == OPEN:
            barriers = {**barriers, barrier: i + 1 + (word >> 32) // BYTES}
        after[i] = [] if operation in (BRANCH, SYNC, EXIT) and always and not modifiers & IF_APART else [i + 1]
        if operation == BRANCH and not modifiers & IF_APART:
            after[i].append(i + 1 + _offset(word, modifiers))
        if operation == SYNC:
            after[i].append(barriers[barrier])
        todo += [(t, barriers) for t in after[i]]
    return {i: [t for t in targets if t in after] for i, targets in after.items()}


def _offset(low: int, high: int) -> int:
    """Instructions that a branch skips."""
    bits = (low >> 16 & 0xFF) | (low >> 34 | (high & 0x3FFFF) << 30) << 8
    return (bits - (bits >> 55 << 56)) * 4 // BYTES


def _finished(after: dict[int, list[int]]) -> list[int]:
    """All instructions, each one after those that are reached from it and not part of a loop with it."""
    order, seen = [], {0}
    stack: list[tuple[int, Iterator[int]]] = [(0, iter(after[0]))]
    while stack:
        i, others = stack[-1]
        for j in others:
            if j not in seen:
                seen.add(j)
                stack.append((j, iter(after[j])))
                break
        else:
            order.append(i)
            stack.pop()
    return order
