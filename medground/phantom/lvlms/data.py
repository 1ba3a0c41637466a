"""Training films as each family of models sees them: rendered once, on its canvas, with what its tower learns to see.

A `TaughtWorld` says how films are drawn; the phantom's own is `FirstWorld`, with a letter for its only mark.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from ...geometry import Box, Letterbox
from .. import FINDINGS
from ..film import MARKS
from ..films import Cohort, rendered
from ..patient import Patient
from ..source import World

TARGETS = (*FINDINGS, *MARKS)  # what the vision tower learns to see, in the order of the coverage's last axis
HEALTHY, MOST = 0.15, 3  # share of healthy films; findings on one of the others, at most
RATE = 0.28  # of each finding on a film that is not healthy


@dataclass(frozen=True)
class Canvas:
    """How one family sees a film: its letterbox and its grid of image tokens."""

    letterbox: Letterbox
    grid: tuple[int, int]


@dataclass(frozen=True)
class Films:
    """Films of a cohort as one family sees them."""

    letterbox: Letterbox
    canvas: np.ndarray  # uint8 [N, h, w]
    coverage: np.ndarray  # uint8 [N, tokens, targets]: share of the token's cell that a target covers, times 255
    present: np.ndarray  # bool [N, findings]
    marks: np.ndarray  # bool [N, marks]
    extents: np.ndarray  # float32 [N, findings, 4], native pixels; NaN where absent

    def __len__(self) -> int:
        return len(self.canvas)

    @property
    def targets(self) -> np.ndarray:
        """Which findings, then marks, are on each film: bool ``[N, targets]``."""
        return np.concatenate([self.present, self.marks], 1)

    def first(self, count: int) -> Films:
        """Its first ``count`` films."""
        arrays = {name: getattr(self, name)[:count] for name in ("canvas", "coverage", "present", "marks", "extents")}
        return replace(self, **arrays)


@dataclass(frozen=True)
class Look:
    """A film as it is shown: uint8 ``image``, where its findings are, and bool masks of all targets that are on it."""

    image: np.ndarray
    extents: Mapping[str, Box]
    masks: Mapping[str, np.ndarray]


class TaughtWorld(World):
    """Films that models learn from."""

    name: str  # of the folders in the cache
    marks: Sequence[str]  # that may be on a film
    modules: Sequence[str] = ()  # that decide what a film shows, besides the renderer of all worlds

    @abstractmethod
    def looks(self, patient: Patient, rng: np.random.Generator, number: int, paired: bool) -> Iterator[Look]:
        """The patient's film ``number``, as often as it is shown: ``paired``, first without its marks, then with."""


class FirstWorld(TaughtWorld):
    """Eight findings, and a letter on half of the films."""

    name, marks = "films", MARKS

    def looks(self, patient: Patient, rng: np.random.Generator, number: int, paired: bool) -> Iterator[Look]:
        """As `TaughtWorld.looks`: a film is taken once, or without and with the letter."""
        wanted, marked = draw_findings(rng, FINDINGS, RATE), bool(rng.random() < 0.5)
        for shown in (False, True) if paired else (marked,):
            film = patient.film(wanted, seed=number, marks=MARKS if shown else ())
            letters = {name: mark.mask for name, mark in film.marks.items() if mark.mask is not None}
            yield Look(film.image, film.extents, film.lesions | letters)


def films(
    world: TaughtWorld, cohort: Cohort, family: str, canvases: Mapping[str, Canvas], ct: Path, cache: Path
) -> Films:
    """The films of ``cohort`` on the canvas of ``family``; all families are rendered together, once."""
    recipe = {"canvases": {key: asdict(canvas) for key, canvas in sorted(canvases.items())}}
    rows = partial(_rows, world, dict(canvases))
    folder = rendered(world.name, world, cohort, rows, ct, cache, recipe, (__name__, *world.modules))
    arrays = {name: np.load(folder / f"{name}.npy") for name in ("present", "marks", "extents")}
    for name in ("canvas", "coverage"):
        arrays[name] = np.load(folder / f"{family}-{name}.npy", mmap_mode="r")
    return Films(canvases[family].letterbox, **arrays)


def draw_findings(rng: np.random.Generator, findings: Sequence[str], rate: float) -> list[str]:
    """Findings of one film: none for some, else each by itself at its rate, at most `MOST`."""
    if rng.random() < HEALTHY:
        return []
    drawn = [name for name in findings if rng.random() < rate]
    return [drawn[k] for k in sorted(rng.permutation(len(drawn))[:MOST])]


def coverage(mask: np.ndarray, canvas: Canvas) -> np.ndarray:
    """Share of each token's cell that a native bool mask ``[H, W]`` covers: float32 ``[rows, columns]``."""
    x1, y1, x2, y2 = canvas.letterbox.extent
    rows, columns = canvas.grid
    if not mask.any():
        return np.zeros(canvas.grid, np.float32)
    across = mask.astype(np.float32) @ _overlap(x1, x2, columns, mask.shape[1]).T  # as float32, or BLAS stays out
    return _overlap(y1, y2, rows, mask.shape[0]) @ across


def _overlap(start: float, end: float, cells: int, pixels: int) -> np.ndarray:
    """How much of each cell each pixel covers, along one axis: float32 ``[cells, pixels]``."""
    edges = np.linspace(start, end, cells + 1)
    pixel = np.arange(pixels)
    shared = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    return (np.clip(shared, 0, None) * cells / (end - start)).astype(np.float32)


def _rows(
    world: TaughtWorld, canvases: Mapping[str, Canvas], patient: Patient, rng: np.random.Generator, cohort: Cohort
) -> Iterator[dict[str, np.ndarray]]:
    for number in range(cohort.films_per_patient):
        for look in world.looks(patient, rng, number, cohort.paired):
            yield _row(look, world, canvases)


def _row(look: Look, world: TaughtWorld, canvases: Mapping[str, Canvas]) -> dict[str, np.ndarray]:
    """What is kept of a film."""
    nothing = np.zeros(look.image.shape, bool)
    masks = [look.masks.get(name, nothing) for name in (*world.findings, *world.marks)]
    row = {
        "present": np.array([name in look.extents for name in world.findings]),
        "marks": np.array([name in look.masks for name in world.marks]),
        "extents": np.array([look.extents.get(name, (np.nan,) * 4) for name in world.findings], np.float32),
    }
    for family, canvas in canvases.items():
        row[f"{family}-canvas"] = canvas.letterbox.apply(look.image)
        shares = np.stack([coverage(mask, canvas).ravel() for mask in masks], -1)
        row[f"{family}-coverage"] = np.rint(255 * shares).astype(np.uint8)
    return row
