"""A smooth map from a reference film to a target, found by unbalanced transport between lifted films.

The published transport takes brightness as mass, so brightness itself moves, and its plan is far too blurry to say
where a region went. Here every cell of a film weighs the same and lies at (row, column, contrast): mass travels
between alike tissue, and the unbalanced marginals leave out what has no counterpart, such as a finding. The kernel is
still a product of one matrix an axis. The barycentric map of the plan, less that of the reference to itself (which
entropy pulls inwards in the same way), is fitted by a polynomial; the target is drawn along it, and the next round
transports what is left with a narrower kernel.

Close relatives: features in the ground cost, Rabin and Papadakis, "Convex color image segmentation with optimal
transport distances" (2015); transport as the data term of a registration, Feydy et al., "Optimal transport for
diffeomorphic registration" (MICCAI 2017); debiasing, Sejourne et al., "Sinkhorn divergences for unbalanced optimal
transport" (2019).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from ..errors import MedgroundError
from .sinkhorn import Cost, Problem, divergence, sinkhorn, squares

SIDE = 224  # films are registered on a square of this side
FINE = 56  # cells a side of the film from which the rounds are drawn
BACKGROUND = 8.0  # gray level up to which a cell is air or padding, and has no mass
_INVERSION = 20  # iterations


@dataclass(frozen=True)
class Contrast:
    """A film as ``value`` in [0, 1] and ``weight`` (0 in air and padding, else 1), both ``[56, 56]``."""

    value: np.ndarray
    weight: np.ndarray

    @classmethod
    def of(cls, film: np.ndarray, neighbourhood: float = 32.0) -> Contrast:
        """From a uint8 film ``[224, 224]``: the rank of its brightness, against a Gaussian mean of the ranks around it.

        Ranks do not depend on exposure or tone. ``neighbourhood`` is the Gaussian's sigma in px. Raises MedgroundError
        for a film without contrast.
        """
        step = SIDE // FINE
        cells = film.reshape(FINE, step, FINE, step).mean((1, 3))
        body = cells > BACKGROUND
        if not body.any() or np.ptp(cells[body]) == 0:
            raise MedgroundError("a film has no contrast: it is black or constant, so no concept can be transferred")
        rank = np.zeros(cells.shape)
        _, place, count = np.unique(cells[body], return_inverse=True, return_counts=True)
        rank[body] = (np.cumsum(count) - count / 2)[place] / body.sum()
        total, area = (gaussian_filter(field, neighbourhood / step) for field in (rank, body.astype(float)))
        value = np.clip(0.5 + rank - total / np.maximum(area, 1e-9), 0, 1)
        return cls(value * body, body.astype(float))

    def at(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Value and weight at points ``[N, 2]`` in [-1, 1], bilinear; no weight outside the square."""
        place = ((points + 1) / 2 * FINE - 0.5).T
        value, weight = (map_coordinates(field, place, order=1, mode="constant") for field in (self.value, self.weight))
        return value, weight


@dataclass(frozen=True)
class Warp:
    """A smooth map of points ``[N, 2]``, (row, column) in [-1, 1] across the square, from reference to target.

    ``steps`` are polynomial displacements ``[terms, 2]``, each with its degree; a point goes through the last one first
    and through the first one last. A point outside the square is displaced as the nearest point on its edge is: the
    polynomials were fitted to what lies inside, and grow without bound outside.
    """

    steps: tuple[tuple[int, np.ndarray], ...] = ()

    def __call__(self, points: np.ndarray) -> np.ndarray:
        for degree, terms in reversed(self.steps):
            points = points + _monomials(points.clip(-1, 1), degree) @ terms
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


