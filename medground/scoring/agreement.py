"""How well boxes, or a map, agree with a region: what the expert drew, or what caused the answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..geometry import Box
from .boxes import check_protocol


def box_metrics(predicted: Sequence[Box], expert: Sequence[Box], protocol: str = "medground") -> dict[str, float]:
    """IoU, F1, precision and recall, each in 0..1, of the union of the predicted boxes against that of the expert's.

    Boxes are ``(x1, y1, x2, y2)`` in the same pixels; areas are exact, boxes without area count for nothing. Under
    ``medground`` all four are 0 where nothing was predicted, or nothing is to be found; under ``published`` IoU,
    precision and recall are 1 where both unions are empty.
    ``protocol`` is one of `boxes.PROTOCOLS`.
    """
    check_protocol(protocol)
    found, wanted, common = _areas(predicted, expert)
    union = found + wanted - common
    nothing = 1.0 if protocol == "published" and union == 0 else 0.0
    precision = common / found if found else nothing
    recall = common / wanted if wanted else nothing
    return {
        "iou": common / union if union else nothing,
        "f1": 2 * precision * recall / (precision + recall) if precision + recall else 0.0,
        "precision": precision,
        "recall": recall,
    }


def map_metrics(heatmap: np.ndarray, inside: np.ndarray, ranked: np.ndarray | None = None) -> dict[str, float]:
    """Pointing hit, energy inside and average precision, each in 0..1, of a finite map ``[h, w]``.

    ``inside`` is the bool mask ``[h, w]`` of the expert's regions, ``ranked`` the values of the map in ascending order,
    where they are at hand. No threshold is involved:

    - ``hit``: the pointing game (Zhang et al. 2018); the share of the pixels that attain the maximum and lie inside;
    - ``energy``: the share of the positive evidence that lies inside (Wang et al. 2020, Score-CAM); 0 without any;
    - ``average_precision``: of the pixels ranked by heat, ties together: the sum of (R_k - R_(k-1)) P_k.

    All are 0 where the mask is empty.
    ``heatmap`` is the map.
    """
    wanted = heatmap[inside]
    if not wanted.size:
        return {"hit": 0.0, "energy": 0.0, "average_precision": 0.0}
    ranked, wanted = np.sort(heatmap, axis=None) if ranked is None else ranked, np.sort(wanted)
    positive = _from(ranked, 0).sum(dtype=np.float64)
    return {
        "hit": _from(wanted, ranked[-1]).size / _from(ranked, ranked[-1]).size,
        "energy": float(_from(wanted, 0).sum(dtype=np.float64) / positive) if positive > 0 else 0.0,
        "average_precision": _average_precision(ranked, wanted),
    }


def at_area(heatmap: np.ndarray, inside: np.ndarray) -> float:
    """IoU, in 0..1, of a region and as many of the hottest pixels as it has: localisation that knows no size.

    ``heatmap`` and ``inside`` (bool) are ``[h, w]``. Where more pixels share the last value than are wanted, each
    counts by its share, which is what a random choice among them gives on average. 0 where the region is empty.
    """
    count = int(inside.sum())
    if not count:
        return 0.0
    last = np.partition(heatmap, heatmap.size - count, axis=None)[heatmap.size - count]
    above, tied = heatmap > last, heatmap == last
    share = (count - int(above.sum())) / int(tied.sum())
    common = float((above & inside).sum()) + share * float((tied & inside).sum())
    return common / (2 * count - common)


def depth(boxes: Sequence[Box], height: int, width: int) -> np.ndarray:
    """Boxes as a map ``[h, w]`` without a size: minus the factor by which they must grow about their centres to
    reach a pixel's centre, the least over the boxes. ``boxes`` are in pixels of the map and have area.
    ``height, width`` are the map's.
    """
    ys, xs = np.arange(height)[:, None] + 0.5, np.arange(width)[None, :] + 0.5
    factors = [
        np.maximum(np.abs(xs - (x1 + x2) / 2) / ((x2 - x1) / 2), np.abs(ys - (y1 + y2) / 2) / ((y2 - y1) / 2))
        for x1, y1, x2, y2 in boxes
    ]
    return -np.minimum.reduce(factors)


def favours(heatmap: np.ndarray, own: np.ndarray, other: np.ndarray) -> bool:
    """Is a map denser on one region than on another: is its mean over ``own`` above its mean over ``other``?

    Bool masks ``[h, w]``; what they share counts for neither. No threshold is involved, and neither the offset nor the
    scale of the map matters. A tie is a no, and so is a region without a pixel of its own: an answer that is the same
    whatever the cause can favour only one of the two.
    ``heatmap`` is ``[h, w]``.
    """
    own, other = own & ~other, other & ~own
    if not own.any() or not other.any():
        return False
    here, there = float(heatmap[own].mean(dtype=np.float64)), float(heatmap[other].mean(dtype=np.float64))
    spread = float(np.max(heatmap)) - float(np.min(heatmap))
    return here - there > 1e-6 * spread  # rounding is no evidence


def _from(ranked: np.ndarray, value: float) -> np.ndarray:
    """The ascending values that are at least ``value``."""
    return ranked[np.searchsorted(ranked, ranked.dtype.type(value)) :]


def _average_precision(ranked: np.ndarray, wanted: np.ndarray) -> float:
    """Average precision from all values and the wanted ones, both ascending.

    Recall grows by 1/n at each wanted pixel, so the sum over thresholds is the mean over the wanted pixels of the
    precision among all pixels that are at least as hot.
    """
    order = np.arange(wanted.size)
    order[1:][wanted[1:] == wanted[:-1]] = 0
    hits = wanted.size - np.maximum.accumulate(order)  # tied pixels count from the first of them
    kept = ranked.size - np.searchsorted(ranked, wanted)
    return float(np.mean(hits / kept))


def _areas(predicted: Sequence[Box], expert: Sequence[Box]) -> tuple[float, float, float]:
    """Area of either union and of their intersection, by painting the grid that all edges span."""
    solid = [[box for box in boxes if box[2] > box[0] and box[3] > box[1]] for boxes in (predicted, expert)]
    edges = np.array(solid[0] + solid[1], float).reshape(-1, 2, 2)
    xs, columns = np.unique(edges[:, :, 0], return_inverse=True)
    ys, rows = np.unique(edges[:, :, 1], return_inverse=True)
    painted = np.zeros((2, max(ys.size - 1, 0), max(xs.size - 1, 0)), bool)
    for number, ((top, bottom), (left, right)) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True)):
        painted[int(number >= len(solid[0])), top:bottom, left:right] = True
    found, wanted = painted
    cells = np.diff(xs)[None, :] * np.diff(ys)[:, None]
    return float(cells[found].sum()), float(cells[wanted].sum()), float(cells[found & wanted].sum())
