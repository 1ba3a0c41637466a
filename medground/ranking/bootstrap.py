"""The bootstrap over patients: cases of one patient rise and fall together, so patients are what is drawn again.

Everywhere, ``resamples`` is how often they are drawn again, ``level`` (0..1) that of intervals and tests, and ``seed``
or ``rng`` what the draws come from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypedDict

import numpy as np
from scipy.special import ndtr, stdtr, stdtrit

RESAMPLES = 10_000
_BLOCK = 1 << 20  # draws that are held at once
_FEW = 16  # drawing how often a kind comes takes as long as drawing so many patients
LEVEL = 0.95


class Resampling(TypedDict, total=False):
    """How a board is resampled: how often, the level of its intervals (0..1), and the seed. `RESAMPLES` and `LEVEL`
    hold for what is not given, and the seed 0."""

    resamples: int
    level: float
    seed: int


def resample_patients(
    values: np.ndarray, patients: Sequence, resamples: int, rng: np.random.Generator
) -> tuple[np.ndarray, int]:
    """Means over cases ``[resamples, entries]`` when the patients are drawn with replacement, and how many they are.

    ``values`` is ``[entries, cases]``; ``patients`` names the patient of each case. All entries see the same draws,
    so that differences between columns are paired. A patient's weight is how often it was drawn, hence a matrix
    product for every block of draws does it all. Where patients are of few kinds, as when values are zeros and ones,
    how often each kind is drawn is multinomial, and nobody is drawn one by one.
    """
    _, members, cases = np.unique(np.asarray(patients), return_inverse=True, return_counts=True)
    starts = np.cumsum(cases) - cases
    sums = np.add.reduceat(values[:, np.argsort(members, kind="stable")], starts, axis=1)
    both = np.concatenate([sums, cases[None]]).T
    kinds, alike = np.unique(both, axis=0, return_counts=True)
    if len(kinds) <= cases.size / _FEW:
        totals = rng.multinomial(cases.size, alike / cases.size, size=resamples) @ kinds
    else:
        totals = np.concatenate([draws @ both for draws in _draws(cases.size, resamples, rng)])
    return totals[:, :-1] / totals[:, -1:], cases.size


def interval(means: np.ndarray, patients: int, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends ``[entries]`` of the percentile interval of resampled means of values in 0..1.

    The percentiles are widened for small samples (Hesterberg 2015, "What teachers should know about the bootstrap",
    expanded percentile interval). One patient says nothing about the spread: the interval is then 0..1.
    ``means`` are ``[resamples, entries]`` of so many ``patients``.
    """
    if patients < 2:
        return np.zeros(means.shape[1]), np.ones(means.shape[1])
    tail = ndtr(np.sqrt(patients / (patients - 1)) * stdtrit(patients - 1, (1 - level) / 2))
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return low, high


