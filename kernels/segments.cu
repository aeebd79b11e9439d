// segments: into how many segments the items of each owner are cut, and whose each segment is. Launched by
// gpu_pile/gpu/segments.py
//
// A thread per owner, then a thread per segment, which looks its owner up by bisection. Bound by latency: a few
// microseconds for a block of text.
#include "common.cuh"

// counts[i]: segments of an owner with sizes[i] items, at least one.
WARP_KERNEL count_segments(const i64* sizes, i64 n_owners, i64 size, i64* counts)
{
    const i64 i = thread_index();
    if (i < n_owners) counts[i] = sizes[i] > size ? (sizes[i] + size - 1) / size : 1;
}

// owners[s]: the owner i with first[i] <= s < first[i + 1].
WARP_KERNEL find_owners(const i64* first, i64 n_owners, i64 n_segments, i64* owners)
{
    const i64 s = thread_index();
    if (s < n_segments) owners[s] = last_up_to(first, n_owners, s);
}
