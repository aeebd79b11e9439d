// text_counts: all counts of a document's characters, words and lines in one pass over its bytes.
// Contract and reference: gpu_pile/ops/text_counts
//
// A warp reads its segment in blocks of 512 bytes, 16 a lane, as masks of classes (blocks.cuh): counting characters is
// counting bits. A lane judges the words and lines that end in its bytes, one after the other; what goes on from a lane
// into the next ones is put together by ballots and shuffles. What depends on the text before the segment (the word, the
// run of dots and the line that go on into it) is left open in a summary; one thread per document joins the summaries.
//
// Work: the main loop has 2517 instructions for 512 bytes. A block of English text takes about 2300 of them by estimate:
// some five rounds of 160 for the words of a lane, nearly 1000 for lines. That is 4.5 for each byte. An H200 starts 950 G
// instructions per second, so the floor is about 200 GB/s of text; 108 registers allow 16 warps on a multiprocessor.
#include "text_counts.cuh"

// What a lane has counted: three numbers in each of some registers. A lane has 16 bytes of each of at most 33 blocks, so
// that a number stays below 2^10.
struct Counts {
    enum { CHARS, DIGITS_UPPER_SPACE, PUNCTUATION_PROSE_BLANK, BRACKET_HASHES_NEWLINES, WORDS, LINES, SYMBOLS, UNSPACED_LETTERS, N };
    u32 triples[N] = {};

    __device__ __forceinline__ void add(int triple, u32 low, u32 middle, u32 high)
    {
        triples[triple] += low + (middle << 10) + (high << 20);
    }

    // Adds the sums over the warp to columns. Called by the whole warp.
    __device__ __forceinline__ void put(u32* columns)
    {
        put(columns, CHARS, C::chars, C::alpha_chars, C::numeric_chars);
        put(columns, DIGITS_UPPER_SPACE, C::ascii_digit_chars, C::upper_chars, C::space_chars);
        put(columns, PUNCTUATION_PROSE_BLANK, C::punctuation_chars, C::ascii_prose_chars, C::ascii_blank_chars);
        put(columns, BRACKET_HASHES_NEWLINES, C::bracket_chars, C::hashes, C::newlines);
        put(columns, WORDS, C::words, C::plain_words, C::alpha_words);
        put(columns, LINES, C::nonblank_lines, C::terminal_lines, C::short_lines);
        put(columns, SYMBOLS, C::symbol_words, C::hash_words, C::pieces);
        const u32 unspaced = warp_sum(triples[UNSPACED_LETTERS]);
        if (lane_index()) return;
        columns[C::unspaced_letters] = unspaced;
        columns[C::numeric_chars] += columns[C::ascii_digit_chars];
        columns[C::word_chars] = columns[C::chars] - columns[C::space_chars];
    }

    __device__ __forceinline__ void put(u32* columns, int triple, int low, int middle, int high) const
    {
        const u32 n = triples[triple], pair = warp_sum((n & 0x3FF) | (n >> 10 & 0x3FF) << 16), third = warp_sum(n >> 20);
        if (lane_index()) return;
        columns[low] = pair & 0xFFFF;
        columns[middle] = pair >> 16;
        columns[high] = third;
    }
};

// A block of a warp: the masks of the 16 bytes of this lane.
struct Step {
    i64 i;      // the first byte of this lane
    i32 place;  // of that, in the segment
    u32 valid;  // bytes of the segment
    u32 leads, letters, inks, spaces, plain;  // inks and spaces: all bytes of a character, the others its first
    u32 hashes, symbols, urls, dots, feeds, breaks;
    u32 chars_before, chars;  // characters in the lanes before, in all lanes

