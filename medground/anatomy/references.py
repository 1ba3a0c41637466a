"""The pool of normal reference films with concept masks, and the atlas that they make together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import ConvexHull

from .. import records
from ..errors import MedgroundError
from ..geometry import Letterbox
from ..images import read_film
from .registration import SIDE, Contrast, Registration, Template, Warp

PASSES = 3  # times that the references are registered to their mean
ALIKE = 3  # references that a film is held against: those that resemble it most


@dataclass(frozen=True)
class References:
    """R normal films with masks of the same C concepts, letterboxed to 224 x 224."""

    names: tuple[str, ...]
    concepts: tuple[str, ...]
    films: np.ndarray  # [R, 224, 224] uint8
    masks: np.ndarray  # [R, C, 224, 224] bool

    @classmethod
    def read(cls, table: Path | str, root: Path | str = ".") -> References:
        """From a table of `records.REFERENCES` whose paths start at ``root``.

        Raises MedgroundError naming the reference whose masks are missing, of another size, or of other concepts.
        """
        rows = records.read_rows(table, records.REFERENCES)
        if not rows:
            raise MedgroundError(f"{table} lists no reference; run `dvc repro references`")
        films, masks = [], []
        concepts: tuple[str, ...] = ()
        for row in rows:
            film, named = read_film(Path(root) / row["film"]), _read_masks(Path(root), row["masks"])
            concepts = concepts or tuple(named)
            if set(named) != set(concepts):
                odd = sorted(set(named) ^ set(concepts))
                raise MedgroundError(f"reference {row['reference']}: masks differ from the first reference's in {odd}")
            wrong = [concept for concept, mask in named.items() if mask.shape != film.shape]
            if wrong:
                raise MedgroundError(f"reference {row['reference']}: the mask of {wrong[0]} is not of its film's size")
            box = Letterbox.fit(film.shape[1], film.shape[0], SIDE)
            films.append(box.apply(film))
            masks.append([box.apply(named[concept].astype(np.uint8) * 255) > 127 for concept in concepts])
        return cls(tuple(row["reference"] for row in rows), concepts, np.stack(films), np.array(masks))


@dataclass(frozen=True)
class Atlas:
    """What R references have in common, and where each of them says that the concepts are."""

    template: Template
    outlines: list[list[np.ndarray]]  # R x C convex outlines [N, 2] in [-1, 1]; N = 0 where a mask is empty
    lifted: np.ndarray  # [R, levels, cells, cells]: each reference in the atlas's frame, with mass 1

    @classmethod
    def of(cls, references: References, how: Registration) -> Atlas:
        """The mean of the lifted films after registration to each other."""
        contrasts = [how.contrast(film) for film in references.films]
        warps = [Warp()] * len(contrasts)
        for _ in range(PASSES):
            template = _mean(contrasts, warps, how)
            warps = [template.register(contrast) for contrast in contrasts]
        outlines = []
        for warp, masks in zip(warps, references.masks, strict=True):
            own = [outline(mask) for mask in masks]
            outlines.append(np.split(warp.inverse(np.concatenate(own)), np.cumsum([len(o) for o in own])[:-1]))
        lifted = np.stack([_lifted(film, warp, how) for film, warp in zip(contrasts, warps, strict=True)])
        return cls(_mean(contrasts, warps, how), outlines, lifted)

    def alike(self, film: Contrast, warp: Warp) -> list[int]:
        """The references that resemble a film most where the atlas is mapped to it by ``warp``, nearest first."""
        far = np.square(self.lifted - _lifted(film, warp, self.template.how)).sum((1, 2, 3))
        return np.argsort(far, kind="stable")[:ALIKE].tolist()


def outline(mask: np.ndarray) -> np.ndarray:
    """Corners ``[N, 2]`` of a bool mask's convex hull, (row, column) in [-1, 1] across the square; none where empty."""
    rows = np.flatnonzero(mask.any(1))
    if not rows.size:
        return np.empty((0, 2))
    first, last = mask[rows].argmax(1), mask.shape[1] - mask[rows][:, ::-1].argmax(1)
    corners = np.concatenate([np.stack([rows + down, column], 1) for down in (0, 1) for column in (first, last)])
    return corners[ConvexHull(corners).vertices] / (np.array(mask.shape) / 2) - 1


def _lifted(film: Contrast, warp: Warp, how: Registration) -> np.ndarray:
    mass = how.lifted(film, warp)
    return mass / max(mass.sum(), np.finfo(float).tiny)


def _mean(films: Sequence[Contrast], warps: Sequence[Warp], how: Registration) -> Template:
    return Template(np.mean([how.lifted(film, warp) for film, warp in zip(films, warps, strict=True)], axis=0), how)


def _read_masks(root: Path, masks: Sequence[Mapping[str, str]]) -> dict[str, np.ndarray]:
    return {mask["concept"]: read_film(root / mask["path"]) > 127 for mask in masks}
