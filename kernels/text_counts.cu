// text_counts: all counts of a document's characters, words and lines in one pass over its bytes.
// Contract and reference: gpu_pile/ops/text_counts.py
//
// A warp reads its segment 32 bytes a step, a lane a byte; what is a character, space, word or line is asked of ballots.
// Lane l keeps the counts of columns l and 32 + l. A word or a line is judged by the lane behind its end. What depends on
// the text before the segment (the word, the run of dots and the line that go on into it) is left open in a summary; a
// thread a document puts the summaries together.
//
// Work: about 700 instructions a step of 32 bytes and warp, of which a third are for words and lines that end. Floor on
// an H200: 4 instructions a clock and multiprocessor, about 40 GB/s of text.
#include "common.cuh"

constexpr u32 SHORT_CHARS = 30, XML_CHARS = 100, LENGTHS = 256;

// The columns of the operation.
enum {
    CHARS, ALPHA_CHARS, NUMERIC_CHARS, UPPER_CHARS, SPACE_CHARS, PUNCTUATION_CHARS, DECIMAL_CHARS, NEMO_ALNUM_CHARS,
    NEMO_SPACE_CHARS, PAREN_CHARS, HASHES, ELLIPSES, NEWLINES, URL_CHARS, PORN_URLS, XML_HEADER, WORDS, WORD_CHARS,
    PLAIN_WORDS, PLAIN_WORD_CHARS, ALPHA_WORDS, SYMBOL_WORDS, NEMO_SYMBOL_WORDS, DIFFERENT_STOP_WORDS, STOP_WORDS,
    STOP_WORDS_LOWER, TWICE_MEDIAN, LONGEST_WORD, LINES, GOPHER_BULLET, GOPHER_ELLIPSIS, NONBLANK, TERMINAL_LINES,
    SHORT, THIRD, RPS_LINES, RPS_ELLIPSIS, RPS_TERMINAL, RPS_BULLET, DOLMA_BULLET, DOLMA_ELLIPSIS, DCLM_BULLET,
    DCLM_ELLIPSIS, NEMO_BULLET, NEMO_END_MARK, NEMO_ELLIPSIS, COLUMNS
};

// A summary, int32 each; places are bytes of the segment.
enum {
    STOPS,      // a bit for each stop word that occurs
    HEAD,       // the word that goes on into the segment: NONE, ENDS in it or goes THROUGH it
    HEAD_CHARS,
    HEAD_HASHES,
    HEAD_FLAGS,
    HEAD_END,
    TAIL,       // 1: a word begins in the segment and goes on behind it
    TAIL_CHARS,
    TAIL_HASHES,
    TAIL_FLAGS,
    TAIL_START,
    DOTS,       // 1: the segment is nothing but dots
    HEAD_DOTS,  // dots at its beginning
    TAIL_DOTS,  // dots at its end
    FIRST_EVENT,  // what comes first in it that is no white space: an event
    LAST_EVENT,
    LINE_HEAD_END,  // the first line feed; -1: none
    LINE_HEAD_CHARS, LINE_HEAD_FIRST, LINE_HEAD_LAST,  // before it: characters, the first and the last ink, or -1
    LINE_TAIL_START,  // behind the last line feed, if there is one
    LINE_TAIL_CHARS, LINE_TAIL_FIRST, LINE_TAIL_LAST,
    LONG_LINES,  // characters of the three longest lines that begin and end in it
    SUMMARY = LONG_LINES + 3
};
enum { NONE, ENDS, THROUGH };
// Events: a line break, a bullet, another character that is no white space, one that ends an ellipsis.
enum { NOTHING, BREAK, BULLET, OTHER, ELLIPSIS };
// What a word has.
constexpr u32 HAS_ALPHA = 1, HAS_PLAIN = 2, HAS_SYMBOL = 4, MAYBE_URL = 8;

// What lane l of a warp has counted for columns l and 32 + l.
struct Counts {
    u32 low = 0, high = 0;

    __device__ __forceinline__ void count(int column, bool is)
    {
        const u32 n = __popc(__ballot_sync(FULL, is));
        if (lane_index() == (u32)(column & 31)) (column < 32 ? low : high) += n;
    }
};

