"""The six findings as reports name them, without a side: on which side one is, is drawn with its size and site."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...geometry import Box

if TYPE_CHECKING:
    from ..findings import Chest

FINDINGS = (
    "cardiomegaly",
    "pleural effusion",
    "lung opacity",
    "hilar enlargement",
    "widened mediastinum",
    "pneumothorax",
)
#: drawing order: what moves or hides others comes first
DRAWN = (
    "cardiomegaly",
    "widened mediastinum",
    "pneumothorax",
    "pleural effusion",
    "hilar enlargement",
    "lung opacity",
)
_SIDED = ("pleural effusion", "lung opacity")  # the others draw their side themselves, or have none


def with_finding(chest: Chest, name: str, rng: np.random.Generator) -> tuple[Chest, np.ndarray | None]:
    """The chest with one more finding, and the mask of what it changes noticeably, or None if it is hidden."""
    if name in _SIDED:
        name = f"{('left', 'right')[rng.integers(2)]} {name}"
    return chest.with_finding(name, rng)


def region(name: str, boxes: dict[str, Box], extent: Box) -> Box:
    """The anatomical region that a report would name for a finding, from the boxes of the film's concepts."""
    from .. import findings as sided  # which needs torch; to name the findings does not

    middle = (extent[0] + extent[2]) / 2
    side = min(("left", "right"), key=lambda side: abs(sum(boxes[f"{side} lung"][::2]) / 2 - middle))
    return sided.region(f"{side} {name}" if name in _SIDED else name, boxes, extent)
