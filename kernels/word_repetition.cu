// word_repetition: words, n-grams that occur more than once, the walk over joined ones. Contract and reference:
// gpu_pile/ops/word_repetition.py
//
// Words are found in two passes (count, then write), numbered by the first equal one (ngrams.cu), and an n-gram by
// (number of its first n - 1 words, number of its last), which is exact. What is summed up is written down for each word
// and summed by document afterwards; maxima are taken with atomics, which have no order.
//
// Work: about 60 instructions a step of 32 bytes and warp to find words; then random access to tables, one a word and
// n-gram that may be repeated, and one a word for each length of the walk.
#include "hash_table.cuh"

// Whether the character before data[i] is white space or the document begins there.
__device__ __forceinline__ bool after_space(const u8* data, i64 start, i64 i, const Flags& flags)
{
    return i == start || (flags(decode(data + character_start(data, i - 1))) & SPACE);
}

// counts[s]: words of str.split() that begin in segment s.
WARP_KERNEL count_split_words(
    const u8* data, const i64* offsets, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const u16* flag_stage, const u16* flag_leaves, i64* counts)
{
    const i64 s = warp_index();
    if (s >= n_segments) return;
    const Flags flags{flag_stage, flag_leaves};
    const Segment segment(s, first, owners, size);
    const i64 start = offsets[segment.owner], hi = smaller(offsets[segment.owner + 1], start + segment.hi);
    u32 n = 0;
    for (i64 i = start + segment.lo + lane_index(); i < hi; i += 32)
        n += is_lead(data[i]) && !(flags(decode(data + i)) & SPACE) && after_space(data, start, i, flags);
    n = warp_sum(n);
    if (lane_index() == 0) counts[s] = n;
}

// Words before[s] ... begin in segment s: starts and documents of these, stops of those that end in it.
WARP_KERNEL find_split_words(
    const u8* data, const i64* offsets, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const u16* flag_stage, const u16* flag_leaves, const i64* before, i64* starts, i64* stops, i64* word_owners)
{
    const i64 s = warp_index();
    if (s >= n_segments) return;
    const Flags flags{flag_stage, flag_leaves};
    const Segment segment(s, first, owners, size);
    const i64 start = offsets[segment.owner], end = offsets[segment.owner + 1];
    const i64 lo = start + segment.lo, hi = smaller(end, start + segment.hi);
    i64 out = before[s];
    for (i64 base = lo; base < hi; base += 32) {
        const i64 i = base + lane_index();
        const bool lead = i < hi && is_lead(data[i]);
        const bool space = lead && (flags(decode(data + i)) & SPACE);
        const bool fresh = lead && after_space(data, start, i, flags);
        const bool begins = lead && !space && fresh;
        const u32 all = __ballot_sync(FULL, begins);
        const i64 word = out + __popc(all & lanes_below());
        if (begins) {
            starts[word] = i;
            word_owners[word] = segment.owner;
        }
        if (space && !fresh) stops[word - 1] = i;
        out += __popc(all);
    }
    if (lane_index() == 0 && lo < end && hi == end && !after_space(data, start, end, flags)) stops[out - 1] = end;
}

// Whether the item at i occurs more than once.
__device__ __forceinline__ bool is_repeated(const u32* numbers, const u32* counts, i64 i)
{
    return numbers[i] != NONE && counts[numbers[i]] > 1;
}

// slots[i]: the slot that has the first n-gram of `width` words that equals the one at word i; NONE if it occurs once
// for sure, as one of its (n - 1)-grams does, or if there is none. words: their numbers, which no two documents share;
// grams and counts: numbers and counts of (n - 1)-grams. A thread a word.
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

// best[d], 0 before: count << 32 | ~position of the document's most frequent repeated n-gram, the first of several.
WARP_KERNEL top_grams(const i64* owners, const u32* grams, const u32* counts, i64 n, u64* best)
{
    const i64 i = thread_index();
    if (i >= n || grams[i] != (u32)i || counts[i] < 2) return;
    const u64 mine = (u64)counts[i] << 32 | (NONE - (u32)i);
    if (mine > best[owners[i]]) atomicMax(&best[owners[i]], mine);
}

// longest[d], 0 before: characters of the longest of its most frequent n-grams; of all, if none is repeated.
WARP_KERNEL longest_top_grams(
    const i64* owners, const u32* grams, const u32* counts, const i64* chars, i64 n, i64 width, const u64* best,
    u64* longest)
{
    const i64 i = thread_index();
    if (i + width > n || owners[i] != owners[i + width - 1]) return;
    const i64 d = owners[i];
    if (best[d] && (grams[i] != (u32)i || counts[i] != best[d] >> 32)) return;
    const u64 mine = (u64)(chars[i + width] - chars[i]);
    if (mine > longest[d]) atomicMax(&longest[d], mine);
}

// What the n-gram at each word adds: to characters of repeated ones, and to those of words and spaces that lie in one
// that has occurred before, where the last such one behind which it begins has counted some of its words.
WARP_KERNEL measure_grams(
    const u32* grams, const u32* counts, const i64* chars, i64 n, i64 width, i64* repeated, i64* again)
{
    const i64 i = thread_index();
    if (i >= n) return;
    const auto is_again = [&](i64 j) { return grams[j] != NONE && grams[j] != (u32)j; };
    repeated[i] = is_repeated(grams, counts, i) ? chars[i + width] - chars[i] : 0;
    i64 sum = 0;
    if (is_again(i)) {
        i64 counted = 0;
        for (i64 back = 1; back < width && back <= i; ++back)
            if (is_again(i - back)) {
                counted = width - back;
                break;
            }
        sum = chars[i + width] - chars[i + counted] + smaller(width - counted, width - 1);
    }
    again[i] = sum;
}

// found[d]: characters of n-grams seen before on a walk that steps over them. places: where n-grams begin that equal
// another one of their document, places[first[d]] ... in document d; leaders: the first that equals; seen: 0 before.
//
// Each step of the walk depends on those before it, so a warp takes a document, 32 places at a time: where no n-gram
// among them was seen it goes on at once, else from one that was seen to the next.
WARP_KERNEL walk_grams(
    const i64* places, const u32* leaders, const i64* first, i64 n_docs, const i64* chars, i64 width, u8* seen,
    i64* found)
{
    const i64 d = warp_index();
    if (d >= n_docs) return;
    const u32 lane = lane_index();
    const i64 hi = first[d + 1];
    i64 after = 0, sum = 0;
    for (i64 base = first[d]; base < hi; base += 32) {
        const i64 k = base + lane;
        const bool here = k < hi;
        const i64 place = here ? places[k] : 0;
        const u32 leader = here ? leaders[k] : NONE;
        const bool known = here && seen[leader];
        u32 equals = 0;  // lanes below with the same n-gram
        for (int j = 0; j < 31; ++j) equals |= (u32)(__shfl_sync(FULL, leader, j) == leader) << j;
        equals &= lanes_below();
        u32 visited = 0, open = __ballot_sync(FULL, here && place >= after);
        while (open) {
            // right for the first of these lanes: the open ones below it are all visited
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
        if (visited >> lane & 1) seen[leader] = 1;
        __syncwarp();
    }
    sum = warp_sum(sum);
    if (lane == 0) found[d] = sum;
}
