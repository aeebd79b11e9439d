// Units of shingles: words and characters as 64-bit hashes. Definition: gpu_pile/text/shingles.py
//
// Two passes, a warp per segment: count the units that begin in it, then write them where the sums say. Bytes need no
// units: the kernels that shingle take them from the text.
//
// Work of hash_words: about 30 instructions per step of 32 bytes and warp to find the words, then 8 instructions per
// byte, one lane per word. Floor on an H200: 4 instructions per clock and multiprocessor, about 300 GB/s of text.
#include "compact.cuh"

constexpr u64 P = 0x9E3779B97F4A7C15ull;
constexpr int LONG_WORD = 128;  // bytes after which the whole warp hashes a word

// Words made of characters of these classes (gpu_pile.text.lower_words): WORD alone, or WORD, MARK and UNSPACED.
struct Words {
    Flags flags;
    u32 classes;

    __device__ __forceinline__ u32 operator()(u32 c) const { return flags(c) & classes; }

    // Whether a character of this kind goes on with the word before it; `alone`: a word that takes only marks.
    __device__ __forceinline__ bool goes_on(u32 kind, bool alone) const
    {
        return kind & MARK || (!alone && (kind & (WORD | UNSPACED)) == WORD);
    }

    // Whether no other word character than a mark can follow c in a word.
    __device__ __forceinline__ bool last(u32 c) const { return c == DOTTED_CAPITAL_I && !(classes & MARK); }

    // Whether a word begins at data[i]; the document begins at data[start].
    __device__ __forceinline__ bool begin(const u8* data, i64 start, i64 i) const
    {
        if (!is_lead(data[i])) return false;
        const u32 kind = (*this)(decode(data + i));
        if (!(kind & WORD)) return false;
        while (!(kind & UNSPACED) && i > start) {
            i = previous_character(data, i);
            const u32 c = decode(data + i), before = (*this)(c);
            if (!(before & MARK)) return (before & (WORD | UNSPACED)) != WORD || last(c);
        }
        return true;
    }
};

// counts[s]: words that begin in segment s of the text.
WARP_KERNEL count_words(
    const u8* data, const i64* offsets, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const u16* flag_stage, const u16* flag_leaves, i64 classes, i64* counts)
{
    const Segment segment = document_segment(offsets, first, owners, n_segments, size);
    if (!segment.exists) return;
    const Words words{{flag_stage, flag_leaves}, (u32)classes};
    const u32 n = count_where(segment, [&](i64 i) { return words.begin(data, segment.start, i); });
    if (lane_index() == 0) counts[segment.index] = n;
}

// counts[s]: characters that begin in segment s.
WARP_KERNEL count_characters(
    const u8* data, const i64* offsets, const i64* first, const i64* owners, i64 n_segments, i64 size, i64* counts)
{
    const Segment segment = document_segment(offsets, first, owners, n_segments, size);
    if (!segment.exists) return;
    const u32 n = count_where(segment, [&](i64 i) { return is_lead(data[i]); });
    if (lane_index() == 0) counts[segment.index] = n;
}

// What one more character does to the hash h of a word: h * factor + summand. Composing these is associative.
struct Affine {
    u64 factor, summand;
    __device__ __forceinline__ void fold(u32 c)
    {
        encode(c, [this](u32 byte) {
            factor *= P;
            summand = summand * P + byte + 1;
        });
    }
    __device__ __forceinline__ void fold_lower(u32 c, const Words& words, const Lower& lower)
    {
        fold(lower(c));
        if (c == DOTTED_CAPITAL_I && !words.last(c)) fold(DOT_ABOVE);
    }
};

__device__ __forceinline__ u64 finished(u64 h) { return h ^ h >> 29; }

// The hash of the word at data[i], by one lane. `complete`: whether the word ended within LONG_WORD bytes.
__device__ __forceinline__ u64 hash_word(
    const u8* data, i64 i, i64 end, const Words& words, const Lower& lower, bool& complete)
{
    Affine h{1, 0};
    const i64 first = i, limit = i + LONG_WORD;
    bool alone = false;
    complete = true;
    while (i < end) {
        if (i >= limit) {
            complete = false;
            break;
        }
        const u32 c = decode(data + i);
        const u32 kind = words(c);
        if (i == first)
            alone = kind & UNSPACED;
        else if (!words.goes_on(kind, alone))
            break;
        h.fold_lower(c, words, lower);
        i += sequence_length(data[i]);
        if (words.last(c)) break;
    }
    return finished(h.summand);
}