    // spaces_before: a bit for each byte of this block that belongs to white space which begins before it; then of the next.
    __device__ __forceinline__ Step(
        const Document& document, const u16* classes, i64 lo, i64 base, i64 hi, const Flags& flags, Counts& counts,
        u32* columns, u32& spaces_before)
    {
        const u32 lane = lane_index();
        i = base + LANE_BYTES * lane;
        place = (i32)(i - lo);
        valid = i < hi ? bits(LANE_BITS, first(), (int)smaller(LANE_BYTES, hi - i)) : 0;
        u32 words[4];
        load_lane(document.data, i, lo, hi, words);
        const Masks masks(words, classes);
        leads = masks.low(LEADS);
        letters = masks.high(LETTERS);
        spaces = masks.low(SPACES);
        plain = letters | masks.low(DIGITS);
        hashes = symbols = masks.high(HASHES);
        dots = masks.high(DOTS);
        feeds = masks.low(FEEDS);
        breaks = masks.low(BREAKS);
        urls = 0;
        for (u32 colons = masks.low(COLONS); colons; colons &= colons - 1) {
            const int j = lowest(colons);
            urls |= (u32)starts_with(document.data, i + j, document.end, "://") << j;
        }
        counts.add(
            Counts::DIGITS_UPPER_SPACE, __popc(masks.low(DIGITS)), __popc(masks.high(CAPITALS)), __popc(spaces));
        counts.add(
            Counts::PUNCTUATION_PROSE_BLANK, __popc(masks.high(PUNCTUATIONS)), __popc(masks.low(PROSE)),
            __popc(masks.high(BLANKS)));
        counts.add(Counts::BRACKET_HASHES_NEWLINES, __popc(masks.low(BRACKETS)), __popc(hashes), __popc(feeds));
        if (__any_sync(FULL, masks.high(BEYOND)) || spaces_before)
            read_beyond(document.data, masks.high(BEYOND) & leads, flags, counts, columns, spaces_before);
        spaces &= valid;
        inks = valid & ~spaces;
        counts.add(Counts::CHARS, __popc(leads), __popc(letters), 0);
        chars_before = warp_sum_below(__popc(leads), chars);
    }

    // Looks up the characters beyond ASCII that begin at these bytes.
    __device__ __forceinline__ void read_beyond(
        const u8* data, u32 begins, const Flags& flags, Counts& counts, u32* columns, u32& spaces_before)
    {
        for (; begins; begins &= begins - 1) {
            const int j = lowest(begins);
            const u32 c = decode(data + i + j), f = flags(c), bit = 1u << j;
            letters |= f & ALPHA ? bit : 0;
            if (f & SPACE) {
                spaces |= (1u << (j + sequence_length(data[i + j]))) - bit;
                breaks |= f & LINE_BREAK ? bit : 0;
            } else if (!(f & PUNCTUATION)) {
                plain |= bit;
            }
            if (c == ELLIPSIS_SIGN) {
                symbols |= bit;
                atomicAdd(&columns[C::ellipses], 1u);
            }
            counts.add(Counts::CHARS, 0, 0, (f & NUMERIC) != 0);
            counts.add(Counts::UNSPACED_LETTERS, (f & (ALPHA | UNSPACED)) == (ALPHA | UNSPACED), 0, 0);
            counts.add(Counts::DIGITS_UPPER_SPACE, 0, (f & UPPER) != 0, (f & SPACE) != 0);
            counts.add(Counts::PUNCTUATION_PROSE_BLANK, (f & PUNCTUATION) != 0, 0, 0);
            counts.add(Counts::BRACKET_HASHES_NEWLINES, c == LEFT_ANGLE || c == RIGHT_ANGLE, 0, 0);
        }
        if (lane_index() == 0) spaces |= spaces_before << first();
        const u32 after = spaces >> LANE_BYTES, before = __shfl_up_sync(FULL, after, 1);
        if (lane_index()) spaces |= before;
        spaces_before = __shfl_sync(FULL, after, 31);
    }

    // The first byte of this lane that is in the segment: 0 but where the segment begins.
    __device__ __forceinline__ int first() const { return place < 0 ? -place : 0; }

    // Where the first byte of a lane lies in the segment.
    __device__ __forceinline__ i32 place_of(int lane) const { return place + LANE_BYTES * (lane - (int)lane_index()); }
};

// The words of a segment. The open one, which goes on into the step, is kept in shared memory, once for the warp.
struct OpenWord {
    bool open, is_head;  // there is one; it began before the segment
    bool hash_before;    // the byte before the step is #
    Word word;

    // Of the lanes of a step: where words begin, and what they have, as bits; hashes: where runs of # begin.
    struct Lanes {
        u32 starts, plains, letters, symbols, urls, hashes;
        u32 hashes_before, all_hashes;
        u32 tail;  // of this lane, from where its last word begins: packed

