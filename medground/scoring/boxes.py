"""A heat map becomes boxes.

Keep the pixels at or above the 0.9 quantile of those above the map's minimum, join them in 8-connected components of
at least 16 pixels, and take the tight boxes of the ten with the highest mean heat (MedFocus, section 3.3).
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..errors import MedgroundError
from ..geometry import Box

QUANTILE = 0.9
MIN_AREA = 16
MAX_BOXES = 10
PROTOCOLS = ("medground", "published")
_EIGHT_CONNECTED = np.ones((3, 3), bool)


def boxes_from_heatmap(heatmap: np.ndarray, protocol: str = "medground", ranked: np.ndarray | None = None) -> list[Box]:
    """The boxes ``(x1, y1, x2, y2)`` of a heat map ``[h, w]`` in its own pixels, highest mean heat first.

    ``medground``: half-open boxes; a map that ``invalid`` objects to has none.
    ``published``: the reference's scorer bit for bit. ``x2, y2`` are the last pixels inside, though its metrics then
    take them as exclusive; a constant map, or one with an infinite value, is one box around everything; a map with a
    NaN has no box.

    ``ranked`` are the values of the map in ascending order, where they are at hand; ``published`` does not use them.

    Raises MedgroundError for an unknown protocol or a map that is not two-dimensional.
    ``heatmap`` is the map.
    """
    check_protocol(protocol)
    heat = np.asarray(heatmap)
    if heat.ndim != 2:
        raise MedgroundError(f"a heat map has two dimensions, this one has the shape {heat.shape}; pass [h, w]")
    if protocol == "published":
        heat, threshold = _published_threshold(heat)
        return _components(heat, heat >= threshold, last=0)
    if invalid(heat):
        return []
    kept = heat >= _quantile(heat, ranked)
    return _components(heat / max(float(heat.max()), -float(heat.min())), kept, last=1)  # sums of huge values overflow


def invalid(heatmap: np.ndarray) -> str | None:
    """Why a map cannot be scored under ``medground``, or None where it can.

    ``heatmap`` is ``[h, w]``.
    """
    if not np.size(heatmap):
        return "the map is empty"
    low, high = np.min(heatmap), np.max(heatmap)  # NaN and inf reach at least one of them
    if not (np.isfinite(low) and np.isfinite(high)):
        return "the map has NaN or infinite values"
    return "the map has no contrast" if low == high else None


def check_protocol(protocol: str) -> None:
    """Raise MedgroundError unless ``protocol`` is known."""
    if protocol not in PROTOCOLS:
        raise MedgroundError(f"unknown protocol {protocol!r}; choose one of {', '.join(PROTOCOLS)}")


def _published_threshold(heat: np.ndarray) -> tuple[np.ndarray, float]:
    with np.errstate(all="ignore"):
        heat = heat.astype(np.float32)
        heat = heat - heat.min()
        heat = heat / (heat.max() + 1e-8)
        positive = heat[heat > 0]
    return heat, float(np.quantile(positive, QUANTILE)) if positive.size else 0.0


def _quantile(heat: np.ndarray, ranked: np.ndarray | None) -> np.float64:
    """The `QUANTILE` of the values above the lowest, linear between the two nearest, which may be huge."""
    lowest = np.count_nonzero(heat == heat.min()) if ranked is None else np.searchsorted(ranked, ranked[0], "right")
    place = QUANTILE * (heat.size - lowest - 1)
    nearest = [int(lowest + np.floor(place)), int(lowest + np.ceil(place))]
    values = np.partition(heat, nearest, axis=None) if ranked is None else ranked  # a fifth of the time of a sort
    low, high = (np.float64(values[k]) for k in nearest)
    return low if low == high else low * (1 - place % 1) + high * (place % 1)


def _components(heat: np.ndarray, kept: np.ndarray, last: int) -> list[Box]:
    """Boxes of the components of the ``kept`` pixels; ``last`` is added to the index of the last pixel inside."""
    labels, count = ndimage.label(kept, _EIGHT_CONNECTED)
    if not count:
        return []
    inside = np.flatnonzero(kept)
    members = labels.ravel()[inside] - 1
    areas = np.bincount(members, minlength=count)
    means = np.bincount(members, heat.ravel()[inside].astype(np.float64), count) / areas
    large = np.flatnonzero(areas >= MIN_AREA)
    best = large[np.argsort(-means[large], kind="stable")][:MAX_BOXES]
    extents = ndimage.find_objects(labels)
    return [_tight(extents[component], last) for component in best]


def _tight(extent: tuple[slice, slice], last: int) -> Box:
    rows, columns = extent
    return float(columns.start), float(rows.start), float(columns.stop - 1 + last), float(rows.stop - 1 + last)
