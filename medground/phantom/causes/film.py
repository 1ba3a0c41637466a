"""A film of a patient who varies: as `phantom.film` takes it, with marks of five kinds, in the field of the rays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...errors import MedgroundError
from ...geometry import Box
from ..film import PITCH, Film, assemble, concept_masks, developer
from ..findings import Chest
from . import marks as marking
from .findings import DRAWN, FINDINGS, region, with_finding

if TYPE_CHECKING:
    from .patient import VariedPatient


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
    expose, field = developer(patient, maps["background"], chest.integral(), look), patient.field(pose)

    def develop(integral: np.ndarray) -> np.ndarray:
        return np.where(field, np.maximum(expose(integral), 1), 0).astype(np.uint8)  # collimated outside of the field

    def lay(film: np.ndarray, boxes: dict[str, Box], extents: dict[str, Box], regions: dict[str, Box]) -> dict:
        laid: dict[str, marking.Mark] = {}
        for name in marking.MARKS:
            if name in marks:
                taken = [*extents.values(), *(box for mark in laid.values() for box in mark.boxes)]
                mark = marking.draw(name, streams[name], boxes, taken, film, pose.scale)
                if mark is not None:
                    laid[name] = mark
        return laid

    wanted = {name: streams[name] for name in DRAWN if name in findings}
    return assemble(chest, develop, wanted, with_finding, region, lay)
