// stripped_repetition: white space around lines and paragraphs. Contract and reference:
// gpu_pile/ops/stripped_repetition.py
//
// Pieces are cut at line feeds with array operations, and numbered by repeats.cu.
//
// Work: about 15 instructions a step of 32 bytes and warp, twice. Floor on an H200: memory.
#include "common.cuh"

// spans[2k], spans[2k + 1]: where in data[bounds[2k] .. bounds[2k + 1]) the first character begins and the last one ends
// that is no white space; before, more and less than any place. A warp takes a segment of it.
WARP_KERNEL strip_pieces(
    const u8* data, const i64* bounds, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const u16* flag_stage, const u16* flag_leaves, i64* spans)
{
    const i64 s = warp_index();
    if (s >= n_segments) return;
    const Flags flags{flag_stage, flag_leaves};
    const Segment segment(s, first, owners, size);
    const i64 k = segment.owner, lo = bounds[2 * k] + segment.lo;
    const i64 hi = smaller(bounds[2 * k + 1], bounds[2 * k] + segment.hi);
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
    if (lane_index() == 0) atomicMin(&spans[2 * k], base + lowest(found));
    base = hi - 32;
    while (!(found = inks(base))) base -= 32;
    const i64 last = base + highest(found);
    if (lane_index() == 0) atomicMax(&spans[2 * k + 1], last + sequence_length(data[last]));
}
