// redpajama_words: raw words, sentences, lists, entropy, n-grams. Contract and reference: gpu_pile/ops/redpajama_words.py
//
// Words of the normal form come from normal_form.cu, their numbers and those of n-grams from ngrams.cu and word_repetition.cu.
// Raw words are found in two passes (count, then write). What is summed up is written down for each word and summed by
// document afterwards.
//
// Work: about 80 instructions a step of 32 bytes and warp in each pass over the text, 60 a raw word and warp.
#include "hash_table.cuh"



// Kinds of raw words: characters of none, word characters, others.
enum { GAP, WORDS, OTHERS };

__device__ __forceinline__ int kind_of(u32 c, u32 f)
{
    return (f & SPACE) && !(c >= 0x1C && c <= 0x1F) ? GAP : f & UTS18_WORD ? WORDS : OTHERS;
}

// The kind of the character before data[i], GAP where the document begins.
__device__ __forceinline__ int kind_before(const u8* data, i64 start, i64 i, const Flags& flags)
{
    if (i == start) return GAP;
    const u32 c = decode(data + character_start(data, i - 1));
    return kind_of(c, flags(c));
}

// Whether a sentence begins at the word character data[i]: none has come since the last . ! or ?
__device__ __forceinline__ bool begins_sentence(const u8* data, i64 start, i64 i, const Flags& flags)
{
    while (i > start) {
        i = character_start(data, i - 1);
        const u32 c = decode(data + i);
        if (c == '.' || c == '!' || c == '?') return true;
        if (flags(c) & WORD) return false;
    }
    return true;
}

// words[s], sentences[s], curly[s]: raw words, sentences, { and } that begin in segment s.
WARP_KERNEL count_raw_words(
    const u8* data, const i64* offsets, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const u16* flag_stage, const u16* flag_leaves, i64* words, i64* sentences, i64* curly)
{
    const i64 s = warp_index();
    if (s >= n_segments) return;
    const Flags flags{flag_stage, flag_leaves};
    const Segment segment(s, first, owners, size);
    const i64 start = offsets[segment.owner], hi = smaller(offsets[segment.owner + 1], start + segment.hi);
    u32 n = 0, m = 0, curlies = 0;
    for (i64 i = start + segment.lo + lane_index(); i < hi; i += 32) {
        if (!is_lead(data[i])) continue;
        const u32 c = decode(data + i), f = flags(c);
        const int kind = kind_of(c, f);
        n += kind != GAP && kind != kind_before(data, start, i, flags);
        m += (f & WORD) && begins_sentence(data, start, i, flags);
        curlies += c == '{' || c == '}';
    }
    n = warp_sum(n);
    m = warp_sum(m);
    curlies = warp_sum(curlies);
    if (lane_index()) return;
    words[s] = n;
    sentences[s] = m;
    curly[s] = curlies;
}

// Raw words before[s] ... begin in segment s: starts and documents of these, stops of those that end in it.
WARP_KERNEL find_raw_words(
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
        const u32 c = lead ? decode(data + i) : 0;
        const int kind = lead ? kind_of(c, flags(c)) : GAP, was = lead ? kind_before(data, start, i, flags) : GAP;
        const u32 all = __ballot_sync(FULL, kind != GAP && kind != was);
        const i64 word = out + __popc(all & lanes_below());
        if (all >> lane_index() & 1) {
            starts[word] = i;
            word_owners[word] = segment.owner;
        }
        if (was != GAP && kind != was) stops[word - 1] = i;
        out += __popc(all);
    }
    if (lane_index() == 0 && lo < end && hi == end && kind_before(data, start, end, flags) != GAP) stops[out - 1] = end;
}

// Bits of a raw word.
enum { LETTER = 1, CAPITAL = 2, SMALL = 4, STOP = 8 };

// classes[w], 0 before: LETTER, CAPITAL and SMALL where raw word w has an ASCII letter, an UPPER character, another
// CASED one.
WARP_KERNEL classify_raw_words(
    const u8* data, const i64* starts, const i64* stops, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const u16* flag_stage, const u16* flag_leaves, u32* classes)
{
    const i64 s = warp_index();
    if (s >= n_segments) return;
    const Flags flags{flag_stage, flag_leaves};
    const Segment segment(s, first, owners, size);
    const i64 w = segment.owner, hi = smaller(stops[w], starts[w] + segment.hi);
    u32 found = 0;
    for (i64 i = starts[w] + segment.lo + lane_index(); i < hi; i += 32) {
        if (!is_lead(data[i])) continue;
        const u32 c = decode(data + i), f = flags(c);
        if (c < 0x80 && (f & ALPHA)) found |= LETTER;
        found |= f & UPPER ? CAPITAL : f & CASED ? SMALL : 0;
    }
    found = warp_or(found);
    if (lane_index() == 0) atomicOr(&classes[w], found);
}