// Bits from .. below `to` of a mask; to <= 32.
__device__ __forceinline__ u32 bits(u32 mask, int from, int to)
{
    return (u32)((u64)mask & ((1ull << to) - 1) & ~((1ull << from) - 1));
}

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

// What words are judged by, and where that goes which is no count. One document's.
struct Words {
    const u8* data;
    const u32* stop_keys;    // stop words as numbers, first byte highest
    i64 n_stops;
    const u64* symbol_keys;  // NEMO_SYMBOLS, with the number of bytes from bit 56 on
    i64 n_symbols;
    u32* lengths;            // words of each length below LENGTHS
    i64 document;
    i64* long_words;         // the others: document and length
    u64* n_long;
    u64* row;                // of the result
    u32 stops = 0;           // a bit for each stop word that occurred
    u32 longest = 0;

    // The columns that the word data[start .. end) counts for, as bits.
    __device__ __forceinline__ u32 judged(i64 start, i64 end, u32 chars, u32 hashes, u32 has)
    {
        u32 found = 1u << WORDS | (u32)((has & HAS_PLAIN) != 0) << PLAIN_WORDS |
            (u32)((has & HAS_ALPHA) != 0) << ALPHA_WORDS | (u32)((has & HAS_SYMBOL) != 0) << SYMBOL_WORDS;
        longest = longest > chars ? longest : chars;
        if (chars < LENGTHS) {
            atomicAdd(&lengths[chars], 1u);
        } else {
            const u64 k = atomicAdd(n_long, 1ull);
            long_words[2 * k] = document;
            long_words[2 * k + 1] = chars;
        }
        const i64 n = end - start;
        bool nemo = 2 * hashes > chars;
        if (n <= 5) {
            u64 key = 0;
            bool letters = n >= 2 && n <= 4;
            for (i64 i = start; i < end; ++i) {
                key = key << 8 | data[i];
                letters &= is_letter(data[i]);
            }
            if (!(has & HAS_PLAIN))
                for (i64 j = 0; j < n_symbols; ++j) nemo |= symbol_keys[j] == (key | (u64)n << 56);
            if (letters) {
                const u32 lower = (u32)key | 0x20202020u >> (u32)(8 * (4 - n));
                for (i64 j = 0; j < n_stops; ++j)
                    if (stop_keys[j] == lower) {
                        found |= 1u << STOP_WORDS_LOWER;
                        if (lower == (u32)key) {
                            found |= 1u << STOP_WORDS;
                            stops |= 1u << (u32)j;
                        }
                    }
            }
        }
        if (has & MAYBE_URL) find_urls(start, end);
        return found | (u32)nemo << NEMO_SYMBOL_WORDS;
    }

    // A URL lies inside a word and goes to the end of the run of characters that it may have, so a run has one at most,
    // from the first place on where one fits.
    __device__ __forceinline__ void find_urls(i64 start, i64 end)
    {
        for (i64 i = start; i < end;) {
            if (data[i] != 'h' || !url_fits(data, i, end)) {
                ++i;
                continue;
            }
            const i64 first = i;
            bool porn = false;
            for (; i < end && in_url(data[i]); ++i) porn |= i - first >= 3 && starts_with(data, i - 3, end, "porn");
            atomicAdd(&row[URL_CHARS], (u64)(i - first));
            if (porn) atomicAdd(&row[PORN_URLS], 1ull);
        }
    }
};

// Whether data[start .. end) ends with "read more" in either case.
__device__ __forceinline__ bool reads_more(const u8* data, i64 start, i64 end)
{
    const char* const words = "read more";
    if (end - start < 9) return false;
    for (int j = 0; j < 9; ++j) {
        const u32 b = data[end - 9 + j];
        if ((b >= 'A' && b <= 'Z' ? b | 0x20 : b) != (u32)words[j]) return false;
    }
    return true;
}

