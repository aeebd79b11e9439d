// band_keys: one 64-bit key for each band of a sketch. Contract and reference: gpu_pile/ops/band_keys.py
//
// Work: one mix per value. Floor on an H200: memory, 4 bytes read per value.
#include "common.cuh"

// A thread a band.
extern "C" __global__ void band_keys(const u32* sketches, i64 n_docs, i64 k, i64 bands, i64 rows, u64* out)
{
    const i64 t = thread_index();
    if (t >= n_docs * bands) return;
    const i64 d = t / bands, band = t % bands;
    const u32* values = sketches + d * k + band * rows;
    u64 key = mix64((u64)band + 1);
    for (i64 i = 0; i < rows; ++i) key = mix64(key ^ values[i]);
    out[t] = key;
}
