// UTF-8, the two-stage tables of gpu_pile.text.unicode, and comparisons of text.
#pragma once
#include "warps.cuh"

// Class bits, as gpu_pile.text.unicode defines them.
constexpr u32 ALPHA = 1 << 0, NUMERIC = 1 << 1, WORD = 1 << 2, SPACE = 1 << 3, LINE_BREAK = 1 << 4;
constexpr u32 UPPER = 1 << 5, PUNCTUATION = 1 << 6, TERMINAL = 1 << 7, CASED = 1 << 8, IGNORABLE = 1 << 9;
constexpr u32 DECIMAL = 1 << 10, UTS18_WORD = 1 << 11, DIGIT = 1 << 12, MARK = 1 << 13, UNSPACED = 1 << 14;

// Code points that are other letters in another case.
constexpr u32 DOTTED_CAPITAL_I = 0x130, DOTLESS_I = 0x131, LONG_S = 0x17F, KELVIN_SIGN = 0x212A;
constexpr u32 DOT_ABOVE = 0x307;  // a mark: the lower case of DOTTED_CAPITAL_I is "i" and it

__device__ __forceinline__ bool is_lead(u32 byte) { return (byte & 0xC0) != 0x80; }

// Bytes of the valid sequence that begins with this byte.
__device__ __forceinline__ int sequence_length(u32 lead)
{
    return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

// A byte, with the capitals A to Z as small letters.
__device__ __forceinline__ u32 ascii_lower(u32 b) { return b >= 'A' && b <= 'Z' ? b | 0x20 : b; }

// The code point whose valid UTF-8 begins at p.
__device__ __forceinline__ u32 decode(const u8* p)
{
    const u32 b = p[0];
    if (b < 0x80) return b;
    if (b < 0xE0) return (b & 0x1F) << 6 | (p[1] & 0x3F);
    if (b < 0xF0) return (b & 0x0F) << 12 | (p[1] & 0x3F) << 6 | (p[2] & 0x3F);
    return (b & 0x07) << 18 | (p[1] & 0x3F) << 12 | (p[2] & 0x3F) << 6 | (p[3] & 0x3F);
}

// Where the character begins that holds data[i].
__device__ __forceinline__ i64 character_start(const u8* data, i64 i)
{
    while (!is_lead(data[i])) --i;
    return i;
}

// Where the character begins that ends before data[i].
__device__ __forceinline__ i64 previous_character(const u8* data, i64 i) { return character_start(data, i - 1); }

// Class bits of a code point.
struct Flags {
    const u16 *stage, *leaves;
    __device__ __forceinline__ u32 operator()(u32 c) const { return leaves[(u32)stage[c >> 7] * 128 + (c & 127)]; }
};

// A code point's lower case.
struct Lower {
    const u16* stage;
    const i32* leaves;
    __device__ __forceinline__ u32 operator()(u32 c) const
    {
        return c + (u32)leaves[(u32)stage[c >> 7] * 128 + (c & 127)];
    }
};

// UTF-8 of a code point, byte by byte: put(byte) in order.
template <class Put>
__device__ __forceinline__ void encode(u32 c, Put put)
{
    if (c < 0x80) {
        put(c);
    } else if (c < 0x800) {
        put(0xC0 | c >> 6);
        put(0x80 | (c & 0x3F));
    } else if (c < 0x10000) {
        put(0xE0 | c >> 12);
        put(0x80 | ((c >> 6) & 0x3F));
        put(0x80 | (c & 0x3F));
    } else {
        put(0xF0 | c >> 18);
        put(0x80 | ((c >> 12) & 0x3F));
        put(0x80 | ((c >> 6) & 0x3F));
        put(0x80 | (c & 0x3F));
    }
}

__device__ __forceinline__ int encoded_length(u32 c) { return c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4; }

// Whether data[i .. end) begins with a pattern.
template <int N>
__device__ __forceinline__ bool starts_with(const u8* data, i64 i, i64 end, const char (&pattern)[N])
{
    if (i + N - 1 > end) return false;
    for (int k = 0; k < N - 1; ++k)
        if (data[i + k] != (u8)pattern[k]) return false;
    return true;
}

// Whether data[i .. end) begins with text[k .. stop), which is in lower case, in either case; U+212A is a k.
__device__ __forceinline__ bool begins_with(const u8* data, i64 i, i64 end, const u8* text, i64 k, i64 stop)
{
    for (; k < stop; ++k) {
        if (i >= end) return false;
        u32 b = data[i];
        if (b >= 'A' && b <= 'Z') b |= 0x20;
        if (text[k] == 'k' && starts_with(data, i, end, "\xE2\x84\xAA")) {
            i += 3;
            continue;
        }
        if (b != text[k]) return false;
        ++i;
    }
    return true;
}