// The columns from NONBLANK on that the line data[start .. end) counts for, as bits. Its characters that are no white
// space begin at data[i], and the last of them begins at data[j]. marks: code point | bits of RPS, DCLM, NEMO << 24, of
// the bullets.
__device__ __forceinline__ u32 judged_line(
    const u8* data, i64 start, i64 end, i64 i, i64 j, u32 chars, const Flags& flags, const u32* marks, int n_marks)
{
    const u32 c = decode(data + i), last = decode(data + j);
    const i64 after = j + sequence_length(data[j]), n = after - i;
    const auto byte = [&](int back) { return (u32)data[after - back]; };
    u32 found = 1u;
    const auto count = [&](int column, bool is) { found |= (u32)is << (column - NONBLANK); };

    count(TERMINAL_LINES, flags(decode(data + character_start(data, end - 1))) & TERMINAL);
    count(SHORT, chars <= SHORT_CHARS);
    count(RPS_TERMINAL, last == '.' || last == '!' || last == '?' || last == 0x201D);
    count(DOLMA_BULLET, i == start && (c == '*' || c == '-'));
    if (c >= 0x2000 || c == '*' || c == '-')
        for (int m = 0; m < n_marks; ++m)
            if ((marks[m] & 0xffffff) == c) {
                count(RPS_BULLET, marks[m] >> 24 & 1);
                count(DCLM_BULLET, marks[m] >> 25 & 1);
                count(NEMO_BULLET, marks[m] >> 26 & 1);
            }

    const bool two = n >= 2 && last == '.' && byte(2) == '.';
    const bool ellipsis = last == 0x2026 || (two && n >= 3 && byte(3) == '.');
    count(RPS_ELLIPSIS, ellipsis);
    count(DOLMA_ELLIPSIS, last == 0x2026 && after == end);
    count(
        DCLM_ELLIPSIS,
        ellipsis ||
            (n >= 5 && last == '.' && byte(2) == ' ' && byte(3) == '.' && byte(4) == ' ' && byte(5) == '.'));
    count(NEMO_END_MARK, last == '.' || last == '?' || last == '!' || last == '"' || last == '\'');
    bool ends = ellipsis;
    if ((last == ']' || last == ')') && n >= 5) {  // [...] […] (...); … has three bytes too
        const bool dots = byte(2) == '.' && byte(3) == '.' && byte(4) == '.';
        const bool sign = byte(2) == 0xA6 && byte(3) == 0x80 && byte(4) == 0xE2;
        ends = last == ')' ? dots && byte(5) == '(' : (dots || sign) && byte(5) == '[';
    } else if (last == 0xBB) {
        ends = n >= 3 && byte(3) == '-';
    } else if (two && !ends) {
        ends = reads_more(data, i, after - 2);
    } else if (last == 'e' || last == 'E') {
        ends = reads_more(data, i, after);
    }
    count(NEMO_ELLIPSIS, ends);
    return found;
}

// The three largest of some numbers.
struct Largest {
    u32 first = 0, second = 0, third = 0;

    __device__ __forceinline__ void take(u32 n)
    {
        if (n <= third) return;
        third = n;
        if (third > second) {
            third = second;
            second = n;
        }
        if (second > first) {
            second = first;
            first = n;
        }
    }
};

