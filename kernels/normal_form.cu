// The words of RedPajama-Data v2's normal form. Definition: gpu_pile/text/normal_form.py
//
// Two passes, a lane a byte: sizes of each segment, then text and words where their sums say. What a character becomes
// depends on its word in three ways, each looked up next to it: whether it is the first that is not removed, whether a
// capital sigma is the last cased letter, and which combining marks it stands among, which go in the order of their
// classes. The first of some marks in a row writes them all.
//
// Work: about 70 instructions a step of 32 bytes and warp in each pass, 200 beyond ASCII. Floor on an H200: about
// 200 GB/s of text.
#include "common.cuh"

constexpr u32 CAPITAL_SIGMA = 0x3A3, FINAL_SIGMA = 0x3C2, HANGUL = 0xAC00, HANGUL_END = 0xD7A4;

// string.punctuation
__device__ __forceinline__ bool is_removed(u32 c)
{
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
}

struct Tables {
    Flags flags;
    Lower lower;
    const u16* stage;
    const i32 *leaves, *parts;
    const u16* class_stage;
    const u8* class_leaves;

    __device__ __forceinline__ u32 combining(u32 c) const
    {
        return c < 0x300 ? 0 : class_leaves[(u32)class_stage[c >> 7] * 128 + (c & 127)];
    }
};

// The code points that a character in lower case is decomposed into.
struct Parts {
    u32 low;
    int n;
    i32 at;  // in the table, 0 if they are not there
    bool dotted;
    const i32* parts;

    __device__ __forceinline__ Parts(u32 c, u32 low, const Tables& tables)
        : low(low), n(1), at(0), dotted(c == DOTTED_CAPITAL_I), parts(tables.parts)
    {
        if (low >= HANGUL && low < HANGUL_END) {
            n = (low - HANGUL) % 28 ? 3 : 2;
        } else if (low >= 0xC0) {
            at = tables.leaves[(u32)tables.stage[low >> 7] * 128 + (low & 127)];
            if (at) n = parts[at];
        }
        n += dotted;
    }

    __device__ __forceinline__ u32 operator[](int k) const
    {
        if (dotted && k == n - 1) return 0x307;
        if (at) return (u32)parts[at + 1 + k];
        if (low < HANGUL || low >= HANGUL_END) return low;
        const u32 s = low - HANGUL;
        return k == 0 ? 0x1100 + s / 588 : k == 1 ? 0x1161 + s % 588 / 28 : 0x11A7 + s % 28;
    }
};

// The text of a document, data[start .. end).
struct Text {
    const u8* data;
    i64 start, end;
    const Tables& tables;

    // Where the character before i begins that is of the same word and not removed, or -1.
    __device__ __forceinline__ i64 before(i64 i) const
    {
        while (i > start) {
            i = character_start(data, i - 1);
            const u32 c = decode(data + i);
            if (tables.flags(c) & SPACE) return -1;
            if (!is_removed(c)) return i;
        }
        return -1;
    }

    // The same behind the character at i.
    __device__ __forceinline__ i64 behind(i64 i) const
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
        for (i64 j = behind(i); j >= 0 && (f & IGNORABLE); j = behind(j)) f = tables.flags(decode(data + j));
        return (f & IGNORABLE) || !(f & CASED);
    }

    // The code points of the character c at i; small sigmas are all alike.
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

    // visit(mark, class) for the marks in a row that begin with part k of the character at i.
    template <class Visit>
    __device__ __forceinline__ void marks(i64 i, int k, Visit visit) const
    {
        for (; i >= 0; i = behind(i), k = 0) {
            const Parts own = parts(decode(data + i));
            for (; k < own.n; ++k) {
                const u32 mark = own[k], of = tables.combining(mark);
                if (!of) return;
                visit(mark, of);
            }
        }
    }
};

