"""Where a finding usually is, learnt from the regions of the dev split: what a box says that looks at no film.

For each source and finding the median of the dev regions, each as one box, in the frame of the film or in that of the
two located lungs. A finding that a source has no dev region of has the median over all sources, and one that is new
everywhere the middle of all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from ..geometry import Box, hull

Key = tuple[str, int]


class Prior:
    """The usual box of each source and finding. ``samples`` are rows of ``records.SAMPLES``; those of the test split
    are not looked at. ``lungs``, where given, has the box that frames the lungs by (source, index)."""

    def __init__(self, samples: Iterable[Mapping], lungs: Mapping[Key, Box] | None = None) -> None:
        self._lungs, self._found = lungs, {}
        groups: dict[tuple, list[np.ndarray]] = {}
        for sample in samples:
            if sample["split"] != "dev" or not len(sample["regions"]):
                continue
            frame = self._frame(sample, sample["width"], sample["height"])
            box = _within(hull([tuple(region) for region in sample["regions"]]), frame)
            for key in ((sample["source"], sample["finding"]), (None, sample["finding"]), (None, None)):
                groups.setdefault(key, []).append(box)
        self._found = {key: np.median(boxes, axis=0) for key, boxes in groups.items()}

    def box(self, case: Mapping, width: int, height: int) -> Box:
        """The box of a case, in native pixels of its film of that size, clipped to it."""
        keys = (case["source"], case["finding"]), (None, case["finding"]), (None, None)
        usual = next((self._found[key] for key in keys if key in self._found), np.array([0.25, 0.25, 0.75, 0.75]))
        left, top, right, bottom = self._frame(case, width, height)
        x1, x2 = np.clip(left + usual[[0, 2]] * (right - left), 0, width)
        y1, y2 = np.clip(top + usual[[1, 3]] * (bottom - top), 0, height)
        return float(x1), float(y1), float(x2), float(y2)

    def _frame(self, row: Mapping, width: int, height: int) -> Box:
        return (self._lungs or {}).get((row["source"], row["index"]), (0.0, 0.0, float(width), float(height)))


def lungs_of(concepts: Mapping[Key, Iterable[tuple[str, Box]]]) -> dict[Key, Box]:
    """The box around both lungs of each film on which both were located."""
    found = {}
    for key, boxes in concepts.items():
        lungs = {name: box for name, box in boxes if name in ("left lung", "right lung")}
        if len(lungs) == 2:
            found[key] = hull(lungs.values())
    return found


def _within(box: Box, frame: Box) -> np.ndarray:
    left, top, right, bottom = frame
    x1, y1, x2, y2 = box
    width, height = right - left, bottom - top
    return np.array([(x1 - left) / width, (y1 - top) / height, (x2 - left) / width, (y2 - top) / height])
