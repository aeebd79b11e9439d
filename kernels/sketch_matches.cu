// sketch_matches: how many positions of two sketches are equal. Contract: gpu_pile/ops/sketch_matches.py
//
// Work: two reads and a comparison a position. Floor on an H200: memory, 8 bytes a position.
#include "common.cuh"

// A warp a pair.
WARP_KERNEL sketch_matches(const u32* sketches, i64 k, const i64* pairs, i64 n_pairs, i64* out)
{
    const i64 p = warp_index();
    if (p >= n_pairs) return;
    const u32 *a = sketches + pairs[2 * p] * k, *b = sketches + pairs[2 * p + 1] * k;
    u32 n = 0;
    for (i64 j = lane_index(); j < k; j += 32) n += a[j] == b[j];
    n = warp_sum(n);
    if (lane_index() == 0) out[p] = n;
}
