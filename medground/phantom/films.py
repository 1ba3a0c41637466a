"""Films to train on: rendered once by two processes, kept as arrays under a cache folder.

Patients of the training, validation and benchmark cohorts are disjoint.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from .cohorts import patient_seed
from .patient import Patient
from .source import World, opened

_WORKERS = 2
_DRAWS = ("cohorts", "film", "findings", "patient", "volume")  # modules here that decide what any film shows


@dataclass(frozen=True)
class Cohort:
    """Which films to take. With ``paired`` each is taken without and with its marks, one after the other."""

    name: str
    seed: int
    patients: int
    films_per_patient: int
    paired: bool = False


#: what is kept of a patient's films, film by film: arrays by name; it has to be importable, for it runs in other
#: processes
Rows = Callable[[Patient, np.random.Generator, Cohort], Iterable[Mapping[str, np.ndarray]]]


def people(world: World, cohort: Cohort, ct: Path) -> Iterator[tuple[Patient, np.random.Generator]]:
    """The patients of ``cohort``, each with the generator that its films are drawn from."""
    for number in range(cohort.patients):
        yield _person(world, cohort, number, ct)


def rendered(
    name: str,
    world: World,
    cohort: Cohort,
    rows: Rows,
    ct: Path,
    cache: Path,
    recipe: Mapping | None = None,
    modules: Sequence[str] = (),
) -> Path:
    """The folder of arrays ``<name>.npy`` ``[films, ...]`` that ``rows`` makes of the films of ``cohort``.

    It is under ``cache``, keyed by cohort, ``recipe`` and the source of the renderer and of ``modules``. A second
    process waits for the first; a killed one goes on with the patients that lack.
    """
    key = hashlib.sha256(json.dumps({"cohort": asdict(cohort), **(recipe or {})}, sort_keys=True).encode())
    for module in (*(f"{__package__}.{name}" for name in _DRAWS), *modules):
        spec = find_spec(module)
        key.update(Path(str(spec and spec.origin)).read_bytes())
    folder = cache / f"{name}-{cohort.name}-{key.hexdigest()[:12]}"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f".{folder.name}.lock"):
        if not folder.is_dir():
            _render(world, cohort, rows, ct, folder)
    return folder


def _render(world: World, cohort: Cohort, rows: Rows, ct: Path, folder: Path) -> None:
    world.open(ct)  # fills the renderer's own cache, so that the workers only read it
    shards = folder.with_name(f"{folder.name}.partial")
    shards.mkdir(exist_ok=True)
    jobs = [(world, cohort, number, rows, ct, shards / f"{number}.npz") for number in range(cohort.patients)]
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


def _patient(job: tuple[World, Cohort, int, Rows, Path, Path]) -> None:
    world, cohort, number, rows, ct, shard = job
    if shard.exists():
        return
    made = list(rows(*_person(world, cohort, number, ct), cohort))
    arrays: dict[str, Any] = {name: np.stack([row[name] for row in made]) for name in made[0]}
    partial = shard.with_name(f".{shard.name}")
    np.savez(partial, **arrays)
    partial.replace(shard)


def _person(world: World, cohort: Cohort, number: int, ct: Path) -> tuple[Patient, np.random.Generator]:
    person = opened(world, ct).patient(patient_seed(cohort.seed, cohort.name, number))
    return person, np.random.default_rng([cohort.seed, person.seed])


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