        // tail: characters and runs of # in the step before the word, where it begins in the lane, and what it has
        static constexpr int HASHES_AT = 10, PLACE_AT = 20, HAS_AT = 24;

        __device__ __forceinline__ Lanes(const Step& s, u32 own_starts, u32 own_hashes)
            : starts(__ballot_sync(FULL, own_starts)), plains(__ballot_sync(FULL, s.plain)),
              letters(__ballot_sync(FULL, s.letters)), symbols(__ballot_sync(FULL, s.symbols)),
              urls(__ballot_sync(FULL, s.urls)), hashes(own_hashes), hashes_before(0), all_hashes(0)
        {
            if (__any_sync(FULL, hashes)) hashes_before = warp_sum_below(__popc(hashes), all_hashes);
            const int at = own_starts ? highest(own_starts) : 0;
            const u32 below = (1u << at) - 1;
            tail = (s.chars_before + __popc(s.leads & below)) | (hashes_before + __popc(hashes & below)) << HASHES_AT |
                (u32)at << PLACE_AT | has(s, at, LANE_BYTES) << HAS_AT;
        }

        // What the bytes from .. below `to` of this lane have.
        __device__ __forceinline__ static u32 has(const Step& s, int from, int to)
        {
            return (bits(s.letters, from, to) ? HAS_ALPHA : 0) | (bits(s.plain, from, to) ? HAS_PLAIN : 0) |
                (bits(s.symbols, from, to) ? HAS_SYMBOL : 0) | (bits(s.urls, from, to) ? MAYBE_URL : 0);
        }

        // What these lanes have.
        __device__ __forceinline__ u32 has(u32 lanes) const
        {
            return (letters & lanes ? HAS_ALPHA : 0) | (plains & lanes ? HAS_PLAIN : 0) |
                (symbols & lanes ? HAS_SYMBOL : 0) | (urls & lanes ? MAYBE_URL : 0);
        }
    };

    // The word that goes on after `before`, the lanes below one or all of them, which have so many characters and runs of #.
    __device__ __forceinline__ Word after(
        const Step& s, const Lanes& lanes, u32 before, u32 chars, u32 hashes) const
    {
        const u32 starts = lanes.starts & before;
        const int lane = starts ? highest(starts) : 0;
        const u32 tail = __shfl_sync(FULL, lanes.tail, lane);
        if (!starts) return {word.start, word.chars + chars, word.hashes + hashes, word.has | lanes.has(before)};
        const i64 base = s.i - s.place;
        return {
            base + s.place_of(lane) + (i32)(tail >> Lanes::PLACE_AT & 15), chars - (tail & 0x3FF),
            hashes - (tail >> Lanes::HASHES_AT & 0x3FF), tail >> Lanes::HAS_AT | lanes.has(before & ~((2u << lane) - 1))};
    }

    __device__ __forceinline__ void read(
        const Step& s, const Document& document, Words& words, Counts& counts, Tally& tally, Summary& summary)
    {
        const u32 lane = lane_index(), first = s.first();
        const u32 last = __shfl_up_sync(FULL, (s.inks >> 15 & 1) | (s.hashes >> 15 & 1) << 1, 1);
        const u32 inks_before = s.inks << 1 | (lane ? last & 1 : (u32)open << first);
        const u32 hashes_before = s.hashes << 1 | (lane ? last >> 1 : (u32)hash_before << first);
        const u32 starts = s.inks & ~inks_before, ends = s.spaces & inks_before;
        const Lanes lanes(s, starts, s.hashes & ~hashes_before);
        const u32 events = __ballot_sync(FULL, starts | ends), opened = __ballot_sync(FULL, starts > ends);
        const Word goes_on = after(s, lanes, lanes_below(), s.chars_before, lanes.hashes_before);
        const bool head = is_head && !(events & lanes_below());
        for (u32 left = ends; left; left &= left - 1) {
            const int to = lowest(left);
            const u32 own = starts & ((1u << to) - 1);
            const int from = own ? highest(own) : 0;
            Word ended{
                s.i + from, (u32)__popc(bits(s.leads, from, to)), (u32)__popc(bits(lanes.hashes, from, to)),
                Lanes::has(s, from, to)};
            if (!own)
                ended = {goes_on.start, goes_on.chars + ended.chars, goes_on.hashes + ended.hashes, goes_on.has | ended.has};
            if (!own && head) {
                summary.head = ENDS;
                summary.head_end = s.place + to;
                set_head(summary, ended);
            } else {
                end_word(document, ended, s.i + to, words, counts, tally);
            }
        }
        const Word next = after(s, lanes, FULL, s.chars, lanes.all_hashes);
        const bool hash = __shfl_sync(FULL, s.hashes, 31) >> 15 & 1;
        __syncwarp();
        if (lane == 0) {
            word = next;
            hash_before = hash;
            if (events) {
                open = opened >> highest(events) & 1;
                is_head = false;
            }
        }
        __syncwarp();
    }

