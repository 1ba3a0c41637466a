"""Where the concepts of normal references lie on another film."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import MedgroundError
from ..geometry import Box, Letterbox, intersect
from . import paper
from .references import References, outline
from .registration import CELLS, SIDE, Contrast, Warp, grid, register

PROTOCOLS = ("medground", "paper")
_FRAME = (0.0, 0.0, float(SIDE), float(SIDE))


def transfer_boxes(
    reference: np.ndarray,
    masks: Mapping[str, np.ndarray],
    target: np.ndarray,
    protocol: str = "medground",
    solver: str = "separable",
) -> dict[str, Box | None]:
    """The box of each concept on a target film, carried over from one reference.

    Films are uint8 ``[224, 224]``, masks bool ``[224, 224]`` on the reference; boxes are in pixels of the target, None
    where a mask is empty or leaves the film. ``protocol`` is ``medground`` (registration by lifted transport) or
    ``paper`` (the pushed mass of MedFocus, before MedSAM). Raises MedgroundError for arrays of another size or kind
    and for films without contrast.
    """
    for name, array, kind in (("reference", reference, np.uint8), ("target", target, np.uint8),
                              *((f"mask of {c}", mask, np.bool_) for c, mask in masks.items())):  # fmt: skip
        if array.shape != (SIDE, SIDE) or array.dtype != kind:
            raise MedgroundError(f"the {name} is {array.dtype} {array.shape}; expected {np.dtype(kind)} ({SIDE}, {SIDE})")
    if _of(protocol) == "paper":
        boxes = paper.transfer(reference, np.stack(list(masks.values())), target, solver) if masks else []
    else:
        warp = register(Contrast.of(reference).lifted(grid(CELLS)), Contrast.of(target), solver)
        boxes = _boxes(warp, [outline(mask) for mask in masks.values()])
    return dict(zip(masks, boxes, strict=True))


def locate(
    film: np.ndarray, references: References, protocol: str = "medground", solver: str = "separable"
) -> list[tuple[str, Box, str, float]]:
    """Concepts on a film of any size, uint8 ``[h, w]``: (concept, box in its pixels, reference, cost).

    ``medground``: the film is registered to the atlas of all references once, and the box is the mean of what they
    say; reference is ``atlas``. ``paper``: the reference whose transport costs least. Concepts that are not found are
    left out. Raises MedgroundError for a film without contrast.
    """
    height, width = film.shape
    letterbox = Letterbox.fit(width, height, SIDE)
    square = letterbox.apply(film)
    if _of(protocol) == "paper":
        costs = paper.costs(references.films, square, solver)
        best = int(costs.argmin())
        boxes = paper.transfer(references.films[best], references.masks[best], square, solver)
        name, cost = references.names[best], float(costs[best])
    else:
        warp = register(references.atlas.mass, Contrast.of(square), solver)
        votes = _boxes(warp, [o for outlines in references.atlas.outlines for o in outlines])
        boxes = [_mean(votes[concept :: len(references.concepts)]) for concept in range(len(references.concepts))]
        name, cost = "atlas", 0.0
    native = [box and intersect(letterbox.to_native(box), (0.0, 0.0, float(width), float(height))) for box in boxes]
    return [(c, box, name, cost) for c, box in zip(references.concepts, native, strict=True) if box]


def _of(protocol: str) -> str:
    if protocol not in PROTOCOLS:
        raise MedgroundError(f"unknown protocol {protocol!r} of concept transfer; known: {', '.join(PROTOCOLS)}")
    return protocol


def _boxes(warp: Warp, outlines: Sequence[np.ndarray]) -> list[Box | None]:
    """The box of each outline on the target, in pixels of the square; None where it is empty or off the film."""
    mapped = (warp(np.concatenate(outlines)) + 1) * (SIDE / 2)
    boxes = []
    for corners in np.split(mapped, np.cumsum([len(o) for o in outlines])[:-1]):
        (top, left), (bottom, right) = (corners.min(0), corners.max(0)) if len(corners) else ((0, 0), (0, 0))
        boxes.append(intersect((float(left), float(top), float(right), float(bottom)), _FRAME))
    return boxes


def _mean(votes: list[Box | None]) -> Box | None:
    found = [box for box in votes if box]
    return tuple(np.mean(found, axis=0).tolist()) if 2 * len(found) > len(votes) else None
