// nemo_boilerplate: texts of cookie banners in paragraphs. Contract and reference: gpu_pile/ops/nemo_boilerplate.py
//
// A warp takes a segment of a paragraph; each lane compares what begins at its byte with the texts, of which one letter
// in five or so begins one.
//
// Work: about 50 instructions a step of 32 bytes and warp. Floor on an H200: about 200 GB/s of text in paragraphs of a
// few hundred bytes.
#include "common.cuh"

// found[p], 0 before: 1 if paragraph p, data[bounds[2 * p] .. bounds[2 * p + 1]), has text 0; 2 if it has another one.
// Text j is texts[text_bounds[j] .. text_bounds[j + 1]).
WARP_KERNEL boilerplate_segments(
    const u8* data, const i64* bounds, const i64* first, const i64* owners, i64 n_segments, i64 size, const u8* texts,
    const i64* text_bounds, i64 n_texts, u32* found)
{
    const Segment segment = span_segment(bounds, first, owners, n_segments, size);
    if (!segment.exists) return;
    u32 has = 0;
    for_each(segment, [&](i64 i) {
        const u32 b = data[i] | 0x20;
        for (i64 j = 0; j < n_texts; ++j) {
            const i64 k = text_bounds[j];
            if (texts[k] == b && begins_with(data, i, segment.end, texts, k, text_bounds[j + 1])) has |= j ? 2 : 1;
        }
    });
    has = warp_or(has);
    if (lane_index() == 0 && has) atomicOr(&found[segment.owner], has);
}
