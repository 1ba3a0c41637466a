"""Films to train the segmenter and the detector on, as the processor of each puts them on its canvas."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...geometry import Letterbox
from .. import CONCEPTS, FINDINGS, SIZE, Film
from ..film import MARKS
from ..films import Cohort, people, rendered
from ..patient import Patient
from ..source import World
from . import canvas

THINGS = (*CONCEPTS, *FINDINGS)  # what can be pointed at, in the order of all arrays
MASK = 128  # side of the masks: films stretched to a square


@dataclass(frozen=True)
class Films:
    """Films of a cohort with the truth about them."""

    letterboxed: np.ndarray  # uint8 [N, h, w], on the segmenter's canvas without its padding
    stretched: np.ndarray  # uint8 [N, 224, 224], on the detector's
    masks: np.ndarray  # uint8 [N, things, MASK * MASK / 8], bits; nothing where a finding is absent
    boxes: np.ndarray  # float32 [N, things, 4], shares of the film's sides; NaN where a finding is absent

    def __len__(self) -> int:
        return len(self.boxes)


def films(cohort: Cohort, ct: Path, cache: Path) -> Films:
    """The films of ``cohort``, from ``cache`` where they are there; a second process waits for the first."""
    folder = rendered("grounding", World(), cohort, _rows, ct, cache, modules=(__name__, canvas.__name__))
    return Films(**{name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in Films.__dataclass_fields__})


def take(cohort: Cohort, ct: Path) -> Iterator[Film]:
    """Films of ``cohort`` one after the other: a fifth of them healthy, the others with one to three findings."""
    for patient, rng in people(World(), cohort, ct):
        yield from _taken(patient, rng, cohort)


def row(film: Film) -> dict[str, np.ndarray]:
    """One film's row of every array of `Films`."""
    width, height = SIZE
    masks = {**film.masks, **film.lesions}
    square, nothing = Letterbox.stretch(width, height, MASK, MASK), np.zeros((MASK, MASK), bool)
    drawn = [square.apply(masks[t].astype(np.uint8) * 255) > 127 if t in masks else nothing for t in THINGS]
    boxes = [{**film.anatomy, **film.extents}.get(thing, (np.nan,) * 4) for thing in THINGS]
    return {
        "letterboxed": canvas.resized(canvas.segmenter_processor(), film.image),
        "stretched": canvas.resized(canvas.detector_processor(), film.image),
        "masks": np.packbits(np.stack(drawn).reshape(len(THINGS), -1), axis=-1),
        "boxes": np.array(boxes, np.float32) / np.array([width, height] * 2, np.float32),
    }


def _taken(patient: Patient, rng: np.random.Generator, cohort: Cohort) -> Iterator[Film]:
    for k in range(cohort.films_per_patient):
        count = rng.choice([0, 1, 2, 3], p=[0.2, 0.35, 0.3, 0.15])
        findings = rng.choice(FINDINGS, count, replace=False).tolist()
        yield patient.film(findings, seed=k, marks=MARKS if rng.random() < 0.5 else ())


def _rows(patient: Patient, rng: np.random.Generator, cohort: Cohort) -> Iterator[dict[str, np.ndarray]]:
    return map(row, _taken(patient, rng, cohort))