// Adds to out, uint64[n_docs, COLUMNS], and to lengths, uint32[n_docs, LENGTHS], what begins and ends in a segment; all 0
// before. long_words: int64[.., 2], n_long of them so far. size is at most 16384.
WARP_KERNEL text_counts_segments(
    const u8* data, const i64* offsets, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const u16* flag_stage, const u16* flag_leaves, const u32* stop_keys, i64 n_stops, const u64* symbol_keys,
    i64 n_symbols, const u32* marks, i64 n_marks, u32* lengths, i64* long_words, u64* n_long, u64* out, i32* summaries)
{
    const i64 s = warp_index();
    if (s >= n_segments) return;
    const Flags flags{flag_stage, flag_leaves};
    const Segment segment(s, first, owners, size);
    const i64 d = segment.owner, start = offsets[d], end = offsets[d + 1];
    const i64 lo = start + segment.lo, hi = smaller(end, start + segment.hi);
    const u32 lane = lane_index(), below = lanes_below();
    u64* const row = out + d * COLUMNS;
    i32* const summary = summaries + s * SUMMARY;
    if (lane == 0) {
        summary[HEAD] = NONE;
        summary[LINE_HEAD_END] = -1;
    }
    __syncwarp();

    // of this lane
    Counts counts;
    Words judge{data, stop_keys, n_stops, symbol_keys, n_symbols, lengths + d * LENGTHS, d, long_words, n_long, row};
    Largest lines;
    u32 plain_chars = 0, ellipses = 0, head_dots = 0;

    // of the warp: what is open at the beginning of a step
    const bool at_start = lo == start;
    bool space_before =
        at_start || lo >= end || (flags(decode(data + character_start(data, lo - 1))) & SPACE) != 0;
    bool open = !space_before, open_is_head = open;  // a word, and whether it began before the segment
    u32 open_chars = 0, open_hashes = 0, open_flags = 0, open_start = 0;
    u32 line_start = 0, line_chars = 0;  // 0: no line feed so far
    i32 line_first = -1, line_last = -1;
    u32 dots = 0;  // dots in a row
    bool dots_only = true;
    int event = at_start ? BREAK : NOTHING, first_event = NOTHING;

    for (i64 base = lo; base < hi; base += 32) {
        const i64 i = base + lane;
        const i32 place = (i32)(base - lo);  // of lane 0
        const u32 b = i < hi ? data[i] : 0x80;
        const bool lead = is_lead(b);
        const u32 c = lead ? decode(data + i) : 0;
        const u32 f = lead ? flags(c) : 0;
        const bool ink = lead && !(f & SPACE);  // a character that is no white space
        const u32 leads = __ballot_sync(FULL, lead);
        const u32 inks = __ballot_sync(FULL, ink);
        const u32 spaces = leads & ~inks;

        counts.count(CHARS, lead);
        counts.count(ALPHA_CHARS, f & ALPHA);
        counts.count(NUMERIC_CHARS, f & NUMERIC);
        counts.count(UPPER_CHARS, f & UPPER);
        counts.count(SPACE_CHARS, lead && !ink);
        counts.count(PUNCTUATION_CHARS, f & PUNCTUATION);
        counts.count(DECIMAL_CHARS, f & DECIMAL);
        counts.count(
            NEMO_ALNUM_CHARS,
            is_letter(b) || (b >= '0' && b <= '9') || b == '\n' || b == '?' || b == '!' || b == ',' || b == '.');
        counts.count(NEMO_SPACE_CHARS, b == '\t' || b == '\n' || b == '\r' || b == '\b' || b == ' ');
        counts.count(
            PAREN_CHARS,
            b == '{' || b == '}' || b == '[' || b == ']' || b == '(' || b == ')' || c == 0x27E8 || c == 0x27E9);
        counts.count(HASHES, b == '#');
        counts.count(ELLIPSES, c == 0x2026);
        counts.count(NEWLINES, b == '\n');
        counts.count(WORD_CHARS, ink);

        // words
        const u32 before = leads & below;
        const bool after_space = before ? (spaces >> highest(before)) & 1 : space_before;
        const u32 starts = __ballot_sync(FULL, ink && after_space);
        const u32 ends = __ballot_sync(FULL, lead && !ink && !after_space);
        const u32 alphas = __ballot_sync(FULL, f & ALPHA);
        const u32 plains = __ballot_sync(FULL, ink && !(f & PUNCTUATION));
        const u32 symbols = __ballot_sync(FULL, b == '#' || c == 0x2026);
        const u32 hashes = __ballot_sync(FULL, b == '#' && !(i > start && data[i - 1] == '#'));
        const u32 urls = __ballot_sync(FULL, b == ':' && starts_with(data, i, end, "://"));
        const auto flags_of = [&](int from, int to) {
            return (bits(alphas, from, to) ? HAS_ALPHA : 0) | (bits(plains, from, to) ? HAS_PLAIN : 0) |
                (bits(symbols, from, to) ? HAS_SYMBOL : 0) | (bits(urls, from, to) ? MAYBE_URL : 0);
        };
        if (ends) {
            u32 found = 0;
            if (ends >> lane & 1) {
                const u32 own = starts & below;
                const int from = own ? highest(own) : 0;
                u32 chars = __popc(bits(leads, from, lane)), runs = __popc(bits(hashes, from, lane));
                u32 has = flags_of(from, lane);
                if (!own) {
                    chars += open_chars;
                    runs += open_hashes;
                    has |= open_flags;
                }
                if (!own && open_is_head) {
                    summary[HEAD] = ENDS;
                    summary[HEAD_CHARS] = (i32)chars;
                    summary[HEAD_HASHES] = (i32)runs;
                    summary[HEAD_FLAGS] = (i32)has;
                    summary[HEAD_END] = (i32)(i - lo);
                } else {
                    found = judge.judged(own ? base + from : lo + open_start, i, chars, runs, has);
                    if (has & HAS_PLAIN) plain_chars += chars;
                }
            }
            counts.count(WORDS, found >> WORDS & 1);
            counts.count(PLAIN_WORDS, found >> PLAIN_WORDS & 1);
            counts.count(ALPHA_WORDS, found >> ALPHA_WORDS & 1);
            counts.count(SYMBOL_WORDS, found >> SYMBOL_WORDS & 1);
            counts.count(NEMO_SYMBOL_WORDS, found >> NEMO_SYMBOL_WORDS & 1);
            counts.count(STOP_WORDS, found >> STOP_WORDS & 1);
            counts.count(STOP_WORDS_LOWER, found >> STOP_WORDS_LOWER & 1);
        }
        if (starts | ends) {
            const int last = highest(starts | ends);
            open = starts >> last & 1;
            open_is_head = false;
            open_start = (u32)(place + last);
            open_chars = __popc(bits(leads, last, 32));
            open_hashes = __popc(bits(hashes, last, 32));
            open_flags = flags_of(last, 32);
        } else if (open) {
            open_chars += __popc(leads);
            open_hashes += __popc(hashes);
            open_flags |= flags_of(0, 32);
        }
        if (leads) space_before = spaces >> highest(leads) & 1;

        // runs of dots: those that end here give a third of their length
        const u32 dot = __ballot_sync(FULL, b == '.');
        const int n = (int)smaller(32, hi - base);
        if (dots && !(dot & 1) && lane == 0) {
            if (dots_only)
                head_dots = dots;
            else
                ellipses += dots / 3;
        }
        if ((dot >> lane & 1) && (int)lane + 1 < n && !(dot >> (lane + 1) & 1)) {
            const u32 others = ~dot & below;
            const u32 run = lane + 1 - (others ? highest(others) + 1 : 0) + (others ? 0 : dots);
            if (!others && dots_only)
                head_dots = run;
            else
                ellipses += run / 3;
        }
        const u32 others = ~dot << (32 - n);  // the step's last byte is the highest bit
        const int trailing = others ? __clz((int)others) : n;
        dots = trailing < n ? (u32)trailing : dots + n;
        dots_only = dots_only && trailing == n;

        // lines of str.splitlines()
        const bool breaks = lead && (f & LINE_BREAK) && !(c == '\n' && i > start && data[i - 1] == '\r');
        const u32 all_breaks = __ballot_sync(FULL, breaks);
        const u32 bullets = __ballot_sync(FULL, c == 0x2022 || c == '-');
        const u32 ellipsis_ends = __ballot_sync(
            FULL, c == 0x2026 || (c == '.' && i >= start + 2 && data[i - 1] == '.' && data[i - 2] == '.'));
        const u32 events = all_breaks | inks;
        if (all_breaks | bullets) {
            const u32 earlier = events & below;
            const int p = earlier ? highest(earlier) : 0;
            const int was = !earlier ? event : all_breaks >> p & 1 ? BREAK : ellipsis_ends >> p & 1 ? ELLIPSIS : OTHER;
            counts.count(LINES, breaks);
            counts.count(GOPHER_BULLET, (bullets >> lane & 1) && was == BREAK);
            counts.count(GOPHER_ELLIPSIS, breaks && was == ELLIPSIS);
        }
        if (events) {
            const int p = lowest(events), q = highest(events);
            if (first_event == NOTHING) first_event = all_breaks >> p & 1 ? BREAK : bullets >> p & 1 ? BULLET : OTHER;
            event = all_breaks >> q & 1 ? BREAK : ellipsis_ends >> q & 1 ? ELLIPSIS : OTHER;
        }

        // lines between line feeds
        const u32 feeds = __ballot_sync(FULL, b == '\n');
        if (feeds) {
            u32 found = 0;
            if (b == '\n') {
                const u32 own = feeds & below;
                const int from = own ? highest(own) + 1 : 0;
                const u32 inside = bits(inks, from, lane);
                u32 chars = __popc(bits(leads, from, lane));
                i32 first_ink = inside ? place + lowest(inside) : -1, last_ink = inside ? place + highest(inside) : -1;
                if (!own) {
                    chars += line_chars;
                    if (line_first >= 0) first_ink = line_first;
                    if (!inside) last_ink = line_last;
                }
                if (!own && !line_start) {
                    summary[LINE_HEAD_END] = place + (i32)lane;
                    summary[LINE_HEAD_CHARS] = (i32)chars;
                    summary[LINE_HEAD_FIRST] = first_ink;
                    summary[LINE_HEAD_LAST] = last_ink;
                } else {
                    lines.take(chars);
                    if (first_ink >= 0)
                        found = judged_line(
                            data, own ? base + from : lo + line_start, i, lo + first_ink, lo + last_ink, chars, flags,
                            marks, (int)n_marks);
                }
            }
            if (__ballot_sync(FULL, found != 0))
                for (int column = NONBLANK; column < COLUMNS; ++column)
                    counts.count(column, found >> (column - NONBLANK) & 1);
            const int q = highest(feeds) + 1;
            line_start = (u32)(place + q);
            line_chars = 0;
            line_first = line_last = -1;
        }
        const int from = feeds ? highest(feeds) + 1 : 0;
        const u32 rest = bits(inks, from, 32);
        line_chars += __popc(bits(leads, from, 32));
        if (rest) {
            if (line_first < 0) line_first = place + lowest(rest);
            line_last = place + highest(rest);
        }
    }

    u32 chars = 0;  // before a step; the first characters of a document need not lie in its first segment
    for (i64 base = start; at_start && base < end && chars < XML_CHARS; base += 32) {
        const i64 i = base + lane;
        const u32 leads = __ballot_sync(FULL, i < end && is_lead(data[i]));
        const bool fits = chars + (u32)__popc(leads & below) + 14 <= XML_CHARS;
        counts.count(XML_HEADER, fits && starts_with(data, i, end, "<?xml version="));
        chars += __popc(leads);
    }

    plain_chars = warp_sum(plain_chars);
    ellipses = warp_sum(ellipses);
    head_dots = warp_sum(head_dots);
    const u32 stops = warp_or(judge.stops), longest = warp_max(judge.longest);
    for (int j = 0; j < 3; ++j) {
        const u32 most = warp_max(lines.first);
        if (lane == (u32)lowest(__ballot_sync(FULL, lines.first == most))) {
            lines.first = lines.second;
            lines.second = lines.third;
            lines.third = 0;
        }
        if (lane == 0) summary[LONG_LINES + j] = (i32)most;
    }
    if (lane == PLAIN_WORD_CHARS) counts.low += plain_chars;
    if (lane == ELLIPSES) counts.low += ellipses;
    if (counts.low) atomicAdd(&row[lane], (u64)counts.low);
    if (counts.high) atomicAdd(&row[32 + lane], (u64)counts.high);
    if (lane) return;
    atomicMax(&row[LONGEST_WORD], (u64)longest);
    summary[STOPS] = (i32)stops;
    if (open && open_is_head) {
        summary[HEAD] = THROUGH;
        summary[HEAD_CHARS] = (i32)open_chars;
        summary[HEAD_HASHES] = (i32)open_hashes;
        summary[HEAD_FLAGS] = (i32)open_flags;
    }
    summary[TAIL] = open && !open_is_head;
    summary[TAIL_CHARS] = (i32)open_chars;
    summary[TAIL_HASHES] = (i32)open_hashes;
    summary[TAIL_FLAGS] = (i32)open_flags;
    summary[TAIL_START] = (i32)open_start;
    summary[DOTS] = dots_only;
    summary[HEAD_DOTS] = (i32)(dots_only ? dots : head_dots);
    summary[TAIL_DOTS] = (i32)(dots_only ? 0 : dots);
    summary[FIRST_EVENT] = at_start ? NOTHING : first_event;
    summary[LAST_EVENT] = event;
    const int line = line_start ? LINE_TAIL_START : LINE_HEAD_END;
    if (line_start) summary[LINE_TAIL_START] = (i32)line_start;
    summary[line + 1] = (i32)line_chars;
    summary[line + 2] = line_first;
    summary[line + 3] = line_last;
}

