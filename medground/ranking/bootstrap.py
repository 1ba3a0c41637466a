"""The bootstrap over patients: cases of one patient rise and fall together, so patients are what is drawn again.

Everywhere, ``resamples`` is how often they are drawn again, ``level`` (0..1) that of intervals and tests, and ``seed``
or ``rng`` what the draws come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from scipy.special import ndtr, stdtr, stdtrit

RESAMPLES = 10_000
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
    so that differences between columns are paired. A patient's weight is how often it was drawn, hence two matrix
    products do it all.
    """
    _, members, cases = np.unique(np.asarray(patients), return_inverse=True, return_counts=True)
    starts = np.cumsum(cases) - cases
    sums = np.add.reduceat(values[:, np.argsort(members, kind="stable")], starts, axis=1)
    draws = rng.multinomial(cases.size, np.full(cases.size, 1 / cases.size), size=resamples).astype(float)
    return (draws @ sums.T) / (draws @ cases)[:, None], cases.size


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
    drawn_people = rng.multinomial(people, np.full(people, 1 / people), size=resamples).astype(float)
    drawn_models = rng.multinomial(kinds, np.full(kinds, 1 / kinds), size=resamples).astype(float)
    total, count = np.zeros((resamples, len(values))), np.zeros(resamples)
    for kind in range(kinds):
        of_kind = model == kind
        sums = np.stack([np.bincount(patient[of_kind], row[of_kind], people) for row in values])
        weight = drawn_models[:, kind]
        total += weight[:, None] * (drawn_people @ sums.T)
        count += weight * (drawn_people @ np.bincount(patient[of_kind], minlength=people))
    drawn = count > 0  # a draw may leave no case: its models saw none of its patients
    return total[drawn] / count[drawn, None]


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
