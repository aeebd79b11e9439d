// ngram_hits: where n-grams of a table occur in documents. Contract: gpu_pile/ops/ngram_hits.py
//
// Tokens are counted and hashed, a warp per segment and a lane per token; then a thread for each token makes the keys of
// the n-grams that begin there and looks them up. Work: about 40 instructions per step of 32 bytes and warp to find the
// tokens, 6 per byte to hash them, 60 per token to look it up. Floor on an H200: instructions, about 150 GB/s of text,
// while the filter stays in the L2 cache of 50 MB: evaluation sets of up to 150 MB.
#include "compact.cuh"

// Kinds of characters and how entries are packed, as in gpu_pile/text/tokens.py.
enum { SEPARATOR, IGNORED, LETTER, ALONE, MANY, HANGUL };
constexpr int KIND_BITS = 3, HASHED_BYTES = 64;
constexpr u64 P = 0x9E3779B97F4A7C15ull, Q = 0xD1342543DE82EF95ull, R = 0xDA942042E4DD58B5ull;

struct Folding {
    const u16* stage;
    const i32* leaves;

    __device__ __forceinline__ i32 entry(u32 c) const { return leaves[(u32)stage[c >> 7] * 128 + (c & 127)]; }
    __device__ __forceinline__ int kind(u32 c) const { return entry(c) & ((1 << KIND_BITS) - 1); }
};

// Whether a token begins at data[i], in a document that begins at data[start]. Characters that are ignored are part of
// the token before them.
__device__ __forceinline__ bool token_begins(const u8* data, i64 start, i64 i, const Folding& folding)
{
    if (!is_lead(data[i])) return false;
    const int kind = folding.kind(decode(data + i));
    if (kind <= IGNORED) return false;
    if (kind == ALONE) return true;
    while (i > start) {
        i = previous_character(data, i);
        const int before = folding.kind(decode(data + i));
        if (before != IGNORED) return before == SEPARATOR || before == ALONE;
    }
    return true;
}

// counts[s]: tokens that begin in segment s.
WARP_KERNEL count_tokens(
    const u8* data, const i64* offsets, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const u16* stage, const i32* leaves, i64* counts)
{
    const Segment segment = document_segment(offsets, first, owners, n_segments, size);
    if (!segment.exists) return;
    const Folding folding{stage, leaves};
    const u32 n = count_where(segment, [&](i64 i) { return token_begins(data, segment.start, i, folding); });
    if (lane_index() == 0) counts[segment.index] = n;
}

// The hash of a token, byte by byte.
struct TokenHash {
    u64 h, word;
    int n;

    __device__ __forceinline__ void add(u32 c)
    {
        encode(c, [this](u32 byte) {
            if (n >= HASHED_BYTES) return;
            word |= (u64)byte << 8 * (n & 7);
            if ((++n & 7) == 0) mix();
        });
    }
    __device__ __forceinline__ void mix()
    {
        h = (h ^ word) * P;
        h ^= h >> 32;
        word = 0;
    }
    __device__ __forceinline__ u64 finished()
    {
        if (n & 7) mix();
        return h;
    }
};

// The hash of the token that begins at data[i].
__device__ __forceinline__ u64 hash_token(
    const u8* data, i64 i, i64 end, const Folding& folding, const i32* parts)
{
    TokenHash hash{0, 0, 0};
    bool open = false;
    for (int kind = LETTER; i < end && hash.n < HASHED_BYTES; i += sequence_length(data[i])) {
        const u32 c = decode(data + i);
        const i32 entry = folding.entry(c), number = entry >> KIND_BITS;
        const int before = kind;
        kind = entry & ((1 << KIND_BITS) - 1);
        if (kind == IGNORED) {
            kind = before;
            continue;
        }
        if (kind == SEPARATOR || (open && (kind == ALONE || before == ALONE))) break;
        open = true;
        if (kind == MANY) {
            for (i32 k = 0; k < parts[number]; ++k) hash.add((u32)parts[number + 1 + k]);
        } else if (kind == HANGUL) {
            const u32 s = c - 0xAC00;
            hash.add(0x1100 + s / 588);
            hash.add(0x1161 + s / 28 % 21);
            if (s % 28) hash.add(0x11A7 + s % 28);
        } else {
            hash.add(c + (u32)number);
        }
    }
    return hash.finished();
}

// hashes[before[s]] and on: the hashes of the tokens that begin in segment s, in order.
WARP_KERNEL hash_tokens(
    const u8* data, const i64* offsets, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const u16* stage, const i32* leaves, const i32* parts, const i64* before, u64* hashes)
{
    const Segment segment = document_segment(offsets, first, owners, n_segments, size);
    if (!segment.exists) return;
    const Folding folding{stage, leaves};
    write_where(
        segment, before[segment.index], [&](i64 i) { return token_begins(data, segment.start, i, folding); },
        [&](i64 i, i64 k) { hashes[k] = hash_token(data, i, segment.end, folding, parts); });
}

// found[t * n_widths + k]: the entry of the n-gram of widths[k] tokens that begins at token t, or -1. Document d has the
// tokens before[d] .. before[d + 1]. A key is shifted by a shift and once more, so that the shift is less than 64.
WARP_KERNEL look_up_ngrams(
    const u64* hashes, i64 n, const i64* before, i64 n_docs, const i64* widths, i64 n_widths, const u64* keys,
    const u32* starts, const u64* filter, i64 start_shift, i64 filter_shift, i64* found)
{
    const i64 t = thread_index();
    if (t >= n) return;
    const i64 end = before[last_up_to(before, n_docs + 1, t) + 1];
    for (i64 k = 0; k < n_widths; ++k) {
        const i64 width = widths[k];
        i64 entry = -1;
        if (t + width <= end) {
            u64 sum = 0;
            for (i64 j = t; j < t + width; ++j) sum = sum * Q + hashes[j];
            u64 key = mix64(sum + (u64)width * R);
            if (!key) key = 1;
            const u64 bits = 1ull << (key & 63) | 1ull << (key >> 6 & 63) | 1ull << (key >> 12 & 63);
            if ((filter[key >> filter_shift >> 1] & bits) == bits) {
                const u32* at = starts + (key >> start_shift >> 1);
                i64 low = at[0], high = at[1];
                while (low < high) {
                    const i64 middle = (low + high) >> 1;
                    if (keys[middle] < key)
                        low = middle + 1;
                    else
                        high = middle;
                }
                if (low < at[1] && keys[low] == key) entry = low;
            }
        }
        found[t * n_widths + k] = entry;
    }
}
