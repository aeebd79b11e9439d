// variant_counts: characters, URLs and words, counted in the ways of Dolma, DCLM and NeMo Curator. Contract and
// reference: gpu_pile/ops/variant_counts.py
//
// Characters are counted by segments of a document, a lane a byte; where a URL begins, its lane reads it to its end.
// Where words are is known (word_repetition.cu): a warp reads a segment of a word, then a thread judges it.
//
// Work: about 40 instructions a step of 32 bytes and warp, 80 a word and warp.
#include "common.cuh"

constexpr u32 DECIMAL = 1024;

__device__ __forceinline__ bool is_letter(u32 b) { return (b | 0x20) >= 'a' && (b | 0x20) <= 'z'; }

__device__ __forceinline__ bool in_url(u32 b) { return is_letter(b) || b == '!' || (b >= '$' && b <= '_'); }

// Whether a URL may begin at data[i]: http:// or https:// and one character of it.
__device__ __forceinline__ bool is_url(const u8* data, i64 i, i64 end)
{
    const char* const mark = "http://";
    for (int j = 0; j < 7; ++j, ++i) {
        if (j == 4 && i < end && data[i] == 's') ++i;
        if (i >= end || data[i] != (u8)mark[j]) return false;
    }
    return i < end && in_url(data[i]);
}

// Whether it does: a URL goes on as long as its characters do, so there is no other one before i in the same run.
__device__ __forceinline__ bool begins_url(const u8* data, i64 start, i64 i, i64 end)
{
    if (data[i] != 'h' || !is_url(data, i, end)) return false;
    while (i > start && in_url(data[i - 1])) {
        --i;
        if (data[i] == 'h' && is_url(data, i, end)) return false;
    }
    return true;
}

// Of the characters, and of the URLs that begin, in each segment s.
WARP_KERNEL count_characters_of_kinds(
    const u8* data, const i64* offsets, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const u16* flag_stage, const u16* flag_leaves, i64* alnum, i64* decimal, i64* paren, i64* space, i64* url_chars,
    i64* porn_urls)
{
    const i64 s = warp_index();
    if (s >= n_segments) return;
    const Flags flags{flag_stage, flag_leaves};
    const Segment segment(s, first, owners, size);
    const i64 start = offsets[segment.owner], end = offsets[segment.owner + 1], hi = smaller(end, start + segment.hi);
    u32 n_alnum = 0, n_decimal = 0, n_paren = 0, n_space = 0, n_porn = 0;
    i64 n_url = 0;
    for (i64 i = start + segment.lo + lane_index(); i < hi; i += 32) {
        if (!is_lead(data[i])) continue;
        const u32 c = decode(data + i);
        n_alnum += is_letter(c) || (c >= '0' && c <= '9') || c == '\n' || c == '?' || c == '!' || c == ',' || c == '.';
        n_decimal += (flags(c) & DECIMAL) != 0;
        n_paren += c == '{' || c == '}' || c == '[' || c == ']' || c == '(' || c == ')' || c == 0x27E8 || c == 0x27E9;
        n_space += c == '\t' || c == '\n' || c == '\r' || c == '\b' || c == ' ';
        if (begins_url(data, start, i, end)) {
            i64 k = i;
            bool porn = false;
            for (; k < end && in_url(data[k]); ++k)
                porn |= k >= i + 3 && data[k] == 'n' && data[k - 1] == 'r' && data[k - 2] == 'o' && data[k - 3] == 'p';
            n_url += k - i;
            n_porn += porn;
        }
    }
    n_alnum = warp_sum(n_alnum);
    n_decimal = warp_sum(n_decimal);
    n_paren = warp_sum(n_paren);
    n_space = warp_sum(n_space);
    n_porn = warp_sum(n_porn);
    n_url = warp_sum(n_url);
    if (lane_index()) return;
    alnum[s] = n_alnum;
    decimal[s] = n_decimal;
    paren[s] = n_paren;
    space[s] = n_space;
    url_chars[s] = n_url;
    porn_urls[s] = n_porn;
}

// Bits of a word.
enum { SYMBOL = 1, STOP = 2, STOP_LOWER = 4, NEMO_SYMBOL = 8 };

// chars[w], runs[w]: characters and runs of # of word w; bits[w]: SYMBOL; all 0 before.
WARP_KERNEL read_words(
    const u8* data, const i64* starts, const i64* stops, const i64* first, const i64* owners, i64 n_segments, i64 size,
    i64* chars, i64* runs, u32* bits)
{
    const i64 s = warp_index();
    if (s >= n_segments) return;
    const Segment segment(s, first, owners, size);
    const i64 w = segment.owner, start = starts[w], hi = smaller(stops[w], start + segment.hi);
    u32 n = 0, m = 0, symbol = 0;
    for (i64 i = start + segment.lo + lane_index(); i < hi; i += 32) {
        if (!is_lead(data[i])) continue;
        const u32 c = decode(data + i);
        ++n;
        m += c == '#' && (i == start || data[i - 1] != '#');
        symbol |= c == '#' || c == 0x2026 ? SYMBOL : 0;
    }
    n = warp_sum(n);
    m = warp_sum(m);
    symbol = warp_or(symbol);
    if (lane_index()) return;
    atomicAdd((u64*)&chars[w], (u64)n);
    if (m) atomicAdd((u64*)&runs[w], (u64)m);
    if (symbol) atomicOr(&bits[w], symbol);
}

// The other bits. stop_keys, symbol_keys: words as numbers, first byte highest. A thread a word.
WARP_KERNEL judge_words(
    const u8* data, const i64* starts, const i64* stops, i64 n, const u64* stop_keys, i64 n_stops,
    const u64* symbol_keys, i64 n_symbols, const i64* chars, const i64* runs, u32* bits)
{
    const i64 w = thread_index();
    if (w >= n) return;
    u32 found = 2 * runs[w] > chars[w] ? NEMO_SYMBOL : 0;
    if (stops[w] - starts[w] <= 8 && data[starts[w]]) {  // NUL and a word is the same number
        u64 key = 0, lower = 0;
        for (i64 i = starts[w]; i < stops[w]; ++i) {
            const u32 b = data[i];
            key = key << 8 | b;
            lower = lower << 8 | (b >= 'A' && b <= 'Z' ? b | 0x20 : b);
        }
        for (int j = 0; j < (int)n_stops; ++j)
            found |= (stop_keys[j] == key ? STOP : 0) | (stop_keys[j] == lower ? STOP_LOWER : 0);
        for (int j = 0; j < (int)n_symbols; ++j) found |= symbol_keys[j] == key ? NEMO_SYMBOL : 0;
    }
    bits[w] |= found;
}

// header[d]: 1 where "<?xml version=" lies in the first 100 characters of document d, else 0. A thread a document.
WARP_KERNEL find_xml_headers(const u8* data, const i64* offsets, i64 n_docs, i64* header)
{
    const i64 d = thread_index();
    if (d >= n_docs) return;
    const char* const mark = "<?xml version=";
    const i64 end = offsets[d + 1];
    i64 i = offsets[d];
    bool found = false;
    for (int chars = 0; chars + 14 <= 100 && i + 14 <= end && !found; ++chars) {
        int j = 0;
        while (j < 14 && data[i + j] == (u8)mark[j]) ++j;
        found = j == 14;
        i += sequence_length(data[i]);
    }
    header[d] = found;
}
