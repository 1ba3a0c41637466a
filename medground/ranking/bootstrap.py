"""The bootstrap over patients: cases of one patient rise and fall together, so patients are what is drawn again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr, stdtr, stdtrit


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
    """
    if patients < 2:
        return np.zeros(means.shape[1]), np.ones(means.shape[1])
    tail = ndtr(np.sqrt(patients / (patients - 1)) * stdtrit(patients - 1, (1 - level) / 2))
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return low, high


def paired_p(observed: np.ndarray, means: np.ndarray, patients: int) -> np.ndarray:
    """Two-sided p ``[entries, entries]`` that two entries are equally good.

    ``observed`` ``[entries]`` are the means, ``means`` ``[resamples, entries]`` their resamples. The difference over
    its paired bootstrap standard error is held against Student's t with one degree less than patients: the share of
    resamples beyond zero cannot go below 1 / resamples, which a correction over many pairs needs. Entries that never
    differ have p = 1.
    """
    difference = observed[:, None] - observed[None, :]
    if patients < 2:
        return np.ones_like(difference)
    covariance = np.atleast_2d(np.cov(means, rowvar=False))
    both = np.diag(covariance)[:, None] + np.diag(covariance)[None, :]
    variance = both - 2 * covariance
    variance[variance < 1e-12 * both] = 0  # what is left when equal variances cancel
    same = np.abs(difference) < 1e-12
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * stdtr(patients - 1, -np.abs(difference) / np.sqrt(variance))
    return np.where(same, 1.0, p)


def paired_difference(
    a: Sequence[float],
    b: Sequence[float],
    patients: Sequence,
    *,
    resamples: int = 1000,
    level: float = 0.95,
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
