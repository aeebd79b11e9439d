// variant_counts: what Dolma, DCLM and NeMo Curator count in other ways. Contract and reference:
// gpu_pile/ops/variant_counts.py
//
// Characters by class, a warp a segment of a document. Words, found as in word_repetition.cu: a warp reads a segment of
// a word, then a thread a word judges it. A URL lies inside a word and goes to the end of the run of characters that it
// may have, so a run has one at most, from the first place on where one fits; the thread of the word looks for it.
//
// Work: about 40 instructions a step of 32 bytes and warp for the classes, 60 a word and warp, 60 a word and thread.
// Floor on an H200: about 40 GB/s of text in words of 5 characters.
#include "common.cuh"

constexpr u32 DECIMAL = 1024;
constexpr int XML_CHARS = 100;

// The columns of the operation.
enum {
    SYMBOL_WORDS, STOP_WORDS, STOP_WORDS_LOWER, TWICE_MEDIAN, LONGEST, NEMO_SYMBOL_WORDS, NEMO_ALNUM, DECIMALS, PARENS,
    NEMO_SPACES, URL_CHARS, PORN_URLS, XML_HEADER, COLUMNS
};

// What a word has.
constexpr u32 SYMBOL = 1, MAYBE_URL = 2;

__device__ __forceinline__ bool is_letter(u32 b) { return (b | 0x20) >= 'a' && (b | 0x20) <= 'z'; }

// What a URL may go on with: [a-zA-Z], [$-_], ! and what these include.
__device__ __forceinline__ bool in_url(u32 b) { return is_letter(b) || b == '!' || (b >= '$' && b <= '_'); }

// Whether a URL fits at data[i]: http, s or not, ://, and a character more.
__device__ __forceinline__ bool url_fits(const u8* data, i64 i, i64 end)
{
    if (!starts_with(data, i, end, "http")) return false;
    i += 4;
    if (i < end && data[i] == 's') ++i;
    return starts_with(data, i, end, "://") && i + 3 < end && in_url(data[i + 3]);
}

// Adds to the columns of characters, and sets that of the XML header. out: int64[n_docs, COLUMNS], 0 before.
WARP_KERNEL variant_counts_characters(
    const u8* data, const i64* offsets, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const u16* flag_stage, const u16* flag_leaves, u64* out)
{
    const i64 s = warp_index();
    if (s >= n_segments) return;
    const Flags flags{flag_stage, flag_leaves};
    const Segment segment(s, first, owners, size);
    const i64 start = offsets[segment.owner], end = offsets[segment.owner + 1];
    u32 alnum = 0, decimals = 0, parens = 0, spaces = 0;
    for (i64 i = start + segment.lo + lane_index(); i < smaller(end, start + segment.hi); i += 32) {
        const u32 b = data[i];
        if (!is_lead(b)) continue;
        const u32 c = decode(data + i);
        alnum += is_letter(b) || (b >= '0' && b <= '9') || b == '\n' || b == '?' || b == '!' || b == ',' || b == '.';
        decimals += (flags(c) & DECIMAL) != 0;
        parens += b == '{' || b == '}' || b == '[' || b == ']' || b == '(' || b == ')' || c == 0x27E8 || c == 0x27E9;
        spaces += b == '\t' || b == '\n' || b == '\r' || b == '\b' || b == ' ';
    }
    alnum = warp_sum(alnum);
    decimals = warp_sum(decimals);
    parens = warp_sum(parens);
    spaces = warp_sum(spaces);
    if (lane_index()) return;
    u64* row = out + segment.owner * COLUMNS;
    atomicAdd(&row[NEMO_ALNUM], (u64)alnum);
    atomicAdd(&row[DECIMALS], (u64)decimals);
    atomicAdd(&row[PARENS], (u64)parens);
    atomicAdd(&row[NEMO_SPACES], (u64)spaces);
    if (segment.lo) return;
    int chars = 0;
    for (i64 i = start; i < end && chars + 14 <= XML_CHARS; i += sequence_length(data[i]), ++chars)
        if (starts_with(data, i, end, "<?xml version=")) {
            row[XML_HEADER] = 1;
            return;
        }
}

