"""A film that can be taken apart: its findings and marks, each exactly left out or left alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...errors import MedgroundError
from ...geometry import Box, box_of
from ..film import CONCEPTS, PITCH, concept_masks, developer
from ..findings import Chest
from . import marks as marking
from .findings import DRAWN, FINDINGS, region, with_finding

if TYPE_CHECKING:
    from .patient import VariedPatient


@dataclass(frozen=True)
class Film:
    """A radiograph, its exact healthy twin, and where everything is (native pixels, half-open boxes)."""

    image: np.ndarray  # uint8 [416, 352], with findings and marks
    twin: np.ndarray  # uint8 [416, 352], same patient, pose, exposure and noise; no finding, no mark
    extents: dict[str, Box]  # visible finding -> tight box of what it changes noticeably
    lesions: dict[str, np.ndarray]  # the same as bool masks [416, 352]
    anatomy: dict[str, Box]  # concept -> box on this film, with the findings
    masks: dict[str, np.ndarray]  # the same as bool masks [416, 352]
    regions: dict[str, Box]  # visible finding -> the anatomical region that a report would name
    marks: dict[str, marking.Mark]  # mark -> what it lays over the film
    render: Callable[[Sequence[str]], np.ndarray]  # the same film with no findings and marks but these, uint8

    @property
    def parts(self) -> dict[str, list[Box]]:
        """The findings and marks that can be seen, and where each is: nowhere for what changes the whole film."""
        return {name: [box] for name, box in self.extents.items()} | {n: list(m.boxes) for n, m in self.marks.items()}


def take(patient: VariedPatient, findings: Sequence[str], seed: np.random.SeedSequence, marks: Sequence[str]) -> Film:
    """Take the film that `VariedPatient.film` describes."""
    known = (*FINDINGS, *marking.MARKS)
    if unknown := [name for name in (*findings, *marks) if name not in known]:
        raise MedgroundError(f"unknown finding or mark {unknown[0]!r}; the phantom has: {', '.join(known)}.")
    look, *own = (np.random.default_rng(child) for child in seed.spawn(1 + len(known)))
    streams = dict(zip(known, own, strict=True))
    pose = patient.pose(look)
    maps = patient.maps(pose)
    chest = Chest(maps, concept_masks(maps), PITCH * pose.scale, healthy=maps)
    healthy = chest.integral()
    expose, field = developer(patient, maps["background"], healthy, look), patient.field(pose)

    def develop(integral: np.ndarray) -> np.ndarray:
        return np.where(field, np.maximum(expose(integral), 1), 0).astype(np.uint8)  # collimated outside of the field

    twin = develop(healthy)

    lesions, drawn = {}, {name: rng.bit_generator.state for name, rng in streams.items()}
    start = chest
    for name in DRAWN:
        if name in findings:
            altered, mask = with_finding(chest, name, streams[name])
            if mask is not None and mask.any():
                chest, lesions[name] = altered, mask
    plain = develop(chest.integral()) if lesions else twin
    extents = {name: box_of(mask) for name, mask in lesions.items()}
    masks = chest.masks
    boxes = {name: box_of(masks[name]) for name in CONCEPTS}
    regions = {name: region(name, boxes, extents[name]) for name in extents}
    laid: dict[str, marking.Mark] = {}
    for name in marking.MARKS:
        if name in marks:
            taken = [*extents.values(), *(box for mark in laid.values() for box in mark.boxes)]
            mark = marking.draw(name, streams[name], boxes, taken, plain, pose.scale)
            if mark is not None:
                laid[name] = mark

    def render(parts: Sequence[str]) -> np.ndarray:
        wanted = [name for name in DRAWN if name in parts and name in lesions]
        film = plain if len(wanted) == len(lesions) else twin
        if wanted and len(wanted) < len(lesions):
            chest = start
            for name in wanted:
                rng = np.random.default_rng()
                rng.bit_generator.state = drawn[name]
                chest, _ = with_finding(chest, name, rng)
            film = develop(chest.integral())
        return marking.apply(film.copy(), {name: mark for name, mark in laid.items() if name in parts})

    return Film(render((*extents, *laid)), twin, extents, lesions, boxes, masks, regions, laid, render)
