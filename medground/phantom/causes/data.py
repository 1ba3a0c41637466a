"""How the training films of the world with many known causes are drawn.

A film is rendered once and shown with several draws of marks, since a mark costs little to lay over it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from ..film import Film, Mark
from ..lvlms.data import Look, TaughtWorld, draw_findings
from ..patient import Patient
from .findings import FINDINGS
from .marks import MARKS, draw_marks
from .source import CausesWorld

TARGETS = (*FINDINGS, *MARKS)  # what the vision tower learns to see, in the order of the coverage's last axis
RATE = 0.36  # of each finding on a film that is not healthy
LOOKS = 2  # draws of marks that a training film is shown with


class ManyCauses(CausesWorld, TaughtWorld):
    """Six findings, and marks of five kinds on patients who vary."""

    name, marks = "varied", MARKS
    modules = tuple(f"{__package__}.{name}" for name in ("data", "film", "findings", "marks", "patient"))

    def looks(self, patient: Patient, rng: np.random.Generator, number: int, paired: bool) -> Iterator[Look]:
        """As `TaughtWorld.looks`: a film is shown with `LOOKS` draws of marks, or without and with one of them."""
        wanted = draw_findings(rng, FINDINGS, RATE)
        shown = [draw_marks(rng) for _ in range(1 if paired else LOOKS)]
        film = patient.film(wanted, seed=number, marks=sorted({name for marks in shown for name in marks}))
        for marks in ([], *shown) if paired else shown:
            yield _look(film, {name: mark for name, mark in film.marks.items() if name in marks})


def _look(film: Film, marks: dict[str, Mark]) -> Look:
    """The film with these of its marks alone."""
    image = film.render((*film.extents, *marks))
    return Look(image, film.extents, film.lesions | {name: _seen(mark, image) for name, mark in marks.items()})


def _seen(mark: Mark, image: np.ndarray) -> np.ndarray:
    """Where a mark is to be seen; a line is given the width of a few pixels, a change of the whole film is anywhere."""
    return np.ones(image.shape, bool) if mark.mask is None else ndimage.binary_dilation(mark.mask, iterations=3)
