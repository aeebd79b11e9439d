// text_counts: all counts of a document's characters, words and lines in one pass over its bytes.
// Contract and reference: gpu_pile/ops/text_counts
//
// A warp reads its segment in steps of 32 bytes, one byte per lane; what is a character, space, word or line is a question to
// ballots. Lane l keeps the count of column l. A word or a line is judged by the lane just after its end. What depends on
// the text before the segment (the word, the run of dots and the line that go on into it) is left open in a summary; one
// thread per document joins the summaries.
//
// Work: about 700 instructions per step of 32 bytes and warp, of which a third are for words and lines that end. Floor on
// an H200: 4 instructions a clock and multiprocessor, about 40 GB/s of text.
#include "text_counts.cuh"

// One step of a warp: the byte of this lane, and masks of all 32.
struct Step {
    i64 i;      // the byte of this lane
    i32 place;  // of lane 0, in the segment
    int n;      // bytes
    u32 b, c, f;
    bool lead, ink;  // the lane's byte begins a character, and one that is not white space
    u32 leads, inks, spaces;

    __device__ __forceinline__ Step(const u8* data, i64 lo, i64 base, i64 hi, const Flags& flags)
    {
        i = base + lane_index();
        place = (i32)(base - lo);
        n = (int)smaller(32, hi - base);
        b = i < hi ? data[i] : 0x80;  // 0x80 begins nothing
        lead = is_lead(b);
        c = lead ? decode(data + i) : 0;
        f = lead ? flags(c) : 0;
        ink = lead && !(f & SPACE);
        leads = __ballot_sync(FULL, lead);
        inks = __ballot_sync(FULL, ink);
        spaces = leads & ~inks;
    }
};

__device__ __forceinline__ void count_characters(const Step& s, Counts& counts)
{
    const u32 b = s.b, c = s.c, f = s.f;
    counts.count(C::chars, s.lead);
    counts.count(C::alpha_chars, f & ALPHA);
    counts.count(C::numeric_chars, f & NUMERIC);
    counts.count(C::upper_chars, f & UPPER);
    counts.count(C::space_chars, s.lead && !s.ink);
    counts.count(C::punctuation_chars, f & PUNCTUATION);
    counts.count(C::ascii_digit_chars, b >= '0' && b <= '9');
    counts.count(
        C::ascii_prose_chars,
        is_letter(b) || (b >= '0' && b <= '9') || b == '\n' || b == '?' || b == '!' || b == ',' || b == '.');
    counts.count(C::ascii_blank_chars, b == '\t' || b == '\n' || b == '\r' || b == '\b' || b == ' ');
    counts.count(
        C::bracket_chars,
        b == '{' || b == '}' || b == '[' || b == ']' || b == '(' || b == ')' || c == LEFT_ANGLE || c == RIGHT_ANGLE);
    counts.count(C::hashes, b == '#');
    counts.count(C::ellipses, c == ELLIPSIS_SIGN);
    counts.count(C::newlines, b == '\n');
    counts.count(C::word_chars, s.ink);
}

// The words of a segment: what is open at the beginning of a step is the same in all lanes.
struct OpenWord {
    bool space_before;  // the character before the step is white space
    bool open, is_head;  // a word goes on into the step; it began before the segment
    Word word;

    // What bytes from .. below `to` of a step have.
    struct Has {
        u32 alphas, plains, symbols, urls, hashes, leads;

        __device__ __forceinline__ Word word(i64 start, int from, int to) const
        {
            return {
                start, (u32)__popc(bits(leads, from, to)), (u32)__popc(bits(hashes, from, to)),
                (bits(alphas, from, to) ? HAS_ALPHA : 0) | (bits(plains, from, to) ? HAS_PLAIN : 0) |
                    (bits(symbols, from, to) ? HAS_SYMBOL : 0) | (bits(urls, from, to) ? MAYBE_URL : 0)};
        }
    };

    __device__ __forceinline__ static Word joined(const Word& a, const Word& b)
    {
        return {a.start, a.chars + b.chars, a.hashes + b.hashes, a.has | b.has};
    }

