// gather: spans of bytes, copied one behind the other. Launched by gpu_pile/gpu/device.py
//
// Work: one byte read and written. Floor on an H200: memory, 2 bytes moved a byte.
#include "common.cuh"

// Copies source[starts[d] ...] to target[offsets[d] .. offsets[d + 1]).
WARP_KERNEL gather(
    const u8* source, const i64* starts, const i64* offsets, const i64* first, const i64* owners, i64 n_segments,
    i64 size, u8* target)
{
    const i64 s = warp_index();
    if (s >= n_segments) return;
    const Segment segment(s, first, owners, size);
    const i64 d = segment.owner, n = offsets[d + 1] - offsets[d];
    for (i64 i = segment.lo + lane_index(); i < smaller(segment.hi, n); i += 32)
        target[offsets[d] + i] = source[starts[d] + i];
}
