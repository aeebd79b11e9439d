// A table that finds equal items of a document, exactly. Definition: gpu_pile/text/ngrams.py
//
// A slot has the position of an item and nothing else: items are compared themselves, so hashes may collide. Which of
// several equal items is put first depends on the order of threads; each one that comes later and has a lower position
// takes the slot over, so that in the end it has the first, whatever the order.
#pragma once
#include "common.cuh"

constexpr u32 NONE = 0xffffffffu;  // an empty slot; the number of what is no item

// What slot s has for item i: i itself if it was empty.
__device__ __forceinline__ u32 look(u32* table, i64 s, u32 i)
{
    u32 other = table[s];
    if (other == NONE) other = atomicCAS(&table[s], NONE, i);
    return other == NONE ? i : other;
}

// Item i equals the one in slot s.
__device__ __forceinline__ void join(u32* table, i64 s, u32 other, u32 i)
{
    if (i < other) atomicMin(&table[s], i);
}
