// Segments: what a warp takes of a document, a line or a word (gpu_pile.gpu.segments.Segments).
#pragma once
#include "warps.cuh"

// The segment of this warp: items lo .. hi of its owner, which has the items start .. end.
struct Segment {
    bool exists;  // a grid may have more warps than there are segments
    bool only;    // the owner has no other segment
    i64 index, owner, start, end, lo, hi;

    // Owner d has the items starts[d * step] .. stops[d * step] and the segments first[d] .. first[d + 1].
    __device__ __forceinline__ Segment(
        const i64* starts, const i64* stops, i64 step, const i64* first, const i64* owners, i64 n_segments, i64 size)
        : exists(false), only(false), index(warp_index()), owner(0), start(0), end(0), lo(0), hi(0)
    {
        if (index >= n_segments) return;
        exists = true;
        owner = owners[index];
        only = first[owner + 1] - first[owner] == 1;
        start = starts[owner * step];
        end = stops[owner * step];
        lo = start + (index - first[owner]) * size;
        hi = smaller(end, lo + size);
    }

    // For kernels that know where their owners lie: lo .. hi are counted from an owner's beginning.
    __device__ __forceinline__ Segment(i64 s, const i64* first, const i64* owners, i64 size)
        : exists(true), index(s), owner(owners[s]), start(0), end(0)
    {
        lo = (s - first[owner]) * size;
        hi = lo + size;
        only = first[owner + 1] - first[owner] == 1;
    }
};

// Of a document: data[offsets[d] .. offsets[d + 1]).
__device__ __forceinline__ Segment document_segment(
    const i64* offsets, const i64* first, const i64* owners, i64 n_segments, i64 size)
{
    return Segment(offsets, offsets + 1, 1, first, owners, n_segments, size);
}

// Of a span: data[bounds[2k] .. bounds[2k + 1]).
__device__ __forceinline__ Segment span_segment(
    const i64* bounds, const i64* first, const i64* owners, i64 n_segments, i64 size)
{
    return Segment(bounds, bounds + 1, 2, first, owners, n_segments, size);
}

// Calls visit(i) for the items of a segment, 32 at a time, an item per lane.
template <class Visit>
__device__ __forceinline__ void for_each(const Segment& segment, Visit visit)
{
    for (i64 i = segment.lo + lane_index(); i < segment.hi; i += 32) visit(i);
}
