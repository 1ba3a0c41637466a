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
    picture = Image.fromarray(np.clip(canvas.round(), 0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    for colour, outlines in ((PREDICTED, boxes), (REGION, regions)):
        for box in outlines:
            _outline(pen, [v * scale for v in box], colour, picture.size)
    return np.asarray(picture)


def scaled(values: np.ndarray) -> np.ndarray:
    """Values brought to 0..1; zeros where they have no contrast or are not finite."""
    if not np.isfinite(values).all() or np.ptp(values) == 0:
        return np.zeros_like(values)
    return (values - values.min()) / np.ptp(values)


def _outline(pen: ImageDraw.ImageDraw, box: list[float], colour: tuple, size: tuple[int, int]) -> None:
    left, top = max(0, round(box[0])), max(0, round(box[1]))
    right, bottom = min(size[0], round(box[2])) - 1, min(size[1], round(box[3])) - 1
    if left < right and top < bottom:
        pen.rectangle((left, top, right, bottom), outline=SHADOW, width=5)
        pen.rectangle((left + 1, top + 1, right - 1, bottom - 1), outline=colour, width=3)
