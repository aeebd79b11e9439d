// word_repetition: words, n-grams that occur more than once, the walk over joined ones. Contract and reference:
// gpu_pile/ops/word_repetition.py
//
// Words are found in two passes (count, then write), a warp per segment, and numbered by the first equal word
// (ngrams.cu); an n-gram is numbered by (number of its first n - 1 words, number of its last), which is exact, a thread
// per word. Sums are taken by array code from one value per word; maxima with atomics, which have no order.
//
// Work: about 60 instructions per step of 32 bytes and warp to find words; then random access to tables, one per word and
// n-gram that may be repeated, and one per word for each length of the walk.
#include "compact.cuh"
#include "hash_table.cuh"

// The words of str.split(): runs of what is not white space.
__device__ __forceinline__ auto split_words(const u8* data, const Segment& segment, const Flags& flags)
{
    return runs_of(data, segment, [flags](u32 c) { return flags(c) & SPACE ? 0 : 1; });
}

// counts[s]: words of str.split() that begin in segment s. A warp per segment.
WARP_KERNEL count_split_words(
    const u8* data, const i64* offsets, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const u16* flag_stage, const u16* flag_leaves, i64* counts)
{
    const Segment segment = document_segment(offsets, first, owners, n_segments, size);
    if (!segment.exists) return;
    const auto words = split_words(data, segment, {flag_stage, flag_leaves});
    const u32 n = count_where(segment, [&](i64 i) { return words.begins_at(i); });
    if (lane_index() == 0) counts[segment.index] = n;
}

// Words before[s] and on begin in segment s: writes their starts and documents, and the stops of those that end in it.
WARP_KERNEL find_split_words(
    const u8* data, const i64* offsets, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const u16* flag_stage, const u16* flag_leaves, const i64* before, i64* starts, i64* stops, i64* word_owners)
{
    const Segment segment = document_segment(offsets, first, owners, n_segments, size);
    if (!segment.exists) return;
    const auto words = split_words(data, segment, {flag_stage, flag_leaves});
    words.write(segment, before[segment.index], starts, stops, word_owners);
}

// Whether the item at i occurs more than once.
__device__ __forceinline__ bool is_repeated(const u32* numbers, const u32* counts, i64 i)
{
    return numbers[i] != NONE && counts[numbers[i]] > 1;
}

// slots[i]: the slot of the first n-gram of `width` words that equals the one at word i; NONE if there is none, or if it
// occurs only once because one of its (n - 1)-grams does. words: their numbers, which no two documents share; grams and
// counts: numbers and counts of the (n - 1)-grams. A thread per word.
WARP_KERNEL match_grams(
    const u32* words, const u32* grams, const u32* counts, i64 n, i64 width, i64 mask, u32* table, u32* slots)
{
    const i64 i = thread_index();
    if (i >= n) return;
    slots[i] = NONE;
    const i64 last = i + width - 1;
    if (last >= n || !is_repeated(grams, counts, i) || !is_repeated(grams, counts, i + 1)) return;
    const u32 head = grams[i], tail = words[last];
    i64 s = (i64)(mix64((u64)head << 32 | tail) & (u64)mask);
    for (;; s = (s + 1) & mask) {
        const u32 other = look(table, s, (u32)i);
        if (other == (u32)i || (grams[other] == head && words[other + width - 1] == tail)) {
            join(table, s, other, (u32)i);
            slots[i] = (u32)s;
            return;
        }
    }
}

// best[d], 0 before: count << 32 | ~position of the most frequent repeated n-gram of document d, the first of several. A
// thread per word.
WARP_KERNEL top_grams(const i64* owners, const u32* grams, const u32* counts, i64 n, u64* best)
{
    const i64 i = thread_index();
    if (i >= n || grams[i] != (u32)i || counts[i] < 2) return;
    const u64 ranked = (u64)counts[i] << 32 | (NONE - (u32)i);
    if (ranked > relaxed_load(&best[owners[i]])) atomicMax(&best[owners[i]], ranked);
}

