// line_repetition: white space around documents and in lines. Contract and reference: gpu_pile/ops/line_repetition.py
//
// Lines, blocks and paragraphs are cut at runs of line feeds, with array operations, and numbered by repeats.cu.
//
// Work: about 15 instructions a step of 32 bytes and warp for each of the two. Floor on an H200: memory.
#include "common.cuh"

// spans[2d], spans[2d + 1]: where the document's first character begins and its last one ends that is no white space;
// before, more and less than any place. A warp takes a segment of a document.
WARP_KERNEL strip_documents(
    const u8* data, const i64* offsets, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const u16* flag_stage, const u16* flag_leaves, i64* spans)
{
    const i64 s = warp_index();
    if (s >= n_segments) return;
    const Flags flags{flag_stage, flag_leaves};
    const Segment segment(s, first, owners, size);
    const i64 d = segment.owner, start = offsets[d];
    const i64 lo = start + segment.lo, hi = smaller(offsets[d + 1], start + segment.hi);
    const auto inks = [&](i64 base) {
        const i64 i = base + lane_index();
        return __ballot_sync(FULL, i >= lo && i < hi && is_lead(data[i]) && !(flags(decode(data + i)) & SPACE));
    };
    u32 found = 0;
    i64 base = lo;
    for (; base < hi; base += 32) {
        found = inks(base);
        if (found) break;
    }
    if (!found) return;
    if (lane_index() == 0) atomicMin(&spans[2 * d], base + lowest(found));
    base = hi - 32;
    while (!(found = inks(base))) base -= 32;
    const i64 last = base + highest(found);
    if (lane_index() == 0) atomicMax(&spans[2 * d + 1], last + sequence_length(data[last]));
}

// inked[k], 0 before: 1 if data[bounds[2k] .. bounds[2k + 1]) is more than white space. A warp takes a segment of it.
WARP_KERNEL mark_inked(
    const u8* data, const i64* bounds, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const u16* flag_stage, const u16* flag_leaves, u8* inked)
{
    const i64 s = warp_index();
    if (s >= n_segments) return;
    const Flags flags{flag_stage, flag_leaves};
    const Segment segment(s, first, owners, size);
    const i64 k = segment.owner, start = bounds[2 * k], hi = smaller(bounds[2 * k + 1], start + segment.hi);
    for (i64 base = start + segment.lo; base < hi; base += 32) {
        const i64 i = base + lane_index();
        if (__any_sync(FULL, i < hi && is_lead(data[i]) && !(flags(decode(data + i)) & SPACE))) {
            if (lane_index() == 0) inked[k] = 1;
            return;
        }
    }
}
