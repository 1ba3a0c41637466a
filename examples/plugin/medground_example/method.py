"""A method that looks at the film alone: what differs from its surroundings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter

from medground.attribution import Attribution, Item, register


@register("center_surround", group="contrast", paper="difference of Gaussians, without a model", needs=())
def center_surround(lvlm: None, items: Sequence[Item], *, sigma: float = 8.0) -> list[Attribution]:
    """|film blurred by ``sigma`` pixels - film blurred by three times as much|, at an eighth of the film's size."""
    found = []
    for item in items:
        film = item.film.astype(np.float32)
        contrast = np.abs(gaussian_filter(film, sigma) - gaussian_filter(film, 3 * sigma))[::8, ::8]
        height, width = item.film.shape
        found.append(Attribution(item.case_id, grid=contrast, extent=(0.0, 0.0, float(width), float(height))))
    return found