// Sets STOP of raw words in a list: pairs of the bytes of a word as two numbers, first byte lowest, in 4096 slots from
// (first * P + second) >> 52 on; (0, 0) is an empty one. A thread a raw word.
WARP_KERNEL find_stop_words(
    const u8* data, const i64* starts, const i64* stops, i64 n, const u64* list, u32* classes)
{
    const i64 w = thread_index();
    if (w >= n || stops[w] - starts[w] > 16) return;
    u64 head = 0, tail = 0;
    for (i64 i = starts[w]; i < stops[w]; ++i) {
        const int j = (int)(i - starts[w]);
        if (j < 8)
            head |= (u64)data[i] << 8 * j;
        else
            tail |= (u64)data[i] << 8 * (j - 8);
    }
    u64 slot = (head * 0x9E3779B97F4A7C15ull + tail) >> 52;
    for (; list[2 * slot]; slot = (slot + 1) & 4095)
        if (list[2 * slot] == head && list[2 * slot + 1] == tail) {
            classes[w] |= STOP;
            return;
        }
}

// lorem[w]: 1 where word w ends with "lorem" and the next one of its document begins with "ipsum", else 0.
WARP_KERNEL find_lorem(const u8* data, const i64* bounds, const i64* owners, i64 n, i64* lorem)
{
    const i64 w = thread_index();
    if (w >= n) return;
    const char* const head = "lorem";
    const char* const tail = "ipsum";
    const i64 end = bounds[w + 1];
    bool same = w + 1 < n && owners[w] == owners[w + 1] && end - bounds[w] >= 5 && bounds[w + 2] - end >= 5;
    for (int j = 0; same && j < 5; ++j) same = data[end - 5 + j] == (u8)head[j] && data[end + j] == (u8)tail[j];
    lorem[w] = same;
}

// ln(c) in units of 2^-32 (gpu_pile.text.normal_form.logarithm).
__device__ __forceinline__ i64 logarithm(const i64* table, i64 c)
{
    int shift = 0;
    while (c >> shift >= 4096) ++shift;
    if (shift == 0) return table[c];
    const i64 top = c >> shift;
    const i64 x = ((c - (top << shift)) << 32) / (top << shift);
    return table[top] + shift * table[2] + x - ((x * x) >> 33);
}

// high[w] * 2^32 + low[w]: of the first of equal words, their count times the logarithm of 1 / their frequency.
WARP_KERNEL weigh_words(
    const u32* numbers, const u32* counts, const i64* owners, const i64* first, i64 n, const i64* logarithms,
    i64* high, i64* low)
{
    const i64 w = thread_index();
    if (w >= n) return;
    i64 weight = 0;
    if (numbers[w] == (u32)w) {
        const i64 words = first[owners[w] + 1] - first[owners[w]], count = counts[w];
        weight = count * (logarithm(logarithms, words) - logarithm(logarithms, count));
    }
    high[w] = weight >> 32;
    low[w] = weight & 0xffffffff;
}

// codes[w]: the position of word w in a sorted list, list_bounds[k] .. list_bounds[k + 1] of its bytes; -1 if it is not
// there.
WARP_KERNEL look_up_words(
    const u8* data, const i64* bounds, i64 n, const u8* list, const i64* list_bounds, i64 n_list, i32* codes)
{
    const i64 w = thread_index();
    if (w >= n) return;
    const i64 start = bounds[w], length = bounds[w + 1] - start;
    i64 lo = 0, hi = n_list;
    int found = -1;
    while (lo < hi && found < 0) {
        const i64 k = (lo + hi) / 2, at = list_bounds[k], other = list_bounds[k + 1] - at;
        i64 j = 0;
        while (j < length && j < other && data[start + j] == list[at + j]) ++j;
        if (j == length && j == other)
            found = (int)k;
        else if (j == other || (j < length && data[start + j] > list[at + j]))
            lo = k + 1;
        else
            hi = k;
    }
    codes[w] = found;
}

// found[w]: entries of a list that begin at word w. Entry e is the codes sequence[starts[e] .. starts[e + 1]); those that
// begin with code c are order[firsts[c] .. firsts[c + 1]).
WARP_KERNEL count_entries(
    const i32* codes, const i64* owners, i64 n, const i64* sequence, const i64* starts, const i64* order,
    const i64* firsts, i64* found)
{
    const i64 w = thread_index();
    if (w >= n) return;
    const i64 code = codes[w];
    i64 sum = 0;
    if (code >= 0)
        for (i64 k = firsts[code]; k < firsts[code + 1]; ++k) {
            const i64 entry = starts[order[k]], length = starts[order[k] + 1] - entry;
            if (w + length > n || owners[w + length - 1] != owners[w]) continue;
            i64 j = 1;
            while (j < length && codes[w + j] == sequence[entry + j]) ++j;
            sum += j == length;
        }
    found[w] = sum;
}

// covered[w]: characters of word w if it lies in an n-gram of `width` words that occurs more than once, else 0.
WARP_KERNEL cover_words(const u32* grams, const u32* counts, const i64* chars, i64 n, i64 width, i64* covered)
{
    const i64 w = thread_index();
    if (w >= n) return;
    bool is = false;
    for (i64 i = w; i >= 0 && i > w - width && !is; --i) is = grams[i] != NONE && counts[grams[i]] > 1;
    covered[w] = is ? chars[w + 1] - chars[w] : 0;
}
