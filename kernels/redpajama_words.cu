// redpajama_words: raw words, sentences, lists, entropy, n-grams. Contract and reference: gpu_pile/ops/redpajama_words.py
//
// Raw words are found in two passes (count, then write), a warp per segment of text, and classified, a warp per word. The
// words of the normal form come from normal_form.cu, their numbers and those of n-grams from ngrams.cu and
// word_repetition.cu; here a thread per word looks each up and weighs it. Array code takes sums by document.
//
// Work: about 80 instructions per step of 32 bytes and warp in each pass over the text, 60 per raw word and warp.
#include "compact.cuh"
#include "hash_table.cuh"



// Kinds of runs of characters: GAP between raw words, raw words of word characters and of others. U+001C to U+001F are
// white space for str.isspace(), but not for \s of the regex module.
enum { GAP, WORDS, OTHERS };

__device__ __forceinline__ auto raw_words(const u8* data, const Segment& segment, const Flags& flags)
{
    return runs_of(data, segment, [flags](u32 c) -> int {
        const u32 f = flags(c);
        return (f & SPACE) && !(c >= 0x1C && c <= 0x1F) ? GAP : f & UTS18_WORD ? WORDS : OTHERS;
    });
}

// Whether a sentence begins at the word character data[i]: no other word character follows the last . ! or ? before it.
__device__ __forceinline__ bool begins_sentence(const u8* data, i64 start, i64 i, const Flags& flags)
{
    while (i > start) {
        i = previous_character(data, i);
        const u32 c = decode(data + i);
        if (c == '.' || c == '!' || c == '?') return true;
        if (flags(c) & WORD) return false;
    }
    return true;
}

// words[s], sentences[s], curly[s]: raw words, sentences, { and } that begin in segment s. A warp per segment.
WARP_KERNEL count_raw_words(
    const u8* data, const i64* offsets, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const u16* flag_stage, const u16* flag_leaves, i64* words, i64* sentences, i64* curly)
{
    const Segment segment = document_segment(offsets, first, owners, n_segments, size);
    if (!segment.exists) return;
    const Flags flags{flag_stage, flag_leaves};
    const auto raw = raw_words(data, segment, flags);
    u32 n_words = 0, n_sentences = 0, n_curly = 0;
    for_each(segment, [&](i64 i) {
        if (!is_lead(data[i])) return;
        n_words += raw.begins_at(i);
        n_sentences += (flags(decode(data + i)) & WORD) && begins_sentence(data, segment.start, i, flags);
        n_curly += data[i] == '{' || data[i] == '}';
    });
    n_words = warp_sum(n_words);
    n_sentences = warp_sum(n_sentences);
    n_curly = warp_sum(n_curly);
    if (lane_index()) return;
    words[segment.index] = n_words;
    sentences[segment.index] = n_sentences;
    curly[segment.index] = n_curly;
}

// Raw words before[s] and on begin in segment s: writes their starts and documents, and the stops of those that end in it.
WARP_KERNEL find_raw_words(
    const u8* data, const i64* offsets, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const u16* flag_stage, const u16* flag_leaves, const i64* before, i64* starts, i64* stops, i64* word_owners)
{
    const Segment segment = document_segment(offsets, first, owners, n_segments, size);
    if (!segment.exists) return;
    const auto raw = raw_words(data, segment, {flag_stage, flag_leaves});
    raw.write(segment, before[segment.index], starts, stops, word_owners);
}

// Bits of a raw word: it has an ASCII letter, an UPPER character, another CASED one; it is in the list of stop words. As in
// the Python file.
enum { LETTER = 1, CAPITAL = 2, SMALL = 4, STOP = 8 };

// Adds to classes[w], 0 before, LETTER, CAPITAL and SMALL of raw word w. A warp takes a segment of a raw word.
WARP_KERNEL classify_raw_words(
    const u8* data, const i64* starts, const i64* stops, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const u16* flag_stage, const u16* flag_leaves, u32* classes)
{
    const Segment segment(starts, stops, 1, first, owners, n_segments, size);
    if (!segment.exists) return;
    const Flags flags{flag_stage, flag_leaves};
    u32 bits = 0;
    for_each(segment, [&](i64 i) {
        if (!is_lead(data[i])) return;
        const u32 c = decode(data + i), f = flags(c);
        if (c < 0x80 && (f & ALPHA)) bits |= LETTER;
        bits |= f & UPPER ? CAPITAL : f & CASED ? SMALL : 0;
    });
    bits = warp_or(bits);
    if (lane_index() == 0) atomicOr(&classes[segment.owner], bits);
}

