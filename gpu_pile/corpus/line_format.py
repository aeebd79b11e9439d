"""What a line of a shard looks like."""

from __future__ import annotations

from typing import Any, NamedTuple

from gpu_pile.corpus.fields import Field
from gpu_pile.ops.parse_lines import Parsed, parse_lines


class LineFormat(NamedTuple):
    """Where the text, the subset's name and other fields are in a line.

    text_field, subset_field: paths, keys joined by dots
    bare_strings: a line that is a JSON string is a document
    text_lists:   a text may be a list of strings, joined by a blank line
    extras:       other fields that are read, if any
    """

    text_field: str
    subset_field: str
    bare_strings: bool = False
    text_lists: bool = False
    extras: tuple[Field, ...] = ()

    @property
    def text_path(self) -> tuple[str, ...]:
        return tuple(self.text_field.split("."))

    def parse(self, data: Any, *, skip_bom: bool, **buffers: Any) -> Parsed:
        """Return the documents and the bad lines of a block; skip_bom: its first line may begin with a BOM.

        buffers: padded and out, as parse_lines takes them.
        """
        return parse_lines(
            data,
            text_path=self.text_path,
            subset_path=tuple(self.subset_field.split(".")),
            skip_bom=skip_bom,
            bare_strings=self.bare_strings,
            text_lists=self.text_lists,
            **buffers,
        )
