// Equal spans of documents (words, lines, joined words) and the white space around spans. Definition:
// gpu_pile/text/ngrams.py
//
// Span k is data[bounds[k * step] .. bounds[k * step + width]). Spans are hashed, a warp per segment; then a thread per
// span finds the first equal one in a hash table, where spans of equal hash are compared byte by byte.
//
// Work: hash_spans takes about 60 instructions per span and warp and 15 per step of 32 bytes; match_spans is bound by
// random access, about three sectors of 32 bytes per span; strip_spans takes 15 instructions per step and warp, twice.
#include "hash_table.cuh"

constexpr u64 P = 0x9E3779B97F4A7C15ull;
constexpr int LONG_SPAN = 128;  // bytes beyond which the whole warp compares

__host__ __device__ constexpr u64 inverse(u64 odd)
{
    u64 x = odd;  // correct in three bits; each step doubles them
    for (int i = 0; i < 5; ++i) x *= 2 - odd * x;
    return x;
}

__host__ __device__ constexpr u64 power(u64 base, i64 n)
{
    u64 result = 1;
    for (; n > 0; n >>= 1) {
        if (n & 1) result *= base;
        base *= base;
    }
    return result;
}

constexpr u64 BACK = power(inverse(P), 32);

// Adds to hashes[k], 0 before, the sum of (byte + 1) * P^(bytes after it) over span k, so that the hash of joined spans
// follows from theirs; and to chars[k], 0 before, its characters. A warp takes a segment of a span; width is 1.
WARP_KERNEL hash_spans(
    const u8* data, const i64* bounds, i64 step, const i64* first, const i64* owners, i64 n_segments, i64 size,
    u64* hashes, i64* chars)
{
    const Segment segment(bounds, bounds + 1, step, first, owners, n_segments, size);
    if (!segment.exists) return;
    u64 h = 0, factor = power(P, segment.end - 1 - segment.lo - lane_index());
    u32 n = 0;
    for_each(segment, [&](i64 i) {
        h += (data[i] + 1ull) * factor;
        factor *= BACK;
        n += is_lead(data[i]);
    });
    h = warp_sum(h);
    n = warp_sum(n);
    if (lane_index()) return;
    const i64 k = segment.owner;
    if (segment.only) {
        hashes[k] = h;
        chars[k] = n;
    } else {
        atomicAdd(&hashes[k], h);
        atomicAdd((u64*)&chars[k], (u64)n);
    }
}

// joined[i], the hash of spans i .. i + from - 1, becomes that of spans i .. i + to - 1; step is 1. A thread per span.
WARP_KERNEL join_hashes(const i64* bounds, const u64* hashes, i64 n, i64 from, i64 to, u64* joined)
{
    const i64 i = thread_index();
    if (i + to > n) return;
    u64 h = joined[i];
    for (i64 k = i + from; k < i + to; ++k) h = h * power(P, bounds[k + 1] - bounds[k]) + hashes[k];
    joined[i] = h;
}

// slots[i]: the slot, of mask + 1 in the table, that has the first span of the document that equals span i; NONE if
// spans i .. i + width - 1 are not of one document. hashes: of the spans. A thread per span; the warp compares long ones
// together.
WARP_KERNEL match_spans(
    const u8* data, const i64* bounds, i64 step, i64 width, const i64* owners, const u64* hashes, i64 n, i64 mask,
    u32* table, u32* slots)
{
    const i64 i = thread_index();
    bool open = i + width <= n && owners[i] == owners[i + width - 1];
    const i64 owner = open ? owners[i] : 0;
    const i64 start = open ? bounds[i * step] : 0, length = open ? bounds[i * step + width] - start : 0;
    const u64 hash = open ? hashes[i] : 0;
    i64 s = (i64)(mix64(hash + (u64)owner * P) & (u64)mask);
    if (i < n && !open) slots[i] = NONE;
    while (__any_sync(FULL, open)) {
        u32 other = NONE;
        bool same = false, candidate = false;
        i64 there = 0;
        if (open) {
            other = look(table, s, (u32)i);
            same = other == (u32)i;
            if (!same && owners[other] == owner && hashes[other] == hash) {
                there = bounds[other * step];
                candidate = bounds[other * step + width] - there == length;
            }
        }
        if (candidate && length <= LONG_SPAN) {
            i64 k = 0;
            while (k < length && data[start + k] == data[there + k]) ++k;
            same = k == length;
        }
        for (u32 rest = __ballot_sync(FULL, candidate && length > LONG_SPAN); rest; rest &= rest - 1) {
            const int lane = lowest(rest);
            const i64 a = __shfl_sync(FULL, start, lane), b = __shfl_sync(FULL, there, lane);
            const i64 m = __shfl_sync(FULL, length, lane);
            bool equal = true;
            for (i64 k = 0; k < m && equal; k += 32) {
                const i64 at = k + lane_index();
                equal = __all_sync(FULL, at >= m || data[a + at] == data[b + at]);
            }
            if ((int)lane_index() == lane) same = equal;
        }
        if (open && same) {
            join(table, s, other, (u32)i);
            slots[i] = (u32)s;
            open = false;
        }
        s = (s + 1) & mask;
    }
}

// numbers[i], a slot before, becomes the first item that equals item i; counts[that], 0 before, how many there are. A
// thread per item.
WARP_KERNEL number_items(const u32* table, i64 n, u32* numbers, u32* counts)
{
    const i64 i = thread_index();
    if (i >= n || numbers[i] == NONE) return;
    numbers[i] = table[numbers[i]];
    atomicAdd(&counts[numbers[i]], 1u);
}

// stripped[2k], stripped[2k + 1]: where in data[bounds[2k] .. bounds[2k + 1]) the first character that is not white space
// begins and the last one ends; before, more and less than any position. A warp takes a segment of a span.
WARP_KERNEL strip_spans(
    const u8* data, const i64* bounds, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const u16* flag_stage, const u16* flag_leaves, i64* stripped)
{
    const Segment segment = span_segment(bounds, first, owners, n_segments, size);
    if (!segment.exists) return;
    const Flags flags{flag_stage, flag_leaves};
    const i64 k = segment.owner, lo = segment.lo, hi = segment.hi;
    const auto inks = [&](i64 base) {
        const i64 i = base + lane_index();
        return __ballot_sync(FULL, i >= lo && i < hi && is_lead(data[i]) && !(flags(decode(data + i)) & SPACE));
    };
    u32 ink = 0;
    i64 base = lo;
    for (; base < hi; base += 32) {
        ink = inks(base);
        if (ink) break;
    }
    if (!ink) return;
    if (lane_index() == 0) atomicMin(&stripped[2 * k], base + lowest(ink));
    base = hi - 32;
    while (!(ink = inks(base))) base -= 32;
    const i64 last = base + highest(ink);
    if (lane_index() == 0) atomicMax(&stripped[2 * k + 1], last + sequence_length(data[last]));
}
