"""Entropic unbalanced optimal transport between grids, without ever forming the plan.

The squared distance between two cells of a grid is a sum over the axes, so the kernel ``K = exp(-C / epsilon)`` is a
product of one small matrix an axis, and ``K v`` is a few matrix products. Cells outside a support carry zero mass.
Everything is batched over pairs of films and in float64.

Generalised Sinkhorn: Chizat, Peyre, Schmitzer, Vialard, "Scaling algorithms for unbalanced optimal transport
problems", Mathematics of Computation 87 (2018); the separable kernel: Solomon et al., "Convolutional Wasserstein
distances", ACM Transactions on Graphics 34 (2015).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from ..errors import MedgroundError


def squares(cells: int, step: float = 1.0) -> np.ndarray:
    """Squared distances ``[cells, cells]`` between the cells of one axis, ``step`` apart."""
    position = np.arange(cells) * step
    return (position[:, None] - position) ** 2


@dataclass(frozen=True)
class Cost:
    """Squared distance between the cells of a grid: one matrix ``[n, n]`` or ``[B, n, n]`` an axis, summed.

    ``levels``, where given, is an axis in front of rows and columns: fields are ``[B, (levels,) rows, columns]``.
    """

    rows: np.ndarray
    columns: np.ndarray
    levels: np.ndarray | None = None

    @property
    def axes(self) -> list[np.ndarray]:
        """The matrices in the order of a field's axes."""
        return [axis for axis in (self.levels, self.rows, self.columns) if axis is not None]

    def take(self, pairs: np.ndarray) -> Cost:
        """The cost of some pairs of the batch."""

        def taken(axis: np.ndarray) -> np.ndarray:
            return axis[pairs] if axis.ndim == 3 else axis

        levels = None if self.levels is None else taken(self.levels)
        return Cost(taken(self.rows), taken(self.columns), levels)

    def between(self, pair: int, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        """The dense matrix ``[N, M]`` of one pair between the cells of two bool masks ``[*grid]``."""
        here, there = np.nonzero(source), np.nonzero(target)
        axes = [axis[pair] if axis.ndim == 3 else axis for axis in self.axes]
        return np.sum([axis[np.ix_(i, j)] for axis, i, j in zip(axes, here, there, strict=True)], axis=0)


@dataclass(frozen=True)
class Kernel:
    """``exp(-cost / epsilon)``, applied to fields one axis after the other."""

    cost: Cost
    epsilon: float

    @cached_property
    def _factors(self) -> list[np.ndarray]:
        return [np.exp(-axis / self.epsilon) for axis in self.cost.axes]

    def __call__(self, field: np.ndarray) -> np.ndarray:
        """``K v`` for a field v ``[B, *grid]``."""
        return _product(self._factors, field)

    def weighted(self, field: np.ndarray) -> np.ndarray:
        """``(C * K) v``: what the cost of a plan needs."""
        total = np.zeros_like(field)
        for axis, cost in enumerate(self.cost.axes):
            factors = list(self._factors)
            factors[axis] = factors[axis] * cost
            total += _product(factors, field)
        return total


@dataclass(frozen=True)
class Plan:
    """A batch of plans ``left K right`` between grids ``[B, *grid]``."""

    kernel: Kernel
    left: np.ndarray
    right: np.ndarray

    def push(self, share: np.ndarray) -> np.ndarray:
        """Mass that each target cell receives from the shares ``[B, *grid]`` of the source cells (1 is all of it)."""
        return self.right * self.kernel(self.left * share)

    def pull(self, value: np.ndarray) -> np.ndarray:
        """Sum of the targets' values ``[B, *grid]`` over the mass that each source cell sends."""
        return self.left * self.kernel(self.right * value)

    @property
    def mass(self) -> np.ndarray:
        """Total mass ``[B]``; the marginals are free, so it need not be 1."""
        return _total(self.pull(np.ones_like(self.right)))

    @property
    def cost(self) -> np.ndarray:
        """Transport cost ``<P, C>`` ``[B]`` in the unit of the kernel's cost."""
        return _total(self.left * self.kernel.weighted(self.right))


@dataclass(frozen=True)
class Problem:
    """Minimise ``<P, C> + relaxation (KL(P 1 | a) + KL(P' 1 | b)) + epsilon KL(P | prior)`` over plans P.

    ``a`` and ``b`` are masses ``[B, *grid]``, not negative and not empty. ``prior`` is ``counting`` (each pair of cells
    weighs one: the entropy of the reference) or ``product`` (a b', which makes the costs of different supports
    comparable). A pair stops when the L1 change of its left scaling falls below ``tolerance``, or after ``sweeps``;
    its plan does not depend on the pairs that share the batch. ``floor`` is added to K v, so that a cell that sees no
    mass at all divides by something.
    """

    a: np.ndarray
    b: np.ndarray
    cost: Cost
    epsilon: float
    relaxation: float
    prior: str = "counting"
    sweeps: int = 500
    tolerance: float = 1e-6
    floor: float = 1e-100


def sinkhorn(problem: Problem, solver: str = "separable") -> Plan:
    """The plans that solve a batch of problems.

    ``solver`` is ``separable``, or ``pot`` or ``pot-cuda``: the dense solver of the package POT, which stops by its own
    criterion. Raises MedgroundError for an unknown solver and for masses that are negative, empty or not finite.
    """
    for side, mass in (("source", problem.a), ("target", problem.b)):
        if not np.isfinite(mass).all() or (mass < 0).any() or not (_total(mass) > 0).all():
            raise MedgroundError(f"the {side} of a transport has no mass, or mass that is negative or not finite")
    if solver not in SOLVERS:
        raise MedgroundError(f"anatomy.solver is {solver!r}; known: {', '.join(SOLVERS)}")
    u, v = SOLVERS[solver](problem)
    if problem.prior == "product":
        u, v = u * problem.a, v * problem.b
    return Plan(Kernel(problem.cost, problem.epsilon), u, v)


def divergence(problem: Problem) -> np.ndarray:
    """Debiased Sinkhorn divergence ``[B]`` between the masses of a problem with product prior.

    What transport costs beyond what either side costs to itself: 0 for equal masses, positive otherwise. Sejourne,
    Feydy, Vialard, Trouve, Peyre, "Sinkhorn divergences for unbalanced optimal transport" (2019), definition 8.
    """
    a, b = problem.a, problem.b
    across, left, right = (_value(replace(problem, a=x, b=y)) for x, y in ((a, b), (a, a), (b, b)))
    return across - (left + right) / 2 + problem.epsilon / 2 * (_total(a) - _total(b)) ** 2


def _value(problem: Problem) -> np.ndarray:
    """The dual objective ``[B]`` at the solution."""
    u, v = _separable(problem)
    plan = Plan(Kernel(problem.cost, problem.epsilon), u * problem.a, v * problem.b)
    value = problem.epsilon * (_total(problem.a) * _total(problem.b) - plan.mass)
    for mass, scaling in ((problem.a, u), (problem.b, v)):
        gain = 1 - np.where(mass > 0, scaling, 1) ** (-problem.epsilon / problem.relaxation)
        value += problem.relaxation * _total(mass * gain)
    return value


def _separable(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    a, b, cost, epsilon = problem.a, problem.b, problem.cost, problem.epsilon
    # The prior a b' is absorbed: K v becomes K (b v), and the mass in the numerator cancels.
    inside = (np.ones_like(a), np.ones_like(b)) if problem.prior == "counting" else (a, b)
    ahead = (a, b) if problem.prior == "counting" else (np.ones_like(a), np.ones_like(b))
    power = problem.relaxation / (problem.relaxation + epsilon)
    kernel = Kernel(cost, epsilon)
    u, v = (a > 0).astype(float), (b > 0).astype(float)
    active = np.arange(len(a))
    for _ in range(problem.sweeps):
        before = u[active]
        u[active] = now = (ahead[0][active] / (kernel(inside[1][active] * v[active]) + problem.floor)) ** power
        v[active] = (ahead[1][active] / (kernel(inside[0][active] * now) + problem.floor)) ** power
        moving = _total(np.abs(now - before)) >= problem.tolerance
        if not moving.all():
            active = active[moving]
            kernel = Kernel(cost.take(active), epsilon)
        if not active.size:
            break
    return u, v


def _pot(problem: Problem, device: str = "cpu") -> tuple[np.ndarray, np.ndarray]:
    import ot
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise MedgroundError("anatomy.solver is 'pot-cuda', but there is no CUDA GPU; use 'pot' or 'separable'")
    u, v = np.zeros_like(problem.a), np.zeros_like(problem.b)
    for pair, (source, target) in enumerate(zip(problem.a, problem.b, strict=True)):
        here, there = source > 0, target > 0
        masses = (torch.as_tensor(x, device=device) for x in (source[here], target[there]))
        dense = torch.as_tensor(problem.cost.between(pair, here, there), device=device)
        _, log = ot.unbalanced.sinkhorn_unbalanced(
            *masses, dense, problem.epsilon, problem.relaxation,
            c=torch.ones_like(dense) if problem.prior == "counting" else None,  # None is a b'
            numItermax=problem.sweeps, stopThr=problem.tolerance / here.sum(), log=True,
        )  # fmt: skip
        u[pair][here], v[pair][there] = (np.exp(log[k].cpu().numpy()) for k in ("logu", "logv"))
    return u, v


SOLVERS: dict[str, Callable[[Problem], tuple[np.ndarray, np.ndarray]]] = {
    "separable": _separable,
    "pot": _pot,
    "pot-cuda": partial(_pot, device="cuda"),
}


def _total(field: np.ndarray) -> np.ndarray:
    return field.reshape(len(field), -1).sum(1)


def _product(factors: Sequence[np.ndarray], field: np.ndarray) -> np.ndarray:
    *levels, rows, columns = factors
    field = rows @ field @ columns
    if levels:
        field = (levels[0] @ field.reshape(*field.shape[:-2], -1)).reshape(field.shape)
    return field
