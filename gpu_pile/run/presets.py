"""Where published corpora have their texts and the names of their subsets."""

from __future__ import annotations

from typing import NamedTuple


class Preset(NamedTuple):
    """Paths of fields, keys joined by dots."""

    text_field: str
    subset_field: str


PRESETS = {
    "pile": Preset("text", "meta.pile_set_name"),
    "slimpajama": Preset("text", "meta.redpajama_set_name"),
    "redpajama": Preset("text", "red_pajama_subset"),
    "dolma": Preset("text", "source"),
    "common-pile": Preset("text", "source"),
    "fineweb": Preset("text", "dump"),
    "c4": Preset("text", "subset"),
    "redpajama2": Preset("raw_content", "source"),
    "stack": Preset("content", "lang"),
}
"""By name, in the order in which a document is searched for their fields. C4 and RedPajama-V2 name no subset: theirs is
the field in which copies of them have one."""
