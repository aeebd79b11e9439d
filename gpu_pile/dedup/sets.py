"""Sets side by side in one array, each at a place of its own."""

from __future__ import annotations

from gpu_pile.compiled import compiled


@compiled
def set_down(values, offsets, places, target):
    """Copy set i, values[offsets[i]:offsets[i + 1]], to target[places[i]:]; the rest of target stays as it is.

    values, target: uint64; offsets: int64[n + 1]; places: int64[n], ascending, with room for each set.
    """
    for i in range(len(places)):
        n = offsets[i + 1] - offsets[i]
        target[places[i] : places[i] + n] = values[offsets[i] : offsets[i + 1]]
