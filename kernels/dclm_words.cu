// dclm_words: pieces between the word boundaries of UAX #29. Contract and reference: gpu_pile/ops/dclm_words.py
//
// Whether there is a boundary before a character follows from its class, from those of two characters before it and one
// after it, marks and format characters left out: each lane looks for the marks on its own. Pieces are found in two passes
// (count, then write); what they repeat is counted by the kernels of word_repetition and redpajama_words.
//
// Work: about 90 instructions a step of 32 bytes and warp.
#include "compact.cuh"

// Classes of word boundaries and other bits of gpu_pile.text.unicode.
enum : u32 {
    NEWLINE = 1, IGNORED, ZWJ, KATAKANA, SINGLE, DOUBLE, MID_NUM_LET, MID_LETTER, MID_NUM,
    LETTER = 12, HEBREW, NUMBER, EXTEND, PICTOGRAPHIC = 16, LETTER_OR_DIGIT = 32
};

struct Breaks {
    const u16* stage;
    const u8* leaves;
    const u8* data;
    i64 start, end;

    __device__ __forceinline__ u32 value(i64 i) const
    {
        const u32 c = decode(data + i);
        return leaves[(u32)stage[c >> 7] * 128 + (c & 127)];
    }

    // The class of the nearest character before data[i] that is not looked past, and i becomes where it begins; 0 if
    // there is none.
    __device__ __forceinline__ u32 before(i64& i) const
    {
        while (i > start) {
            i = character_start(data, i - 1);
            const u32 kind = value(i) & 15;
            if (kind != IGNORED && kind != ZWJ) return kind;
        }
        return 0;
    }

    // The same after the character at data[i].
    __device__ __forceinline__ u32 after(i64 i) const
    {
        for (;;) {
            i += sequence_length(data[i]);
            if (i >= end) return 0;
            const u32 kind = value(i) & 15;
            if (kind != IGNORED && kind != ZWJ) return kind;
        }
    }

    static __device__ __forceinline__ bool is_letter(u32 kind) { return kind == LETTER || kind == HEBREW; }

    // Whether a piece begins at the character at data[i], of this value.
    __device__ __forceinline__ bool piece_begins(i64 i, u32 value_here) const
    {
        if (i == start) return true;
        const u32 kind = value_here & 15;
        i64 j = character_start(data, i - 1);
        const u32 last = value(j) & 15;
        if (last == NEWLINE || kind == NEWLINE) return true;
        if (kind == IGNORED || kind == ZWJ || (last == ZWJ && (value_here & PICTOGRAPHIC))) return false;
        j = i;
        const u32 one = before(j);
        if (kind >= LETTER) {
            if (one >= LETTER) return false;
            if (kind == EXTEND) return one != KATAKANA;
            if (one < SINGLE || one > MID_NUM) return true;
            const u32 two = before(j);
            if (kind == NUMBER) return two != NUMBER || one == DOUBLE || one == MID_LETTER;
            if (one == DOUBLE) return two != HEBREW || kind != HEBREW;
            return !is_letter(two) || one == MID_NUM;
        }
        if (kind == KATAKANA) return one != KATAKANA && one != EXTEND;
        if (kind < SINGLE || kind > MID_NUM) return true;
        if (kind == SINGLE && one == HEBREW) return false;
        if (kind == DOUBLE) return one != HEBREW || after(i) != HEBREW;
        if (is_letter(one)) return kind == MID_NUM || !is_letter(after(i));
        return one != NUMBER || kind == MID_LETTER || after(i) != NUMBER;
    }
};

// counts[s]: pieces that begin in segment s.
WARP_KERNEL count_pieces(
    const u8* data, const i64* offsets, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const u16* stage, const u8* leaves, i64* counts)
{
    const Segment segment = document_segment(offsets, first, owners, n_segments, size);
    if (!segment.exists) return;
    const Breaks breaks{stage, leaves, data, segment.start, segment.end};
    const u32 n = count_where(
        segment, [&](i64 i) { return is_lead(data[i]) && breaks.piece_begins(i, breaks.value(i)); });
    if (lane_index() == 0) counts[segment.index] = n;
}

// Pieces before[s] ... begin in segment s: where, in which document, and whether they are words.
WARP_KERNEL find_pieces(
    const u8* data, const i64* offsets, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const u16* stage, const u8* leaves, const i64* before, i64* starts, i64* piece_owners, u8* is_word)
{
    const Segment segment = document_segment(offsets, first, owners, n_segments, size);
    if (!segment.exists) return;
    const Breaks breaks{stage, leaves, data, segment.start, segment.end};
    write_where(
        segment, before[segment.index],
        [&](i64 i) { return is_lead(data[i]) && breaks.piece_begins(i, breaks.value(i)); },
        [&](i64 i, i64 piece) {
            starts[piece] = i;
            piece_owners[piece] = segment.owner;
            is_word[piece] = (breaks.value(i) & LETTER_OR_DIGIT) != 0;
        });
}
