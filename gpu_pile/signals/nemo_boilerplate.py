"""NeMo Curator's rule about paragraphs of boilerplate: a family of its own, since it reads the text another time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gpu_pile.ops.nemo_boilerplate import nemo_boilerplate
from gpu_pile.signals import Counts, Family, Signal, ratio


def _compute(counts: Counts) -> Mapping[str, Any]:
    columns = counts(nemo_boilerplate)
    paragraphs = columns["paragraphs"]
    return {
        "nemo_boilerplate_paragraph_fraction": ratio(
            np.where(columns["lorem"] > 0, paragraphs, columns["policy"]), paragraphs
        )
    }


FAMILY = Family(
    "nemo_boilerplate",
    1,
    "NeMo Curator 0.7.1, filters/heuristic_filter.py, BoilerPlateStringFilter",
    ops=(nemo_boilerplate,),
    signals=(
        Signal.fraction(
            "nemo_boilerplate_paragraph_fraction",
            r'paragraphs of text.split("\n\n") with a phrase from privacy policies or cookie banners / paragraphs; '
            '1 if a paragraph contains "lorem ipsum"',
        ),
    ),
    compute=_compute,
)
