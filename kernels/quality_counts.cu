// quality_counts: all counts of a document's characters, words and lines in one pass over its bytes.
// Contract and reference: gpu_pile/ops/quality_counts.py
//
// A warp reads its segment 32 bytes a step, a lane a byte; what is a character, space, word or line is asked of ballots.
// What depends on the text before the segment (the word, the run of dots and the line that go on into it) is left open
// in a summary; a thread a document puts the summaries together.
//
// Work: about 200 instructions a step of 32 bytes and warp. Floor on an H200: 4 instructions a clock and multiprocessor,
// about 140 GB/s of text.
#include "common.cuh"

// A summary, int32 each: the columns of the operation for what begins and ends in the segment (lines: their breaks;
// stop_words: a bit each), then what is open.
enum {
    CHARS, WORDS, WORD_CHARS, PLAIN_WORDS, PLAIN_WORD_CHARS, ALPHA_WORDS, STOP_WORDS, HASHES, ELLIPSES, LINES,
    BULLET_LINES, ELLIPSIS_LINES, NEWLINES, ALPHA_CHARS, NUMERIC_CHARS, UPPER_CHARS, SPACE_CHARS, PUNCTUATION_CHARS,
    COLUMNS,
    HEAD = COLUMNS,  // the word that goes on into the segment: NONE, ENDS in it or goes THROUGH it
    HEAD_CHARS,
    HEAD_FLAGS,
    HEAD_END,  // the byte of the segment where it ends
    TAIL,      // 1: a word begins in the segment and goes on behind it
    TAIL_CHARS,
    TAIL_FLAGS,
    TAIL_START,
    DOTS,        // 1: the segment is nothing but dots
    HEAD_DOTS,   // dots at its beginning
    TAIL_DOTS,   // dots at its end
    FIRST_EVENT, // what comes first in it that is no white space: an event
    LAST_EVENT,
    SUMMARY
};
enum { NONE, ENDS, THROUGH };
// Events: a line break, a bullet, another character that is no white space, one that ends an ellipsis.
enum { NOTHING, BREAK, BULLET, OTHER, ELLIPSIS };
constexpr u32 HAS_ALPHA = 1, HAS_PLAIN = 2;

// The bit of the word data[at .. at + n) among the stop words, 0 if it is none. keys: their bytes as numbers, first byte
// highest.
__device__ __forceinline__ u32 stop_bit(const u8* data, i64 at, i64 n, const u32* keys, int n_keys)
{
    if (n < 2 || n > 4 || !data[at]) return 0;  // NUL and a word is the same number
    u32 key = 0, bit = 0;
    for (i64 i = 0; i < n; ++i) key = key << 8 | data[at + i];
    for (int j = 0; j < n_keys; ++j)
        if (keys[j] == key) bit = 1u << j;
    return bit;
}

// Bits from .. below `to` of a mask; to <= 32.
__device__ __forceinline__ u32 bits(u32 mask, int from, int to)
{
    return (u32)((u64)mask & ((1ull << to) - 1) & ~((1ull << from) - 1));
}

