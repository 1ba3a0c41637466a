"""Training films: rendered once by two processes, drawn on each family's canvas, kept as arrays under a cache folder.

Patients of the training, validation and benchmark cohorts are disjoint. Validation films come in pairs that differ by
nothing but the marker.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock

from ... import phantom
from ...geometry import Letterbox, fill
from .. import FINDINGS, SIZE, Phantom
from ..cohorts import patient_seed

TARGETS = (*FINDINGS, "marker")  # what the vision tower learns to see, in the order of the coverage's last axis
HEALTHY, RATE, MOST = 0.15, 0.28, 3  # share of healthy films; rate of each finding on the others; at most so many
_WORKERS = 2


@dataclass(frozen=True)
class Cohort:
    """Which films to render. With ``paired`` each is rendered without and with the marker, one after the other."""

    name: str
    seed: int
    patients: int
    films_per_patient: int
    paired: bool


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
    marker: np.ndarray  # bool [N]
    extents: np.ndarray  # float32 [N, findings, 4], native pixels; NaN where absent

    def __len__(self) -> int:
        return len(self.canvas)


def films(cohort: Cohort, family: str, canvases: Mapping[str, Canvas], ct: Path, cache: Path) -> Films:
    """The films of ``cohort`` on the canvas of ``family``; all families are rendered together, once.

    The cache is keyed by the cohort, the canvases and the renderer's source; a second process waits for the first.
    """
    recipe = {"cohort": asdict(cohort), "canvases": {k: asdict(c) for k, c in sorted(canvases.items())}}
    folder = cache / f"films-{cohort.name}-{_digest(json.dumps(recipe, sort_keys=True))}"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f".{folder.name}.lock"):
        if not folder.is_dir():
            _render(cohort, canvases, ct, folder)
    shared = {name: np.load(folder / f"{name}.npy") for name in ("present", "marker", "extents")}
    own = {name: np.load(folder / f"{family}-{name}.npy", mmap_mode="r") for name in ("canvas", "coverage")}
    return Films(canvases[family].letterbox, **own, **shared)


def draw_findings(rng: np.random.Generator) -> list[str]:
    """Findings of one film: none for some, else each by itself, at most `MOST`."""
    if rng.random() < HEALTHY:
        return []
    drawn = [name for name in FINDINGS if rng.random() < RATE]
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


def _render(cohort: Cohort, canvases: Mapping[str, Canvas], ct: Path, folder: Path) -> None:
    Phantom.open(ct)  # fills the renderer's own cache, so that the workers only read it
    jobs = [(cohort, number, dict(canvases), ct) for number in range(cohort.patients)]
    with multiprocessing.get_context("spawn").Pool(_WORKERS, initializer=_one_thread) as pool:
        parts = []
        for part in pool.imap(_patient, jobs):
            parts.append(part)
            if len(parts) % 50 == 0:
                print(f"rendered {len(parts)} of {cohort.patients} {cohort.name} patients", flush=True)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name in parts[0]:
        np.save(partial / f"{name}.npy", np.concatenate([part[name] for part in parts]))
    partial.rename(folder)


def _patient(job: tuple[Cohort, int, dict[str, Canvas], Path]) -> dict[str, np.ndarray]:
    cohort, number, canvases, ct = job
    patient = _phantom(ct).patient(patient_seed(cohort.seed, cohort.name, number))
    rng = np.random.default_rng([cohort.seed, patient.seed])
    rows: dict[str, list] = {}
    for k in range(cohort.films_per_patient):
        wanted, marker = draw_findings(rng), bool(rng.random() < 0.5)
        for shown in (False, True) if cohort.paired else (marker,):
            film = patient.film(wanted, seed=k, marker=shown)
            for name, value in _row(film, canvases).items():
                rows.setdefault(name, []).append(value)
    return {name: np.stack(values) for name, values in rows.items()}


def _row(film: phantom.Film, canvases: dict[str, Canvas]) -> dict[str, np.ndarray]:
    masks = [film.lesions.get(name, np.zeros(film.image.shape, bool)) for name in FINDINGS]
    masks.append(fill([film.marker] if film.marker else [], *SIZE[::-1]))
    row = {
        "present": np.array([name in film.extents for name in FINDINGS]),
        "marker": np.array(film.marker is not None),
        "extents": np.array([film.extents.get(name, (np.nan,) * 4) for name in FINDINGS], np.float32),
    }
    for family, canvas in canvases.items():
        row[f"{family}-canvas"] = canvas.letterbox.apply(film.image)
        shares = np.stack([coverage(mask, canvas).ravel() for mask in masks], -1)
        row[f"{family}-coverage"] = np.rint(255 * shares).astype(np.uint8)
    return row


_opened: dict[Path, Phantom] = {}  # per worker process


def _phantom(ct: Path) -> Phantom:
    if ct not in _opened:
        _opened[ct] = Phantom.open(ct)
    return _opened[ct]


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _digest(recipe: str) -> str:
    sources = [Path(__file__), *sorted(Path(phantom.__file__).parent.glob("*.py"))]
    return hashlib.sha256(recipe.encode() + b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
