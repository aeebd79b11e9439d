// A table that finds equal items of a document, exactly. Definition: gpu_pile/text/ngrams.py
//
// A slot has the position of an item and nothing else: items are compared themselves, so hashes may collide. Which of
// several equal items comes first to a slot depends on the order of threads; each that comes later and has a lower
// position takes the slot over, so that in the end it has the first of them, whatever the order.
#pragma once
#include "common.cuh"

constexpr u32 NONE = 0xffffffffu;  // an empty slot; in place of an item's number where there is no item

// The item in slot s: i itself if the slot was empty and now has i.
__device__ __forceinline__ u32 look(u32* table, i64 s, u32 i)
{
    u32 other = relaxed_load(&table[s]);
    if (other == NONE) other = atomicCAS(&table[s], NONE, i);
    return other == NONE ? i : other;
}

// Tells slot s, which has the item `other`, that item i equals it.
__device__ __forceinline__ void join(u32* table, i64 s, u32 other, u32 i)
{
    if (i < other) atomicMin(&table[s], i);
}
