"""The phantom's editor: the healthy twin of a film is known, so an edit is exact.

``region_removed`` shows the healthy patient inside the regions, ``background_removed`` the healthy patient outside of
them, ``background_normal`` another healthy patient outside. The two films fade into each other over a band outside the
regions, so that no seam gives the edit away and the regions themselves are wholly the one or the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import distance_transform_edt

from ..errors import MedgroundError
from ..geometry import Box, fill
from ..images import read_film
from ..params import Params
from . import EDITS, edit_row


def editor(params: Params, samples: list[dict], out: Path) -> TwinEditor:
    """The twin editor with the settings of ``params``; see `medground.editing.editor`."""
    without = [sample["film"] for sample in samples if sample["twin"] is None]
    if without:
        raise MedgroundError(
            f"edit.editor is twin, but {len(without)} films have none (the first: {without[0]}); "
            "only the phantom knows its healthy twins: set edit.editor to radedit"
        )
    twins: dict[tuple[str, str], str] = {}  # one a patient and split, so that an edit never mixes the splits
    for sample in samples:
        twins.setdefault((sample["split"], sample["patient_id"]), sample["twin"])
    return TwinEditor(params.seed, params.verify.seeds, params.edit.band, twins, out)


@dataclass
class TwinEditor:
    """Make ``seeds`` edits of each kind of every sample; a seed chooses the other patient."""

    seed: int
    seeds: int
    band: int
    twins: dict[tuple[str, str], str]
    out: Path

    def __call__(self, samples: list[dict]) -> list[dict]:
        return [row for sample in samples for row in self._edits(sample)]

    def _edits(self, sample: dict) -> list[dict]:
        film, twin = read_film(sample["film"]), read_film(sample["twin"])
        height, width = film.shape
        others = [path for (split, who), path in self.twins.items()
                  if split == sample["split"] and who != sample["patient_id"]]  # fmt: skip
        if not others:
            raise MedgroundError(f"{sample['source']}: no other patient in split {sample['split']}; add patients")
        inside = region_weight(sample["regions"], height, width, self.band)
        rows = []
        for seed in range(self.seeds):
            other = others[np.random.default_rng([self.seed, sample["index"], seed]).integers(len(others))]
            normal = read_film(other)
            for kind in EDITS:
                settings = {"band": self.band} | ({"other": other} if kind == "background_normal" else {})
                edited = edit(kind, film, twin, normal, inside)
                rows.append(edit_row(self.out, sample, kind, seed, edited, "twin", settings))
        return rows


def edit(kind: str, film: np.ndarray, twin: np.ndarray, other: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """One edited film, uint8 ``[h, w]``; ``other`` is a healthy film of another patient, ``inside`` `region_weight`."""
    if kind == "region_removed":
        return blend(twin, film, inside)
    return blend(film, {"background_removed": twin, "background_normal": other}[kind], inside)


def region_weight(regions: Sequence[Box], height: int, width: int, band: float) -> np.ndarray:
    """1 inside the regions, falling to 0 as half a cosine over ``band`` pixels outside; float64 ``[h, w]``."""
    distance = distance_transform_edt(~fill(regions, height, width))
    return 0.5 + 0.5 * np.cos(np.pi * np.clip(distance / (band + 1), 0.0, 1.0))


def blend(inner: np.ndarray, outer: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """``weight`` (0..1) of the inner film and the rest of the outer, all ``[h, w]``; uint8."""
    return np.rint(weight * inner + (1.0 - weight) * outer).astype(np.uint8)