// size is at most 32768: sums of a segment fit 16 bits.
WARP_KERNEL quality_counts_segments(
    const u8* data, const i64* offsets, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const u16* flag_stage, const u16* flag_leaves, const u32* stop_keys, i64 n_stop_keys, i32* summaries)
{
    const i64 s = warp_index();
    if (s >= n_segments) return;
    const Flags flags{flag_stage, flag_leaves};
    const Segment segment(s, first, owners, size);
    const i64 start = offsets[segment.owner], end = offsets[segment.owner + 1];
    const i64 lo = start + segment.lo, hi = smaller(end, start + segment.hi);
    const u32 lane = lane_index(), below = lanes_below();

    // of this lane, four sums of 16 bits in each
    u64 classes = 0;  // alpha, numeric, upper, punctuation
    u64 words = 0;    // words, plain words, alpha words, characters of plain words
    u64 marks = 0;    // hashes, ellipses, newlines, lines
    u64 lines = 0;    // bullet lines, ellipsis lines, characters, spaces
    u32 stops = 0;
    u32 head_chars = 0, head_flags = 0, head_end = 0, head_ends = 0, head_dots = 0;

    // of the warp: what is open at the beginning of a step
    const bool at_start = lo == start;
    bool space_before =
        at_start || lo >= end || (flags(decode(data + character_start(data, lo - 1))) & SPACE) != 0;
    bool open = !space_before, open_is_head = open;  // a word, and whether it began before the segment
    u32 open_chars = 0, open_flags = 0;
    i64 open_start = lo;
    u32 dots = 0;  // dots in a row
    bool dots_only = true;
    int event = at_start ? BREAK : NOTHING, first_event = NOTHING;

    for (i64 base = lo; base < hi; base += 32) {
        const i64 i = base + lane;
        const u32 b = i < hi ? data[i] : 0x80;
        const bool lead = is_lead(b);
        const u32 c = lead ? decode(data + i) : 0;
        const u32 f = lead ? flags(c) : 0;
        const bool ink = lead && !(f & SPACE);  // a character that is no white space
        const u32 leads = __ballot_sync(FULL, lead);
        const u32 inks = __ballot_sync(FULL, ink);
        const u32 spaces = leads & ~inks;

        classes += (u64)(f & ALPHA) | (u64)((f & NUMERIC) != 0) << 16 | (u64)((f & UPPER) != 0) << 32 |
            (u64)((f & PUNCTUATION) != 0) << 48;
        marks += (u64)(b == '#') | (u64)(c == 0x2026) << 16 | (u64)(b == '\n') << 32;
        lines += (u64)lead << 32 | (u64)(lead && !ink) << 48;

        // words
        const u32 before = leads & below;
        const bool after_space = before ? (spaces >> highest(before)) & 1 : space_before;
        const u32 starts = __ballot_sync(FULL, ink && after_space);
        const u32 ends = __ballot_sync(FULL, lead && !ink && !after_space);
        const u32 alphas = __ballot_sync(FULL, f & ALPHA);
        const u32 plains = __ballot_sync(FULL, ink && !(f & PUNCTUATION));
        if (ends >> lane & 1) {
            const u32 own = starts & below;
            const int from = own ? highest(own) : 0;
            u32 chars = __popc(bits(leads, from, lane));
            u32 has = (bits(alphas, from, lane) ? HAS_ALPHA : 0) | (bits(plains, from, lane) ? HAS_PLAIN : 0);
            if (!own) {
                chars += open_chars;
                has |= open_flags;
            }
            if (!own && open_is_head) {
                head_ends = 1;
                head_chars = chars;
                head_flags = has;
                head_end = (u32)(i - lo);
            } else {
                const i64 at = own ? base + from : open_start;
                words += 1 | (u64)((has & HAS_PLAIN) != 0) << 16 | (u64)((has & HAS_ALPHA) != 0) << 32 |
                    (u64)(has & HAS_PLAIN ? chars : 0) << 48;
                stops |= stop_bit(data, at, i - at, stop_keys, (int)n_stop_keys);
            }
        }
        if (starts | ends) {
            const int last = highest(starts | ends);
            open = starts >> last & 1;
            open_is_head = false;
            open_start = base + last;
            open_chars = __popc(bits(leads, last, 32));
            open_flags = (bits(alphas, last, 32) ? HAS_ALPHA : 0) | (bits(plains, last, 32) ? HAS_PLAIN : 0);
        } else if (open) {
            open_chars += __popc(leads);
            open_flags |= (alphas ? HAS_ALPHA : 0) | (plains ? HAS_PLAIN : 0);
        }
        if (leads) space_before = spaces >> highest(leads) & 1;

        // runs of dots: those that end here give a third of their length
        const u32 dot = __ballot_sync(FULL, b == '.');
        const int n = (int)smaller(32, hi - base);
        if (dots && !(dot & 1) && lane == 0) {
            if (dots_only)
                head_dots = dots;
            else
                marks += (u64)(dots / 3) << 16;
        }
        if ((dot >> lane & 1) && (int)lane + 1 < n && !(dot >> (lane + 1) & 1)) {
            const u32 others = ~dot & below;
            const u32 run = lane + 1 - (others ? highest(others) + 1 : 0) + (others ? 0 : dots);
            if (!others && dots_only)
                head_dots = run;
            else
                marks += (u64)(run / 3) << 16;
        }
        const u32 others = ~dot << (32 - n);  // the step's last byte is the highest bit
        const int trailing = others ? __clz((int)others) : n;
        dots = trailing < n ? (u32)trailing : dots + n;
        dots_only = dots_only && trailing == n;

        // lines
        const bool breaks = lead && (f & LINE_BREAK) && !(c == '\n' && i > start && data[i - 1] == '\r');
        const u32 all_breaks = __ballot_sync(FULL, breaks);
        const u32 bullets = __ballot_sync(FULL, c == 0x2022 || c == '-');
        const u32 ellipses = __ballot_sync(
            FULL, c == 0x2026 || (c == '.' && i >= start + 2 && data[i - 1] == '.' && data[i - 2] == '.'));
        const u32 events = all_breaks | inks;
        const u32 earlier = events & below;
        if (breaks || (bullets >> lane & 1)) {
            const int p = earlier ? highest(earlier) : 0;
            const int was = !earlier ? event : all_breaks >> p & 1 ? BREAK : ellipses >> p & 1 ? ELLIPSIS : OTHER;
            lines += breaks ? (u64)(was == ELLIPSIS) << 16 : (u64)(was == BREAK);
            marks += (u64)breaks << 48;
        }
        if (events) {
            const int p = lowest(events), q = highest(events);
            if (first_event == NOTHING) first_event = all_breaks >> p & 1 ? BREAK : bullets >> p & 1 ? BULLET : OTHER;
            event = all_breaks >> q & 1 ? BREAK : ellipses >> q & 1 ? ELLIPSIS : OTHER;
        }
    }

    classes = warp_sum(classes);
    words = warp_sum(words);
    marks = warp_sum(marks);
    lines = warp_sum(lines);
    stops = warp_or(stops);
    head_ends = warp_sum(head_ends);
    head_chars = warp_sum(head_chars);
    head_flags = warp_sum(head_flags);
    head_end = warp_sum(head_end);
    head_dots = warp_sum(head_dots);
    if (lane) return;
    i32* out = summaries + s * SUMMARY;
    const auto part = [](u64 sums, int j) { return (i32)(sums >> 16 * j & 0xffff); };
    out[CHARS] = part(lines, 2);
    out[WORDS] = part(words, 0);
    out[WORD_CHARS] = part(lines, 2) - part(lines, 3);
    out[PLAIN_WORDS] = part(words, 1);
    out[PLAIN_WORD_CHARS] = part(words, 3);
    out[ALPHA_WORDS] = part(words, 2);
    out[STOP_WORDS] = (i32)stops;
    out[HASHES] = part(marks, 0);
    out[ELLIPSES] = part(marks, 1);
    out[LINES] = part(marks, 3);
    out[BULLET_LINES] = part(lines, 0);
    out[ELLIPSIS_LINES] = part(lines, 1);
    out[NEWLINES] = part(marks, 2);
    out[ALPHA_CHARS] = part(classes, 0);
    out[NUMERIC_CHARS] = part(classes, 1);
    out[UPPER_CHARS] = part(classes, 2);
    out[SPACE_CHARS] = part(lines, 3);
    out[PUNCTUATION_CHARS] = part(classes, 3);
    const bool through = open && open_is_head;
    out[HEAD] = head_ends ? ENDS : through ? THROUGH : NONE;
    out[HEAD_CHARS] = (i32)(through ? open_chars : head_chars);
    out[HEAD_FLAGS] = (i32)(through ? open_flags : head_flags);
    out[HEAD_END] = (i32)head_end;
    out[TAIL] = open && !open_is_head;
    out[TAIL_CHARS] = (i32)open_chars;
    out[TAIL_FLAGS] = (i32)open_flags;
    out[TAIL_START] = (i32)(open_start - lo);
    out[DOTS] = dots_only;
    out[HEAD_DOTS] = (i32)(dots_only ? dots : head_dots);
    out[TAIL_DOTS] = (i32)(dots_only ? 0 : dots);
    out[FIRST_EVENT] = at_start ? NOTHING : first_event;
    out[LAST_EVENT] = event;
}

