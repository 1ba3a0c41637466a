"""What else there is on a film: marks that a model can take for a finding, each drawn exactly or left out.

A letter of lead, a pacemaker with its lead, a chest drain and a burned-in word cover a few pixels; an overexposure
changes all of them. A mark is laid over the developed film, so that the film with it and the film without it are equal
everywhere else.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ...geometry import Box, area, box_of, intersect

MARKS = ("letter", "pacemaker", "drain", "word", "exposure")
GLOBAL = ("exposure",)  # marks that have no place
WORDS = ("PORTABLE", "SUPINE", "ERECT", "AP SITTING", "ICU BED 4", "MOBILE")
MARKED, MARKS_MOST = 0.3, 2  # rate of each mark; at most so many on a film
VISIBLE = 30.0  # mean change in gray levels of a mark that can be seen
_SHARP = 3  # pixels drawn for each pixel of the film and side
_PIECES = 4  # boxes that a line is cut into


@dataclass(frozen=True)
class Mark:
    """A mark on one film: ``alpha`` (0..1) of ``value`` (0..255), both ``[h, w]``, or a ``gamma`` of the whole film."""

    boxes: tuple[Box, ...]  # native pixels; none for a mark that has no place
    alpha: np.ndarray | None = None
    value: np.ndarray | np.floating | None = None
    gamma: float = 1.0

    @property
    def mask(self) -> np.ndarray | None:
        """Where the mark can be seen, bool ``[h, w]``; None for a mark that has no place."""
        return None if self.alpha is None else self.alpha > 0.15

    def over(self, film: np.ndarray) -> np.ndarray:
        """The uint8 film with this mark."""
        if self.alpha is None:
            return (255 * (film / np.float32(255)) ** np.float32(self.gamma) + 0.5).astype(np.uint8)
        return (film + self.alpha * (self.value - film) + 0.5).astype(np.uint8)


def draw(
    name: str,
    rng: np.random.Generator,
    anatomy: Mapping[str, Box],
    taken: Sequence[Box],
    film: np.ndarray,
    scale: float,
) -> Mark | None:
    """The mark ``name`` on a uint8 ``film`` ``[h, w]`` whose concepts lie at ``anatomy``.

    Letters and words stay clear of the boxes in ``taken``, of most of the lungs, and of what is white already. None
    where there is no room, or the mark would not be seen. ``scale`` is the size of a film pixel against the usual one.
    """
    mark = _DRAW[name](rng, anatomy, taken, film, scale)
    if mark is None or mark.mask is None:
        return mark
    if not mark.mask.any() or np.abs(mark.over(film).astype(float) - film)[mark.mask].mean() < VISIBLE:
        return None
    return mark


def draw_marks(rng: np.random.Generator) -> list[str]:
    """Names of the marks of one film, whatever its findings: each by itself, at most `MARKS_MOST`."""
    drawn = [name for name in MARKS if rng.random() < MARKED]
    return [drawn[k] for k in sorted(rng.permutation(len(drawn))[:MARKS_MOST])]


def _exposure(rng: np.random.Generator, *_) -> Mark:
    return Mark((), gamma=float(rng.uniform(2.1, 2.8)))


def _letter(rng: np.random.Generator, anatomy, taken, film, scale) -> Mark | None:
    letter = "RL"[rng.integers(2)]  # the patient's right is the film's left
    height = rng.uniform(46, 70)
    glyph = _text(letter, height, width=height * rng.uniform(0.62, 0.8))
    half = (0, 0.5) if letter == "R" else (0.5, 1)
    return _placed(glyph, rng, anatomy, taken, film, half, 1.0)


def _word(rng: np.random.Generator, anatomy, taken, film, scale) -> Mark | None:
    word = WORDS[rng.integers(len(WORDS))]
    height = rng.uniform(22, 30)
    return _placed(_text(word, height), rng, anatomy, taken, film, (0, 1), 0.95)


def _text(text: str, height: float, width: float | None = None) -> np.ndarray:
    font = ImageFont.load_default(120)
    canvas = Image.new("L", (160 + 90 * len(text), 240))
    ImageDraw.Draw(canvas).text((40, 20), text, fill=255, font=font, stroke_width=5)
    canvas = canvas.crop(canvas.getbbox())
    width = width or canvas.width * height / canvas.height
    return np.asarray(canvas.resize((round(width), round(height)), Image.Resampling.BILINEAR), np.float32) / 255


def _placed(glyph, rng, anatomy, taken, film, half, strength) -> Mark | None:
    """A glyph at a drawn place that is free: off every taken box and, as far as there is room, off the lungs."""
    height, width = glyph.shape
    size = film.shape[::-1]
    lungs = [anatomy["left lung"], anatomy["right lung"]]
    best, least = None, 0.35
    for _ in range(40):
        low, high = half[0] * size[0] + 3, half[1] * size[0] - width - 3
        x, y = int(rng.uniform(low, high)), int(rng.uniform(3, size[1] - height - 3))
        box = (float(x), float(y), float(x + width), float(y + height))
        if any(intersect(box, other) for other in taken) or film[y : y + height, x : x + width].mean() > 170:
            continue
        covered = sum(area(shared) for lung in lungs if (shared := intersect(box, lung))) / area(box)
        if covered < least:
            best, least = box, covered
        if covered == 0:
            break
    if best is None:
        return None
    alpha = np.zeros(size[::-1], np.float32)
    x, y = int(best[0]), int(best[1])
    alpha[y : y + height, x : x + width] = strength * glyph
    return Mark((best,), alpha, np.float32(250))


def _pacemaker(rng: np.random.Generator, anatomy, taken, film, scale) -> Mark:
    size = film.shape[::-1]
    side = "left" if rng.random() < 0.75 else "right"
    out = 1 if side == "left" else -1
    lung, heart = anatomy[f"{side} lung"], anatomy["cardiac silhouette"]
    wide, tall = lung[2] - lung[0], lung[3] - lung[1]
    middle = (anatomy["left lung"][0] + anatomy["right lung"][2]) / 2
    outer = lung[2] if side == "left" else lung[0]
    x = outer - out * rng.uniform(0.12, 0.42) * wide
    y = lung[1] + rng.uniform(0.10, 0.30) * tall
    a, b = rng.uniform(25, 31) / scale, rng.uniform(20, 25) / scale
    turn = rng.uniform(-0.7, 0.7)
    rows, columns = np.mgrid[0 : size[1], 0 : size[0]].astype(np.float32)
    u = ((columns - x) * np.cos(turn) + (rows - y) * np.sin(turn)) / a
    v = (-(columns - x) * np.sin(turn) + (rows - y) * np.cos(turn)) / b
    r = (np.abs(u) ** 2.6 + np.abs(v) ** 2.6) ** (1 / 2.6)
    can = 0.9 / (1 + np.exp((r - 1) * 25))
    inside = 205 + 40 * (v < -0.35) + 20 * ((np.abs(u) < 0.5) & (np.abs(v - 0.25) < 0.35))
    tip = (heart[0] + (0.78 if _points_left(anatomy) else 0.22) * (heart[2] - heart[0]),
           heart[1] + rng.uniform(0.72, 0.86) * (heart[3] - heart[1]))  # fmt: skip
    cava = middle + rng.uniform(-0.10, 0.02) * wide
    points = [
        (x - out * 0.4 * a, y - 0.8 * b),
        (x - out * 0.5 * abs(x - middle), y - rng.uniform(0.6, 1.3) * b),
        (cava + out * 0.12 * wide, y + rng.uniform(-0.02, 0.06) * tall),
        (cava, y + 0.22 * tall),
        (cava, 0.5 * (heart[1] + tip[1])),
        (0.5 * (cava + tip[0]), tip[1] + rng.uniform(0.0, 0.05) * tall),
        tip,
    ]
    curve = _spline(points)
    lead = _line(curve, 4.4 / scale, size)
    electrode = _line(curve[-8:], 7 / scale, size)
    alpha = np.maximum.reduce([can, 0.85 * lead, 0.9 * electrode])
    value = np.where(can > 0.4, inside, 245).astype(np.float32)
    boxes = [box_of(can > 0.02), *_pieces(np.maximum(lead, electrode) > 0.05)]
    return Mark(tuple(box for box in boxes if box), alpha.astype(np.float32), value)


def _points_left(anatomy: Mapping[str, Box]) -> bool:
    """Whether the apex points to the film's right, as it does unless the patient is mirrored."""
    heart = anatomy["cardiac silhouette"]
    middle = (anatomy["right lung"][2] + anatomy["left lung"][0]) / 2
    return (heart[0] + heart[2]) / 2 >= middle


