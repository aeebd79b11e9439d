// Units of shingles: words and characters as 64-bit hashes. Definition: gpu_pile/text/shingles.py
//
// Two passes: count the units that begin in each segment, then write them where the sums say. Bytes need no units: the
// kernels that shingle take them from the text.
//
// Work of hash_words: about 30 instructions a step of 32 bytes and warp to find the words, then a lane a word, 8
// instructions a byte. Floor on an H200: 4 instructions a clock and multiprocessor, about 300 GB/s of text.
#include "common.cuh"

constexpr u64 P = 0x9E3779B97F4A7C15ull;
constexpr int LONG_WORD = 128;  // bytes after which the whole warp takes a word

// counts[s]: words that begin in segment s of the text.
WARP_KERNEL count_words(
    const u8* data, const i64* offsets, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const u16* flag_stage, const u16* flag_leaves, i64* counts)
{
    const i64 s = warp_index();
    if (s >= n_segments) return;
    const Flags flags{flag_stage, flag_leaves};
    const Segment segment(s, first, owners, size);
    const i64 start = offsets[segment.owner], end = offsets[segment.owner + 1];
    u32 n = 0;
    for (i64 i = start + segment.lo + lane_index(); i < smaller(end, start + segment.hi); i += 32)
        n += is_lead(data[i]) && word_starts(data, start, i, decode(data + i), flags);
    n = warp_sum(n);
    if (lane_index() == 0) counts[s] = n;
}

// counts[s]: characters that begin in segment s.
WARP_KERNEL count_characters(
    const u8* data, const i64* offsets, const i64* first, const i64* owners, i64 n_segments, i64 size, i64* counts)
{
    const i64 s = warp_index();
    if (s >= n_segments) return;
    const Segment segment(s, first, owners, size);
    const i64 start = offsets[segment.owner], end = offsets[segment.owner + 1];
    u32 n = 0;
    for (i64 i = start + segment.lo + lane_index(); i < smaller(end, start + segment.hi); i += 32)
        n += is_lead(data[i]);
    n = warp_sum(n);
    if (lane_index() == 0) counts[s] = n;
}

// What hashing on by one character does to h: h * factor + summand. Composed in order, these are associative.
struct Affine {
    u64 factor, summand;
    __device__ __forceinline__ void fold(u32 c)
    {
        encode(c, [this](u32 byte) {
            factor *= P;
            summand = summand * P + byte + 1;
        });
    }
};

__device__ __forceinline__ u64 finished(u64 h) { return h ^ h >> 29; }

// The word at data[i], by one lane. `complete` says whether it ended within LONG_WORD bytes.
__device__ __forceinline__ u64 hash_word(
    const u8* data, i64 i, i64 end, const Flags& flags, const Lower& lower, bool& complete)
{
    Affine h{1, 0};
    const i64 limit = i + LONG_WORD;
    complete = true;
    while (i < end) {
        if (i >= limit) {
            complete = false;
            break;
        }
        const u32 c = decode(data + i);
        if (!(flags(c) & WORD)) break;
        h.fold(lower(c));
        i += sequence_length(data[i]);
        if (c == DOTTED_CAPITAL_I) break;
    }
    return finished(h.summand);
}

// The word at data[i], by the whole warp: a lane a byte, characters composed in their order.
__device__ __forceinline__ u64 hash_long_word(const u8* data, i64 i, i64 end, const Flags& flags, const Lower& lower)
{
    u64 h = 0;
    for (;; i += 32) {
        const i64 p = i + lane_index();
        const bool lead = p < end && is_lead(data[p]);
        const u32 c = lead ? decode(data + p) : 0;
        const bool in_word = lead && (flags(c) & WORD);
        const u32 outside = __ballot_sync(FULL, p >= end || (lead && !in_word));
        const u32 last = __ballot_sync(FULL, in_word && c == DOTTED_CAPITAL_I);
        // lanes before the first that is outside, and up to the first that is the last of its word
        u32 mine = outside ? (1u << lowest(outside)) - 1 : FULL;
        const bool ends = outside || (last & mine);
        if (last & mine) mine &= (2u << lowest(last)) - 1;
        Affine part{1, 0};
        if (in_word && (mine >> lane_index() & 1)) part.fold(lower(c));
        for (int d = 1; d < 32; d <<= 1) {
            const u64 factor = __shfl_down_sync(FULL, part.factor, d);
            const u64 summand = __shfl_down_sync(FULL, part.summand, d);
            if (lane_index() % (2 * d) == 0) part = {part.factor * factor, part.summand * factor + summand};
        }
        h = h * __shfl_sync(FULL, part.factor, 0) + __shfl_sync(FULL, part.summand, 0);
        if (ends) return finished(h);
    }
}

// units[before[s]] ...: the words that begin in segment s, in order.
WARP_KERNEL hash_words(
    const u8* data, const i64* offsets, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const u16* flag_stage, const u16* flag_leaves, const u16* lower_stage, const i32* lower_leaves, const i64* before,
    u64* units)
{
    __shared__ i64 queues[4][64];  // words that were found and not yet hashed
    const i64 s = warp_index();
    if (s >= n_segments) return;
    const Flags flags{flag_stage, flag_leaves};
    const Lower lower{lower_stage, lower_leaves};
    const Segment segment(s, first, owners, size);
    const i64 start = offsets[segment.owner], end = offsets[segment.owner + 1];
    const i64 hi = smaller(end, start + segment.hi);
    i64* queue = queues[threadIdx.x >> 5];
    i64 out = before[s];
    int waiting = 0;
    for (i64 i = start + segment.lo; i < hi; i += 32) {
        const i64 p = i + lane_index();
        const bool found = p < hi && is_lead(data[p]) && word_starts(data, start, p, decode(data + p), flags);
        const u32 all = __ballot_sync(FULL, found);
        if (found) queue[waiting + __popc(all & lanes_below())] = p;
        waiting += __popc(all);
        __syncwarp();
        while (waiting >= 32 || (waiting && i + 32 >= hi)) {
            const int n = waiting < 32 ? waiting : 32;
            const bool active = (int)lane_index() < n;
            const i64 word = active ? queue[lane_index()] : end;
            bool complete;
            u64 h = hash_word(data, word, end, flags, lower, complete);
            for (u32 rest = __ballot_sync(FULL, !complete); rest; rest &= rest - 1) {
                const int lane = lowest(rest);
                const u64 whole = hash_long_word(data, __shfl_sync(FULL, word, lane), end, flags, lower);
                if ((int)lane_index() == lane) h = whole;
            }
            if (active) units[out + lane_index()] = h;
            out += n;
            waiting -= n;
            const i64 moved = (int)lane_index() < waiting ? queue[n + lane_index()] : 0;
            __syncwarp();
            if ((int)lane_index() < waiting) queue[lane_index()] = moved;
            __syncwarp();
        }
    }
}

// units[before[s]] ...: the characters that begin in segment s, as code point + 1.
WARP_KERNEL write_characters(
    const u8* data, const i64* offsets, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const i64* before, u64* units)
{
    const i64 s = warp_index();
    if (s >= n_segments) return;
    const Segment segment(s, first, owners, size);
    const i64 start = offsets[segment.owner], hi = smaller(offsets[segment.owner + 1], start + segment.hi);
    i64 out = before[s];
    for (i64 i = start + segment.lo; i < hi; i += 32) {
        const i64 p = i + lane_index();
        const bool lead = p < hi && is_lead(data[p]);
        const u32 all = __ballot_sync(FULL, lead);
        if (lead) units[out + __popc(all & lanes_below())] = decode(data + p) + 1ull;
        out += __popc(all);
    }
}