// bytes[s], chars[s], numerics[s], words[s]: of what the characters of segment s become, and of words whose first
// character that is not removed lies in it.
WARP_KERNEL count_normal(
    const u8* data, const i64* offsets, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const u16* flag_stage, const u16* flag_leaves, const u16* lower_stage, const i32* lower_leaves, const u16* stage,
    const i32* leaves, const i32* parts, const u16* class_stage, const u8* class_leaves, i64* bytes, i64* chars,
    i64* numerics, i64* words)
{
    const i64 s = warp_index();
    if (s >= n_segments) return;
    const Tables tables{
        {flag_stage, flag_leaves}, {lower_stage, lower_leaves}, stage, leaves, parts, class_stage, class_leaves};
    const Segment segment(s, first, owners, size);
    const Text text{data, offsets[segment.owner], offsets[segment.owner + 1], tables};
    u32 n_bytes = 0, n_chars = 0, n_numerics = 0, n_words = 0;
    for (i64 i = text.start + segment.lo + lane_index(); i < smaller(text.end, text.start + segment.hi); i += 32) {
        if (!is_lead(data[i])) continue;
        const u32 c = decode(data + i);
        if (is_removed(c) || (tables.flags(c) & SPACE)) continue;
        const Parts own = text.parts(c);
        for (int k = 0; k < own.n; ++k) {
            n_bytes += encoded_length(own[k]);
            n_numerics += (tables.flags(own[k]) & NUMERIC) != 0;
        }
        n_chars += own.n;
        n_words += text.before(i) < 0;
    }
    n_bytes = warp_sum(n_bytes);
    n_chars = warp_sum(n_chars);
    n_numerics = warp_sum(n_numerics);
    n_words = warp_sum(n_words);
    if (lane_index()) return;
    bytes[s] = n_bytes;
    chars[s] = n_chars;
    numerics[s] = n_numerics;
    words[s] = n_words;
}

// *_before: the sums over the segments before s, of all documents. out: the words back to back. Of each word: the
// bytes, code points and numeric ones before it in out, where it begins in the text, its document.
WARP_KERNEL write_normal(
    const u8* data, const i64* offsets, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const u16* flag_stage, const u16* flag_leaves, const u16* lower_stage, const i32* lower_leaves, const u16* stage,
    const i32* leaves, const i32* parts, const u16* class_stage, const u8* class_leaves, const i64* bytes_before,
    const i64* chars_before, const i64* numerics_before, const i64* words_before, u8* out, i64* word_bytes,
    i64* word_chars, i64* word_numerics, i64* places, i64* word_owners)
{
    const i64 s = warp_index();
    if (s >= n_segments) return;
    const Tables tables{
        {flag_stage, flag_leaves}, {lower_stage, lower_leaves}, stage, leaves, parts, class_stage, class_leaves};
    const Segment segment(s, first, owners, size);
    const Text text{data, offsets[segment.owner], offsets[segment.owner + 1], tables};
    const i64 hi = smaller(text.end, text.start + segment.hi);
    i64 n_bytes = bytes_before[s], n_chars = chars_before[s], n_numerics = numerics_before[s];
    i64 n_words = words_before[s];
    for (i64 base = text.start + segment.lo; base < hi; base += 32) {
        const i64 i = base + lane_index();
        const bool lead = i < hi && is_lead(data[i]);
        const u32 c = lead ? decode(data + i) : ' ';
        const bool mine = lead && !is_removed(c) && !(tables.flags(c) & SPACE);
        const Parts own = text.parts(c);
        u32 sizes = 0;  // bytes, code points, numeric ones: ten bits each
        if (mine)
            for (int k = 0; k < own.n; ++k)
                sizes += encoded_length(own[k]) | 1u << 10 | (u32)((tables.flags(own[k]) & NUMERIC) != 0) << 20;
        u32 sums = sizes;  // of the lanes up to this one
        for (int d = 1; d < 32; d <<= 1) {
            const u32 below = __shfl_up_sync(FULL, sums, d);
            if ((int)lane_index() >= d) sums += below;
        }
        const u32 before = sums - sizes;
        const bool begins = mine && text.before(i) < 0;
        const u32 all = __ballot_sync(FULL, begins);
        u8* target = out + n_bytes + (before & 1023);
        const auto put = [&](u32 byte) { *target++ = (u8)byte; };
        if (begins) {
            const i64 word = n_words + __popc(all & lanes_below());
            word_bytes[word] = n_bytes + (before & 1023);
            word_chars[word] = n_chars + (before >> 10 & 1023);
            word_numerics[word] = n_numerics + (before >> 20);
            places[word] = i;
            word_owners[word] = segment.owner;
        }
        if (mine) {
            for (int k = 0; k < own.n; ++k) {
                const u32 x = c == CAPITAL_SIGMA && text.is_final(i) ? FINAL_SIGMA : own[k];
                u8* const next = target + encoded_length(x);
                if (!tables.combining(x)) {
                    encode(x, put);
                } else if (!text.follows_mark(i, own, k)) {
                    for (u32 done = 0;;) {  // classes up to this one are written
                        u32 least = 256;
                        text.marks(i, k, [&](u32, u32 of) {
                            if (of > done && of < least) least = of;
                        });
                        if (least == 256) break;
                        text.marks(i, k, [&](u32 mark, u32 of) {
                            if (of == least) encode(mark, put);
                        });
                        done = least;
                    }
                }
                target = next;
            }
        }
        const u32 total = __shfl_sync(FULL, sums, 31);
        n_bytes += total & 1023;
        n_chars += total >> 10 & 1023;
        n_numerics += total >> 20;
        n_words += __popc(all);
    }
}
