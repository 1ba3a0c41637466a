"""From what a provider annotated to samples: the same rules for every provider, and a count of all they change.

A provider's module reads its own format into `Annotated` items, in the order of the reference's loader; their places
in that order are the indices of the samples, whatever is dropped later, so that they join with the released benchmark.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import MedgroundError
from ..geometry import Box, area, intersect
from ..images import read_film
from ..lvlm.prompts import question

DEV_SHARE = 0.2  # of the patients, chosen by the hash of their id


@dataclass(frozen=True)
class Annotated:
    """One (film, finding) of a provider.

    ``boxes`` ``[x1, y1, x2, y2]`` are drawn on a ``frame`` of (width, height), or on the film itself where it is None.
    ``anatomy`` has the box of each concept, on the same frame, where the provider drew it. ``problem`` says why the
    provider's own columns rule the sample out. A source that has its own ``question``, ``split`` or ``licence`` gives
    it; otherwise the paper's question, a split by patient, and the source's licence are taken.
    """

    patient_id: str
    film: Path
    finding: str
    boxes: Sequence[Sequence[float]]
    frame: tuple[float, float] | None = None
    anatomy: Mapping[str, Sequence[float]] = field(default_factory=dict)
    problem: str | None = None
    question: str | None = None
    split: str | None = None
    licence: str | None = None


def samples(
    source: str, licence: str, annotated: Sequence[Annotated], labels: str = "finding"
) -> tuple[list[dict], dict[str, int]]:
    """Rows of ``records.SAMPLES``, and how many samples and boxes were dropped or changed, by reason.

    Every film is decoded once, so that a damaged one is known here and not hours later. Boxes are brought to native
    pixels; those without area, twice there, or beyond the film are dropped, those that cross its edge are cut. Raises
    MedgroundError when not one film can be read.
    """
    counts: Counter[str] = Counter()
    sizes = _sizes({item.film for item in annotated if not item.problem})
    rows = []
    for index, item in enumerate(annotated):
        size = sizes.get(item.film)
        if item.problem or not isinstance(size, tuple):
            counts[f"samples: {item.problem or size}"] += 1
            continue
        regions = _native(item, size, counts)
        if not regions:
            counts["samples: no usable box"] += 1
            continue
        rows.append(
            {
                "source": source,
                "index": index,
                "patient_id": item.patient_id,
                "split": item.split or split(source, item.patient_id),
                "film": str(item.film),
                "twin": None,
                "width": size[0],
                "height": size[1],
                "finding": item.finding,
                "question": item.question or question(item.finding),
                "answer": "Yes",
                "regions": regions,
                "labels": labels,
                "licence": item.licence or licence,
                "marker": None,
                "anatomy": [
                    {"concept": name, "box": on_film(box, item.frame, size)} for name, box in item.anatomy.items()
                ]
                or None,
            }
        )
    if not rows:
        example = annotated[0].film if annotated else "none"
        raise MedgroundError(f"{source}: no sample is usable ({dict(counts)}); its films are expected at {example}")
    return rows, {reason: int(count) for reason, count in sorted(counts.items()) if count}


def on_film(box: Sequence[float], frame: tuple[float, float] | None, size: tuple[int, int]) -> Box:
    """A box drawn on a frame of (width, height), or on the film itself, in the pixels of a film of that ``size``."""
    scale_x, scale_y = (1.0, 1.0) if frame is None else (size[0] / frame[0], size[1] / frame[1])
    x1, y1, x2, y2 = map(float, box)
    return x1 * scale_x, y1 * scale_y, x2 * scale_x, y2 * scale_y


def split(source: str, patient_id: str) -> str:
    """``dev`` or ``test``: all films of a patient on one side, whatever else is in the source."""
    digest = hashlib.sha256(f"{source}/{patient_id}".encode()).digest()
    return "dev" if int.from_bytes(digest[:8]) / 2**64 < DEV_SHARE else "test"


def table(path: Path, columns: Sequence[str], **options) -> pd.DataFrame:
    """A provider's CSV or TSV. Raises MedgroundError naming the file, and the columns that it lacks."""
    try:
        frame = pd.read_csv(path, **options)
    except OSError as error:
        raise MedgroundError(f"{path} cannot be read ({error.strerror}); download it as the README says") from None
    except (ValueError, pd.errors.ParserError) as error:
        raise MedgroundError(f"{path} is not the table that was expected ({error}); download it again") from None
    missing = [name for name in columns if name not in frame]
    if missing:
        raise MedgroundError(f"{path} has no columns {missing}, but {list(frame)}; is it the provider's own file?")
    return frame


def _sizes(films: set[Path]) -> dict[Path, tuple[int, int] | str]:
    """Width and height of each film, or why it cannot be used."""
    paths = sorted(films)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(paths, pool.map(_size, paths), strict=True))


def _size(path: Path) -> tuple[int, int] | str:
    if not path.is_file():
        return "film missing"
    try:
        height, width = read_film(path).shape
    except MedgroundError:
        return "film unreadable"
    return width, height


def _native(item: Annotated, size: tuple[int, int], counts: Counter[str]) -> list[Box]:
    """The usable boxes of an item in the film's pixels, in the provider's order."""
    regions: list[Box] = []
    for box in item.boxes:
        drawn = on_film(box, item.frame, size)
        inside = intersect(drawn, (0.0, 0.0, float(size[0]), float(size[1]))) if np.isfinite(drawn).all() else None
        if not np.isfinite(drawn).all() or area(drawn) == 0:
            counts["boxes: no area"] += 1
        elif inside is None:
            counts["boxes: beyond the film"] += 1
        elif inside in regions:
            counts["boxes: twice there"] += 1
        else:
            counts["boxes: cut at the film's edge"] += max(map(abs, np.subtract(inside, drawn))) > 1e-6  # of a pixel
            regions.append(inside)
    return regions