    __device__ __forceinline__ void read(
        const Step& s, const Document& document, Words& words, Counts& counts, Summary& summary)
    {
        const u8* const data = document.data;
        const u32 lane = lane_index(), below = lanes_below(), before = s.leads & below;
        const bool after_space = before ? s.spaces >> highest(before) & 1 : space_before;
        const u32 starts = __ballot_sync(FULL, s.ink && after_space);
        const u32 ends = __ballot_sync(FULL, s.lead && !s.ink && !after_space);
        const Has has{
            __ballot_sync(FULL, s.f & ALPHA), __ballot_sync(FULL, s.ink && !(s.f & PUNCTUATION)),
            __ballot_sync(FULL, s.b == '#' || s.c == ELLIPSIS_SIGN),
            __ballot_sync(FULL, s.b == ':' && starts_with(data, s.i, document.end, "://")),
            __ballot_sync(FULL, s.b == '#' && !(s.i > document.start && data[s.i - 1] == '#')), s.leads};
        const i64 base = s.i - lane;
        if (ends) {
            words.columns = 0;
            words.marks = 0;
            if (ends >> lane & 1) {
                const u32 own = starts & below;
                const int from = own ? highest(own) : 0;
                Word ended = has.word(base + from, from, lane);
                if (!own) ended = joined(word, ended);
                if (!own && is_head) {
                    summary.head = ENDS;
                    summary.head_end = s.place + (i32)lane;
                    set_head(summary, ended);
                } else {
                    words.take(document, ended, s.i);
                }
            }
            for (const int column : {C::words, C::plain_words, C::alpha_words, C::symbol_words, C::hash_words})
                counts.count(column, words.columns >> column & 1);
            counts.count_marks(words.marks);
        }
        if (starts | ends) {
            const int last = highest(starts | ends);
            open = starts >> last & 1;
            is_head = false;
            word = has.word(base + last, last, 32);
        } else if (open) {
            word = joined(word, has.word(base, 0, 32));
        }
        if (s.leads) space_before = s.spaces >> highest(s.leads) & 1;
    }

    __device__ __forceinline__ static void set_head(Summary& summary, const Word& head)
    {
        summary.head_chars = head.chars;
        summary.head_hashes = head.hashes;
        summary.head_has = head.has;
    }

    // By one lane, after the last step.
    __device__ __forceinline__ void finish(i64 lo, Summary& summary) const
    {
        if (open && is_head) {
            summary.head = THROUGH;
            set_head(summary, word);
        }
        summary.tail = open && !is_head;
        summary.tail_chars = word.chars;
        summary.tail_hashes = word.hashes;
        summary.tail_has = word.has;
        summary.tail_start = (i32)(word.start - lo);
    }
};

// Runs of dots: those that end in the segment give a third of their length.
struct Dots {
    u32 run = 0;      // dots in a row before the step
    bool only = true;  // no other byte so far
    u32 head = 0, ellipses = 0;  // of this lane: dots at the beginning of the segment; ellipses

    __device__ __forceinline__ void read(const Step& s)
    {
        const u32 lane = lane_index(), dot = __ballot_sync(FULL, s.b == '.');
        if (run && !(dot & 1) && lane == 0) end_run(run, only);
        if ((dot >> lane & 1) && (int)lane + 1 < s.n && !(dot >> (lane + 1) & 1)) {
            const u32 others = ~dot & lanes_below();
            end_run(lane + 1 - (others ? highest(others) + 1 : 0) + (others ? 0 : run), !others && only);
        }
        const u32 others = ~dot << (32 - s.n);  // the step's last byte is the highest bit
        const int trailing = others ? __clz((int)others) : s.n;
        run = trailing < s.n ? (u32)trailing : run + s.n;
        only = only && trailing == s.n;
    }

    __device__ __forceinline__ void end_run(u32 length, bool is_head)
    {
        if (is_head)
            head = length;
        else
            ellipses += length / 3;
    }
};

// Lines between separators: an open one at the beginning of a step is the same in all lanes.
struct OpenLine {
    i32 start = 0;  // 0: no separator so far
    u32 chars = 0;
    i32 first = -1, last = -1;