// out: int64[n_docs, COLUMNS]. A thread a document.
extern "C" __global__ void quality_counts_join(
    const u8* data, const i64* offsets, i64 n_docs, const i64* first, i64 size, const u16* flag_stage,
    const u16* flag_leaves, const u32* stop_keys, i64 n_stop_keys, const i32* summaries, i64* out)
{
    const i64 d = thread_index();
    if (d >= n_docs) return;
    const Flags flags{flag_stage, flag_leaves};
    const i64 start = offsets[d], end = offsets[d + 1];
    i64 sums[COLUMNS];
    for (int j = 0; j < COLUMNS; ++j) sums[j] = 0;
    u32 stops = 0, has = 0;
    i64 chars = 0, word = 0, dots = 0;
    bool open = false;
    int event = BREAK;
    const auto end_word = [&](i64 at) {
        sums[WORDS] += 1;
        sums[PLAIN_WORDS] += (has & HAS_PLAIN) != 0;
        sums[PLAIN_WORD_CHARS] += has & HAS_PLAIN ? chars : 0;
        sums[ALPHA_WORDS] += (has & HAS_ALPHA) != 0;
        stops |= stop_bit(data, word, at - word, stop_keys, (int)n_stop_keys);
    };
    for (i64 s = first[d]; s < first[d + 1]; ++s) {
        const i32* part = summaries + s * SUMMARY;
        const i64 lo = start + (s - first[d]) * size;
        for (int j = 0; j < COLUMNS; ++j)
            if (j != STOP_WORDS) sums[j] += part[j];
        stops |= (u32)part[STOP_WORDS];
        if (part[HEAD] != NONE) {
            chars += part[HEAD_CHARS];
            has |= (u32)part[HEAD_FLAGS];
        }
        if (part[HEAD] == ENDS) {
            end_word(lo + part[HEAD_END]);
            open = false;
        }
        if (part[TAIL]) {
            open = true;
            word = lo + part[TAIL_START];
            chars = part[TAIL_CHARS];
            has = (u32)part[TAIL_FLAGS];
        }
        dots += part[HEAD_DOTS];
        if (!part[DOTS]) {
            sums[ELLIPSES] += dots / 3;
            dots = part[TAIL_DOTS];
        }
        sums[BULLET_LINES] += part[FIRST_EVENT] == BULLET && event == BREAK;
        sums[ELLIPSIS_LINES] += part[FIRST_EVENT] == BREAK && event == ELLIPSIS;
        if (part[LAST_EVENT] != NOTHING) event = part[LAST_EVENT];
    }
    if (open) end_word(end);
    sums[ELLIPSES] += dots / 3;
    sums[ELLIPSIS_LINES] += event == ELLIPSIS;
    if (end > start) sums[LINES] += !(flags(decode(data + character_start(data, end - 1))) & LINE_BREAK);
    sums[STOP_WORDS] = __popc(stops);
    for (int j = 0; j < COLUMNS; ++j) out[d * COLUMNS + j] = sums[j];
}
