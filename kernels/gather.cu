// gather: spans of bytes, copied back to back. Launched by gpu_pile/gpu/segments.py
//
// A warp writes `size` bytes of the target, 32 bytes per step; it finds the first of their spans by bisection.
//
// Work: one byte read and written. Floor on an H200: memory, 2 bytes moved per byte.
#include "common.cuh"

// Copies source[starts[k] ...] to target[offsets[k] .. offsets[k + 1]) for each span k.
WARP_KERNEL gather(const u8* source, const i64* starts, const i64* offsets, i64 n_spans, i64 size, u8* target)
{
    i64 i = warp_index() * size;
    if (i >= offsets[n_spans]) return;
    const i64 end = smaller(i + size, offsets[n_spans]);
    for (i64 k = last_up_to(offsets, n_spans, i); i < end; ++k) {
        const i64 stop = smaller(end, offsets[k + 1]), shift = starts[k] - offsets[k];
        for (i64 j = i + lane_index(); j < stop; j += 32) target[j] = source[j + shift];
        i = stop;
    }
}
