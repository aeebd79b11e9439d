// The words of RedPajama-Data v2's normal form. Definition: gpu_pile/text/normal_form.py
//
// Two passes, a warp per segment and a lane per byte: the sizes of what each segment becomes, then text and words where
// the sums say. What a character becomes depends on its word in three ways, each looked up in the characters around it:
// whether it is the first that is not removed, whether a capital sigma is the last cased letter, and which combining marks
// it stands among, as these are written in the order of their classes. The first of several marks in a row writes them all.
//
// Work: about 70 instructions per step of 32 bytes and warp in each pass, 200 beyond ASCII. Floor on an H200: about
// 200 GB/s of text.
#include "common.cuh"

constexpr u32 CAPITAL_SIGMA = 0x3A3, FINAL_SIGMA = 0x3C2, FIRST_MARK = 0x300, FIRST_COMPOSED = 0xC0;

// Syllables of Hangul are numbered by their parts: a leading consonant, one of 21 vowels, one of 28 trailing consonants of
// which the first stands for no consonant.
constexpr u32 HANGUL = 0xAC00, HANGUL_END = 0xD7A4, LEADING = 0x1100, VOWEL = 0x1161, TRAILING = 0x11A7;
constexpr u32 N_TRAILING = 28, N_VOWELS_TRAILING = 21 * N_TRAILING;

// string.punctuation
__device__ __forceinline__ bool is_removed(u32 c)
{
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
}

// The tables of gpu_pile.text.normal_form.UNICODE_TABLES: classes, lower case, canonical decompositions (leaves lead into
// parts, where the number of code points comes before them), combining classes.
struct Tables {
    Flags flags;
    Lower lower;
    const u16* stage;
    const i32 *leaves, *parts;
    const u16* class_stage;
    const u8* class_leaves;

    __device__ __forceinline__ u32 combining(u32 c) const
    {
        return c < FIRST_MARK ? 0 : class_leaves[(u32)class_stage[c >> 7] * 128 + (c & 127)];
    }
};

// The code points that the lower case of a character is decomposed into.
struct Parts {
    u32 low;
    int n;
    i32 at;  // their position in the table, 0 if they are not there
    bool dotted;
    const i32* parts;

    __device__ __forceinline__ Parts(u32 c, u32 low, const Tables& tables)
        : low(low), n(1), at(0), dotted(c == DOTTED_CAPITAL_I), parts(tables.parts)
    {
        if (low >= HANGUL && low < HANGUL_END) {
            n = (low - HANGUL) % N_TRAILING ? 3 : 2;
        } else if (low >= FIRST_COMPOSED) {
            at = tables.leaves[(u32)tables.stage[low >> 7] * 128 + (low & 127)];
            if (at) n = parts[at];
        }
        n += dotted;
    }

    __device__ __forceinline__ u32 operator[](int k) const
    {
        if (dotted && k == n - 1) return DOT_ABOVE;
        if (at) return (u32)parts[at + 1 + k];
        if (low < HANGUL || low >= HANGUL_END) return low;
        const u32 s = low - HANGUL;
        if (k == 0) return LEADING + s / N_VOWELS_TRAILING;
        return k == 1 ? VOWEL + s % N_VOWELS_TRAILING / N_TRAILING : TRAILING + s % N_TRAILING;
    }
};

// Sizes of what some characters become, ten bits each: 32 characters have at most 32 * 4 code points of 4 bytes.
struct Sizes {
    static constexpr u32 BITS = 10, MASK = (1 << BITS) - 1;
    u32 packed = 0;

    __device__ __forceinline__ void add(u32 bytes, bool numeric)
    {
        packed += bytes | 1u << BITS | (u32)numeric << 2 * BITS;
    }
    __device__ __forceinline__ u32 bytes() const { return packed & MASK; }
    __device__ __forceinline__ u32 chars() const { return packed >> BITS & MASK; }
    __device__ __forceinline__ u32 numerics() const { return packed >> 2 * BITS; }
};

// The text of a document, data[start .. end).
struct Text {
    const u8* data;
    i64 start, end;
    const Tables& tables;

