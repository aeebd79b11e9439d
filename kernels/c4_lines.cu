// c4_lines: what becomes of each line, its text without citations, its sentences. Contract and reference:
// gpu_pile/ops/c4_lines
//
// Line breaks are found in two passes (kernels/compact.cuh). A warp takes a line, 32 bytes per step, four times: for its
// words, to copy it without citations, for what it may not contain, for its sentences. What follows a line that rejects
// its document is left out afterwards.
//
// Work: about 300 instructions per step of 32 bytes and warp. Floor on an H200: 4 instructions per clock and
// multiprocessor, about 90 GB/s of text; a single line goes at the latency of its steps, some 50 MB/s.
#include "compact.cuh"
#include "c4_lines.columns"

static_assert(C::N_COLUMNS <= 32, "verdicts are bits of 32");
constexpr u32 WORD_CHARS_MAX = 1000, WORDS_MIN = 3, KEY_BYTES = 7;

// Whether a line of a document that begins at data[start] ends at data[i]. The line feed of \r\n ends none.
__device__ __forceinline__ bool is_break(const u8* data, i64 start, i64 i, const Flags& flags)
{
    return is_lead(data[i]) && (flags(decode(data + i)) & LINE_BREAK) &&
        !(data[i] == '\n' && i > start && data[i - 1] == '\r');
}

// counts[s]: line breaks that begin in segment s. One warp per segment.
WARP_KERNEL count_breaks(
    const u8* data, const i64* offsets, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const u16* flag_stage, const u16* flag_leaves, i64* counts)
{
    const Segment segment = document_segment(offsets, first, owners, n_segments, size);
    if (!segment.exists) return;
    const Flags flags{flag_stage, flag_leaves};
    const u32 n = count_where(segment, [&](i64 i) { return is_break(data, segment.start, i, flags); });
    if (lane_index() == 0) counts[segment.index] = n;
}

// Breaks before[s] and on: where the line before each ends, where the line after it begins, and its document.
WARP_KERNEL find_breaks(
    const u8* data, const i64* offsets, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const u16* flag_stage, const u16* flag_leaves, const i64* before, i64* ends, i64* begins, i64* break_owners)
{
    const Segment segment = document_segment(offsets, first, owners, n_segments, size);
    if (!segment.exists) return;
    const Flags flags{flag_stage, flag_leaves};
    write_where(
        segment, before[segment.index], [&](i64 i) { return is_break(data, segment.start, i, flags); },
        [&](i64 i, i64 k) {
            const bool two = data[i] == '\r' && i + 1 < segment.end && data[i + 1] == '\n';
            ends[k] = i;
            begins[k] = i + sequence_length(data[i]) + two;
            break_owners[k] = segment.owner;
        });
}

// Whether line[start .. end) has a pattern at i, in either case of ASCII.
template <int N>
__device__ __forceinline__ bool has(const u8* line, i64 i, i64 start, i64 end, const char (&pattern)[N])
{
    if (i < start || i + N - 1 > end) return false;
    for (int k = 0; k < N - 1; ++k) {
        if (ascii_lower(line[i + k]) != (u8)pattern[k]) return false;
    }
    return true;
}

// Where the citation ends whose bracket is data[i]; i if there is none. Called by a whole warp.
__device__ __forceinline__ i64 citation_end(const u8* data, i64 i, i64 end, const Flags& flags)
{
    if (starts_with(data, i + 1, end, "edit]")) return i + 6;
    if (starts_with(data, i + 1, end, "citation needed]")) return i + 17;
    for (i64 base = i + 1;; base += 32) {
        const i64 p = base + lane_index();
        const u32 stops =
            __ballot_sync(FULL, p >= end || (is_lead(data[p]) && !(flags(decode(data + p)) & DECIMAL)));
        if (!stops) continue;
        const i64 stop = base + lowest(stops);
        return stop < end && data[stop] == ']' ? stop + 1 : i;
    }
}

// What a line has, of what it may not contain, that shows at line[i]: one rare letter of each text.
__device__ __forceinline__ u32 forbidden(const u8* line, i64 i, i64 start, i64 end)
{
    constexpr u32 policy = 1u << C::policy;
    const u32 b = line[i];
    const u32 letter = ascii_lower(b);
    if (letter == '{') return 1u << C::curly;
    if (letter == 'j') return has(line, i, start, end, "javascript") ? 1u << C::javascript : 0;
    if (letter == 'p') return has(line, i - 7, start, end, "lorem ipsum") ? 1u << C::lorem : 0;
    if (letter == 'v') return has(line, i - 3, start, end, "privacy policy") ? policy : 0;
    if (letter == 'f') return has(line, i - 7, start, end, "terms of use") ? policy : 0;
    const bool kelvin = starts_with(line, i, end, "\xE2\x84\xAA");  // U+212A, whose lower case is k
    if ((letter != 'k' && !kelvin) || !has(line, i - 3, start, end, "coo")) return 0;
    const i64 after = i + (kelvin ? 3 : 1);
    if (has(line, after, start, end, "ie policy")) return policy;
    if (!has(line, after, start, end, "ies")) return 0;
    return has(line, i - 8, start, end, "uses ") || has(line, i - 10, start, end, "use of ") ||
            has(line, i - 7, start, end, "use ")
        ? policy
        : 0;
}

