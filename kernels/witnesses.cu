// witnesses: kept nodes and their neighbours' witnesses. Contract and reference: gpu_pile/ops/witnesses.py
//
// Every kernel has a thread an edge and looks at both directions of it. What threads write to the same place is the same
// value, or merged by an atomic minimum or maximum. Bound by the latency of scattered reads.
#include "common.cuh"

enum { OPEN, KEPT, REMOVED };

// blocked[x] = 1 where an open neighbour of the open node x comes before it; place: each node's place in the order.
extern "C" __global__ void witnesses_block(
    const i64* a, const i64* b, i64 n_edges, const i64* place, const u32* state, u32* blocked)
{
    const i64 i = thread_index();
    if (i >= n_edges) return;
    const i64 x = a[i], y = b[i];
    if (state[x] == OPEN && state[y] == OPEN) relaxed_store(&blocked[place[x] < place[y] ? y : x], 1u);
}

// Open neighbours of kept nodes are removed. Two neighbours are never both kept.
extern "C" __global__ void witnesses_remove(const i64* a, const i64* b, i64 n_edges, u32* state)
{
    const i64 i = thread_index();
    if (i >= n_edges) return;
    const i64 x = a[i], y = b[i];
    if (relaxed_load(&state[x]) == KEPT) relaxed_store(&state[y], (u32)REMOVED);
    if (relaxed_load(&state[y]) == KEPT) relaxed_store(&state[x], (u32)REMOVED);
}

// best[x]: the highest similarity of x to a kept neighbour, as its bits + 1; 0 before.
extern "C" __global__ void witnesses_best(
    const i64* a, const i64* b, i64 n_edges, const u32* state, const u64* similarity, u64* best)
{
    const i64 i = thread_index();
    if (i >= n_edges) return;
    if (state[b[i]] == KEPT) atomicMax(&best[a[i]], similarity[i] + 1);
    if (state[a[i]] == KEPT) atomicMax(&best[b[i]], similarity[i] + 1);
}

// first[x]: the smallest rank among the kept neighbours of that similarity; the largest number before.
extern "C" __global__ void witnesses_first(
    const i64* a, const i64* b, i64 n_edges, const u32* state, const u64* similarity, const i64* rank, const u64* best,
    u64* first)
{
    const i64 i = thread_index();
    if (i >= n_edges) return;
    const i64 x = a[i], y = b[i];
    if (state[y] == KEPT && best[x] == similarity[i] + 1) atomicMin(&first[x], (u64)rank[y]);
    if (state[x] == KEPT && best[y] == similarity[i] + 1) atomicMin(&first[y], (u64)rank[x]);
}

// witness[x]: the neighbour of that similarity and rank.
extern "C" __global__ void witnesses_choose(
    const i64* a, const i64* b, i64 n_edges, const u32* state, const u64* similarity, const i64* rank, const u64* best,
    const u64* first, i64* witness)
{
    const i64 i = thread_index();
    if (i >= n_edges) return;
    const i64 x = a[i], y = b[i];
    if (state[y] == KEPT && best[x] == similarity[i] + 1 && first[x] == (u64)rank[y]) witness[x] = y;
    if (state[x] == KEPT && best[y] == similarity[i] + 1 && first[y] == (u64)rank[x]) witness[y] = x;
}
