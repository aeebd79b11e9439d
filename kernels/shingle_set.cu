// shingle_set: every shingle's hash, to be sorted and made distinct. Contract: gpu_pile/ops/shingle_set.py
//
// Work: about 30 instructions per shingle and thread, 12 bytes written. The two radix sorts that follow are the cost: by
// value, then by document, which keeps the values of a document in order.
#include "shingles.cuh"

// values[bounds[d]] ...: the shingles of document d in order; owner_of[...]: d.
WARP_KERNEL write_shingles(
    const UNIT* units, const i64* starts, const i64* first, const i64* owners, i64 n_segments, i64 size, i64 width,
    const i64* bounds, u64* values, u32* owner_of)
{
    const i64 s = warp_index();
    if (s >= n_segments) return;
    const Segment segment(s, first, owners, size);
    const i64 d = segment.owner, start = starts[d], n_units = starts[d + 1] - start;
    const i64 hi = smaller(segment.hi, shingle_count(n_units, width));
    const Shingles shingles(units + start, smaller(width, n_units));
    for (i64 i = segment.lo + Shingles::GROUP * lane_index(); i < hi; i += Shingles::STEP) {
        u64 h[Shingles::GROUP];
        const int mine = shingles.group(i, hi, h);
#pragma unroll
        for (int j = 0; j < Shingles::GROUP; ++j)
            if (j < mine) {
                values[bounds[d] + i + j] = h[j];
                owner_of[bounds[d] + i + j] = (u32)d;
            }
    }
}
