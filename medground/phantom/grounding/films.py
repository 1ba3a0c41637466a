"""Films to train on: rendered once, put on each model's canvas by its own processor, kept under a cache folder.

Patients of the training, validation and benchmark cohorts are disjoint.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock

from ... import phantom
from ...geometry import Letterbox
from .. import CONCEPTS, FINDINGS, SIZE, Film, Phantom
from ..cohorts import patient_seed
from . import canvas

THINGS = (*CONCEPTS, *FINDINGS)  # what can be pointed at, in the order of all arrays
MASK = 128  # side of the masks: films stretched to a square


@dataclass(frozen=True)
class Cohort:
    """Which films to render."""

    name: str
    seed: int
    patients: int
    films_per_patient: int


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
    folder = cache / f"eyes-{cohort.name}-{_digest(cohort)}"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f".{folder.name}.lock"):
        if not folder.is_dir():
            _render(cohort, ct, folder)
    return Films(**{name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in Films.__dataclass_fields__})


def take(cohort: Cohort, ct: Path) -> Iterator[Film]:
    """Films of ``cohort`` one after the other: a fifth of them healthy, the others with one to three findings."""
    opened = Phantom.open(ct)
    for number in range(cohort.patients):
        patient = opened.patient(patient_seed(cohort.seed, cohort.name, number))
        rng = np.random.default_rng([cohort.seed, patient.seed])
        for k in range(cohort.films_per_patient):
            count = rng.choice([0, 1, 2, 3], p=[0.2, 0.35, 0.3, 0.15])
            findings = rng.choice(FINDINGS, count, replace=False).tolist()
            yield patient.film(findings, seed=k, marker=bool(rng.random() < 0.5))


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


def _render(cohort: Cohort, ct: Path, folder: Path) -> None:
    rows, total = [], cohort.patients * cohort.films_per_patient
    for film in take(cohort, ct):
        rows.append(row(film))
        if len(rows) % 240 == 0:
            print(f"rendered {len(rows)} of {total} {cohort.name} films", flush=True)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name in Films.__dataclass_fields__:
        np.save(partial / f"{name}.npy", np.stack([each[name] for each in rows]))
    partial.rename(folder)


def _digest(cohort: Cohort) -> str:
    sources = [Path(__file__), Path(canvas.__file__), *sorted(Path(phantom.__file__).parent.glob("*.py"))]
    recipe = json.dumps(asdict(cohort), sort_keys=True).encode()
    return hashlib.sha256(recipe + b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