    // Where the last character before i begins that is of the same word and not removed, or -1.
    __device__ __forceinline__ i64 before(i64 i) const
    {
        while (i > start) {
            i = previous_character(data, i);
            const u32 c = decode(data + i);
            if (tables.flags(c) & SPACE) return -1;
            if (!is_removed(c)) return i;
        }
        return -1;
    }

    // The same for the first one after the character at i.
    __device__ __forceinline__ i64 after(i64 i) const
    {
        for (i += sequence_length(data[i]); i < end; i += sequence_length(data[i])) {
            const u32 c = decode(data + i);
            if (tables.flags(c) & SPACE) return -1;
            if (!is_removed(c)) return i;
        }
        return -1;
    }

    // Whether the capital sigma at i ends its word.
    __device__ __forceinline__ bool is_final(i64 i) const
    {
        u32 f = IGNORABLE;
        for (i64 j = before(i); j >= 0 && (f & IGNORABLE); j = before(j)) f = tables.flags(decode(data + j));
        if ((f & IGNORABLE) || !(f & CASED)) return false;
        f = IGNORABLE;
        for (i64 j = after(i); j >= 0 && (f & IGNORABLE); j = after(j)) f = tables.flags(decode(data + j));
        return (f & IGNORABLE) || !(f & CASED);
    }

    // The code points of a character c; whether a sigma is a final one is not considered.
    __device__ __forceinline__ Parts parts(u32 c) const { return Parts(c, tables.lower(c), tables); }

    // Whether part k of the character at i follows a mark.
    __device__ __forceinline__ bool follows_mark(i64 i, const Parts& own, int k) const
    {
        if (k) return tables.combining(own[k - 1]);
        const i64 j = before(i);
        if (j < 0) return false;
        const Parts other = parts(decode(data + j));
        return tables.combining(other[other.n - 1]);
    }

    // Calls visit(mark, class) for the marks in a row that begin with part k of the character at i.
    template <class Visit>
    __device__ __forceinline__ void marks(i64 i, int k, Visit visit) const
    {
        for (; i >= 0; i = after(i), k = 0) {
            const Parts own = parts(decode(data + i));
            for (; k < own.n; ++k) {
                const u32 mark = own[k], mark_class = tables.combining(mark);
                if (!mark_class) return;
                visit(mark, mark_class);
            }
        }
    }

    __device__ __forceinline__ Sizes sizes(const Parts& own) const
    {
        Sizes sizes;
        for (int k = 0; k < own.n; ++k) sizes.add(encoded_length(own[k]), (tables.flags(own[k]) & NUMERIC) != 0);
        return sizes;
    }

    // Writes what the character c at i, of the code points `own`, becomes. The first of several marks in a row writes all
    // of them, in the order of their classes, equal ones as they come.
    __device__ __forceinline__ void write(i64 i, u32 c, const Parts& own, u8* target) const
    {
        const auto put = [&](u32 byte) { *target++ = (u8)byte; };
        for (int k = 0; k < own.n; ++k) {
            const u32 x = c == CAPITAL_SIGMA && is_final(i) ? FINAL_SIGMA : own[k];
            u8* const next = target + encoded_length(x);
            if (!tables.combining(x)) {
                encode(x, put);
            } else if (!follows_mark(i, own, k)) {
                for (u32 written = 0;;) {  // classes up to this one are written
                    u32 least = 256;
                    marks(i, k, [&](u32, u32 mark_class) {
                        if (mark_class > written && mark_class < least) least = mark_class;
                    });
                    if (least == 256) break;
                    marks(i, k, [&](u32 mark, u32 mark_class) {
                        if (mark_class == least) encode(mark, put);
                    });
                    written = least;
                }
            }
            target = next;
        }
    }
};

