"""Training films: rendered once by two processes, drawn on each family's canvas, kept as arrays under a cache folder.

Patients of the training, validation and benchmark cohorts are disjoint. A film is rendered once and taken with several
draws of marks, since a mark costs little to lay over it. Validation films come in pairs: without any mark, and with the
marks drawn for them.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from filelock import FileLock
from scipy import ndimage

from ...geometry import Letterbox
from .. import volume
from ..cohorts import patient_seed
from ..lvlms.data import Canvas, coverage
from .film import Film
from .findings import FINDINGS
from .marks import MARKS, Mark
from .patient import VariedPhantom

TARGETS = (*FINDINGS, *MARKS)  # what the vision tower learns to see, in the order of the coverage's last axis
HEALTHY, RATE, MOST = 0.15, 0.36, 3  # share of healthy films; rate of each finding on the others; at most so many
MARKED, MARKS_MOST = 0.3, 2  # rate of each mark; at most so many on a film
LOOKS = 2  # draws of marks that a training film is taken with
_WORKERS = 2
_DRAWS = ("data", "film", "findings", "marks", "patient")  # modules here that decide what a film shows
_WING = ("cohorts", "film", "findings", "patient", "volume")  # and in the package around them


@dataclass(frozen=True)
class Cohort:
    """Which films to render. With ``paired`` each is taken without and with its marks, one after the other; else with
    `LOOKS` draws of marks."""

    name: str
    seed: int
    patients: int
    films_per_patient: int
    paired: bool


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

    def first(self, count: int) -> Films:
        """Its first ``count`` films."""
        arrays = {name: getattr(self, name)[:count] for name in ("canvas", "coverage", "present", "marks", "extents")}
        return replace(self, **arrays)


def films(cohort: Cohort, family: str, canvases: Mapping[str, Canvas], ct: Path, cache: Path) -> Films:
    """The films of ``cohort`` on the canvas of ``family``; all families are rendered together, once.

    The cache is keyed by the cohort, the canvases and the renderer's source; a second process waits for the first.
    """
    recipe = {"cohort": asdict(cohort), "canvases": {k: asdict(c) for k, c in sorted(canvases.items())}}
    folder = cache / f"varied-{cohort.name}-{_digest(json.dumps(recipe, sort_keys=True))}"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f".{folder.name}.lock"):
        if not folder.is_dir():
            _render(cohort, canvases, ct, folder)
    shared = {name: np.load(folder / f"{name}.npy") for name in ("present", "marks", "extents")}
    own = {name: np.load(folder / f"{family}-{name}.npy", mmap_mode="r") for name in ("canvas", "coverage")}
    return Films(canvases[family].letterbox, **own, **shared)


def draw_findings(rng: np.random.Generator) -> list[str]:
    """Findings of one film: none for some, else each by itself, at most `MOST`."""
    if rng.random() < HEALTHY:
        return []
    drawn = [name for name in FINDINGS if rng.random() < RATE]
    return [drawn[k] for k in sorted(rng.permutation(len(drawn))[:MOST])]


def draw_marks(rng: np.random.Generator) -> list[str]:
    """Marks of one film, whatever its findings: each by itself, at most `MARKS_MOST`."""
    drawn = [name for name in MARKS if rng.random() < MARKED]
    return [drawn[k] for k in sorted(rng.permutation(len(drawn))[:MARKS_MOST])]


def plan(seed: int, number: int, films_per_patient: int) -> list[tuple[list[str], int, list[str]]]:
    """Findings (one, or two on a quarter of the films), seed and marks of each film of a benchmark patient."""
    rng = np.random.default_rng([seed, number, 1])
    made = []
    for _ in range(films_per_patient):
        wanted = rng.choice(FINDINGS, 2 if rng.random() < 0.25 else 1, replace=False)
        marks = [str(name) for name in rng.permutation(MARKS) if rng.random() < MARKED][:MARKS_MOST]
        made.append(([str(name) for name in wanted], int(rng.integers(2**31)), marks))
    return made


def _render(cohort: Cohort, canvases: Mapping[str, Canvas], ct: Path, folder: Path) -> None:
    """Render patient by patient into a folder beside ``folder``; a killed run goes on with the patients that lack."""
    VariedPhantom.open(ct)  # fills the renderer's own cache, so that the workers only read it
    shards = folder.with_name(f"{folder.name}.partial")
    shards.mkdir(exist_ok=True)
    jobs = [(cohort, number, dict(canvases), ct, shards / f"{number}.npz") for number in range(cohort.patients)]
    with multiprocessing.get_context("spawn").Pool(_WORKERS, initializer=_one_thread) as pool:
        for done, _ in enumerate(pool.imap(_patient, jobs), 1):
            if done % 10 == 0:
                print(f"rendered {done} of {cohort.patients} {cohort.name} patients", flush=True)
    parts = [dict(np.load(job[-1])) for job in jobs]
    complete = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(complete, ignore_errors=True)
    complete.mkdir(parents=True)
    for name in parts[0]:
        np.save(complete / f"{name}.npy", np.concatenate([part[name] for part in parts]))
    complete.rename(folder)
    shutil.rmtree(shards)


def _patient(job: tuple[Cohort, int, dict[str, Canvas], Path, Path]) -> None:
    cohort, number, canvases, ct, shard = job
    if shard.exists():
        return
    patient = _phantom(ct).patient(patient_seed(cohort.seed, cohort.name, number))
    rng = np.random.default_rng([cohort.seed, patient.seed])
    rows: dict[str, list] = {}
    for k in range(cohort.films_per_patient):
        wanted, looks = draw_findings(rng), [draw_marks(rng) for _ in range(1 if cohort.paired else LOOKS)]
        film = patient.film(wanted, seed=k, marks=sorted({name for marks in looks for name in marks}))
        findings = _findings(film, canvases)
        for shown in ([], *looks) if cohort.paired else looks:
            for name, value in _row(film, shown, findings, canvases).items():
                rows.setdefault(name, []).append(value)
    partial = shard.with_name(f".{shard.name}")
    np.savez(partial, **{name: np.stack(values) for name, values in rows.items()})
    partial.replace(shard)


def _findings(film: Film, canvases: dict[str, Canvas]) -> dict[str, np.ndarray]:
    """Coverage by each finding, uint8 ``[tokens, findings]`` per family."""
    return {family: _covered([film.lesions.get(name) for name in FINDINGS], c) for family, c in canvases.items()}


def _row(film: Film, shown: list[str], findings: dict[str, np.ndarray], canvases: dict[str, Canvas]) -> dict:
    """What is kept of the film with the marks ``shown`` alone; ``findings`` as `_findings` has them."""
    marks = {name: mark for name, mark in film.marks.items() if name in shown}
    image = film.render((*film.extents, *marks))
    seen = [_seen(marks[name], image.shape) if name in marks else None for name in MARKS]
    row = {
        "present": np.array([name in film.extents for name in FINDINGS]),
        "marks": np.array([name in marks for name in MARKS]),
        "extents": np.array([film.extents.get(name, (np.nan,) * 4) for name in FINDINGS], np.float32),
    }
    for family, canvas in canvases.items():
        row[f"{family}-canvas"] = canvas.letterbox.apply(image)
        row[f"{family}-coverage"] = np.concatenate([findings[family], _covered(seen, canvas)], 1)
    return row


def _covered(masks: list[np.ndarray | None], canvas: Canvas) -> np.ndarray:
    """Share of each token's cell that each mask covers (None: nothing), times 255: uint8 ``[tokens, masks]``."""
    nothing = np.zeros(canvas.grid, np.float32)
    shares = np.stack([(nothing if mask is None else coverage(mask, canvas)).ravel() for mask in masks], -1)
    return np.rint(255 * shares).astype(np.uint8)


def _seen(mark: Mark, shape: tuple[int, int]) -> np.ndarray:
    """Where a mark is to be seen; a line is given the width of a few pixels, a change of the whole film is anywhere."""
    return np.ones(shape, bool) if mark.mask is None else ndimage.binary_dilation(mark.mask, iterations=3)


_opened: dict[Path, VariedPhantom] = {}  # per worker process


def _phantom(ct: Path) -> VariedPhantom:
    if ct not in _opened:
        _opened[ct] = VariedPhantom.open(ct)
    return _opened[ct]


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _digest(recipe: str) -> str:
    wing = Path(volume.__file__).parent
    sources = [*(wing / f"{name}.py" for name in _WING), *(Path(__file__).with_name(f"{name}.py") for name in _DRAWS)]
    return hashlib.sha256(recipe.encode() + b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
