"""Virtual patients who vary as far as a radiologist would still accept: size, build, rotation, zoom, place, side."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from ...geometry import Box
from ..film import PITCH, SIZE, Film, Pose, concept_masks
from ..patient import _U, _V, Patient, Phantom, Variety
from .film import take

VARIED = Variety(
    turned=(3.2, 3.5),
    most_turned=8.0,
    least=(0.86, 0.80, 0.86),
    largest=(1.10, 1.22, 1.10),
    body=(0.82, 1.28),
    warp=(6.0, 10.0),
    mirrored=0.05,
)
ZOOM = (0.80, 1.22)  # a film's mm against those of the usual film


class VariedPhantom(Phantom):
    """The chest CT, ready to make patients of who vary."""

    def patient(self, seed: int, variety: Variety = VARIED) -> VariedPatient:
        """Patient number ``seed``: always the same for the same seed, on any machine."""
        rng = np.random.default_rng([seed, 0])
        maps = self._maps(rng, variety)
        mirrored = bool(rng.random() < variety.mirrored)
        return VariedPatient(seed, _mirror(maps) if mirrored else maps, mirrored, rng)


class VariedPatient(Patient):
    """One virtual patient, healthy; `film` takes radiographs of them, with or without findings and marks."""

    def __init__(self, seed: int, maps: dict[str, np.ndarray], mirrored: bool, rng: np.random.Generator):
        super().__init__(seed, maps, rng)
        self.mirrored, self._lungs = mirrored, _lungs(maps)

    @cached_property
    def masks(self) -> dict[str, np.ndarray]:
        """Concept -> bool mask ``[416, 352]`` on a film with the lungs in the middle."""
        u1, v1, u2, v2 = self._lungs
        return concept_masks(self.maps(self._at(0.0, (u1 + u2) / 2, (v1 + v2) / 2, 1.0)))

    def film(self, findings: Sequence[str] = (), *, seed: int = 0, marks: Sequence[str] = ()) -> Film:
        """A radiograph with ``findings`` and ``marks``, its healthy twin and the truth about both.

        ``seed`` decides pose, exposure, noise, and size, shape and place of each finding and mark; a finding looks the
        same whatever else is asked for. What cannot be seen (under an effusion) or has no room is left out of the
        film, of ``extents`` and of ``marks``. Raises MedgroundError for an unknown name.
        """
        return take(self, findings, np.random.SeedSequence([self.seed, 1, seed]), marks)

    def pose(self, rng: np.random.Generator) -> Pose:
        """A pose that a radiographer could have taken: turned, zoomed, off centre, with all of the lungs but a rim."""
        angle, scale = np.radians(np.clip(rng.normal(0, 3), -7, 7)), rng.uniform(*ZOOM)
        u1, v1, u2, v2 = self._lungs
        rim = 0.03 * (u2 - u1)
        scale = max(scale, (u2 - u1 - 2 * rim) / (SIZE[0] * PITCH), (v2 - v1 - 2 * rim) / (SIZE[1] * PITCH))
        centre = []
        for low, high, pixels, most in ((u1, u2, SIZE[0], 45.0), (v1, v2, SIZE[1], 55.0)):
            middle, half = (low + high) / 2, pixels * PITCH * scale / 2
            slack = min(most, max(0.0, half - (high - low) / 2 + rim))
            centre.append(float(middle + slack * rng.uniform(-1, 1)))
        return self._at(float(angle), centre[0], centre[1], float(scale))

    def field(self, pose: Pose) -> np.ndarray:
        """Where the rays of the projection reach the film, bool ``[416, 352]``; beyond, it is collimated."""
        u, v = self._detector(pose)
        return (np.abs(u) < _U[-1]) & (np.abs(v) < _V[-1])

    def _at(self, angle: float, u: float, v: float, scale: float) -> Pose:
        """The pose with the film's centre at ``u``, ``v`` mm of the detector."""
        return Pose(angle, self._origin[0] - u, self._origin[1] - v, scale)


def _lungs(maps: dict[str, np.ndarray]) -> Box:
    """The box around both lungs on the detector, mm."""
    lungs = np.maximum(maps["left lung"], maps["right lung"]) > 12
    rows, columns = np.flatnonzero(lungs.any(1)), np.flatnonzero(lungs.any(0))
    return float(_U[columns[0]]), float(_V[rows[0]]), float(_U[columns[-1]]), float(_V[rows[-1]])


def _mirror(maps: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Situs inversus: everything on the other side, and named so."""
    other = {"left": "right", "right": "left"}
    flipped = {name: np.ascontiguousarray(values[:, ::-1]) for name, values in maps.items()}
    return {name: flipped[" ".join(other.get(word, word) for word in name.split(" "))] for name in flipped}
