// line_repetition: lines that are more than white space. Contract and reference: gpu_pile/ops/line_repetition.py
//
// Lines, blocks and paragraphs are cut at runs of line feeds, with array operations, and numbered by ngrams.cu.
//
// Work: about 15 instructions a step of 32 bytes and warp for each. Floor on an H200: memory.
#include "common.cuh"

// inked[k], 0 before: 1 if data[bounds[2k] .. bounds[2k + 1]) is more than white space. A warp takes a segment of it.
WARP_KERNEL mark_inked(
    const u8* data, const i64* bounds, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const u16* flag_stage, const u16* flag_leaves, u8* inked)
{
    const Segment segment = span_segment(bounds, first, owners, n_segments, size);
    if (!segment.exists) return;
    const Flags flags{flag_stage, flag_leaves};
    for (i64 base = segment.lo; base < segment.hi; base += 32) {
        const i64 i = base + lane_index();
        if (__any_sync(FULL, i < segment.hi && is_lead(data[i]) && !(flags(decode(data + i)) & SPACE))) {
            if (lane_index() == 0) relaxed_store(&inked[segment.owner], (u8)1);
            return;
        }
    }
}
