"""What MedFocus puts to the test: parts of a film, from anatomy, marks, what other methods point at, and a plain grid.

A source only proposes. Every part is judged by exchange, so a bad source costs forwards and not truth.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from ..geometry import Box, hull
from .exchange import TOUCHING, Film, Part, Tested, components

if TYPE_CHECKING:
    from .method import Attribution

#: Left and right of the same organ, which reports name together.
PAIRS: Mapping[str, tuple[str, str]] = {
    "both lungs": ("left lung", "right lung"),
    "both clavicles": ("left clavicle", "right clavicle"),
    "both hila": ("left hilar structures", "right hilar structures"),
    "both costophrenic angles": ("left costophrenic angle", "right costophrenic angle"),
}
#: Concepts that a film has at most, as many as the anatomy of Chest ImaGenome has.
CONCEPTS = 11
ELSEWHERE = "outside the anatomy"
#: Shares of the film that the nested levels of a map cover, hottest first.
LEVELS = (0.01, 0.02, 0.035, 0.05, 0.08, 0.12, 0.17)
#: A mark is narrower than the first share of the film's shorter side, its pieces are no further apart than twice the
#: second, and it is brighter than what surrounds it by more than the third of the range of gray.
WIDEST, GAP, CONTRAST = 0.06, 0.015, 0.1
#: Marks that a film has at most, those that stand out most.
MARKS = 6
#: Cells a side of the plain grid; blocks of two by two cells, which overlap, are proposed as well.
CELLS = 4
#: A component of a part is a part of its own where it has at least this share of its pixels.
LEAST_COMPONENT = 0.1
#: Two parts are disjoint where they share less than this of the smaller one.
_OVERLAP = 0.1
_UNIONS = 4  # pairs of necessary parts, and of sufficient ones, that are tried together, the smallest first
#: Parts that the second round adds at most: unions of either kind, and pieces of the best carrier.
MORE = 2 * _UNIONS + int(1 / LEAST_COMPONENT)


def regions(concepts: Sequence[tuple[str, Box]]) -> list[tuple[str, tuple[Box, ...]]]:
    """The film's concepts, then the `PAIRS` of which both sides are there: names with native boxes."""
    boxes = dict(concepts)
    single = [(name, (box,)) for name, box in concepts]
    return single + [(name, (boxes[a], boxes[b])) for name, (a, b) in PAIRS.items() if a in boxes and b in boxes]


def anatomy(film: Film, concepts: Sequence[tuple[str, Box]]) -> list[Part]:
    """The concepts, the pairs, and everything that no concept covers."""
    if not concepts:
        return []
    named = regions(concepts)
    masks = _filled(film, [boxes for _, boxes in named])
    parts = [
        Part(name, "pair" if name in PAIRS else "concept", mask) for (name, _), mask in zip(named, masks, strict=True)
    ]
    return [*parts, Part(ELSEWHERE, "elsewhere", film.inside & ~masks[: len(concepts)].any(0))]


def marks(film: Film) -> list[Part]:
    """What stands out of the film and not of the normal one: letters, wires, tubes, devices, at most `MARKS` of them.

    The white top-hat (what an opening takes away: all that is bright and narrow) beyond that of the normal film near
    by, where it exceeds `CONTRAST`; connected pieces, the most prominent first.
    """
    canvas, normal = (gray.float().cpu().numpy() for gray in (film.canvas, film.normal))
    side = min(int(film.inside.any(0).sum()), int(film.inside.any(1).sum()))
    widest, gap = max(3, round(WIDEST * side)), max(1, round(GAP * side))
    usual = ndimage.maximum_filter(ndimage.white_tophat(normal, widest), 2 * gap + 1)
    beyond = np.where(film.inside, ndimage.white_tophat(canvas, widest) - usual, 0)
    joined = ndimage.binary_dilation(ndimage.binary_closing(beyond > CONTRAST, iterations=gap)) & film.inside
    pieces, count = ndimage.label(joined, TOUCHING)
    prominence = ndimage.sum_labels(beyond.clip(0), pieces, np.arange(1, count + 1))
    order = np.argsort(-prominence, kind="stable")[:MARKS]
    return [Part(f"mark {number}", "mark", pieces == piece + 1) for number, piece in enumerate(order, 1)]


def proposed(film: Film, found: Attribution, source: str) -> list[Part]:
    """What a method points at: nested levels of its map, or its first boxes, one by one and together; as many parts."""
    if found.grid is None or found.extent is None:
        return _pointed(film, found.boxes or [], source)
    return _levels(film, _on_canvas(np.asarray(found.grid, np.float64), film, found.extent), source)