    // The line that ends at the separator of this lane goes to take(line, chars), or is the segment's head.
    // separators: bits of the step. A line without a character that is not white space has line.first < lo.
    template <class Take>
    __device__ __forceinline__ void read(
        const Step& s, const u8* data, u32 separators, OpenEnds& ends, Take take)
    {
        const u32 lane = lane_index();
        const i64 base = s.i - lane, lo = base - s.place;
        if (separators >> lane & 1) {
            const u32 own = separators & lanes_below();
            OpenLine line = own ? after(s, data, own) : *this;
            line.extend(s, own ? highest(own) + 1 : 0, lane);
            if (own || start)
                take(Line{lo + line.start, s.i, lo + line.first, lo + line.last}, line.chars);
            else
                line.set_head(ends, s.place + (i32)lane);
        }
        if (separators) *this = after(s, data, separators);
        extend(s, separators ? highest(separators) + 1 : 0, 32);
    }

    // The line that begins after the last of some separators.
    __device__ __forceinline__ static OpenLine after(const Step& s, const u8* data, u32 separators)
    {
        const int k = highest(separators);
        return {s.place + k + sequence_length(data[s.i - lane_index() + k]), 0, -1, -1};
    }

    // Adds bytes from .. below `to` of a step.
    __device__ __forceinline__ void extend(const Step& s, int from, int to)
    {
        const u32 inks = bits(s.inks, from, to);
        chars += __popc(bits(s.leads, from, to));
        if (!inks) return;
        if (first < 0) first = s.place + lowest(inks);
        last = s.place + highest(inks);
    }

    __device__ __forceinline__ void set_head(OpenEnds& ends, i32 end) const
    {
        ends.head_end = end;
        ends.head_chars = chars;
        ends.head_first = first;
        ends.head_last = last;
    }

    // By one lane, after the last step.
    __device__ __forceinline__ void finish(OpenEnds& ends) const
    {
        if (!start) return set_head(ends, -1);
        ends.tail_start = start;
        ends.tail_chars = chars;
        ends.tail_first = first;
        ends.tail_last = last;
    }
};

// The lines of a segment: those of split("\n"), and pieces, those of str.splitlines().
struct Lines {
    OpenLine line, piece;
    Largest largest;

    __device__ __forceinline__ void read(
        const Step& s, const Document& document, const Flags& flags, Counts& counts, Summary& summary)
    {
        const u8* const data = document.data;
        const bool is_break = s.lead && (s.f & LINE_BREAK);
        const u32 feeds = __ballot_sync(FULL, s.b == '\n'), breaks = __ballot_sync(FULL, is_break);
        const i64 lo = s.i - lane_index() - s.place;
        u32 columns = 0;
        u64 marks = 0;
        line.read(s, data, feeds, summary.lines, [&](const Line& ended, u32 chars) {
            largest.take(chars);
            if (ended.first < lo) return;
            columns = line_columns(data, ended, chars, flags);
            marks = document.marks.of(data, ended, 0);
        });
        piece.read(s, data, breaks, summary.pieces, [&](const Line& ended, u32) {
            if (ended.first >= lo) marks |= document.marks.of(data, ended, SPLITLINES);
        });
        if (!breaks) return;
        // the line feed of \r\n ends no piece of its own
        counts.count(C::pieces, is_break && !(s.c == '\n' && s.i > document.start && data[s.i - 1] == '\r'));
        if (feeds)
            for (const int column : {C::nonblank_lines, C::terminal_lines, C::short_lines})
                counts.count(column, columns >> column & 1);
        counts.count_marks(marks);
    }
};

// The first characters of a document, which need not lie in its first segment.
__device__ __forceinline__ void find_xml_header(const Document& document, Counts& counts)
{
    u32 chars = 0;  // before a step
    for (i64 base = document.start; base < document.end && chars < XML_CHARS; base += 32) {
        const i64 i = base + lane_index();
        const u32 leads = __ballot_sync(FULL, i < document.end && is_lead(document.data[i]));
        const bool fits = chars + (u32)__popc(leads & lanes_below()) + 14 <= XML_CHARS;
        counts.count(C::xml_header, fits && starts_with(document.data, i, document.end, "<?xml version="));
        chars += __popc(leads);
    }
}