// Word k is data[starts[k] .. stops[k]). Adds its characters and its runs of #, and what it has; all 0 before.
WARP_KERNEL variant_counts_words(
    const u8* data, const i64* starts, const i64* stops, const i64* first, const i64* owners, i64 n_segments, i64 size,
    u64* chars, u64* hashes, u32* has)
{
    const i64 s = warp_index();
    if (s >= n_segments) return;
    const Segment segment(s, first, owners, size);
    const i64 k = segment.owner, start = starts[k], end = stops[k];
    u32 n = 0, runs = 0, found = 0;
    for (i64 i = start + segment.lo + lane_index(); i < smaller(end, start + segment.hi); i += 32) {
        const u32 b = data[i];
        n += is_lead(b);
        runs += b == '#' && (i == start || data[i - 1] != '#');
        if (b == '#' || starts_with(data, i, end, "\xE2\x80\xA6")) found |= SYMBOL;
        if (b == 'h' && url_fits(data, i, end)) found |= MAYBE_URL;
    }
    n = warp_sum(n);
    runs = warp_sum(runs);
    found = warp_or(found);
    if (lane_index()) return;
    atomicAdd(&chars[k], (u64)n);
    if (runs) atomicAdd(&hashes[k], (u64)runs);
    if (found) atomicOr(&has[k], found);
}

// Judges word k of document word_owners[k]: adds to out, and to lengths[d, characters] (uint32[n_docs, 256], 0 before)
// if it has fewer than 256. stops: stop words as numbers, first byte highest; symbols: NEMO_ELLIPSES, with the number of
// bytes from bit 56 on. A thread a word.
extern "C" __global__ void variant_counts_judge(
    const u8* data, const i64* starts, const i64* stops, const i64* word_owners, i64 n_words, const u32* stop_keys,
    i64 n_stops, const u64* symbol_keys, i64 n_symbols, const u64* chars, const u64* hashes, const u32* has,
    u32* lengths, u64* out)
{
    const i64 k = thread_index();
    if (k >= n_words) return;
    const i64 d = word_owners[k], start = starts[k], end = stops[k], n = end - start;
    u64* row = out + d * COLUMNS;
    if (has[k] & SYMBOL) atomicAdd(&row[SYMBOL_WORDS], 1ull);
    if (chars[k] > row[LONGEST]) atomicMax(&row[LONGEST], chars[k]);
    if (chars[k] < 256) atomicAdd(&lengths[d * 256 + (i64)chars[k]], 1u);
    bool nemo = 2 * hashes[k] > chars[k];
    if (n <= 5) {
        u64 key = 0;
        bool letters = true;
        for (i64 i = start; i < end; ++i) {
            key = key << 8 | data[i];
            letters &= is_letter(data[i]);
        }
        for (i64 j = 0; j < n_symbols; ++j) nemo |= symbol_keys[j] == (key | (u64)n << 56);
        if (letters && n >= 2 && n <= 4) {
            const u32 lower = (u32)key | 0x20202020u >> (u32)(8 * (4 - n));
            for (i64 j = 0; j < n_stops; ++j)
                if (stop_keys[j] == lower) {
                    atomicAdd(&row[STOP_WORDS_LOWER], 1ull);
                    if (lower == (u32)key) atomicAdd(&row[STOP_WORDS], 1ull);
                }
        }
    }
    if (nemo) atomicAdd(&row[NEMO_SYMBOL_WORDS], 1ull);
    if (!(has[k] & MAYBE_URL)) return;
    for (i64 i = start; i < end;) {
        if (data[i] != 'h' || !url_fits(data, i, end)) {
            ++i;
            continue;
        }
        const i64 first = i;
        bool porn = false;
        for (; i < end && in_url(data[i]); ++i)
            porn |= i - first >= 3 && starts_with(data, i - 3, end, "porn");
        atomicAdd(&row[URL_CHARS], (u64)(i - first));
        if (porn) atomicAdd(&row[PORN_URLS], 1ull);
    }
}
