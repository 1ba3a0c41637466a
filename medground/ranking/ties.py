"""Which entries can be told apart, and what that leaves of their ranks."""

from __future__ import annotations

import numpy as np

SPARE = 100  # with more letters than entries and so many, `letters` gives letters to runs of the ranking instead


def differ(p: np.ndarray, level: float) -> np.ndarray:
    """Symmetric bool matrix of the pairs that differ, by Holm's step-down over all pairs (Holm 1979).

    ``p`` is a symmetric ``[entries, entries]`` matrix; the chance of any false difference is at most ``1 - level``.
    """
    rows, columns = np.triu_indices(len(p), 1)
    values = p[rows, columns]
    order = np.argsort(values, kind="stable")
    passed = values[order] <= (1 - level) / (values.size - np.arange(values.size))
    rejected = order[np.cumprod(passed).astype(bool)]
    different = np.zeros(p.shape, bool)
    different[rows[rejected], columns[rejected]] = True
    return different | different.T


def rank_intervals(observed: np.ndarray, different: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Best and worst rank ``[entries]`` that each entry may hold.

    One plus the entries that are surely better, and all less those that are surely worse (Mogstad, Romano, Shaikh and
    Wilhelm 2024, "Inference for ranks"); all intervals hold at once with the level of ``different``.
    ``observed`` ``[entries]`` are the means that entries are ranked by.
    """
    better = different & (observed[None, :] > observed[:, None])
    worse = different & (observed[None, :] < observed[:, None])
    return 1 + better.sum(1), len(observed) - worse.sum(1)


def letters(observed: np.ndarray, different: np.ndarray) -> list[str]:
    """Compact letter display: two entries share a letter exactly where they cannot be told apart.

    Letters of an entry are separated by spaces; ``a`` holds the best entry. Insert and absorb (Piepho 2004), one
    entry at a time: a group that holds the entry and some that differ from it becomes two, without the one and
    without the others; groups within another are dropped. Their number can grow exponentially with the entries;
    where it does (`SPARE`), the groups are `_runs`.
    ``observed`` ``[entries]`` are the means, ``different`` is what `differ` says.
    """
    best_first = np.argsort(-observed, kind="stable")
    groups = np.ones((1, len(observed)), bool)
    for entry in range(len(observed)):
        split = groups[:, entry] & (groups & different[entry]).any(1)
        without_entry, without_others = groups[split], groups[split] & ~different[entry]
        without_entry[:, entry] = False
        groups = _maximal(np.concatenate([groups[~split], without_entry, without_others]))
        if len(groups) > len(observed) + SPARE:
            groups = _runs(best_first, different)
            break
    groups = groups[np.lexsort((~groups[:, best_first]).T[::-1])]
    return [" ".join(map(_letter, np.flatnonzero(groups[:, entry]).tolist())) for entry in range(len(observed))]


def _runs(best_first: np.ndarray, different: np.ndarray) -> np.ndarray:
    """Groups of entries that follow each other in the ranking, a row each: those within a pair that cannot be told
    apart share one. Entries without a common group differ; some that have one may differ, too."""
    tied = np.triu(~different[np.ix_(best_first, best_first)])
    last = len(tied) - 1 - tied[:, ::-1].argmax(1)  # of those that the entry is tied with
    last = np.maximum.accumulate(last)
    first = np.flatnonzero(np.diff(last, prepend=-1))
    groups = np.zeros((len(first), len(tied)), bool)
    for group, start in zip(groups, first, strict=True):
        group[best_first[start : last[start] + 1]] = True
    return groups


def _maximal(groups: np.ndarray) -> np.ndarray:
    groups = np.unique(groups, axis=0)
    common = groups.astype(np.float32) @ groups.T.astype(np.float32)  # exact: counts below 2^24
    within = common == np.diag(common)[:, None]
    np.fill_diagonal(within, False)
    return groups[~within.any(1)]


def _letter(number: int) -> str:
    """a, b, ..., z, aa, ab, ..."""
    name = ""
    while number >= 0:
        number, place = divmod(number, 26)
        name, number = chr(ord("a") + place) + name, number - 1
    return name