def _drain(rng: np.random.Generator, anatomy, taken, film, scale) -> Mark:
    size = film.shape[::-1]
    side = ("left", "right")[rng.integers(2)]
    out = 1 if side == "left" else -1
    lung = anatomy[f"{side} lung"]
    wide, tall = lung[2] - lung[0], lung[3] - lung[1]
    outer = lung[2] if side == "left" else lung[0]
    enters = lung[1] + rng.uniform(0.45, 0.72) * tall
    reach, top = rng.uniform(0.25, 0.6), rng.uniform(0.12, 0.34)
    points = [
        (outer + out * rng.uniform(20, 45), enters + rng.uniform(0.08, 0.2) * tall),
        (outer - out * 0.02 * wide, enters),
        (outer - out * 0.6 * reach * wide, enters - rng.uniform(0.10, 0.2) * tall),
        (outer - out * reach * wide, lung[1] + (top + 0.16) * tall),
        (outer - out * (reach - rng.uniform(-0.05, 0.08)) * wide, lung[1] + top * tall),
    ]
    curve = _spline(points)
    tube, hollow = _line(curve, 12 / scale, size), _line(curve, 6.5 / scale, size)
    stripe = _line(curve + np.array([1.2, 0.4]) / scale, 4 / scale, size)
    alpha = np.maximum(0.75 * np.clip(tube - 0.5 * hollow, 0, 1), 0.9 * stripe)
    return Mark(tuple(_pieces(tube > 0.05)), alpha.astype(np.float32), np.float32(240))


