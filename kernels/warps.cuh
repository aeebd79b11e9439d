// Types, warps and 64-bit mixing. Integers only.
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

// The last of n ascending values that is not above x; the first is not.
__device__ __forceinline__ i64 last_up_to(const i64* values, i64 n, i64 x)
{
    i64 low = 0, high = n;  // values[low] <= x, and from values[high] on all are above
    while (high - low > 1) {
        const i64 middle = (low + high) >> 1;
        (values[middle] <= x ? low : high) = middle;
    }
    return low;
}

// For memory that other threads change meanwhile: the access is made once, as it stands, and orders nothing.
template <class T>
__device__ __forceinline__ T relaxed_load(const T* from) { return *(const volatile T*)from; }
template <class T>
__device__ __forceinline__ void relaxed_store(T* to, T value) { *(volatile T*)to = value; }

// The sum over all lanes.
template <class T>
__device__ __forceinline__ T warp_sum(T value)
{
    for (int d = 16; d; d >>= 1)
        value += __shfl_xor_sync(FULL, value, d);
    return value;
}

// The sum over the lanes up to this one.
__device__ __forceinline__ u32 warp_prefix_sum(u32 value)
{
    for (int d = 1; d < 32; d <<= 1) {
        const u32 below = __shfl_up_sync(FULL, value, d);
        if ((int)lane_index() >= d) value += below;
    }
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
