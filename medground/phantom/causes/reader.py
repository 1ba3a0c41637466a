"""The second reader: who taught the phantom models where findings are, with a policy and mistakes of his own.

His boxes are not the expert's. He frames generously, misses some findings, takes some for their mirror image, and names
no finer region than a lung, the heart or the mediastinum. So what a model has learnt to print is a reader's habit; how
well it agrees with the experts is not decided by the labels that it is scored on.
"""

from __future__ import annotations

import numpy as np

from ...geometry import Box, intersect
from ..film import SIZE

MISSED, SWAPPED = 0.10, 0.10  # shares of the findings that he overlooks, and that he sees on the other side
GENEROUS, JITTER = 0.08, 0.10  # each side of a box moves out by so much of it, give or take a standard deviation


def reads(extent: Box, rng: np.random.Generator) -> Box | None:
    """The box that he draws (native pixels) where a finding has ``extent``, or None where he misses it."""
    missed, swapped = rng.random(2) < (MISSED, SWAPPED)
    if missed:
        return None
    x1, y1, x2, y2 = extent
    if swapped:
        x1, x2 = SIZE[0] - x2, SIZE[0] - x1
    left, top, right, bottom = rng.normal(GENEROUS, JITTER, 4)
    wide, tall = x2 - x1, y2 - y1
    frame = (0.0, 0.0, float(SIZE[0]), float(SIZE[1]))
    return intersect((x1 - left * wide, y1 - top * tall, x2 + right * wide, y2 + bottom * tall), frame)


def names(finding: str, box: Box) -> list[str]:
    """The regions that he names for a finding that he saw in ``box``."""
    organ = {"cardiomegaly": "cardiac silhouette", "widened mediastinum": "mediastinum"}
    if finding in organ:
        return [organ[finding]]
    side = "right" if (box[0] + box[2]) / 2 < SIZE[0] / 2 else "left"  # the patient's right is on the film's left
    return [f"{side} lung"]
