// Shingle hashes from unit hashes. Definition: gpu_pile/text/shingles.py
#pragma once
#include "common.cuh"

constexpr u64 Q = 0xD1342543DE82EF95ull, R = 0xDA942042E4DD58B5ull;

// The type of stored units: u64 hashes, or u8 where the units are the bytes of the text.
#ifndef UNIT
#define UNIT u64
#endif

__device__ __forceinline__ u64 unit_hash(u64 stored) { return stored; }
__device__ __forceinline__ u64 unit_hash(u8 byte) { return byte + 1ull; }

// Shingles of one document, `width` units each. A lane takes GROUP neighbours: the first is hashed from its units, each
// further one from the one before, by taking the first unit out and the next one in.
struct Shingles {
    static constexpr int GROUP = 4;
    static constexpr int STEP = 32 * GROUP;  // of a warp

    const UNIT* units;
    i64 width;
    u64 top, add;  // Q^(width - 1), width * R

    __device__ __forceinline__ Shingles(const UNIT* units, i64 width) : units(units), width(width), top(1)
    {
        for (i64 i = 1; i < width; ++i) top *= Q;
        add = (u64)width * R;
    }

    // Shingles i .. min(i + GROUP, end) into h; how many.
    __device__ __forceinline__ int group(i64 i, i64 end, u64* h) const
    {
        if (i >= end) return 0;
        u64 rolling = 0;
        for (i64 j = 0; j < width; ++j) rolling = rolling * Q + unit_hash(units[i + j]);
        h[0] = mix64(rolling + add);
        int n = 1;
#pragma unroll
        for (int j = 1; j < GROUP; ++j)
            if (i + j < end) {
                rolling = (rolling - unit_hash(units[i + j - 1]) * top) * Q + unit_hash(units[i + j + width - 1]);
                h[j] = mix64(rolling + add);
                ++n;
            }
        return n;
    }
};

// Shingles of a document of n units, and how many units each has.
__device__ __forceinline__ i64 shingle_count(i64 n, i64 width) { return n ? n - smaller(n, width) + 1 : 0; }