def _spline(points: Sequence[tuple[float, float]], steps: int = 12) -> np.ndarray:
    """A smooth curve through ``points`` (Catmull-Rom): ``[n, 2]``."""
    p = np.array([points[0], *points, points[-1]], float)
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    parts = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(p, p[1:], p[2:], p[3:], strict=False)
    ]
    return np.concatenate([*parts, p[-1:]])


def _line(curve: np.ndarray, width: float, size: tuple[int, int]) -> np.ndarray:
    """Coverage (0..1) ``[h, w]`` of a line of ``width`` pixels along ``curve``."""
    canvas = Image.new("L", (size[0] * _SHARP, size[1] * _SHARP))
    points = [tuple(point) for point in (curve * _SHARP).tolist()]
    ImageDraw.Draw(canvas).line(points, fill=255, width=max(1, round(width * _SHARP)), joint="curve")
    return np.asarray(canvas.reduce(_SHARP), np.float32) / 255


def _pieces(mask: np.ndarray) -> list[Box]:
    """Boxes of a line cut across its longer side, so that together they cover little else."""
    x1, y1, x2, y2 = (int(v) for v in box_of(mask) or (0, 0, 0, 0))
    down = y2 - y1 >= x2 - x1
    edges = np.linspace(y1 if down else x1, y2 if down else x2, _PIECES + 1).astype(int)
    boxes = []
    for start, end in itertools.pairwise(edges):
        part = np.zeros_like(mask)
        piece = (slice(start, end), slice(None)) if down else (slice(None), slice(start, end))
        part[piece] = mask[piece]
        if (box := box_of(part)) is not None:
            boxes.append(box)
    return boxes


_DRAW: Mapping[str, Callable[..., Mark | None]] = {
    "letter": _letter,
    "pacemaker": _pacemaker,
    "drain": _drain,
    "word": _word,
    "exposure": _exposure,
}
