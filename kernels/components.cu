// components: connected components by hooking roots. Contract and reference: gpu_pile/ops/components.py
//
// A root is only ever hooked below a smaller root, by compare-and-swap, so trees have no cycles and each root is the
// smallest node of its tree, whatever the order of threads. Work: a few dependent reads an edge; bound by latency.
#include "common.cuh"

// The root of x's tree, as far as it has grown; other threads change up while it is read.
__device__ __forceinline__ u64 root(const u64* up, u64 x)
{
    for (u64 next; (next = relaxed_load(&up[x])) != x;) x = next;
    return x;
}

// A thread an edge.
extern "C" __global__ void components_link(const i64* a, const i64* b, i64 n_edges, u64* up)
{
    const i64 i = thread_index();
    if (i >= n_edges) return;
    u64 x = (u64)a[i], y = (u64)b[i];
    for (;;) {
        x = root(up, x);
        y = root(up, y);
        if (x == y) return;
        const u64 high = x < y ? y : x, low = x < y ? x : y;
        if (atomicCAS(&up[high], high, low) == high) return;  // else another thread hooked it: go on from there
    }
}

// A thread a node.
extern "C" __global__ void components_name(const u64* up, i64 n, i64* out)
{
    const i64 x = thread_index();
    if (x < n) out[x] = (i64)root(up, (u64)x);
}
