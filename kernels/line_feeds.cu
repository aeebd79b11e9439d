// line_feeds: where the line feeds of a block of bytes are. Launched by gpu_pile/gpu/segments.py
//
// The block is the only document, cut into segments; two passes count the line feeds of each segment and write where
// they are.
//
// Work: about 10 instructions per step of 32 bytes and warp in each pass. Floor on an H200: memory, two reads of the text.
#include "compact.cuh"

// counts[s]: line feeds in segment s of data[offsets[0] .. offsets[1]). One warp per segment.
WARP_KERNEL count_line_feeds(
    const u8* data, const i64* offsets, const i64* first, const i64* owners, i64 n_segments, i64 size, i64* counts)
{
    const Segment segment = document_segment(offsets, first, owners, n_segments, size);
    if (!segment.exists) return;
    const u32 n = count_where(segment, [&](i64 i) { return data[i] == '\n'; });
    if (lane_index() == 0) counts[segment.index] = n;
}

// feeds[before[s]] and on: the positions of those in segment s; before[s]: how many there are in earlier segments.
WARP_KERNEL find_line_feeds(
    const u8* data, const i64* offsets, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const i64* before, i64* feeds)
{
    const Segment segment = document_segment(offsets, first, owners, n_segments, size);
    if (!segment.exists) return;
    write_where(
        segment, before[segment.index], [&](i64 i) { return data[i] == '\n'; }, [&](i64 i, i64 k) { feeds[k] = i; });
}
