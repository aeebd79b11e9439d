// gather: spans of bytes, copied back to back. Launched by gpu_pile/gpu/segments.py
//
// A warp copies one segment of a span, 32 bytes per step.
//
// Work: one byte read and written. Floor on an H200: memory, 2 bytes moved per byte.
#include "common.cuh"

// Copies source[starts[k] ...] to target[offsets[k] .. offsets[k + 1]) for each span k.
WARP_KERNEL gather(
    const u8* source, const i64* starts, const i64* offsets, const i64* first, const i64* owners, i64 n_segments,
    i64 size, u8* target)
{
    const Segment segment = document_segment(offsets, first, owners, n_segments, size);  // of the target
    if (!segment.exists) return;
    const u8* const from = source + starts[segment.owner];
    for_each(segment, [&](i64 i) { target[i] = from[i - segment.start]; });
}