def exact_interval(mean: np.ndarray, patients: int, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Clopper and Pearson's ends ``[entries]`` for shares that no resample can move: 0 or 1 of all patients.

    The bootstrap of a share that is 0 (or 1) everywhere is a point, however few the patients; with n of them a true
    share of up to 1 - ((1 - level) / 2)^(1 / n) gives 0 in all with more than that chance. Other shares are returned as
    they are, as both ends.
    ``mean`` ``[entries]`` are the shares.
    """
    reach = 1 - ((1 - level) / 2) ** (1 / max(patients, 1))
    return np.where(mean >= 1, 1 - reach, mean), np.where(mean <= 0, reach, mean)


def share_interval(
    values: Sequence[float],
    patients: Sequence,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> tuple[float, float]:
    """The interval of a share: of ones and zeros ``[cases]`` with the patient of each, one at least.

    ``values`` are the ones and zeros, ``patients`` names the patient of each.
    """
    ones = np.asarray(values, float)[None]
    means, count = resample_patients(ones, patients, resamples, np.random.default_rng(seed))
    (low,), (high,) = interval(means, count, level)
    (least,), (most,) = exact_interval(ones.mean(1), count, level)
    return min(float(low), float(least)), max(float(high), float(most))


def resample_models(
    values: np.ndarray, patients: Sequence, models: Sequence, resamples: int, rng: np.random.Generator
) -> np.ndarray:
    """Means over cases ``[resamples, entries]`` when patients and models are both drawn with replacement.

    ``values`` is ``[entries, cases]``. A case weighs as often as its patient times as often as its model was drawn
    (Owen and Eckles 2012, "Bootstrapping data arrays of arbitrary order"), which errs on the wide side.
    """
    _, patient = np.unique(np.asarray(patients), return_inverse=True)
    _, model = np.unique(np.asarray(models), return_inverse=True)
    people, kinds = patient.max() + 1, model.max() + 1
    rows = [*values, np.ones(model.size)]  # the last row counts the cases
    place = patient * kinds + model
    sums = np.stack([np.bincount(place, row, people * kinds).reshape(people, kinds) for row in rows], -1)
    weights, blocks = np.concatenate(list(_draws(kinds, resamples, rng))), []
    for draws in _draws(people, resamples, rng):
        of_models, weights = weights[: len(draws)], weights[len(draws) :]
        of_people = (draws @ sums.reshape(people, -1)).reshape(len(draws), kinds, -1)
        blocks.append(np.einsum("rkn,rk->rn", of_people, of_models))
    totals = np.concatenate(blocks)
    drawn = totals[:, -1] > 0  # a draw may leave no case: its models saw none of its patients
    return totals[drawn, :-1] / totals[drawn, -1:]


def _draws(units: int, resamples: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """How often each of ``units`` was drawn, ``[some, units]`` float64, in blocks that are ``resamples`` in all.

    The draws do not depend on how many a block has.
    """
    size = max(1, _BLOCK // units)
    for start in range(0, resamples, size):
        rows = min(size, resamples - start)
        drawn = rng.integers(units, size=(rows, units), dtype=np.int32) + np.arange(rows)[:, None] * units
        yield np.bincount(drawn.ravel(), minlength=rows * units).reshape(rows, units).astype(float)


def paired_errors(means: np.ndarray) -> np.ndarray:
    """Standard errors ``[entries, entries]`` of entries' differences, from resamples ``[resamples, entries]``.

    ``means`` are those resamples.
    """
    covariance = np.atleast_2d(np.cov(means, rowvar=False))
    both = np.diag(covariance)[:, None] + np.diag(covariance)[None, :]
    variance = both - 2 * covariance
    variance[variance < 1e-12 * both] = 0  # what is left when equal variances cancel
    return np.sqrt(variance)


def paired_p(observed: np.ndarray, means: np.ndarray, patients: int) -> np.ndarray:
    """Two-sided p ``[entries, entries]`` that two entries are equally good.

    ``observed`` ``[entries]`` are the means, ``means`` ``[resamples, entries]`` their resamples. For each pair, the
    difference of the means is divided by its standard error, which is that of the resampled differences, and the
    quotient is looked up in Student's t distribution with ``patients`` - 1 degrees of freedom. The share of resampled
    differences beyond zero would be simpler, but is never below 1 / resamples, and a correction for many pairs needs
    smaller p than that. Entries that never differ have p = 1.
    """
    difference = observed[:, None] - observed[None, :]
    if patients < 2:
        return np.ones_like(difference)
    same = np.abs(difference) < 1e-12
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * stdtr(patients - 1, -np.abs(difference) / paired_errors(means))
    return np.where(same, 1.0, p)


def separates(means: np.ndarray, patients: int, level: float, power: float = 0.8) -> dict[str, float] | None:
    """What difference between two entries a benchmark can tell, from resamples ``[resamples, entries]``.

    ``standard_error`` is the median over pairs of that of a difference; ``one_pair`` the least difference that a test
    of one pair calls significant, ``all_pairs`` the same at Holm's first step over all pairs; ``with_power`` what a
    true difference must be for a test of one pair to see it with the chance ``power``. None for fewer than two entries
    or patients.
    ``means`` are those resamples.
    """
    entries = means.shape[1]
    if entries < 2 or patients < 2:
        return None
    errors = paired_errors(means)[np.triu_indices(entries, 1)]
    error, pairs = float(np.median(errors)), errors.size
    one, every = (-float(stdtrit(patients - 1, (1 - level) / (2 * tests))) for tests in (1, pairs))
    return {
        "standard_error": error,
        "one_pair": one * error,
        "all_pairs": every * error,
        "with_power": (one + float(stdtrit(patients - 1, power))) * error,
    }


def paired_difference(
    a: Sequence[float],
    b: Sequence[float],
    patients: Sequence,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> dict[str, float]:
    """The mean of a - b over cases with its ``low``, ``high`` and ``p``: one pair, no correction for others.

    ``a, b`` are scores in 0..1 of the same cases, ``patients`` names the patient of each.
    """
    values = np.array([a, b], float)
    means, count = resample_patients(values, patients, resamples, np.random.default_rng(seed))
    observed = values.mean(1)
    low, high = (
        interval(means[:, :1] - means[:, 1:], count, level) if count > 1 else (np.array([-1.0]), np.array([1.0]))
    )
    return {
        "difference": float(observed[0] - observed[1]),
        "low": float(low[0]),
        "high": float(high[0]),
        "p": float(paired_p(observed, means, count)[0, 1]),
    }
