"""A smooth map from a reference film to a target, found by unbalanced transport between lifted films.

The published transport takes brightness as mass, so brightness itself moves, and its plan is far too blurry to say
where a region went. Here every cell of a film weighs the same and lies at (row, column, contrast): mass travels
between alike tissue, and the unbalanced marginals leave out what has no counterpart, such as a finding. The kernel is
still a product of one matrix an axis. The barycentric map of the plan is fitted by a polynomial, the target is drawn
along it, and the next round transports what is left with a narrower kernel.

Close relatives: colour in the ground cost, Rabin and Papadakis, "Convex color image segmentation with optimal
transport distances" (2015); transport as the data term of a registration, Feydy et al., "Optimal transport for
diffeomorphic registration" (MICCAI 2017).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from ..errors import MedgroundError
from .sinkhorn import Cost, sinkhorn, squares

SIDE = 224  # films are registered on a square of this side
FINE, CELLS, LEVELS = 56, 28, 8  # cells a side of a film that is drawn, and of a lifted one; its levels of contrast
BACKGROUND = 8.0  # gray level up to which a cell is air or padding, and has no mass
NEIGHBOURHOOD = 32.0  # px: contrast is against a Gaussian mean of this sigma
TOLERANCE = 1 / 8  # sigma of the kernel over contrast, whose range is 0 to 1
RELAXATION, SWEEPS = 5.0, 5  # in units of epsilon
ROUNDS = ((16.0, 1), (16.0, 1), (12.0, 3), (8.0, 4), (8.0, 5))  # sigma of the kernel over space in px, degree
_INVERSION = 20  # iterations
RIDGE = 1e-4  # times the plan's mass: keeps the polynomial still where there is nothing to follow


@dataclass(frozen=True)
class Contrast:
    """A film as ``value`` in [0, 1] and ``weight`` (0 in air and padding, else 1), both ``[56, 56]``."""

    value: np.ndarray
    weight: np.ndarray

    @classmethod
    def of(cls, film: np.ndarray) -> Contrast:
        """From a uint8 film ``[224, 224]``: the rank of its brightness, against the mean rank around it.

        Ranks do not depend on exposure or tone. Raises MedgroundError for a film without contrast.
        """
        step = SIDE // FINE
        cells = film.reshape(FINE, step, FINE, step).mean((1, 3))
        body = cells > BACKGROUND
        if not body.any() or np.ptp(cells[body]) == 0:
            raise MedgroundError("a film has no contrast (it is black or constant), so nothing can be transferred to it")
        rank = np.zeros(cells.shape)
        _, place, count = np.unique(cells[body], return_inverse=True, return_counts=True)
        rank[body] = (np.cumsum(count) - count / 2)[place] / body.sum()
        total, area = (gaussian_filter(field, NEIGHBOURHOOD / step) for field in (rank, body.astype(float)))
        value = np.clip(0.5 + rank - total / np.maximum(area, 1e-9), 0, 1)
        return cls(value * body, body.astype(float))

    def lifted(self, points: np.ndarray) -> np.ndarray:
        """Mass ``[8, 28, 28]``, one a cell, at the contrast that the film has at ``points`` ``[784, 2]``."""
        value, weight = (_drawn(field, points).reshape(CELLS, CELLS) for field in (self.value, self.weight))
        level = np.arange(LEVELS)[:, None, None]
        return np.maximum(0, 1 - np.abs(value * (LEVELS - 1) - level)) * weight


@dataclass(frozen=True)
class Warp:
    """A smooth map of points ``[N, 2]``, (row, column) in [-1, 1] across the square, from reference to target.

    ``steps`` are polynomial displacements ``[terms, 2]`` of a degree; the first is the outermost, the last is applied
    first.
    """

    steps: tuple[tuple[int, np.ndarray], ...] = ()

    def __call__(self, points: np.ndarray) -> np.ndarray:
        for degree, terms in reversed(self.steps):
            points = points + _monomials(points, degree) @ terms
        return points

    def after(self, degree: int, terms: np.ndarray) -> Warp:
        """This map after a displacement of the reference's points."""
        return Warp((*self.steps, (degree, terms)))

    def inverse(self, points: np.ndarray) -> np.ndarray:
        """Where points ``[N, 2]`` of the target come from, by fixed-point iteration."""
        origin = points
        for _ in range(_INVERSION):
            origin = origin + points - self(origin)
        return origin


def register(reference: np.ndarray, target: Contrast, solver: str = "separable") -> Warp:
    """The map from a lifted reference ``[8, 28, 28]`` to a target film."""
    warp, cells = Warp(), grid(CELLS)
    place = np.linspace(-1, 1, 2 * CELLS + 1)[1::2]
    for sigma, degree in ROUNDS:
        plan = _plan(reference, target.lifted(warp(cells)), sigma, solver)
        mass, down, right = (
            plan.pull(value)[0].sum(0).ravel() for value in (np.ones(CELLS), place[:, None], place)
        )
        basis = _monomials(cells, degree)
        wanted = np.stack([down, right], 1) - mass[:, None] * cells  # mean displacement, times the mass it has
        normal = (basis * mass[:, None]).T @ basis + RIDGE * mass.sum() * np.eye(basis.shape[1])
        warp = warp.after(degree, np.linalg.solve(normal, basis.T @ wanted))
    return warp


@cache
def grid(cells: int) -> np.ndarray:
    """Centres ``[cells * cells, 2]`` of a square's cells, in [-1, 1]."""
    place = np.linspace(-1, 1, 2 * cells + 1)[1::2]
    return np.stack(np.meshgrid(place, place, indexing="ij"), -1).reshape(-1, 2)


def _plan(reference: np.ndarray, target: np.ndarray, sigma: float, solver: str):
    space = squares(CELLS, SIDE / CELLS / sigma) / 2
    cost = Cost(space, space, squares(LEVELS, 1 / (LEVELS - 1) / TOLERANCE) / 2)
    return sinkhorn(
        *((film / film.sum())[None] for film in (reference, target)), cost,
        epsilon=1.0, relaxation=RELAXATION, prior="product", sweeps=SWEEPS, tolerance=0.0, solver=solver,
    )  # fmt: skip


def _drawn(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """A square image at points in [-1, 1], bilinear, zero outside."""
    return map_coordinates(image, ((points + 1) / 2 * len(image) - 0.5).T, order=1, mode="constant")


def _monomials(points: np.ndarray, degree: int) -> np.ndarray:
    """All products row^i column^j with i + j <= degree: ``[N, terms]``."""
    rows, columns = ([np.ones(len(points))] for _ in range(2))
    for powers, value in ((rows, points[:, 0]), (columns, points[:, 1])):
        for _ in range(degree):
            powers.append(powers[-1] * value)
    return np.stack([rows[i] * columns[j] for i in range(degree + 1) for j in range(degree + 1 - i)], 1)
