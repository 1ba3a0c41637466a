"""A normal film in a patient's shape: what the references have in common that resemble the film most."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from PIL import Image
from scipy.ndimage import map_coordinates, zoom

from ..geometry import Letterbox
from .registration import BACKGROUND, FINE, SIDE, grid
from .transfer import Locator

_ROUNDS = 10  # of reweighting


class Normal:
    """Draws normal films: the mean of the references most like a film, in the atlas's frame, warped and toned alike."""

    def __init__(self, locator: Locator):
        self.locator = locator

    def draw(self, film: np.ndarray) -> np.ndarray:
        """A normal film, uint8, of the size and shape of ``film`` (uint8 ``[h, w]``).

        Raises MedgroundError for a film without contrast.
        """
        height, width = film.shape
        letterbox = Letterbox.fit(width, height, SIDE)
        square = letterbox.apply(film)
        contrast, atlas = self.locator.how.contrast(square), self.locator.atlas
        warp = atlas.template.register(contrast)
        mean = self._drawn[atlas.alike(contrast, warp)].mean(0)
        normal = _toned(_sample(mean, warp.inverse(grid(FINE))), square)
        x1, y1, x2, y2 = letterbox.to_canvas((0, 0, width, height))
        inside = Image.fromarray(np.clip(normal, 0, 255).round().astype(np.uint8))
        return np.asarray(inside.resize((width, height), Image.Resampling.BILINEAR, (x1, y1, x2, y2)))

    @cached_property
    def _drawn(self) -> np.ndarray:
        """The references in the atlas's frame, toned like the first, ``[R, 224, 224]``."""
        films, template = self.locator.references.films, self.locator.atlas.template
        warps = [template.register(self.locator.how.contrast(film)) for film in films]
        drawn = [_sample(film, warp(grid(FINE))) for film, warp in zip(films, warps, strict=True)]
        return np.stack([_toned(image, drawn[0]) for image in drawn])


def _sample(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """A square image ``[224, 224]`` at smoothly varying points, given on a grid of 56 x 56 in [-1, 1].

    Points far outside, where a polynomial's inverse diverges, show the image's border.
    """
    scale = SIDE // FINE
    rows, columns = (
        zoom(axis.reshape(FINE, FINE), scale, order=1, mode="nearest", grid_mode=True) for axis in points.T
    )
    place = (np.nan_to_num(np.stack([rows, columns]), nan=-1.0).clip(-1, 1) + 1) / 2 * SIDE - 0.5
    return map_coordinates(image.astype(np.float64), place, order=1, mode="nearest")


def _toned(image: np.ndarray, like: np.ndarray) -> np.ndarray:
    """``image`` with the contrast and brightness that fit ``like`` best where the two agree (least absolute error)."""
    body = (like > BACKGROUND) & (image > BACKGROUND)
    x, y = image[body], like[body].astype(np.float64)
    weight = np.ones(len(x))
    for _ in range(_ROUNDS):
        mean_x, mean_y = np.average(x, weights=weight), np.average(y, weights=weight)
        gain = np.average((x - mean_x) * (y - mean_y), weights=weight) / np.average((x - mean_x) ** 2, weights=weight)
        weight = 1 / np.maximum(np.abs(mean_y + gain * (x - mean_x) - y), 4.0)
    return mean_y + gain * (image - mean_x)