// The hash of the word at data[i], by the whole warp: one lane per byte, characters composed in their order.
__device__ __forceinline__ u64 hash_long_word(const u8* data, i64 i, i64 end, const Words& words, const Lower& lower)
{
    const i64 first = i;
    const bool alone = words(decode(data + i)) & UNSPACED;
    u64 h = 0;
    for (;; i += 32) {
        const i64 p = i + lane_index();
        const bool lead = p < end && is_lead(data[p]);
        const u32 c = lead ? decode(data + p) : 0;
        const bool in_word = lead && (p == first || words.goes_on(words(c), alone));
        const u32 outside = __ballot_sync(FULL, p >= end || (lead && !in_word));
        const u32 last = __ballot_sync(FULL, in_word && words.last(c));
        // lanes before the first that is outside, and up to the first that is the last of its word
        u32 in_this_word = outside ? (1u << lowest(outside)) - 1 : FULL;
        const bool ends = outside || (last & in_this_word);
        if (last & in_this_word) in_this_word &= (2u << lowest(last)) - 1;
        Affine step{1, 0};
        if (in_word && (in_this_word >> lane_index() & 1)) step.fold_lower(c, words, lower);
        for (int d = 1; d < 32; d <<= 1) {
            const u64 factor = __shfl_down_sync(FULL, step.factor, d);
            const u64 summand = __shfl_down_sync(FULL, step.summand, d);
            if (lane_index() % (2 * d) == 0) step = {step.factor * factor, step.summand * factor + summand};
        }
        h = h * __shfl_sync(FULL, step.factor, 0) + __shfl_sync(FULL, step.summand, 0);
        if (ends) return finished(h);
    }
}

// units[before[s]] and on: the hashes of the words that begin in segment s, in order; before[s]: how many words begin in
// earlier segments. Words wait in a queue until there is one for each lane.
WARP_KERNEL hash_words(
    const u8* data, const i64* offsets, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const u16* flag_stage, const u16* flag_leaves, i64 classes, const u16* lower_stage, const i32* lower_leaves,
    const i64* before, u64* units)
{
    __shared__ i64 queues[4][64];  // words that are not hashed yet, of each warp
    const Segment segment = document_segment(offsets, first, owners, n_segments, size);
    if (!segment.exists) return;
    const Words words{{flag_stage, flag_leaves}, (u32)classes};
    const Lower lower{lower_stage, lower_leaves};
    const i64 hi = segment.hi, end = segment.end;
    i64* queue = queues[threadIdx.x >> 5];
    i64 out = before[segment.index];
    int waiting = 0;
    for (i64 i = segment.lo; i < hi; i += 32) {
        const i64 p = i + lane_index();
        const bool begins = p < hi && words.begin(data, segment.start, p);
        const u32 all = __ballot_sync(FULL, begins);
        if (begins) queue[waiting + __popc(all & lanes_below())] = p;
        waiting += __popc(all);
        __syncwarp();
        while (waiting >= 32 || (waiting && i + 32 >= hi)) {
            const int n = waiting < 32 ? waiting : 32;
            const bool active = (int)lane_index() < n;
            const i64 word = active ? queue[lane_index()] : end;
            bool complete;
            u64 h = hash_word(data, word, end, words, lower, complete);
            for (u32 rest = __ballot_sync(FULL, !complete); rest; rest &= rest - 1) {
                const int lane = lowest(rest);
                const u64 whole = hash_long_word(data, __shfl_sync(FULL, word, lane), end, words, lower);
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

// units[before[s]] and on: the characters that begin in segment s, as code point + 1.
WARP_KERNEL write_characters(
    const u8* data, const i64* offsets, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const i64* before, u64* units)
{
    const Segment segment = document_segment(offsets, first, owners, n_segments, size);
    if (!segment.exists) return;
    write_where(
        segment, before[segment.index], [&](i64 i) { return is_lead(data[i]); },
        [&](i64 i, i64 k) { units[k] = decode(data + i) + 1ull; });
}