__device__ __forceinline__ bool is_closing(u32 c)
{
    constexpr u32 beyond_ascii[] = {0xBB, 0x2019, 0x201D, 0x300D, 0x300F};  // » ’ ” 」 』
    for (const u32 mark : beyond_ascii)
        if (c == mark) return true;
    return c == '"' || c == '\'' || c == ')' || c == ']' || c == '}';
}

// What tells where a sentence ends.
struct Language {
    const Flags flags;
    const u64* keys;  // abbreviations as numbers, the last byte lowest, the highest byte their length
    int n_keys;

    // Whether the character that holds the byte line[i] is a letter.
    __device__ __forceinline__ bool is_letter(const u8* line, i64 i) const
    {
        return flags(decode(line + character_start(line, i))) & ALPHA;
    }

    // Whether the full stop at line[end], after the word line[start .. end), does not end a sentence.
    __device__ __forceinline__ bool is_abbreviation(const u8* line, i64 start, i64 end) const
    {
        if (end == start) return false;
        if (line[end - 1] == '.') return true;
        u64 key = 0;
        bool ascii = true;
        for (i64 k = start; k < end; ++k) {
            const u32 b = line[k];
            if (b == '.' && k > start && is_letter(line, k - 1) && is_letter(line, k + 1)) return true;
            ascii &= b < 0x80;
            key = key << 8 | ascii_lower(b);
        }
        if (previous_character(line, end) == start && (flags(decode(line + start)) & UPPER)) return true;
        if (!ascii || end - start > KEY_BYTES) return false;
        key |= (u64)(end - start) << 56;
        for (int k = 0; k < n_keys; ++k)
            if (keys[k] == key) return true;
        return false;
    }

    // Whether the word line[start .. end) ends a sentence if another one follows.
    __device__ __forceinline__ bool ends_sentence(const u8* line, i64 start, i64 end) const
    {
        while (end > start) {
            end = previous_character(line, end);
            const u32 c = decode(line + end);
            if (is_closing(c)) continue;
            if (c == '!' || c == '?' || c == 0x3002 || c == 0xFF01 || c == 0xFF1F) return true;  // 。 ！ ？
            return c == '.' && !is_abbreviation(line, start, end);
        }
        return false;
    }
};

// Words of a line, where it begins and ends without white space around it, and whether a word is too long.
struct Words {
    i64 first, last;
    u32 words;
    bool too_long;
};

__device__ __forceinline__ Words read_words(const u8* data, i64 start, i64 end, const Flags& flags)
{
    Words line{-1, -1, 0, false};
    bool space_before = true;
    u32 run = 0;  // characters since white space
    for (i64 base = start; base < end; base += 32) {
        const i64 i = base + lane_index();
        const bool lead = i < end && is_lead(data[i]);
        const u32 leads = __ballot_sync(FULL, lead);
        const u32 spaces = __ballot_sync(FULL, lead && (flags(decode(data + i)) & SPACE));
        const u32 inks = leads & ~spaces, before = leads & lanes_below();
        const bool after_space = before ? spaces >> highest(before) & 1 : space_before;
        line.words += __popc(__ballot_sync(FULL, (inks >> lane_index() & 1) && after_space));
        if (inks) {
            if (line.first < 0) line.first = base + lowest(inks);
            line.last = base + highest(inks);
        }
        if (leads) space_before = spaces >> highest(leads) & 1;
        // a word that lies in the step is not too long
        run += __popc(leads & (spaces ? (1u << lowest(spaces)) - 1 : FULL));
        line.too_long |= run > WORD_CHARS_MAX;
        if (spaces) run = __popc(leads & ~((2u << highest(spaces)) - 1));
    }
    if (line.last >= 0) line.last += sequence_length(data[line.last]);
    return line;
}

// Copies data[i .. end) to out + o without citations; returns where the copy ends, all of which every lane sees.
__device__ __forceinline__ i64 clean(const u8* data, i64 i, i64 end, const Flags& flags, u8* out, i64 o)
{
    i64 skip = i;  // what lies before it is left out
    for (i64 base = i; base < end; base += 32) {
        const i64 p = base + lane_index();
        const u32 b = p < end ? data[p] : 0;
        bool mine = p < end && p >= skip;
        for (u32 opens = __ballot_sync(FULL, b == '['); opens; opens &= opens - 1) {
            const i64 open = base + lowest(opens), close = citation_end(data, open, end, flags);
            mine &= p < open || p >= close;
            if (close > open) skip = close;
        }
        const u32 all = __ballot_sync(FULL, mine);
        if (mine) out[o + __popc(all & lanes_below())] = (u8)b;
        o += __popc(all);
    }
    __syncwarp();
    return o;
}

