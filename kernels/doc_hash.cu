// doc_hash: a 128-bit hash of each document's bytes. Contract and reference: gpu_pile/ops/doc_hash.py
//
// Work: two 64-bit mixes (4 multiplications) per 8 bytes, about 8 instructions per byte and thread. Floor on an H200:
// memory, one read of the text at 4.8 TB/s.
#include "common.cuh"

constexpr u64 STEP0 = 0x9E3779B97F4A7C15ull, STEP1 = 0xC2B2AE3D27D4EB4Full;
constexpr u64 KEY0 = 0x243F6A8885A308D3ull, KEY1 = 0x13198A2E03707344ull;
constexpr u64 LENGTH0 = 0xA0761D6478BD642Full, LENGTH1 = 0xE7037ED1A0B428DBull;

// Bytes at .. at + 8 as a little-endian number, those from `end` on taken as 0. Reads whole aligned words, two for one
// that is not aligned, and single bytes only where such a word would reach past the buffer of n_bytes.
__device__ __forceinline__ u64 load_word(const u8* data, i64 at, i64 end, i64 n_bytes)
{
    u64 word = 0;
    if (at + 16 <= n_bytes) {
        const u64 address = (u64)(data + at);
        const u64* p = (const u64*)(address & ~7ull);
        const u32 shift = 8 * (u32)(address & 7);
        word = shift ? p[0] >> shift | p[1] << (64 - shift) : p[0];
        if (end - at < 8) word &= (1ull << 8 * (end - at)) - 1;
    } else {
        for (i64 i = smaller(end, at + 8) - 1; i >= at; --i)
            word = word << 8 | data[i];
    }
    return word;
}

// Adds the two lanes of each segment to out (uint64[n_docs, 2], zero before). size is a multiple of 8.
WARP_KERNEL doc_hash_segments(
    const u8* data, i64 n_bytes, const i64* offsets, const i64* first, const i64* owners, i64 n_segments, i64 size,
    u64* out)
{
    const Segment segment = document_segment(offsets, first, owners, n_segments, size);
    if (!segment.exists) return;
    u64 a = 0, b = 0;
    for (i64 i = segment.lo + 8 * lane_index(); i < segment.hi; i += 8 * 32) {
        const u64 word = load_word(data, i, segment.end, n_bytes), place = (u64)(i - segment.start) / 8 + 1;
        a += mix64((word + place * STEP0) ^ KEY0);
        b += mix64((word + place * STEP1) ^ KEY1);
    }
    a = warp_sum(a);
    b = warp_sum(b);
    if (lane_index() == 0) {
        atomicAdd(&out[2 * segment.owner], a);
        atomicAdd(&out[2 * segment.owner + 1], b);
    }
}

// The last step: one thread per document.
extern "C" __global__ void doc_hash_finish(const i64* offsets, i64 n_docs, u64* out)
{
    const i64 d = thread_index();
    if (d >= n_docs) return;
    const u64 n = (u64)(offsets[d + 1] - offsets[d]);
    out[2 * d] = mix64(out[2 * d] + n * LENGTH0);
    out[2 * d + 1] = mix64(out[2 * d + 1] + n * LENGTH1);
}