// Adds what goes over the seams of segments, and the columns that are no sums but TWICE_MEDIAN. A thread a document.
extern "C" __global__ void text_counts_join(
    const u8* data, const i64* offsets, i64 n_docs, const i64* first, i64 size, const u16* flag_stage,
    const u16* flag_leaves, const u32* stop_keys, i64 n_stops, const u64* symbol_keys, i64 n_symbols, const u32* marks,
    i64 n_marks, u32* lengths, i64* long_words, u64* n_long, const i32* summaries, u64* out)
{
    const i64 d = thread_index();
    if (d >= n_docs) return;
    const Flags flags{flag_stage, flag_leaves};
    const i64 start = offsets[d], end = offsets[d + 1];
    u64* const row = out + d * COLUMNS;
    Words judge{data, stop_keys, n_stops, symbol_keys, n_symbols, lengths + d * LENGTHS, d, long_words, n_long, row};
    Largest lines;
    u32 stops = 0, has = 0, chars = 0, hashes = 0;
    i64 word = 0;
    bool open = false;
    const auto end_word = [&](i64 at) {
        for (u32 found = judge.judged(word, at, chars, hashes, has); found; found &= found - 1) row[lowest(found)] += 1;
        if (has & HAS_PLAIN) row[PLAIN_WORD_CHARS] += chars;
    };
    i64 line = start, first_ink = -1, last_ink = -1;
    u32 line_chars = 0;
    const auto end_line = [&](i64 at) {
        lines.take(line_chars);
        if (first_ink < 0) return;
        u32 found = judged_line(data, line, at, first_ink, last_ink, line_chars, flags, marks, (int)n_marks);
        for (; found; found &= found - 1) row[NONBLANK + lowest(found)] += 1;
    };
    i64 dots = 0;
    int event = BREAK;
    for (i64 s = first[d]; s < first[d + 1]; ++s) {
        const i32* const part = summaries + s * SUMMARY;
        const i64 lo = start + (s - first[d]) * size;
        stops |= (u32)part[STOPS];
        if (part[HEAD] != NONE) {
            chars += (u32)part[HEAD_CHARS];
            hashes += (u32)part[HEAD_HASHES];
            has |= (u32)part[HEAD_FLAGS];
        }
        if (part[HEAD] == ENDS) {
            end_word(lo + part[HEAD_END]);
            open = false;
        }
        if (part[TAIL]) {
            open = true;
            word = lo + part[TAIL_START];
            chars = (u32)part[TAIL_CHARS];
            hashes = (u32)part[TAIL_HASHES];
            has = (u32)part[TAIL_FLAGS];
        }

        dots += part[HEAD_DOTS];
        if (!part[DOTS]) {
            row[ELLIPSES] += (u64)(dots / 3);
            dots = part[TAIL_DOTS];
        }

        row[GOPHER_BULLET] += part[FIRST_EVENT] == BULLET && event == BREAK;
        row[GOPHER_ELLIPSIS] += part[FIRST_EVENT] == BREAK && event == ELLIPSIS;
        if (part[LAST_EVENT] != NOTHING) event = part[LAST_EVENT];

        line_chars += (u32)part[LINE_HEAD_CHARS];
        if (part[LINE_HEAD_FIRST] >= 0) {
            if (first_ink < 0) first_ink = lo + part[LINE_HEAD_FIRST];
            last_ink = lo + part[LINE_HEAD_LAST];
        }
        if (part[LINE_HEAD_END] >= 0) {
            end_line(lo + part[LINE_HEAD_END]);
            line = lo + part[LINE_TAIL_START];
            line_chars = (u32)part[LINE_TAIL_CHARS];
            first_ink = part[LINE_TAIL_FIRST] < 0 ? -1 : lo + part[LINE_TAIL_FIRST];
            last_ink = lo + part[LINE_TAIL_LAST];
        }
        for (int j = 0; j < 3; ++j) lines.take((u32)part[LONG_LINES + j]);
    }
    if (open) end_word(end);
    end_line(end);
    row[ELLIPSES] += (u64)(dots / 3);
    row[GOPHER_ELLIPSIS] += event == ELLIPSIS;
    if (end > start) row[LINES] += !(flags(decode(data + character_start(data, end - 1))) & LINE_BREAK);
    row[DIFFERENT_STOP_WORDS] = __popc(stops | judge.stops);
    if (judge.longest > row[LONGEST_WORD]) row[LONGEST_WORD] = judge.longest;
    row[XML_HEADER] = row[XML_HEADER] > 0;
    row[THIRD] = row[NEWLINES] > 1 ? lines.third : 0;
    row[RPS_LINES] = row[NEWLINES] + (line < end);
}
