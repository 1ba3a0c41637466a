"""Who is who: disjoint virtual patients for training, validation, the normal references and the benchmark."""

from __future__ import annotations

COHORTS = ("train", "validation", "reference", "benchmark")
_ROOM = 100_000  # patients a cohort can hold


def patient_seed(seed: int, cohort: str, number: int) -> int:
    """The seed of a cohort's ``number``-th patient (0 <= number < 100,000); no two patients share one."""
    if not 0 <= number < _ROOM:
        raise ValueError(f"patient {number} of cohort {cohort}: a cohort holds {_ROOM}")
    return (seed * len(COHORTS) + COHORTS.index(cohort)) * _ROOM + number