// bytes[s], chars[s], numerics[s]: bytes, code points and numeric ones that the characters of segment s become; words[s]:
// words whose first character that is not removed lies in it. A warp per segment.
WARP_KERNEL count_normal(
    const u8* data, const i64* offsets, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const u16* flag_stage, const u16* flag_leaves, const u16* lower_stage, const i32* lower_leaves, const u16* stage,
    const i32* leaves, const i32* parts, const u16* class_stage, const u8* class_leaves, i64* bytes, i64* chars,
    i64* numerics, i64* words)
{
    const Segment segment = document_segment(offsets, first, owners, n_segments, size);
    if (!segment.exists) return;
    const Tables tables{
        {flag_stage, flag_leaves}, {lower_stage, lower_leaves}, stage, leaves, parts, class_stage, class_leaves};
    const Text text{data, segment.start, segment.end, tables};
    u32 n_bytes = 0, n_chars = 0, n_numerics = 0, n_words = 0;
    for_each(segment, [&](i64 i) {
        if (!is_lead(data[i])) return;
        const u32 c = decode(data + i);
        if (is_removed(c) || (tables.flags(c) & SPACE)) return;
        const Parts own = text.parts(c);
        for (int k = 0; k < own.n; ++k) {
            n_bytes += encoded_length(own[k]);
            n_numerics += (tables.flags(own[k]) & NUMERIC) != 0;
        }
        n_chars += own.n;
        n_words += text.before(i) < 0;
    });
    n_bytes = warp_sum(n_bytes);
    n_chars = warp_sum(n_chars);
    n_numerics = warp_sum(n_numerics);
    n_words = warp_sum(n_words);
    if (lane_index()) return;
    bytes[segment.index] = n_bytes;
    chars[segment.index] = n_chars;
    numerics[segment.index] = n_numerics;
    words[segment.index] = n_words;
}

// *_before[s]: the sums of count_normal over earlier segments. out: the words back to back. Of each word: the bytes, code
// points and numeric ones before it in out, where it begins in the text, its document. A warp per segment.
WARP_KERNEL write_normal(
    const u8* data, const i64* offsets, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const u16* flag_stage, const u16* flag_leaves, const u16* lower_stage, const i32* lower_leaves, const u16* stage,
    const i32* leaves, const i32* parts, const u16* class_stage, const u8* class_leaves, const i64* bytes_before,
    const i64* chars_before, const i64* numerics_before, const i64* words_before, u8* out, i64* word_bytes,
    i64* word_chars, i64* word_numerics, i64* places, i64* word_owners)
{
    const Segment segment = document_segment(offsets, first, owners, n_segments, size);
    if (!segment.exists) return;
    const Tables tables{
        {flag_stage, flag_leaves}, {lower_stage, lower_leaves}, stage, leaves, parts, class_stage, class_leaves};
    const Text text{data, segment.start, segment.end, tables};
    i64 n_bytes = bytes_before[segment.index], n_chars = chars_before[segment.index];
    i64 n_numerics = numerics_before[segment.index], n_words = words_before[segment.index];
    for (i64 base = segment.lo; base < segment.hi; base += 32) {
        const i64 i = base + lane_index();
        const bool lead = i < segment.hi && is_lead(data[i]);
        const u32 c = lead ? decode(data + i) : ' ';
        const bool kept = lead && !is_removed(c) && !(tables.flags(c) & SPACE);
        const Parts own = text.parts(c);
        Sizes sizes;
        if (kept) sizes = text.sizes(own);
        const Sizes sums{warp_prefix_sum(sizes.packed)}, before{sums.packed - sizes.packed};
        const bool begins = kept && text.before(i) < 0;
        const u32 all = __ballot_sync(FULL, begins);
        if (begins) {
            const i64 word = n_words + __popc(all & lanes_below());
            word_bytes[word] = n_bytes + before.bytes();
            word_chars[word] = n_chars + before.chars();
            word_numerics[word] = n_numerics + before.numerics();
            places[word] = i;
            word_owners[word] = segment.owner;
        }
        if (kept) text.write(i, c, own, out + n_bytes + before.bytes());
        const Sizes total{__shfl_sync(FULL, sums.packed, 31)};
        n_bytes += total.bytes();
        n_chars += total.chars();
        n_numerics += total.numerics();
        n_words += __popc(all);
    }
}