// The column of what becomes of the cleaned line[start .. end).
__device__ __forceinline__ int judged(const u8* line, i64 start, i64 end, u32 words)
{
    if (start == end) return C::no_terminal;
    const u32 last = line[end - 1];
    if (last != '.' && last != '?' && last != '!' && last != '"' && last != '\'') return C::no_terminal;
    if (last == '.' && end - start >= 3 && line[end - 2] == '.' && line[end - 3] == '.') return C::no_terminal;
    if (words < WORDS_MIN) return C::too_few_words;
    u32 found = 0;
    for (i64 i = start + lane_index(); i < end; i += 32) found |= forbidden(line, i, start, end);
    found = warp_or(found);
    return found ? lowest(found) : C::kept;
}

// The sentences of a line. What is open at the beginning of a step is the same in all lanes.
struct Sentences {
    const u8* line;
    i64 word;         // where the word begins that goes on into a step
    i64 first = -1;   // the first character that is not white space
    i64 count = 1;
    bool ended = false;  // a word ended a sentence, if one with more than punctuation follows
    bool space_before = true, plain = false;

    // Counts the words that end in a step, in order: those of all lanes, those that end a sentence, those with more than
    // punctuation.
    __device__ __forceinline__ void count_words(u32 words, u32 enders, u32 plains)
    {
        for (; words; words &= words - 1) {
            const int k = lowest(words);
            if (plains >> k & 1) {
                count += ended;
                ended = false;
            }
            ended |= enders >> k & 1;
        }
    }

    // base: of a step; the line ends at line[end], which counts as white space: it ends the last word.
    __device__ __forceinline__ void read(i64 base, i64 end, const Language& language)
    {
        const u32 below = lanes_below();
        const i64 i = base + lane_index();
        const bool lead = i == end || (i < end && is_lead(line[i]));
        const u32 f = i < end && lead ? language.flags(decode(line + i)) : SPACE;
        const u32 leads = __ballot_sync(FULL, lead), inks = __ballot_sync(FULL, lead && !(f & SPACE));
        const u32 plains = __ballot_sync(FULL, lead && !(f & (SPACE | PUNCTUATION))), before = leads & below;
        const bool after_space = before ? !(inks >> highest(before) & 1) : space_before;
        const bool ink = inks >> lane_index() & 1, ends = lead && !ink && !after_space;
        const u32 starts = __ballot_sync(FULL, ink && after_space);
        bool is_ender = false, is_plain = false;  // the word that ends before this lane
        if (ends) {
            const u32 own = starts & below;
            const int from = own ? highest(own) : 0;
            is_ender = language.ends_sentence(line, own ? base + from : word, i);
            is_plain = (plains & below & ~((1u << from) - 1)) || (!own && plain);
        }
        const u32 words = __ballot_sync(FULL, ends), enders = __ballot_sync(FULL, is_ender);
        count_words(words, enders, __ballot_sync(FULL, is_plain));
        if (first < 0 && inks) first = base + lowest(inks);
        if (starts) word = base + highest(starts);
        plain = (starts ? false : plain) || (plains & ~(starts ? (1u << highest(starts)) - 1 : 0));
        if (leads) space_before = !(inks >> highest(leads) & 1);
    }
};

// Line k is data[bounds[2k] .. bounds[2k + 1]) of document line_owners[k]. verdicts[k]: the column of what becomes of
// it. Of a kept one: its text is left in cleaned at its own place, `lengths` bytes, and a line feed after it where one
// may follow; `spaces` bytes at its beginning are white space; and its sentences.
WARP_KERNEL c4_lines(
    const u8* data, const i64* offsets, const i64* bounds, const i64* line_owners, i64 n_lines, const u16* flag_stage,
    const u16* flag_leaves, const u64* keys, i64 n_keys, u8* cleaned, u8* verdicts, i64* lengths, i64* spaces,
    i64* sentences)
{
    const i64 k = warp_index();
    if (k >= n_lines) return;
    const Flags flags{flag_stage, flag_leaves};
    const i64 start = bounds[2 * k];
    const Words line = read_words(data, start, bounds[2 * k + 1], flags);
    int verdict = C::too_long_word;
    i64 stop = start, first = start, n = 0;
    if (!line.too_long) {
        if (line.words) stop = clean(data, line.first, line.last, flags, cleaned, start);
        verdict = judged(cleaned, start, stop, line.words);
        if (verdict == C::kept) {
            const Language language{flags, keys, (int)n_keys};
            Sentences sentence{cleaned, start};
            for (i64 base = start; base <= stop; base += 32) sentence.read(base, stop, language);
            first = sentence.first;
            n = sentence.count;
        }
    }
    if (lane_index()) return;
    verdicts[k] = (u8)verdict;
    lengths[k] = stop - start;
    spaces[k] = first - start;
    sentences[k] = n;
    if (verdict == C::kept && stop < offsets[line_owners[k] + 1]) cleaned[stop] = '\n';
}
