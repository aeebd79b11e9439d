// jaccard: sizes of intersection and union of pairs of sorted sets. Contract and reference: gpu_pile/ops/jaccard.py
//
// Work: each element of the smaller set is looked up in the larger one, about 12 instructions a halving. The upper
// levels of the search stay in the first-level cache. Floor on an H200: memory, 8 bytes an element of both sets.
#include "common.cuh"

// Adds what each segment of a pair's smaller set has in common with the other to out[p, 0] (zero before). sizes of the
// segments' items are those of the smaller sets.
WARP_KERNEL jaccard_segments(
    const u64* values, const i64* offsets, const i64* pairs, const i64* first, const i64* owners, i64 n_segments,
    i64 size, u64* out)
{
    const i64 s = warp_index();
    if (s >= n_segments) return;
    const Segment segment(s, first, owners, size);
    i64 x = pairs[2 * segment.owner], y = pairs[2 * segment.owner + 1];
    if (offsets[y + 1] - offsets[y] < offsets[x + 1] - offsets[x]) {
        const i64 z = x;
        x = y;
        y = z;
    }
    const u64 *small = values + offsets[x], *large = values + offsets[y];
    const i64 n = offsets[x + 1] - offsets[x], m = offsets[y + 1] - offsets[y];
    u32 common = 0;
    for (i64 i = segment.lo + lane_index(); i < smaller(segment.hi, n); i += 32) {
        const u64 value = small[i];
        i64 lo = 0, hi = m;
        while (lo < hi) {
            const i64 middle = (lo + hi) >> 1;
            if (large[middle] < value)
                lo = middle + 1;
            else
                hi = middle;
        }
        common += lo < m && large[lo] == value;
    }
    common = warp_sum(common);
    if (lane_index() == 0 && common) atomicAdd(&out[2 * segment.owner], (u64)common);
}

// out[p, 1]: the size of the union. A thread a pair.
extern "C" __global__ void jaccard_unions(const i64* offsets, const i64* pairs, i64 n_pairs, u64* out)
{
    const i64 p = thread_index();
    if (p >= n_pairs) return;
    const i64 x = pairs[2 * p], y = pairs[2 * p + 1];
    out[2 * p + 1] = (u64)(offsets[x + 1] - offsets[x] + offsets[y + 1] - offsets[y]) - out[2 * p];
}
