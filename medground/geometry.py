"""Boxes, and the letterbox: the only place where native and model space meet.

Boxes are half-open ``[x1, y1, x2, y2)`` in pixels, origin at the top left corner of the film.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image

Box = tuple[float, float, float, float]


def as_box(numbers: Iterable[float]) -> Box:
    """Four numbers, such as a row of a table or of an array, as a box. Raises ValueError for more or fewer."""
    x1, y1, x2, y2 = numbers
    return x1, y1, x2, y2


def area(box: Box) -> float:
    """Area of a box in square pixels; an inverted box has none."""
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def intersect(a: Box, b: Box) -> Box | None:
    """The box common to both, or None where they do not overlap."""
    box = (max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3]))
    return box if box[0] < box[2] and box[1] < box[3] else None


def hull(boxes: Iterable[Box]) -> Box:
    """The tight box around at least one box."""
    x1, y1, x2, y2 = zip(*boxes, strict=True)
    return min(x1), min(y1), max(x2), max(y2)


def box_of(mask: np.ndarray) -> Box | None:
    """Tight half-open box of a 2-D bool mask ``[h, w]``, or None where it is empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        return None
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def fill(boxes: Iterable[Box], height: int, width: int) -> np.ndarray:
    """Bool mask ``[height, width]`` of the pixels whose centre lies in any of the boxes."""
    mask = np.zeros((height, width), bool)
    for x1, y1, x2, y2 in boxes:
        left, top, right, bottom = (max(0, int(np.ceil(v - 0.5))) for v in (x1, y1, x2, y2))
        mask[top:bottom, left:right] = True
    return mask


@dataclass(frozen=True)
class Letterbox:
    """An affine map between a native film and a model's canvas.

    ``scale_x, scale_y`` are canvas pixels per native pixel, ``left, top`` the canvas position of the film's
    corner, ``width, height`` the size of the canvas.
    """

    film_width: int
    film_height: int
    width: int
    height: int
    scale_x: float
    scale_y: float
    left: float = 0.0
    top: float = 0.0

    @classmethod
    def fit(cls, film_width: int, film_height: int, side: int) -> Letterbox:
        """Longer side to ``side``, aspect kept, centred on a square canvas (Gemma 3, the reference's films)."""
        scale = side / max(film_width, film_height)
        width, height = max(1, round(film_width * scale)), max(1, round(film_height * scale))
        return cls(
            film_width, film_height, side, side, width / film_width, height / film_height,
            (side - width) // 2, (side - height) // 2,
        )  # fmt: skip

    @classmethod
    def stretch(cls, film_width: int, film_height: int, width: int, height: int) -> Letterbox:
        """The film resized to fill the canvas (Qwen2.5-VL)."""
        return cls(film_width, film_height, width, height, width / film_width, height / film_height)

    @property
    def extent(self) -> Box:
        """The native box that the canvas covers; it reaches beyond the film where the canvas is padded."""
        return self.to_native((0.0, 0.0, float(self.width), float(self.height)))

    def to_canvas(self, box: Box) -> Box:
        """A native box in canvas pixels."""
        x1, y1, x2, y2 = box
        return (
            x1 * self.scale_x + self.left, y1 * self.scale_y + self.top,
            x2 * self.scale_x + self.left, y2 * self.scale_y + self.top,
        )  # fmt: skip

    def to_native(self, box: Box) -> Box:
        """A canvas box in native pixels."""
        x1, y1, x2, y2 = box
        return (
            (x1 - self.left) / self.scale_x, (y1 - self.top) / self.scale_y,
            (x2 - self.left) / self.scale_x, (y2 - self.top) / self.scale_y,
        )  # fmt: skip

    def apply(self, film: np.ndarray) -> np.ndarray:
        """A uint8 film ``[h, w]`` drawn on the canvas ``[height, width]``: bicubic, black padding."""
        width, height = round(self.film_width * self.scale_x), round(self.film_height * self.scale_y)
        resized = Image.fromarray(film).resize((width, height), Image.Resampling.BICUBIC)
        canvas = Image.new("L", (self.width, self.height))
        canvas.paste(resized, (int(self.left), int(self.top)))
        return np.asarray(canvas)


def resample(grid: np.ndarray, extent: Box, height: int, width: int) -> np.ndarray:
    """A coarse map ``[h, w]`` that covers ``extent``, bilinearly at every native pixel ``[height, width]``.

    Cell values stand at cell centres and are held constant beyond the outermost centres, as in
    ``torch.nn.functional.interpolate(align_corners=False)``. NaN spreads to the pixels that it reaches. A map in
    float32 stays in float32, any other becomes float64.
    """
    x1, y1, x2, y2 = extent
    rows, row_part = _between((np.arange(height) + 0.5 - y1) / (y2 - y1) * grid.shape[0] - 0.5, grid.shape[0])
    columns, column_part = _between((np.arange(width) + 0.5 - x1) / (x2 - x1) * grid.shape[1] - 0.5, grid.shape[1])
    grid = np.asarray(grid)
    grid = grid if grid.dtype == np.float32 else grid.astype(np.float64)
    row_part, column_part = row_part.astype(grid.dtype), column_part.astype(grid.dtype)
    across, beside = grid.take(columns, 1), grid.take(np.minimum(columns + 1, grid.shape[1] - 1), 1)
    beside -= across  # in place: this is a hot path
    beside *= column_part
    across += beside
    resampled, below = across.take(rows, 0), across.take(np.minimum(rows + 1, grid.shape[0] - 1), 0)
    below -= resampled
    below *= row_part[:, None]
    resampled += below
    return resampled


def _between(position: np.ndarray, cells: int) -> tuple[np.ndarray, np.ndarray]:
    position = np.clip(position, 0.0, cells - 1.0)
    lower = np.floor(position).astype(int)
    return lower, position - lower