// The three largest numbers of a warp, by lane 0.
__device__ __forceinline__ void write_longest(Largest lines, u32* longest)
{
    for (int j = 0; j < 3; ++j) {
        const u32 most = warp_max(lines.first);
        if (lane_index() == (u32)lowest(__ballot_sync(FULL, lines.first == most))) {
            lines.first = lines.second;
            lines.second = lines.third;
            lines.third = 0;
        }
        if (lane_index() == 0) longest[j] = most;
    }
}

// Adds to out, uint64[n_docs, width], and to lengths, uint32[n_docs, LENGTHS], what begins and ends in a segment; all 0
// before. A warp per segment; size, its bytes, is at most 16384. marks: Marks::packed; long_words: int64[.., 2], n_long of
// them so far; summaries: a Summary per segment.
WARP_KERNEL text_counts_segments(
    const u8* data, const i64* offsets, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const u16* flag_stage, const u16* flag_leaves, const u64* marks, u32* lengths, i64* long_words, u64* n_long,
    i64 width, u64* out, i32* summaries)
{
    const Segment segment = document_segment(offsets, first, owners, n_segments, size);
    if (!segment.exists) return;
    const Flags flags{flag_stage, flag_leaves};
    const i64 d = segment.owner, lo = segment.lo, hi = segment.hi;
    const Document document{
        data, d, segment.start, segment.end, Marks{marks}, lengths + d * LENGTHS, long_words, n_long, out + d * width};
    Summary& summary = *(Summary*)(summaries + segment.index * SUMMARY);
    if (lane_index() == 0) {
        summary.head = NO_HEAD;
        summary.lines.head_end = summary.pieces.head_end = -1;
    }
    __syncwarp();

    Counts counts;
    Words words;
    Dots dots;
    Lines lines;
    const bool at_start = lo == segment.start;
    const bool space_before =
        at_start || lo >= segment.end || (flags(decode(data + previous_character(data, lo))) & SPACE) != 0;
    OpenWord word{space_before, !space_before, !space_before, Word{lo, 0, 0, 0}};
    for (i64 base = lo; base < hi; base += 32) {
        const Step step(data, lo, base, hi, flags);
        count_characters(step, counts);
        word.read(step, document, words, counts, summary);
        dots.read(step);
        lines.read(step, document, flags, counts, summary);
    }
    if (at_start) find_xml_header(document, counts);

    const u32 lane = lane_index(), plain_chars = warp_sum(words.plain_chars), ellipses = warp_sum(dots.ellipses);
    const u32 head_dots = warp_sum(dots.head), distinct = warp_or(words.distinct), longest = warp_max(words.longest);
    write_longest(lines.largest, summary.longest);
    if (lane == C::plain_word_chars) counts.columns += plain_chars;
    if (lane == C::ellipses) counts.columns += ellipses;
    counts.add_to(document.row);
    if (lane) return;
    atomicMax(&document.row[C::longest_word], (u64)longest);
    word.finish(lo, summary);
    lines.line.finish(summary.lines);
    lines.piece.finish(summary.pieces);
    summary.distinct = distinct;
    summary.dots_only = dots.only;
    summary.head_dots = dots.only ? dots.run : head_dots;
    summary.tail_dots = dots.only ? 0 : dots.run;
}

// A line put together from the open ends of segments.
struct JoinedLine {
    Line line;
    u32 chars = 0;

    __device__ __forceinline__ explicit JoinedLine(i64 start) : line{start, start, -1, -1} {}

    // Adds a segment that begins at lo. A line that ends in it goes to take().
    template <class Take>
    __device__ __forceinline__ void add(const OpenEnds& ends, i64 lo, Take take)
    {
        chars += ends.head_chars;
        extend(lo, ends.head_first, ends.head_last);
        if (ends.head_end < 0) return;
        line.end = lo + ends.head_end;
        take();
        line = Line{lo + ends.tail_start, 0, -1, -1};
        chars = ends.tail_chars;
        extend(lo, ends.tail_first, ends.tail_last);
    }

    __device__ __forceinline__ void extend(i64 lo, i32 first, i32 last)
    {
        if (first < 0) return;
        if (line.first < 0) line.first = lo + first;
        line.last = lo + last;
    }
};

