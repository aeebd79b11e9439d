"""NeMo Curator's rule about paragraphs of boilerplate. A family of its own, as it reads the text once more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gpu_pile.ops.nemo_boilerplate import nemo_boilerplate
from gpu_pile.signals import Counts, Family, Signal, ratio


def _compute(counts: Counts) -> Mapping[str, Any]:
    found = counts(nemo_boilerplate)
    paragraphs = found["paragraphs"]
    return {
        "nemo_boilerplate_paragraph_fraction": ratio(
            np.where(found["lorem"] > 0, paragraphs, found["policy"]), paragraphs
        )
    }


FAMILY = Family(
    "nemo_boilerplate",
    1,
    "NeMo Curator 0.7.1, filters/heuristic_filter.py, BoilerPlateStringFilter",
    ops=(nemo_boilerplate,),
    signals=(
        Signal(
            "nemo_boilerplate_paragraph_fraction",
            "fraction",
            "float64",
            'paragraphs of split("\\n\\n") with the wording of a privacy policy or cookie banner / paragraphs; '
            '1 where one has "lorem ipsum"',
        ),
    ),
    compute=_compute,
)
