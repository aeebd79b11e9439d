// What the kernels share: types, warps and segments, mixing, UTF-8, Unicode classes. Integers only.
//
// Every kernel follows one scheme. A document is cut into segments of a fixed number of items, a warp takes one
// segment, so a book of 50 MB and ten thousand chat lines load the device alike. What the segments of a document give
// is merged by an operation that has no order (integer sum, minimum), or by a second kernel over the few summaries.
//
// Only what every architecture from sm_75 on has is used; tests execute these sources on the CPU.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int i32;
typedef long long i64;

#define WARP_KERNEL extern "C" __global__ void __launch_bounds__(128, 4)

constexpr u32 FULL = 0xffffffffu;

__device__ __forceinline__ u32 lane_index() { return threadIdx.x & 31; }

// Bits of the lanes below this one.
__device__ __forceinline__ u32 lanes_below() { return (1u << lane_index()) - 1; }

__device__ __forceinline__ i64 warp_index() { return ((i64)blockIdx.x * blockDim.x + threadIdx.x) >> 5; }

__device__ __forceinline__ i64 thread_index() { return (i64)blockIdx.x * blockDim.x + threadIdx.x; }

// The highest and the lowest bit that is set; x is not 0.
__device__ __forceinline__ int highest(u32 x) { return 31 - __clz((int)x); }
__device__ __forceinline__ int lowest(u32 x) { return __ffs((int)x) - 1; }

__device__ __forceinline__ i64 smaller(i64 a, i64 b) { return a < b ? a : b; }

template <class T>
__device__ __forceinline__ T warp_sum(T value)
{
    for (int d = 16; d; d >>= 1)
        value += __shfl_xor_sync(FULL, value, d);
    return value;
}

__device__ __forceinline__ u32 warp_max(u32 value)
{
    for (int d = 16; d; d >>= 1) {
        const u32 other = __shfl_xor_sync(FULL, value, d);
        value = value > other ? value : other;
    }
    return value;
}

__device__ __forceinline__ u32 warp_or(u32 value)
{
    for (int d = 16; d; d >>= 1)
        value |= __shfl_xor_sync(FULL, value, d);
    return value;
}

// gpu_pile.text.hashing.mix64
__device__ __forceinline__ u64 mix64(u64 x)
{
    x ^= x >> 32;
    x *= 0xD6E8FEB86659FD93ull;
    x ^= x >> 32;
    x *= 0xD6E8FEB86659FD93ull;
    return x ^ (x >> 32);
}

// The segment of this warp (gpu_pile.gpu.segments.Segments): items lo .. hi of document `owner`.
struct Segment {
    i64 owner, lo, hi;
    bool only;  // the document has no other segment

    __device__ __forceinline__ Segment(i64 s, const i64* first, const i64* owners, i64 size)
    {
        owner = owners[s];
        lo = (s - first[owner]) * size;
        hi = lo + size;
        only = first[owner + 1] - first[owner] == 1;
    }
};

// Whether data[i .. end) begins with a pattern.
template <int N>
__device__ __forceinline__ bool starts_with(const u8* data, i64 i, i64 end, const char (&pattern)[N])
{
    if (i + N - 1 > end) return false;
    for (int k = 0; k < N - 1; ++k)
        if (data[i + k] != (u8)pattern[k]) return false;
    return true;
}

// Whether data[i .. end) begins with text[k .. stop), in either case; U+212A is a k.
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

// UTF-8 and the two-stage tables of gpu_pile.text.unicode

constexpr u32 ALPHA = 1, NUMERIC = 2, WORD = 4, SPACE = 8, LINE_BREAK = 16, UPPER = 32, PUNCTUATION = 64;
constexpr u32 DOTTED_CAPITAL_I = 0x130;

__device__ __forceinline__ bool is_lead(u32 byte) { return (byte & 0xC0) != 0x80; }

// Bytes of the valid sequence that begins with this byte.
__device__ __forceinline__ int sequence_length(u32 lead)
{
    return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

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

// Words: runs of \w. A word ends behind U+0130 too, whose lower case ends in a mark that is no word character.

// Whether the character before data[i] goes on into a word at data[i]; start is where the document begins.
__device__ __forceinline__ bool inside_word(const u8* data, i64 start, i64 i, const Flags& flags)
{
    if (i == start) return false;
    const u32 c = decode(data + character_start(data, i - 1));
    return (flags(c) & WORD) && c != DOTTED_CAPITAL_I;
}

// Whether a word begins at data[i], of which c is known to be the character.
__device__ __forceinline__ bool word_starts(const u8* data, i64 start, i64 i, u32 c, const Flags& flags)
{
    return (flags(c) & WORD) && !inside_word(data, start, i, flags);
}