__device__ __forceinline__ void add_columns(u64* row, u32 columns, u64 marks)
{
    for (; columns; columns &= columns - 1) row[lowest(columns)] += 1;
    for (u32 low = (u32)marks; low; low &= low - 1) row[C::N_COLUMNS + lowest(low)] += 1;
    for (u32 high = (u32)(marks >> 32); high; high &= high - 1) row[C::N_COLUMNS + 32 + lowest(high)] += 1;
}

// The word put together from the open ends of segments.
struct JoinedWord {
    Words words;
    Word word{0, 0, 0, 0};
    bool open = false;

    __device__ __forceinline__ void add(const Document& document, const Summary& segment, i64 lo)
    {
        if (segment.head != NO_HEAD) {
            word.chars += segment.head_chars;
            word.hashes += segment.head_hashes;
            word.has |= segment.head_has;
        }
        if (segment.head == ENDS) {
            end(document, lo + segment.head_end);
            open = false;
        }
        if (segment.tail) {
            open = true;
            word = Word{lo + segment.tail_start, segment.tail_chars, segment.tail_hashes, segment.tail_has};
        }
    }

    __device__ __forceinline__ void end(const Document& document, i64 at)
    {
        words.take(document, word, at);
        add_columns(document.row, words.columns, words.marks);
    }
};

// Adds what goes over the seams of segments, and the columns that are not sums but twice_median_word. A thread per document;
// parameters as of text_counts_segments, whose results these are.
extern "C" __global__ void text_counts_join(
    const u8* data, const i64* offsets, i64 n_docs, const i64* first, i64 size, const u16* flag_stage,
    const u16* flag_leaves, const u64* marks, u32* lengths, i64* long_words, u64* n_long, i64 width,
    const i32* summaries, u64* out)
{
    const i64 d = thread_index();
    if (d >= n_docs) return;
    const Flags flags{flag_stage, flag_leaves};
    const i64 start = offsets[d], end = offsets[d + 1];
    u64* const row = out + d * width;
    const Document document{data, d, start, end, Marks{marks}, lengths + d * LENGTHS, long_words, n_long, row};
    JoinedWord word;
    JoinedLine line(start), piece(start);
    Largest largest;
    u32 distinct = 0;
    i64 dots = 0;
    const auto end_line = [&]() {
        largest.take(line.chars);
        if (line.line.first < 0) return;
        add_columns(row, line_columns(data, line.line, line.chars, flags), document.marks.of(data, line.line, 0));
    };
    const auto end_piece = [&]() {
        if (piece.line.first >= 0) add_columns(row, 0, document.marks.of(data, piece.line, SPLITLINES));
    };
    for (i64 s = first[d]; s < first[d + 1]; ++s) {
        const Summary& segment = *(const Summary*)(summaries + s * SUMMARY);
        const i64 lo = start + (s - first[d]) * size;
        distinct |= segment.distinct;
        word.add(document, segment, lo);
        dots += segment.head_dots;
        if (!segment.dots_only) {
            row[C::ellipses] += (u64)(dots / 3);
            dots = segment.tail_dots;
        }
        line.add(segment.lines, lo, end_line);
        piece.add(segment.pieces, lo, end_piece);
        for (int j = 0; j < 3; ++j) largest.take(segment.longest[j]);
    }
    if (word.open) word.end(document, end);
    line.line.end = piece.line.end = end;
    end_line();
    end_piece();
    row[C::ellipses] += (u64)(dots / 3);
    row[C::plain_word_chars] += word.words.plain_chars;
    if (end > start) row[C::pieces] += !(flags(decode(data + previous_character(data, end))) & LINE_BREAK);
    if (word.words.longest > row[C::longest_word]) row[C::longest_word] = word.words.longest;
    row[C::xml_header] = row[C::xml_header] > 0;
    row[C::third_line_chars] = row[C::newlines] > 1 ? largest.third : 0;
    row[C::newline_lines] = row[C::newlines] + (line.line.start < end);
    distinct |= word.words.distinct;
    for (u64 k = 0; k < marks[Marks::N_ROWS]; ++k)
        row[C::N_COLUMNS + k] += (u64)__popc(distinct & (u32)document.marks.array(Marks::DISTINCT_ROWS)[k]);
}
