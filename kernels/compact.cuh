// Count, then write: how items that a text has in unknown numbers, words say, get a place each.
//
// One kernel counts the items that begin in each segment, array code sums the counts up, and a second kernel, with the
// same test, writes the items of each segment from where the sum says. Both are called by a whole warp.
#pragma once
#include "common.cuh"

// How many positions i of a segment there are where test(i) holds.
template <class Test>
__device__ __forceinline__ u32 count_where(const Segment& segment, Test test)
{
    u32 n = 0;
    for_each(segment, [&](i64 i) { n += test(i); });
    return warp_sum(n);
}

// Calls write(i, k) at each position i of a segment where test(i) holds; k counts them from `out` on, in order.
template <class Test, class Write>
__device__ __forceinline__ void write_where(const Segment& segment, i64 out, Test test, Write write)
{
    for (i64 base = segment.lo; base < segment.hi; base += 32) {
        const i64 i = base + lane_index();
        const bool chosen = i < segment.hi && test(i);
        const u32 all = __ballot_sync(FULL, chosen);
        if (chosen) write(i, out + __popc(all & lanes_below()));
        out += __popc(all);
    }
}

// Runs of characters of one kind in a document: words, say. kind(code point) is 0 for what lies between runs.
template <class Kind>
struct Runs {
    const u8* data;
    i64 start;  // of the document
    Kind kind;

    __device__ __forceinline__ int kind_at(i64 i) const { return kind(decode(data + i)); }

    // The kind of the character before data[i], 0 where the document begins.
    __device__ __forceinline__ int kind_before(i64 i) const
    {
        return i == start ? 0 : kind_at(previous_character(data, i));
    }

    __device__ __forceinline__ bool begins_at(i64 i) const
    {
        if (!is_lead(data[i])) return false;
        const int here = kind_at(i);
        return here && here != kind_before(i);
    }

    // Writes run `out` and on, which begin in the segment: their starts and documents, and the stops of those that end
    // in it, of which the first may have begun before.
    __device__ __forceinline__ void write(const Segment& segment, i64 out, i64* starts, i64* stops, i64* run_owners) const
    {
        for (i64 base = segment.lo; base < segment.hi; base += 32) {
            const i64 i = base + lane_index();
            const bool lead = i < segment.hi && is_lead(data[i]);
            const int here = lead ? kind_at(i) : 0, before = lead ? kind_before(i) : 0;
            const bool begins = here && here != before;
            const u32 all = __ballot_sync(FULL, begins);
            const i64 run = out + __popc(all & lanes_below());
            if (begins) {
                starts[run] = i;
                run_owners[run] = segment.owner;
            }
            if (before && here != before) stops[run - 1] = i;
            out += __popc(all);
        }
        if (lane_index() == 0 && segment.lo < segment.end && segment.hi == segment.end && kind_before(segment.end))
            stops[out - 1] = segment.end;
    }
};

template <class Kind>
__device__ __forceinline__ Runs<Kind> runs_of(const u8* data, const Segment& segment, Kind kind)
{
    return {data, segment.start, kind};
}