constexpr u64 P = 0x9E3779B97F4A7C15ull;
constexpr int STOP_BITS = 12;     // of the number of slots
constexpr i64 STOP_BYTES = 16;    // of the longest stop word

// Sets STOP of the raw words in `list`: the bytes of each stop word as two numbers, first byte lowest, in the first free
// slot from (first * P + second) >> (64 - STOP_BITS) on; (0, 0) is an empty slot. A thread per raw word.
WARP_KERNEL find_stop_words(
    const u8* data, const i64* starts, const i64* stops, i64 n, const u64* list, u32* classes)
{
    const i64 w = thread_index();
    if (w >= n || stops[w] - starts[w] > STOP_BYTES) return;
    u64 head = 0, tail = 0;
    for (i64 i = starts[w]; i < stops[w]; ++i) {
        const int j = (int)(i - starts[w]);
        if (j < 8)
            head |= (u64)data[i] << 8 * j;
        else
            tail |= (u64)data[i] << 8 * (j - 8);
    }
    u64 slot = (head * P + tail) >> (64 - STOP_BITS);
    for (; list[2 * slot]; slot = (slot + 1) & ((1 << STOP_BITS) - 1))
        if (list[2 * slot] == head && list[2 * slot + 1] == tail) {
            classes[w] |= STOP;
            return;
        }
}

// lorem[w]: 1 where word w ends with "lorem" and the next word of its document begins with "ipsum", else 0. A thread per
// word.
WARP_KERNEL find_lorem(const u8* data, const i64* bounds, const i64* owners, i64 n, i64* lorem)
{
    const i64 w = thread_index();
    if (w >= n) return;
    const i64 end = bounds[w + 1];
    lorem[w] = w + 1 < n && owners[w] == owners[w + 1] && end - bounds[w] >= 5 && starts_with(data, end - 5, end, "lorem") &&
        starts_with(data, end, bounds[w + 2], "ipsum");
}

constexpr int FRACTION = 32, TABLE_BITS = 12;

// About ln(c) in units of 2^-FRACTION, from those of numbers below 2^TABLE_BITS (gpu_pile.text.normal_form.logarithm).
__device__ __forceinline__ i64 logarithm(const i64* table, i64 c)
{
    int shift = 0;
    while (c >> (shift + TABLE_BITS)) ++shift;
    if (shift == 0) return table[c];
    const i64 top = c >> shift;
    const i64 x = ((c - (top << shift)) << FRACTION) / (top << shift);
    return table[top] + shift * table[2] + x - ((x * x) >> (FRACTION + 1));
}

// high[w] * 2^32 + low[w]: at the first of equal words, their count times the logarithm of 1 / their frequency; else 0. Two
// numbers, so that sums over a document do not overflow. A thread per word.
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

// codes[w]: the position of word w in a sorted list, whose word k is list[list_bounds[k] .. list_bounds[k + 1]); -1 if it is
// not there. A thread per word.
WARP_KERNEL look_up_words(
    const u8* data, const i64* bounds, i64 n, const u8* list, const i64* list_bounds, i64 n_list, i32* codes)
{
    const i64 w = thread_index();
    if (w >= n) return;
    const i64 start = bounds[w], length = bounds[w + 1] - start;
    i64 lo = 0, hi = n_list;
    int code = -1;
    while (lo < hi && code < 0) {
        const i64 k = (lo + hi) / 2, at = list_bounds[k], other = list_bounds[k + 1] - at;
        i64 j = 0;
        while (j < length && j < other && data[start + j] == list[at + j]) ++j;
        if (j == length && j == other)
            code = (int)k;
        else if (j == other || (j < length && data[start + j] > list[at + j]))
            lo = k + 1;
        else
            hi = k;
    }
    codes[w] = code;
}

// entries[w]: how many entries of a list begin at word w. Entry e is the codes sequence[starts[e] .. starts[e + 1]); the
// entries that begin with code c are order[firsts[c] .. firsts[c + 1]). A thread per word.
WARP_KERNEL count_entries(
    const i32* codes, const i64* owners, i64 n, const i64* sequence, const i64* starts, const i64* order,
    const i64* firsts, i64* entries)
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
    entries[w] = sum;
}

// covered[w]: characters of word w if it lies in an n-gram of `width` words that occurs more than once, else 0. A thread per
// word.
WARP_KERNEL cover_words(const u32* grams, const u32* counts, const i64* chars, i64 n, i64 width, i64* covered)
{
    const i64 w = thread_index();
    if (w >= n) return;
    bool is_covered = false;
    for (i64 i = w; i >= 0 && i > w - width && !is_covered; --i) is_covered = grams[i] != NONE && counts[grams[i]] > 1;
    covered[w] = is_covered ? chars[w + 1] - chars[w] : 0;
}