@dataclass(frozen=True)
class Registration:
    """How films are registered. Distances are in px of the square, sums of squares in units of epsilon.

    ``rounds`` are (sigma of the kernel over space, degree of the polynomial), ``tolerance`` the kernel's sigma over
    contrast, whose range is 0 to 1. ``ridge``, times the plan's mass, holds the polynomial where nothing is to follow.
    """

    rounds: tuple[tuple[float, int], ...] = (
        (64.0, 1), (48.0, 1), (32.0, 1), (24.0, 1), (16.0, 1), (16.0, 1), (16.0, 1),
        (12.0, 2), (12.0, 3), (8.0, 4), (8.0, 5),
    )  # fmt: skip
    tolerance: float = 1 / 8
    neighbourhood: float = 32.0
    relaxation: float = 5.0
    sweeps: int = 5
    debiased: bool = True
    cells: int = 28
    levels: int = 8
    ridge: float = 1e-4
    solver: str = "separable"

    def contrast(self, film: np.ndarray) -> Contrast:
        """`Contrast.of` a uint8 film ``[224, 224]``."""
        return Contrast.of(film, self.neighbourhood)

    def lifted(self, film: Contrast, warp: Warp = Warp()) -> np.ndarray:
        """Mass ``[levels, cells, cells]``: one a cell where the film has weight, at its contrast there."""
        value, weight = (field.reshape(self.cells, self.cells) for field in film.at(warp(grid(self.cells))))
        level = np.arange(self.levels)[:, None, None]
        return np.maximum(0, 1 - np.abs(value * (self.levels - 1) - level)) * weight

    def problem(self, source: np.ndarray, target: np.ndarray, sigma: float) -> Problem:
        """Transport between two lifted films, each with mass 1. Raises MedgroundError where one of them is empty."""
        for side, mass in (("reference", source), ("target", target)):
            if not mass.any():
                raise MedgroundError(f"the {side} film has nothing but air where the other has a body")
        a, b = ((mass / mass.sum())[None] for mass in (source, target))
        space = squares(self.cells, SIDE / self.cells / sigma) / 2
        cost = Cost(space, space, squares(self.levels, 1 / (self.levels - 1) / self.tolerance) / 2)
        return Problem(a, b, cost, 1.0, self.relaxation, "product", self.sweeps, tolerance=0.0)

    def barycentres(self, source: np.ndarray, target: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
        """Where the mass of each source cell goes on average ``[N, 2]``, in [-1, 1], and how much that is ``[N]``."""
        plan = sinkhorn(self.problem(source, target, sigma), self.solver)
        place = _places(self.cells)
        mass, down, right = (plan.pull(v)[0].sum(0).ravel() for v in (np.ones_like(place), place[:, None], place))
        still = mass <= np.finfo(float).tiny
        there = np.stack([down, right], 1) / np.where(still, 1, mass)[:, None]
        return np.where(still[:, None], grid(self.cells), there), mass


@dataclass(frozen=True)
class Template:
    """A lifted film ``[levels, cells, cells]`` that other films are registered to."""

    mass: np.ndarray
    how: Registration

    def register(self, target: Contrast) -> Warp:
        """The map from this template to a target film. Raises MedgroundError where the two share no body."""
        warp, points = Warp(), grid(self.how.cells)
        for sigma, degree in self.how.rounds:
            there, mass = self.how.barycentres(self.mass, self.how.lifted(target, warp), sigma)
            here = self._rests[sigma] if self.how.debiased else points
            basis = _monomials(points, degree)
            normal = (basis * mass[:, None]).T @ basis + self.how.ridge * mass.sum() * np.eye(basis.shape[1])
            warp = warp.after(degree, np.linalg.solve(normal, (basis * mass[:, None]).T @ (there - here)))
        return warp

    def distance(self, target: Contrast, warp: Warp) -> float:
        """Debiased divergence between this template and a target drawn along a map; large where it is no such film."""
        sigma, _ = self.how.rounds[-1]
        return float(divergence(self.how.problem(self.mass, self.how.lifted(target, warp), sigma))[0])

    @cached_property
    def _rests(self) -> dict[float, np.ndarray]:
        sigmas = {sigma for sigma, _ in self.how.rounds}
        return {sigma: self.how.barycentres(self.mass, self.mass, sigma)[0] for sigma in sigmas}


@cache
def grid(cells: int) -> np.ndarray:
    """Centres ``[cells * cells, 2]`` of a square's cells, in [-1, 1]."""
    place = _places(cells)
    return np.stack(np.meshgrid(place, place, indexing="ij"), -1).reshape(-1, 2)


def _places(cells: int) -> np.ndarray:
    return np.linspace(-1, 1, 2 * cells + 1)[1::2]


def _monomials(points: np.ndarray, degree: int) -> np.ndarray:
    """All products row^i column^j with i + j <= degree: ``[N, terms]``."""
    rows, columns = ([np.ones(len(points))] for _ in range(2))
    for powers, value in ((rows, points[:, 0]), (columns, points[:, 1])):
        for _ in range(degree):
            powers.append(powers[-1] * value)
    return np.stack([rows[i] * columns[j] for i in range(degree + 1) for j in range(degree + 1 - i)], 1)