// longest[d], 0 before: characters of the longest of the most frequent n-grams of document d, or of all its n-grams if none
// is repeated. A thread per word.
WARP_KERNEL longest_top_grams(
    const i64* owners, const u32* grams, const u32* counts, const i64* chars, i64 n, i64 width, const u64* best,
    u64* longest)
{
    const i64 i = thread_index();
    if (i + width > n || owners[i] != owners[i + width - 1]) return;
    const i64 d = owners[i];
    if (best[d] && (grams[i] != (u32)i || counts[i] != best[d] >> 32)) return;
    const u64 length = (u64)(chars[i + width] - chars[i]);
    if (length > relaxed_load(&longest[d])) atomicMax(&longest[d], length);
}

// What the n-gram at word i adds to two sums. repeated[i]: its characters if it occurs more than once. again[i]: if it has
// occurred before, its characters and spaces that the last such n-gram before it has not counted. A thread per word.
WARP_KERNEL measure_grams(
    const u32* grams, const u32* counts, const i64* chars, i64 n, i64 width, i64* repeated, i64* again)
{
    const i64 i = thread_index();
    if (i >= n) return;
    const auto has_occurred = [&](i64 j) { return grams[j] != NONE && grams[j] != (u32)j; };
    repeated[i] = is_repeated(grams, counts, i) ? chars[i + width] - chars[i] : 0;
    i64 sum = 0;
    if (has_occurred(i)) {
        i64 counted = 0;
        for (i64 back = 1; back < width && back <= i; ++back)
            if (has_occurred(i - back)) {
                counted = width - back;
                break;
            }
        sum = chars[i + width] - chars[i + counted] + smaller(width - counted, width - 1);
    }
    again[i] = sum;
}

// duplicate_chars[d]: characters of n-grams seen before on a walk that steps over them. places: where the n-grams begin
// that equal another one of their document, places[first[d]] and on in document d; leaders: the first that equals each;
// seen: 0 before.
//
// Each step of the walk depends on those before it, so a warp takes a document, 32 positions at a time: if none of the positions
// n-grams was seen before, it goes on at once, else from one that was seen to the next.
WARP_KERNEL walk_grams(
    const i64* places, const u32* leaders, const i64* first, i64 n_docs, const i64* chars, i64 width, u8* seen,
    i64* duplicate_chars)
{
    const i64 d = warp_index();
    if (d >= n_docs) return;
    const u32 lane = lane_index();
    const i64 hi = first[d + 1];
    i64 after = 0, sum = 0;
    for (i64 base = first[d]; base < hi; base += 32) {
        const i64 k = base + lane;
        const bool exists = k < hi;
        const i64 place = exists ? places[k] : 0;
        const u32 leader = exists ? leaders[k] : NONE;
        const bool known = exists && seen[leader];
        u32 equals = 0;  // lanes below with the same n-gram
        for (int j = 0; j < 31; ++j) equals |= (u32)(__shfl_sync(FULL, leader, j) == leader) << j;
        equals &= lanes_below();
        u32 visited = 0, open = __ballot_sync(FULL, exists && place >= after);
        while (open) {
            // correct for the first of these lanes: the open ones below it are all visited
            const bool is_open = open >> lane & 1;
            const u32 again = __ballot_sync(FULL, is_open && (known || (equals & (visited | open))));
            if (!again) {
                visited |= open;
                break;
            }
            const int next = lowest(again);
            visited |= open & ((2u << next) - 1);
            after = __shfl_sync(FULL, place, next) + width;
            if ((int)lane == next) sum += chars[place + width] - chars[place];
            open = __ballot_sync(FULL, is_open && (int)lane > next && place >= after);
        }
        __syncwarp();  // every lane has read seen
        if (visited >> lane & 1) relaxed_store(&seen[leader], (u8)1);
        __syncwarp();
    }
    sum = warp_sum(sum);
    if (lane == 0) duplicate_chars[d] = sum;
}
