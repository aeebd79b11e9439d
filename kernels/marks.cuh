// Marks at the ends of lines and listed words, as gpu_pile/text/marks.py compiles them to tables. Column k of a table is
// bit k of a mask.
#pragma once
#include "common.cuh"

// A line data[start .. end); its first and last characters that are not white space begin at first and last.
struct Line {
    i64 start, end, first, last;
};

// The kind of a mark: bits of its key above the code point, and what else a mark is.
constexpr int AT_END = 1, SPLITLINES = 2, KIND_SHIFT = 24;
constexpr u64 RAW = 1, ANY_CASE = 2;

// The tables as `packed` in gpu_pile/text/marks.py puts them: numbers, and where in the buffer the arrays begin.
struct Marks {
    enum {
        KEYS, FACTOR, SHIFT, BOUNDS, BYTES, OFFSETS, COLUMNS, FLAGS,
        WORD_KEYS, WORD_FACTOR, WORD_SHIFT, WORD_SLOTS, WORD_COLUMNS, DISTINCT, DISTINCT_ROWS, N_ROWS
    };
    const u64* packed;

    __device__ __forceinline__ const u64* array(int name) const { return packed + packed[name]; }

    // Whether mark k is at data[i].
    __device__ __forceinline__ bool is_at(const u8* data, i64 i, u64 k) const
    {
        const u64 start = array(OFFSETS)[k], n = array(OFFSETS)[k + 1] - start;
        const bool fold = array(FLAGS)[k] & ANY_CASE;
        for (u64 j = 0; j < n; ++j) {
            const u32 b = data[i + (i64)j];
            if ((fold ? ascii_lower(b) : b) != (u32)array(BYTES)[start + j]) return false;
        }
        return true;
    }

    // The columns of the marks at one end of a line. kind: AT_END or not, SPLITLINES or not.
    __device__ __forceinline__ u64 at(const u8* data, const Line& line, int kind) const
    {
        const i64 p = kind & AT_END ? line.last : line.first;
        const u64 key = decode(data + p) | (u64)kind << KIND_SHIFT, slot = key * packed[FACTOR] >> packed[SHIFT];
        u64 columns = 0;
        if (array(KEYS)[slot] != key) return columns;
        for (u64 k = array(BOUNDS)[slot]; k < array(BOUNDS)[slot + 1]; ++k) {
            const i64 n = (i64)(array(OFFSETS)[k + 1] - array(OFFSETS)[k]);
            const i64 i = kind & AT_END ? p + sequence_length(data[p]) - n : p;
            if (i < line.start || i + n > line.end) continue;
            if ((array(FLAGS)[k] & RAW) && (kind & AT_END ? i + n != line.end : i != line.start)) continue;
            if (is_at(data, i, k)) columns |= array(COLUMNS)[k];
        }
        return columns;
    }

    // The columns of the marks at both ends of a line. kind: SPLITLINES or 0.
    __device__ __forceinline__ u64 of(const u8* data, const Line& line, int kind) const
    {
        u64 columns = 0;
#pragma unroll 1
        for (int end = 0; end <= AT_END; ++end) columns |= at(data, line, kind | end);
        return columns;
    }

    // The columns of a word if it is listed, and into `distinct` the bits of rows that count different words.
    // key: its bytes as a number, small: with small letters.
    __device__ __forceinline__ u64 of_word(u64 key, u64 small, u32& distinct) const
    {
        const u64 slot = small * packed[WORD_FACTOR] >> packed[WORD_SHIFT], n = packed[WORD_SLOTS];
        if (array(WORD_KEYS)[slot] != small) return 0;
        distinct |= (u32)array(DISTINCT)[n + slot];
        u64 columns = array(WORD_COLUMNS)[n + slot];
        if (key == small) {
            distinct |= (u32)array(DISTINCT)[slot];
            columns |= array(WORD_COLUMNS)[slot];
        }
        return columns;
    }
};
