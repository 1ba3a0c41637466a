"""How well the phantom's segmenter and detector see unseen patients, through the adapters that the methods use."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from ...geometry import Box, area, as_box, intersect
from ...grounding.detector import Detector
from ...grounding.segmenter import MedSAM
from .. import CONCEPTS, FINDINGS, SIZE, Film
from .sam import jittered

THRESHOLD, TOP = 0.1, 5  # of the detector, as the methods use it
_FOUND = 0.5  # least IoU of a box that counts as found
_FRAME = (0.0, 0.0, float(SIZE[0]), float(SIZE[1]))


def segmenter_report(medsam: MedSAM, films: Sequence[Film], seed: int) -> dict:
    """Mean IoU with the true boxes of anatomical concepts: of prompts, and of the tight boxes of what they yield.

    Every side of a ``rough`` prompt is off by about a tenth of the box; ``loose`` ones are up to three times too large.
    """
    report = {}
    for kind, loose in (("rough", 0.0), ("loose", 1.0)):
        rng = np.random.default_rng(seed)
        true = [[film.anatomy[concept] for concept in CONCEPTS] for film in films]
        drawn = [jittered(np.array(boxes), rng, loose).tolist() for boxes in true]
        asked = [[_cut(as_box(box)) for box in boxes] for boxes in drawn]
        refined = medsam.refine([film.image for film in films], asked)
        before, after = fits(asked, true), fits(refined, true)
        report[kind] = {"prompt": _mean(before), "refined": _mean(after), "concepts": _named(CONCEPTS, after.mean(0))}
    return report


def detector_report(detector: Detector, films: Sequence[Film]) -> dict:
    """Of concepts (all asked at once) and of findings: mean IoU of the best-scoring box with the true one, and the
    share found; 0 where there is no box. ``absent``: the share of findings that are not there but get a box."""
    images = [film.image for film in films]
    concepts, findings, absent = defaultdict(list), defaultdict(list), []
    for film, found in zip(films, detector.find(images, [CONCEPTS] * len(films), THRESHOLD, TOP), strict=True):
        boxes = best(found)
        for concept, true in film.anatomy.items():
            concepts[concept].append(iou(boxes.get(concept), true))
    for film, found in zip(films, detector.find(images, [FINDINGS] * len(films), THRESHOLD, TOP), strict=True):
        boxes = best(found)
        for finding in FINDINGS:
            if finding in film.extents:
                findings[finding].append(iou(boxes.get(finding), film.extents[finding]))
            else:
                absent.append(finding in boxes)
    return {"concepts": _summary(concepts), "findings": _summary(findings), "absent": _mean(absent)}


def best(found: Sequence) -> dict[str, Box]:
    """The best box of each phrase among detections."""
    boxes: dict[str, Box] = {}
    for detection in found:
        boxes.setdefault(detection.phrase, detection.box)
    return boxes


def fits(boxes: Sequence[Sequence[Box]], true: Sequence[Sequence[Box]]) -> np.ndarray:
    """IoU of boxes with the true ones, film by film: ``[films, boxes]``."""
    return np.array([[iou(*pair) for pair in zip(*both, strict=True)] for both in zip(boxes, true, strict=True)])


def iou(box: Box | None, true: Box) -> float:
    """IoU of two boxes; 0 where there is none."""
    if box is None or (common := intersect(box, true)) is None:
        return 0.0
    return area(common) / (area(box) + area(true) - area(common))


def _cut(box: Box) -> Box:
    """The part of a box that is on the film."""
    part = intersect(box, _FRAME)
    if part is None:
        raise ValueError(f"{box} is not on a film of {SIZE[0]} x {SIZE[1]}")
    return part


def _summary(scores: Mapping[str, list[float]]) -> dict:
    every = np.concatenate(list(scores.values()))
    means = [np.mean(values) for values in scores.values()]
    return {"iou": _mean(every), "found": _mean(every > _FOUND), "each": _named(scores, means)}


def _named(names, values) -> dict[str, float]:
    return {name: round(float(value), 4) for name, value in zip(names, values, strict=True)}


def _mean(values) -> float:
    return round(float(np.mean(values)), 4)