    __device__ __forceinline__ static void end_word(
        const Document& document, const Word& word, i64 end, Words& words, Counts& counts, Tally& tally)
    {
        words.take(document, word, end);
        if (word.chars < 32)
            atomicAdd(&tally.lengths[word.chars], 1u);
        else
            document.add_length(word.chars);
        const u32 columns = words.columns;
        counts.add(Counts::WORDS, 1, columns >> C::plain_words & 1, columns >> C::alpha_words & 1);
        counts.add(Counts::SYMBOLS, columns >> C::symbol_words & 1, columns >> C::hash_words & 1, 0);
        tally.add_marks(words.marks);
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

// Runs of dots: those that end in the segment give a third of their length. Bytes outside the segment pass for dots, and
// are taken off again.
struct Dots {
    i32 run;           // dots in a row before the step, the same in all lanes
    bool only = true;  // no other byte so far
    u32 head = 0;      // of this lane: dots at the beginning of the segment

    __device__ __forceinline__ void read(const Step& s, u32* columns)
    {
        const int lane = (int)lane_index();
        const u32 others = s.valid & ~s.dots, dots = others ^ LANE_BITS, mixed = __ballot_sync(FULL, others);
        const u32 before = __shfl_up_sync(FULL, dots >> (LANE_BYTES - 1), 1);
        const u32 after_dots = dots << 1 | (lane ? before : run > 0);
        const i32 trailing = others ? LANE_BYTES - 1 - highest(others) : LANE_BYTES;
        if (only || __any_sync(FULL, dots & after_dots)) {
            const u32 below = mixed & lanes_below();
            const int nearest = below ? highest(below) : 0;
            const i32 there = __shfl_sync(FULL, trailing, nearest);
            const i32 run_before = below ? there + LANE_BYTES * (lane - 1 - nearest) : run + LANE_BYTES * lane;
            for (u32 ends = others & after_dots; ends; ends &= ends - 1) {
                const int at = lowest(ends);
                const u32 own = others & ((1u << at) - 1);
                const u32 length = (u32)(own ? at - 1 - highest(own) : at + run_before);
                if (only && !own && !below)
                    head = length;
                else if (length >= 3)
                    atomicAdd(&columns[C::ellipses], length / 3);
            }
        }
        const int last = mixed ? highest(mixed) : 0;
        const i32 after_last = __shfl_sync(FULL, trailing, last);
        run = mixed ? after_last + LANE_BYTES * (31 - last) : run + BLOCK_BYTES;
        only = only && !mixed;
    }
};

// Lines between separators: the open one at the beginning of a step is kept in shared memory, once for the warp.
struct OpenLine {
    i32 start;  // 0: no separator so far
    u32 chars;
    i32 first, last;  // -1: no character that is not white space so far

    // Of a lane, packed: what comes after its last separator, or all if it has none.
    struct Tail {
        // characters in the step before the line, where it begins in the lane, its first and last ink there
        static constexpr int START_AT = 10, FIRST_AT = 15, LAST_AT = 20;
        u32 separators, inked, packed;  // the first two: lanes, as bits

        __device__ __forceinline__ Tail(const Step& s, const u8* data, u32 own)
        {
            const int last = own ? highest(own) : 0;
            const u32 up_to = own ? (2u << last) - 1 : 0, inks = s.inks & s.leads & ~up_to;
            const u32 start = own ? last + sequence_length(data[s.i + last]) : 0;
            separators = __ballot_sync(FULL, own);
            inked = __ballot_sync(FULL, inks);
            packed = (s.chars_before + __popc(s.leads & up_to)) | start << START_AT |
                (u32)(inks ? lowest(inks) : 0) << FIRST_AT | (u32)(inks ? highest(inks) : 0) << LAST_AT;
        }
    };

    // The line that goes on after `before`, the lanes below one or all of them, which have so many characters.
    __device__ __forceinline__ OpenLine after(const Step& s, const Tail& tail, u32 before, u32 more) const
    {
        const u32 separators = tail.separators & before;
        const int lane = separators ? highest(separators) : 0;
        const u32 inked = separators ? tail.inked & before & ~((1u << lane) - 1) : tail.inked & before;
        const int from = inked ? lowest(inked) : 0, to = inked ? highest(inked) : 0;
        const u32 begin = __shfl_sync(FULL, tail.packed, lane);
        const u32 first_ink = __shfl_sync(FULL, tail.packed, from), last_ink = __shfl_sync(FULL, tail.packed, to);
        OpenLine line{start, chars + more, first, last};
        if (separators)
            line = {s.place_of(lane) + (i32)(begin >> Tail::START_AT & 31), more - (begin & 0x3FF), -1, -1};
        if (!inked) return line;
        if (line.first < 0) line.first = s.place_of(from) + (i32)(first_ink >> Tail::FIRST_AT & 31);
        line.last = s.place_of(to) + (i32)(last_ink >> Tail::LAST_AT & 31);
        return line;
    }

    // Lines that end at a separator of this lane go to take(line, chars), the first one of a segment is its head.
    template <class Take>
    __device__ __forceinline__ void read(const Step& s, const u8* data, u32 separators, OpenEnds& ends, Take take)
    {
        const Tail tail(s, data, separators);
        if (tail.separators) {
            OpenLine line = after(s, tail, lanes_below(), s.chars_before);
            const i64 lo = s.i - s.place;
            int from = 0;
            for (u32 left = separators; left; left &= left - 1) {
                const int to = lowest(left);
                line.extend(s, from, to);
                if (line.start)
                    take(Line{lo + line.start, s.i + to, lo + line.first, lo + line.last}, line.chars);
                else
                    line.set_head(ends, s.place + to);
                line = {s.place + to + sequence_length(data[s.i + to]), 0, -1, -1};
                from = to + 1;
            }
        }
        const OpenLine next = after(s, tail, FULL, s.chars);
        __syncwarp();
        if (lane_index() == 0) *this = next;
        __syncwarp();
    }

    // Adds the bytes from .. below `to` of a lane.
    __device__ __forceinline__ void extend(const Step& s, int from, int to)
    {
        const u32 inks = bits(s.inks & s.leads, from, to);
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

    __device__ __forceinline__ void read(
        const Step& s, const Document& document, const Flags& flags, Counts& counts, Largest& largest, Tally& tally,
        Summary& summary)
    {
        const u8* const data = document.data;
        const i64 lo = s.i - s.place;
        line.read(s, data, s.feeds, summary.lines, [&](const Line& ended, u32 chars) {
            largest.take(chars);
            if (ended.first < lo) return;
            const u32 columns = line_columns(data, ended, chars, flags);
            counts.add(Counts::LINES, 1, columns >> C::terminal_lines & 1, columns >> C::short_lines & 1);
            tally.add_marks(document.marks.of(data, ended, 0));
        });
        piece.read(s, data, s.breaks, summary.pieces, [&](const Line& ended, u32) {
            if (ended.first >= lo) tally.add_marks(document.marks.of(data, ended, SPLITLINES));
        });
        u32 ends = s.breaks;
        for (u32 left = s.feeds; left; left &= left - 1) {  // the line feed of \r\n ends no piece of its own
            const i64 i = s.i + lowest(left);
            if (i > document.start && data[i - 1] == '\r') ends ^= 1u << lowest(left);
        }
        counts.add(Counts::SYMBOLS, 0, 0, __popc(ends));
    }
};

// Whether a document has the header of XML among its first characters, which need not lie in its first segment.
__device__ __forceinline__ bool has_xml_header(const Document& document)
{
    u32 chars = 0;  // before a step
    for (i64 base = document.start; base < document.end && chars < XML_CHARS; base += 32) {
        const i64 i = base + lane_index();
        const u32 leads = __ballot_sync(FULL, i < document.end && is_lead(document.data[i]));
        const bool fits = chars + (u32)__popc(leads & lanes_below()) + 14 <= XML_CHARS;
        if (__any_sync(FULL, fits && starts_with(document.data, i, document.end, "<?xml version="))) return true;
        chars += __popc(leads);
    }
    return false;
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

// What a warp keeps in shared memory, so that its lanes have registers for their own.
struct Warp {
    Document document;
    OpenWord word;
    Lines lines;
    Tally tally;
};

// Adds to out, uint64[n_docs, width], and to lengths, uint32[n_docs, LENGTHS], what begins and ends in a segment; all 0
// before. A warp per segment; size, its bytes, is at most 16384. marks: Marks::packed; long_words: int64[.., 2], n_long of
// them so far; summaries: a Summary per segment.
WARP_KERNEL text_counts_segments(
    const u8* data, const i64* offsets, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const u16* flag_stage, const u16* flag_leaves, const u64* marks, u32* lengths, i64* long_words, u64* n_long,
    i64 width, u64* out, i32* summaries)
{
    __shared__ u16 classes[256];
    __shared__ Warp warps[4];
    load_classes(classes);
    const Segment segment = document_segment(offsets, first, owners, n_segments, size);
    if (!segment.exists) return;
    const Flags flags{flag_stage, flag_leaves};
    const i64 d = segment.owner, lo = segment.lo, hi = segment.hi;
    Warp& warp = warps[threadIdx.x >> 5];
    Summary& summary = *(Summary*)(summaries + segment.index * SUMMARY);
    const bool at_start = lo == segment.start;
    const bool space_before =
        at_start || lo >= segment.end || (flags(decode(data + previous_character(data, lo))) & SPACE) != 0;
    if (lane_index() == 0) {
        summary.head = NO_HEAD;
        summary.lines.head_end = summary.pieces.head_end = -1;
        warp.document = {
            data, d, segment.start, segment.end, Marks{marks}, lengths + d * LENGTHS, long_words, n_long, out + d * width};
        warp.word = {!space_before, !space_before, !at_start && data[lo - 1] == '#', Word{lo, 0, 0, 0}};
        warp.lines = {{0, 0, -1, -1}, {0, 0, -1, -1}};
    }
    warp.tally.clear();

    Counts counts;
    Words words;
    Largest largest;
    u32 spaces_before = 0;  // a bit for each byte of the segment that belongs to white space which begins before it
    for (i64 i = lo; space_before && i < hi && !is_lead(data[i]); ++i) spaces_before = 2 * spaces_before + 1;
    i64 base = lo - (i64)((u64)(data + lo) % LANE_BYTES);
    Dots dots{(i32)(base - lo)};
    for (; base < hi; base += BLOCK_BYTES) {
        const Step step(warp.document, classes, lo, base, hi, flags, counts, warp.tally.columns, spaces_before);
        warp.word.read(step, warp.document, words, counts, warp.tally, summary);
        dots.read(step, warp.tally.columns);
        warp.lines.read(step, warp.document, flags, counts, largest, warp.tally, summary);
    }
    dots.run -= (i32)(base - hi);
    const u32 plain_chars = warp_sum(words.plain_chars), head_dots = warp_sum(dots.head);
    const u32 distinct = warp_or(words.distinct), longest = warp_max(words.longest);
    counts.put(warp.tally.columns);
    write_longest(largest, summary.longest);
    const bool xml_header = at_start && has_xml_header(warp.document);
    if (lane_index() == 0) {
        warp.tally.columns[C::plain_word_chars] = plain_chars;
        warp.tally.columns[C::xml_header] = xml_header;
    }
    __syncwarp();
    warp.tally.add_to(warp.document.row, warp.document.lengths);
    if (lane_index()) return;
    atomicMax(&warp.document.row[C::longest_word], (u64)longest);
    warp.word.finish(lo, summary);
    warp.lines.line.finish(summary.lines);
    warp.lines.piece.finish(summary.pieces);
    summary.distinct = distinct;
    summary.dots_only = dots.only;
    summary.head_dots = dots.only ? (u32)dots.run : head_dots;
    summary.tail_dots = dots.only ? 0 : (u32)dots.run;
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
        document.add_length(word.chars);
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