def _levels(film: Film, heat: np.ndarray, source: str) -> list[Part]:
    """The hottest `LEVELS` of the positive values of a map on the canvas; none of a map without any."""
    hot = np.sort(heat[film.inside & (heat > 0) & np.isfinite(heat)])[::-1]
    area, parts = int(film.inside.sum()), []
    for share in LEVELS:
        if (count := round(share * area)) and len(hot):
            least = hot[min(count, len(hot)) - 1]
            parts.append(Part(f"{source}, hottest {share:.1%}", "level", film.inside & (heat >= least)))
    return parts


def _pointed(film: Film, boxes: Sequence[Box], source: str) -> list[Part]:
    first = boxes[: len(LEVELS) - 1]
    named = {f"{source}, box {number}": [box] for number, box in enumerate(first, 1)}
    if len(first) > 1:
        named[f"{source}, all boxes"] = list(first)
    return [Part(name, "box", mask) for name, mask in zip(named, _filled(film, named.values()), strict=True)]


def cells(film: Film) -> list[Part]:
    """A grid of `CELLS` x `CELLS` over the film, and every block of two by two of its cells."""
    rows, columns = np.flatnonzero(film.inside.any(1)), np.flatnonzero(film.inside.any(0))
    ys = np.linspace(rows[0], rows[-1] + 1, CELLS + 1).round().astype(int)
    xs = np.linspace(columns[0], columns[-1] + 1, CELLS + 1).round().astype(int)
    parts = []
    for size in (1, 2):
        for row in range(CELLS + 1 - size):
            for column in range(CELLS + 1 - size):
                mask = np.zeros_like(film.inside)
                mask[ys[row] : ys[row + size], xs[column] : xs[column + size]] = True
                parts.append(Part(f"cell {row}, {column} of size {size}", "cell", mask & film.inside))
    return parts


def split(carrier: Tested) -> list[Part]:
    """The components of a part that has several, the largest first; none of a part in one piece."""
    found = components(carrier.part.mask, LEAST_COMPONENT)
    names = [f"{carrier.part.name}, piece {number}" for number in range(1, len(found) + 1)]
    return [Part(name, "component", mask) for name, mask in zip(names, found, strict=True)] if len(found) > 1 else []


def unions(partial: Sequence[Tested], most: float) -> list[tuple[Tested, Tested, Part]]:
    """Disjoint pairs of parts with the part that both are together, the smallest first, smaller than ``most``."""
    ordered = sorted(partial, key=lambda some: some.share)
    pairs = []
    for number, first in enumerate(ordered):
        for second in ordered[number + 1 :]:
            common = (first.part.mask & second.part.mask).sum()
            smaller = min(first.part.mask.sum(), second.part.mask.sum())
            if common < _OVERLAP * smaller and first.share + second.share < most:
                name = f"{first.part.name} with {second.part.name}"
                pairs.append((first, second, Part(name, "union", first.part.mask | second.part.mask)))
    return sorted(pairs, key=lambda pair: pair[0].share + pair[1].share)[:_UNIONS]


def outline(name: str, concepts: Sequence[tuple[str, Box]]) -> Box:
    """The native box around a concept or a pair."""
    return hull(dict(regions(concepts))[name])


def _filled(film: Film, boxes: Iterable[Sequence[Box]]) -> np.ndarray:
    """Canvas masks of native boxes, bool ``[n, h, w]``."""
    from ..lvlm.interventions import canvas_masks  # imports torch

    return canvas_masks(film.letterbox, boxes)


def _on_canvas(grid: np.ndarray, film: Film, extent: Box) -> np.ndarray:
    """A map ``[h, w]`` over a native ``extent``, bilinear at the centres of the canvas pixels: ``[H, W]``."""
    height, width = film.inside.shape
    x1, y1, x2, y2 = film.letterbox.to_canvas(extent)
    rows = (np.arange(height) + 0.5 - y1) / (y2 - y1) * grid.shape[0] - 0.5
    columns = (np.arange(width) + 0.5 - x1) / (x2 - x1) * grid.shape[1] - 0.5
    return _weights(rows, grid.shape[0]) @ grid @ _weights(columns, grid.shape[1]).T


def _weights(at: np.ndarray, size: int) -> np.ndarray:
    """Linear interpolation as a matrix ``[len(at), size]``; beyond the ends the last value holds."""
    at = at.clip(0, size - 1)
    return np.maximum(0.0, 1 - np.abs(at[:, None] - np.arange(size)))
