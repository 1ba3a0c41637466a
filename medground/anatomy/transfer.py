"""Where the concepts of normal references lie on another film."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ..errors import MedgroundError
from ..geometry import Box, Letterbox, as_box, intersect
from . import published
from .references import Atlas, References, outline
from .registration import SIDE, Registration, Template, Warp

if TYPE_CHECKING:
    from ..grounding.segmenter import MedSAM  # imports torch

PROTOCOLS = ("medground", "published")
TIGHTENED = ("published",)  # protocols whose boxes a segmenter tightens
Located = tuple[str, Box, str, float]  # concept, box in the film's pixels, reference, cost
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
    ``published`` (the pushed mass of MedFocus, before MedSAM). Raises MedgroundError for arrays of another size or kind
    and for films without contrast.
    """
    _check("reference", reference, np.uint8)
    _check("target", target, np.uint8)
    for concept, mask in masks.items():
        _check(f"mask of {concept}", mask, np.bool_)
    if not masks:
        return {}
    if _of(protocol) == "published":
        boxes = published.transfer(reference, np.stack(list(masks.values())), target, solver)
    else:
        how = Registration(solver=solver)
        warp = Template(how.lifted(how.contrast(reference)), how).register(how.contrast(target))
        boxes = mapped_boxes(warp, [outline(mask) for mask in masks.values()])
    return dict(zip(masks, boxes, strict=True))


@dataclass(frozen=True)
class Locator:
    """Finds the concepts of a pool of references on other films.

    ``medground`` registers a film once, to the atlas of all references; a box is the mean of what the references say
    that resemble the film most (`Atlas.alike`), where most of them have the concept; the reference is ``atlas``.
    ``published`` takes the reference whose transport costs least.
    With a ``segmenter``, every box then prompts it and becomes the tight box of what it finds.
    """

    references: References
    protocol: str = "medground"
    how: Registration = field(default_factory=Registration)
    segmenter: MedSAM | None = None

    def __call__(self, film: np.ndarray) -> list[Located]:
        """The concepts found on a uint8 film ``[h, w]``. Raises MedgroundError for a film without contrast."""
        return self.tightened([film], [self.transferred(film)])[0]

    def tightened(self, films: Sequence[np.ndarray], found: Sequence[list[Located]]) -> list[list[Located]]:
        """What was transferred to each of several films, its boxes tightened by the segmenter if there is one."""
        if self.segmenter is None:
            return list(found)
        boxes = [[box for _, box, *_ in some] for some in found]
        if _of(self.protocol) == "published":
            tight = _on_squares(self.segmenter, films, boxes)
        else:
            tight = self.segmenter.refine(films, boxes)
        return [
            [(concept, box, reference, cost) for (concept, _, reference, cost), box in zip(some, refined, strict=True)]
            for some, refined in zip(found, tight, strict=True)
        ]

    def transferred(self, film: np.ndarray) -> list[Located]:
        """The concepts as they were carried over from the references, before any segmenter."""
        height, width = film.shape
        letterbox = Letterbox.fit(width, height, SIDE)
        found, name, cost = (self._published if _of(self.protocol) == "published" else self._medground)(
            letterbox.apply(film)
        )
        native = [box and letterbox.to_native(box) for box in found]
        if _of(self.protocol) != "published":  # which keeps boxes in the black bars
            native = [box and intersect(box, (0.0, 0.0, float(width), float(height))) for box in native]
        return [(c, box, name, cost) for c, box in zip(self.references.concepts, native, strict=True) if box]

    @cached_property
    def atlas(self) -> Atlas:
        """The references, registered to each other."""
        return Atlas.of(self.references, self.how)

    def _medground(self, film: np.ndarray) -> tuple[list[Box | None], str, float]:
        target, concepts = self.how.contrast(film), len(self.references.concepts)
        warp = self.atlas.template.register(target)
        alike = self.atlas.alike(target, warp)
        votes = mapped_boxes(warp, [outline for number in alike for outline in self.atlas.outlines[number]])
        return [_mean(votes[c::concepts]) for c in range(concepts)], "atlas", self.atlas.template.distance(target, warp)

    def _published(self, film: np.ndarray) -> tuple[list[Box | None], str, float]:
        costs = published.costs(self.references.films, film, self.how.solver)
        best = int(costs.argmin())
        boxes = published.transfer(self.references.films[best], self.references.masks[best], film, self.how.solver)
        return boxes, self.references.names[best], float(costs[best])


def _on_squares(segmenter: MedSAM, films: Sequence[np.ndarray], boxes: Sequence[Sequence[Box]]) -> list[list[Box]]:
    """As published: the segmenter sees the letterboxed film with its black bars, and boxes in whole pixels."""
    to = [Letterbox.fit(film.shape[1], film.shape[0], SIDE) for film in films]
    whole = [
        [as_box(float(round(value)) for value in box.to_canvas(native)) for native in some]
        for box, some in zip(to, boxes, strict=True)
    ]
    squares = [box.apply(film) for box, film in zip(to, films, strict=True)]
    tight = segmenter.refine(squares, whole, "published")
    return [[box.to_native(found) for found in some] for box, some in zip(to, tight, strict=True)]


def _check(name: str, array: np.ndarray, kind: type) -> None:
    if array.shape != (SIDE, SIDE) or array.dtype != kind:
        raise MedgroundError(f"the {name} is {array.dtype} {array.shape}; expected {np.dtype(kind)} ({SIDE}, {SIDE})")


def _of(protocol: str) -> str:
    if protocol not in PROTOCOLS:
        raise MedgroundError(f"unknown protocol {protocol!r} of concept transfer; known: {', '.join(PROTOCOLS)}")
    return protocol


def mapped_boxes(warp: Warp, outlines: Sequence[np.ndarray]) -> list[Box | None]:
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
