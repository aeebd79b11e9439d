// Text in blocks of 16 bytes per lane, 512 per warp: each class of bytes as a mask of 16 bits, bit j for byte j. The same
// scheme as gpu_pile/text/blocks.py on the CPU.
//
// A table in shared memory gives the 16 classes of a byte as bits, and a lane transposes the 16 entries of its bytes.
#pragma once
#include "common.cuh"

constexpr int LANE_BYTES = 16, BLOCK_BYTES = 32 * LANE_BYTES;
constexpr u32 LANE_BITS = 0xFFFF;

// The classes; masks[k] has class k in its lower half and class k + 8 in its upper half.
enum ByteClass { LEADS, DIGITS, SPACES, PROSE, BRACKETS, FEEDS, BREAKS, COLONS };
enum HighClass { LETTERS, CAPITALS, PUNCTUATIONS, BLANKS, HASHES, BEYOND, DOTS };

__host__ __device__ constexpr bool is_one_of(u32 b, const char* list)
{
    for (; *list; ++list)
        if (b == (u32)(u8)*list) return true;
    return false;
}

__host__ __device__ constexpr u16 classes_of(u32 b)
{
    const bool capital = b >= 'A' && b <= 'Z', letter = capital || (b >= 'a' && b <= 'z');
    const bool digit = b >= '0' && b <= '9', beyond = b >= 0x80;
    const bool space = b == ' ' || (b >= '\t' && b <= '\r') || (b >= 0x1C && b <= 0x1F);
    const bool line_break = (b >= '\n' && b <= '\r') || (b >= 0x1C && b <= 0x1E);
    const u32 low = (u32)(b < 0x80 || b >= 0xC0) << LEADS | (u32)digit << DIGITS | (u32)space << SPACES |
        (u32)(letter || digit || is_one_of(b, "\n?!,.")) << PROSE | (u32)is_one_of(b, "{}[]()") << BRACKETS |
        (u32)(b == '\n') << FEEDS | (u32)line_break << BREAKS | (u32)(b == ':') << COLONS;
    const u32 high = (u32)letter << LETTERS | (u32)capital << CAPITALS |
        (u32)!(beyond || letter || digit || is_one_of(b, " \n\t")) << PUNCTUATIONS |
        (u32)is_one_of(b, "\t\n\r\b ") << BLANKS | (u32)(b == '#') << HASHES | (u32)beyond << BEYOND |
        (u32)(b == '.') << DOTS;
    return (u16)(low | high << 8);
}

struct ByteClasses {
    u16 of[256];
};

__host__ __device__ constexpr ByteClasses byte_classes()
{
    ByteClasses classes{};
    for (u32 b = 0; b < 256; ++b) classes.of[b] = classes_of(b);
    return classes;
}

__device__ const ByteClasses BYTE_CLASSES = byte_classes();

// Copies the table to shared memory, by all threads of a block.
__device__ __forceinline__ void load_classes(u16* classes)
{
    for (u32 b = threadIdx.x; b < 256; b += blockDim.x) classes[b] = BYTE_CLASSES.of[b];
    __syncthreads();
}

// The masks of the 16 bytes of a lane.
struct Masks {
    u32 masks[8];

    __device__ __forceinline__ u32 low(int k) const { return masks[k] & LANE_BITS; }
    __device__ __forceinline__ u32 high(int k) const { return masks[k] >> LANE_BYTES; }

    __device__ __forceinline__ Masks(const u32 (&words)[4], const u16* classes)
    {
        const auto entry = [&](int j) { return (u32)classes[words[j / 4] >> 8 * (j % 4) & 0xFF]; };
        // bytes of masks[k]: classes 0 to 7 of bytes k and k + 8, then classes 8 to 15 of them
#pragma unroll
        for (int k = 0; k < 8; ++k) masks[k] = __byte_perm(entry(k), entry(k + 8), 0x5140);
        exchange<4>(0x0F0F0F0F);
        exchange<2>(0x33333333);
        exchange<1>(0x55555555);
    }

    // Exchanges, of rows that are D apart, the bits that are D apart: a step of the transposition.
    template <int D>
    __device__ __forceinline__ void exchange(u32 mask)
    {
#pragma unroll
        for (int k = 0; k < 8; ++k)
            if (!(k & D)) {
                const u32 bits = (masks[k] >> D ^ masks[k + D]) & mask;
                masks[k + D] ^= bits;
                masks[k] ^= bits << D;
            }
    }
};

// The bytes data[i .. i + 16) as words; those outside lo .. hi are 0x80, which begins no character. data + i is a multiple
// of 16.
__device__ __forceinline__ void load_lane(const u8* data, i64 i, i64 lo, i64 hi, u32 (&words)[4])
{
    if (i >= lo && i + LANE_BYTES <= hi) {
        const uint4 all = *(const uint4*)(data + i);
        words[0] = all.x;
        words[1] = all.y;
        words[2] = all.z;
        words[3] = all.w;
        return;
    }
#pragma unroll
    for (int k = 0; k < 4; ++k) words[k] = 0x80808080;
#pragma unroll
    for (int j = 0; j < LANE_BYTES; ++j)
        if (i + j >= lo && i + j < hi) words[j / 4] ^= (0x80u ^ data[i + j]) << 8 * (j % 4);
}

// Bits from .. below `to` of a mask; to <= 31.
__device__ __forceinline__ u32 bits(u32 mask, int from, int to) { return mask & ((1u << to) - (1u << from)); }

// The sum over the lanes below this one; total: over all lanes.
__device__ __forceinline__ u32 warp_sum_below(u32 value, u32& total)
{
    const u32 up_to = warp_prefix_sum(value);
    total = __shfl_sync(FULL, up_to, 31);
    return up_to - value;
}
