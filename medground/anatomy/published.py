"""Concept transfer as published: intensities as mass, one reference, the densest part of the pushed mask.

MedFocus, Algorithm 1 and its public code, before MedSAM. Its known faults (a blurry plan, a cost scale that changes
with the pair, sampling instead of averaging) are kept: published numbers were made with them.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import zoom

from ..errors import MedgroundError
from ..geometry import Box
from .sinkhorn import Cost, Plan, Problem, sinkhorn, squares

SIDE = 224  # films are compared on a square of this side
COARSE, FINE = 14, 56  # grids on which the reference is chosen, and on which its masks are pushed
EPSILON, RELAXATION = 0.05, 0.1
FLOOR = 1e-18  # added to divisors
THRESHOLD = 0.02  # cells at or below it belong to no support
CORE = 0.75  # share of a concept's mass that its box holds


def costs(references: np.ndarray, target: np.ndarray, solver: str = "separable") -> np.ndarray:
    """Transport cost in square pixels ``[R]`` from each film ``[R, 224, 224]`` to the target ``[224, 224]``, uint8.

    The paper takes the reference with the least. Raises MedgroundError for a film without contrast.
    """
    a, b = (np.stack([intensity(film, COARSE) for film in films]) for films in (references, target[None]))
    plan, unit = plans(a, b.repeat(len(a), 0), solver)
    return plan.cost * unit * (SIDE / COARSE) ** 2


def transfer(
    reference: np.ndarray, masks: np.ndarray, target: np.ndarray, solver: str = "separable"
) -> list[Box | None]:
    """The box of each mask ``[C, 224, 224]`` of a reference film on the target film, both uint8 ``[224, 224]``.

    None where a mask holds no mass of the reference. Raises MedgroundError for a film without contrast.
    """
    b = intensity(target, FINE)
    plan, _ = plans(intensity(reference, FINE)[None], b[None], solver)
    return [_core_box(heat[b > 0], np.argwhere(b > 0)) for heat in plan.push(sampled(masks))]


def intensity(film: np.ndarray, side: int) -> np.ndarray:
    """A film's intensities as masses ``[side, side]`` with sum 1: scaled to [0, 1], sampled, dark cells dropped.

    Raises MedgroundError where nothing is left, as on a black or constant film.
    """
    low, high = float(film.min()), float(film.max())
    if low == high:
        raise MedgroundError(f"a film has no contrast: every pixel is {low:g}, so no concept can be transferred")
    scaled = ((film.astype(np.float32) - low) / (high - low)).astype(np.float32)
    mass = zoom(scaled, side / SIDE, order=1).astype(np.float64)
    mass[mass <= THRESHOLD] = 0
    return mass / mass.sum()


def sampled(masks: np.ndarray) -> np.ndarray:
    """Masks ``[C, 224, 224]`` sampled on the fine grid: 0 or 1, ``[C, 56, 56]``."""
    return np.stack([zoom(mask.astype(np.float32), FINE / SIDE, order=0) > 0.5 for mask in masks]).astype(np.float64)


def plans(a: np.ndarray, b: np.ndarray, solver: str = "separable") -> tuple[Plan, np.ndarray]:
    """The published plans between masses ``[B, n, n]``, and the cost's unit in squared cells ``[B]``.

    The unit is the 90th percentile of the squared distances between the two supports, so it changes with the pair.
    """
    unit = np.array([percentile(x > 0, y > 0) for x, y in zip(a, b, strict=True)])
    axis = squares(a.shape[-1]) / unit[:, None, None]
    return sinkhorn(Problem(a, b, Cost(axis, axis), EPSILON, RELAXATION, floor=FLOOR), solver), unit


def percentile(source: np.ndarray, target: np.ndarray, q: float = 0.9) -> float:
    """``np.percentile`` of all squared distances between the cells of two bool masks ``[n, n]``, in squared cells.

    Exact and without listing them: the cross-correlation of the masks counts the pairs of cells at every offset, and
    so at every squared distance, an integer.
    """
    n = len(source)
    size = (2 * n, 2 * n)
    spectrum = np.fft.rfft2(source, size).conj() * np.fft.rfft2(target, size)
    pairs = np.rint(np.fft.irfft2(spectrum, size))
    offset = np.fft.fftfreq(2 * n, 1 / (2 * n)).astype(int) ** 2
    counts = np.bincount((offset[:, None] + offset).ravel(), pairs.ravel())
    below = np.cumsum(counts)
    rank = q * (below[-1] - 1)
    low, high = (np.searchsorted(below, k, side="right") for k in (np.floor(rank), np.ceil(rank)))
    return float(low + (high - low) * (rank % 1))


def _core_box(mass: np.ndarray, cells: np.ndarray) -> Box | None:
    """Box in pixels of the fewest cells ``[N, 2]`` (row, column) that hold `CORE` of the mass ``[N]``."""
    if not mass.sum() > 0:
        return None
    order = np.argsort(mass)[::-1]
    enough = np.searchsorted(np.cumsum(mass[order]), CORE * mass.sum()) + 1
    # A cell stands for the one pixel at its sampling point, so a box reaches one pixel beyond the last of them.
    (top, left), (bottom, right) = (pick(cells[order[:enough]], axis=0) * (SIDE // FINE) for pick in (np.min, np.max))
    return float(left), float(top), float(right + 1), float(bottom + 1)
