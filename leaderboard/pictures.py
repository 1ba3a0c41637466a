"""Films with maps and boxes drawn on them, in the pixels of the shown picture."""

from __future__ import annotations

from collections.abc import Iterable

import matplotlib
import numpy as np
from PIL import Image, ImageDraw

from medground.geometry import Box, resample

REGION = (92, 225, 230)  # what the expert drew
PREDICTED = (255, 176, 59)  # what the entry says
SHADOW = (8, 12, 20)
DASH = 9  # pixels


def draw(
    film: np.ndarray,
    scale: float,
    *,
    grid: np.ndarray | None = None,
    extent: Box | None = None,
    regions: Iterable[Box] = (),
    boxes: Iterable[Box] = (),
    opacity: float = 0.55,
) -> np.ndarray:
    """A film uint8 ``[h, w]`` in colour ``[h, w, 3]`` with a map over it and boxes on top.

    ``grid`` ``[r, c]`` covers the native box ``extent``; ``regions`` and ``boxes`` are native too, and ``scale`` is
    shown pixels per native pixel. The map is scaled between its least and greatest value on the film, as the scorer
    does, and covers the film the more the higher it is.
    """
    canvas = np.repeat(film[..., None].astype(np.float64), 3, axis=2)
    if grid is not None:
        with np.errstate(invalid="ignore"):  # a map that is not finite is shown as none
            heat = scaled(resample(grid, tuple(v * scale for v in extent), *film.shape))
        colour = matplotlib.colormaps["inferno"](heat)[..., :3] * 255
        canvas += (colour - canvas) * (opacity * heat)[..., None]
    picture = np.clip(canvas.round(), 0, 255).astype(np.uint8)
    for box in regions:
        _outline(picture, [v * scale for v in box], REGION, dashed=False)
    for box in boxes:  # on top and dashed, so that a region at the same place is seen, too
        _outline(picture, [v * scale for v in box], PREDICTED, dashed=True)
    return picture


def scaled(values: np.ndarray) -> np.ndarray:
    """Values brought to 0..1; zeros where they have no contrast or are not finite."""
    if not np.isfinite(values).all() or np.ptp(values) == 0:
        return np.zeros_like(values)
    return (values - values.min()) / np.ptp(values)


def _outline(picture: np.ndarray, box: list[float], colour: tuple, dashed: bool) -> None:
    """Draw a frame of three pixels with a dark edge, in place; of a dashed one every other piece."""
    height, width = picture.shape[:2]
    left, top = max(0, round(box[0])), max(0, round(box[1]))
    right, bottom = min(width, round(box[2])) - 1, min(height, round(box[3])) - 1
    if left >= right or top >= bottom:
        return
    y, x = np.indices((height, width))
    drawn = (x + y) // DASH % 2 == 0 if dashed else True
    for inset, thick, paint in ((0, 5, SHADOW), (1, 3, colour)):
        frame = Image.new("L", (width, height))
        ImageDraw.Draw(frame).rectangle(
            (left + inset, top + inset, right - inset, bottom - inset), outline=255, width=thick
        )
        picture[(np.asarray(frame) > 0) & drawn] = paint
