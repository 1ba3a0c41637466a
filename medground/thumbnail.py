"""A film as people see it in a row or on a page: small, with the regions outlined."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

from PIL import Image, ImageDraw

from .geometry import Box
from .images import read_film

OUTLINE = (255, 176, 0)
QUALITY = 85


def thumbnail(path: Path | str, regions: Iterable[Box], side: int) -> bytes:
    """The film as a JPEG whose longer side has ``side`` pixels, with ``regions`` (native pixels) outlined.

    Raises MedgroundError as `images.read_film` does.
    """
    film = read_film(path)
    scale = side / max(film.shape)
    image = Image.fromarray(film).resize((max(1, round(film.shape[1] * scale)), max(1, round(film.shape[0] * scale))))
    image = image.convert("RGB")
    for box in regions:
        x1, y1, x2, y2 = (value * scale for value in box)
        ImageDraw.Draw(image).rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=OUTLINE, width=2)
    stored = io.BytesIO()
    image.save(stored, "jpeg", quality=QUALITY)
    return stored.getvalue()
