// anchors: the last smallest k-gram of every window. Contract and reference: gpu_pile/ops/anchors.py
//
// All k-grams of the text are hashed, also those that cross the end of a document: no window of a document has them.
// Then minima over ever longer ranges, doubled each time; then the windows are compacted whose anchor is not that of
// the window before.
//
// Work: about 3 k instructions per 4 bytes for the hashes; for the minima log2 of the window passes of 32 bytes read
// and 8 written per byte. Floor on an H200: memory.
#include "compact.cuh"
#include "shingles.cuh"

// hashes[i], i < n: of the k-gram at data[i]. One warp per segment of the text, which is the only owner.
WARP_KERNEL anchor_hashes(
    const UNIT* data, const i64* first, const i64* owners, i64 n_segments, i64 size, i64 gram, i64 n, u64* hashes)
{
    const i64 s = warp_index();
    if (s >= n_segments) return;
    const Segment segment(s, first, owners, size);
    const i64 hi = smaller(segment.hi, n);
    const Shingles shingles(data, gram);
    for (i64 i = segment.lo + Shingles::GROUP * lane_index(); i < hi; i += Shingles::STEP) {
        u64 h[Shingles::GROUP];
        const int mine = shingles.group(i, hi, h);
#pragma unroll
        for (int j = 0; j < Shingles::GROUP; ++j)
            if (j < mine) hashes[i + j] = h[j];
    }
}

// wider[i]: the better of best[i] and best[i + step]: the smaller hash, of equal ones the later. A thread a k-gram.
extern "C" __global__ void anchor_minima(const u64* hashes, const i64* best, i64 step, i64 n, i64* wider)
{
    const i64 i = thread_index();
    if (i >= n) return;
    i64 mine = best[i];
    if (i + step < n) {
        const i64 other = best[i + step];
        if (hashes[other] <= hashes[mine]) mine = other;
    }
    wider[i] = mine;
}

// Whether a window of a document begins at i and has another anchor than the one before it.
__device__ __forceinline__ bool begins_group(const Segment& segment, const i64* best, i64 window, i64 i)
{
    return i + window <= segment.end && (i == segment.start || best[i] != best[i - 1]);
}

// counts[s]: the groups that begin in segment s.
WARP_KERNEL count_anchors(
    const i64* offsets, const i64* first, const i64* owners, i64 n_segments, i64 size, const i64* best, i64 window,
    i64* counts)
{
    const Segment segment = document_segment(offsets, first, owners, n_segments, size);
    if (!segment.exists) return;
    const u32 n = count_where(segment, [&](i64 i) { return begins_group(segment, best, window, i); });
    if (lane_index() == 0) counts[segment.index] = n;
}

// starts[before[s]] and on: where the groups of segment s begin, and the hashes of their anchors.
WARP_KERNEL write_anchors(
    const i64* offsets, const i64* first, const i64* owners, i64 n_segments, i64 size, const i64* best, i64 window,
    const u64* hashes, const i64* before, i64* starts, u64* grams)
{
    const Segment segment = document_segment(offsets, first, owners, n_segments, size);
    if (!segment.exists) return;
    write_where(
        segment, before[segment.index], [&](i64 i) { return begins_group(segment, best, window, i); },
        [&](i64 i, i64 k) {
            starts[k] = i;
            grams[k] = hashes[best[i]];
        });
}
