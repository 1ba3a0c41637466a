"""One case, all methods side by side: the film with the expert's region, then what each method says about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..geometry import Box
from .method import Attribution
from .report import overlay

EXPERT = (57, 211, 83)
_INK, _QUIET, _PAPER = (236, 236, 236), (160, 160, 160), (16, 18, 20)
_WIDTH, _GAP, _LINE = 216, 10, 18  # pixels: of a panel, between panels, of a line of text


@dataclass(frozen=True)
class Panel:
    """A film of the sheet with what is written under it."""

    picture: Image.Image
    title: str
    note: str = ""


def sheet(
    film: np.ndarray, regions: Sequence[Box], title: str, found: Sequence[tuple[str, Attribution, float]]
) -> Image.Image:
    """A film (uint8 ``[H, W]``), then a panel for each method: its name, attribution, and IoU with the ``regions``.

    The expert's ``regions`` (native pixels) are green on every panel.
    """
    panels = [Panel(_outlined(_gray(film), regions), "the film", "green: the expert's region")]
    for name, attribution, iou in found:
        panels.append(Panel(_outlined(overlay(film, attribution), regions), name, f"IoU {iou:.2f}"))
    return arrange(panels, title)


def arrange(panels: Sequence[Panel], title: str, columns: int = 6) -> Image.Image:
    """Panels in rows of ``columns`` under a title."""
    height = max(round(panel.picture.height * _WIDTH / panel.picture.width) for panel in panels)
    step_x, step_y = _WIDTH + _GAP, height + 2 * _LINE + 2 * _GAP
    rows = -(-len(panels) // columns)
    page = Image.new("RGB", (columns * step_x + _GAP, rows * step_y + 3 * _LINE), _PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((_GAP, _GAP), title, _INK, _font(17))
    for number, panel in enumerate(panels):
        x, y = _GAP + number % columns * step_x, 2 * _LINE + _GAP + number // columns * step_y
        shown = panel.picture.resize((_WIDTH, round(panel.picture.height * _WIDTH / panel.picture.width)))
        page.paste(shown, (x, y))
        draw.text((x, y + height + 4), panel.title, _INK, _font(14))
        draw.text((x, y + height + 4 + _LINE), panel.note, _QUIET, _font(13))
    return page


def _gray(film: np.ndarray) -> Image.Image:
    return Image.fromarray(film).convert("RGB")


def _outlined(picture: Image.Image, regions: Sequence[Box]) -> Image.Image:
    draw, thick = ImageDraw.Draw(picture), max(1, round(max(picture.size) / 250))
    for x1, y1, x2, y2 in regions:
        draw.rectangle((round(x1), round(y1), round(x2) - 1, round(y2) - 1), outline=EXPERT, width=thick)
    return picture


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
