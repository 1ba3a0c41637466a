"""The board: every entry on every track and split, ranked by mean IoU under the ``medground`` protocol.

Kept cases of ``control == "shortcut"`` are not on the board. There the model answered from a marker that lies outside
every expert region, so a faithful map is a wrong one; they exist to test the filter.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from .. import __version__
from ..errors import MedgroundError
from ..scoring import METRICS
from .bootstrap import interval, paired_difference, paired_p, resample_patients
from .ties import differ, letters, rank_intervals

TRACKS = ("mode", "model", "source", "finding")
SPLITS = ("dev", "test", "all")
FAITHFUL = ("deletion", "insertion")
ENDS = ("_low", "_high")


@dataclass(frozen=True)
class Results:
    """Scores as arrays: ``values [metrics, entries, cases]`` in the order of METRICS, ``published [entries, cases]``
    the IoU of the published scorer, ``valid [entries, cases]`` whether the attribution could be scored, and
    ``measured [2, entries, cases]`` deletion and insertion, NaN where they were not measured."""

    entries: list[str]
    cases: list[Mapping]
    values: np.ndarray
    published: np.ndarray
    valid: np.ndarray
    measured: np.ndarray

    @classmethod
    def of(cls, scores: pa.Table, cases: Sequence[Mapping], faithfulness: pa.Table | None = None) -> Results:
        """From `records.SCORES`, the kept cases and `records.FAITHFULNESS`.

        An entry without a row of scores for a case has the worst value there; without a row of faithfulness, none.
        """
        cases = [case for case in cases if case["control"] != "shortcut"]
        entries = sorted(set(scores["entry"].to_pylist()))
        place = {case["case_id"]: number for number, case in enumerate(cases)}
        numbers = {entry: number for number, entry in enumerate(entries)}
        values = np.zeros((len(METRICS), len(entries), len(cases)))
        published, valid = np.zeros(values.shape[1:]), np.zeros(values.shape[1:], bool)
        for batch in scores.to_batches():
            rows = np.array([numbers[entry] for entry in batch["entry"].to_pylist()], int)
            columns = np.array([place.get(case, -1) for case in batch["case_id"].to_pylist()], int)
            ours = np.array([protocol == "medground" for protocol in batch["protocol"].to_pylist()], bool)
            for chosen, is_ours in ((ours & (columns >= 0), True), (~ours & (columns >= 0), False)):
                at = rows[chosen], columns[chosen]
                if not is_ours:
                    published[at] = batch["iou"].to_numpy()[chosen]
                    continue
                valid[at] = batch["problem"].is_null().to_numpy(zero_copy_only=False)[chosen]
                for number, name in enumerate(METRICS):
                    values[(number, *at)] = batch[name].to_numpy()[chosen]
        measured = np.full((len(FAITHFUL), *published.shape), np.nan)
        for row in faithfulness.to_pylist() if faithfulness else ():
            if row["entry"] in numbers and row["case_id"] in place:
                measured[:, numbers[row["entry"]], place[row["case_id"]]] = [row[name] for name in FAITHFUL]
        return cls(entries, cases, values, published, valid, measured)

    def tracks(self) -> Iterator[tuple[str, np.ndarray]]:
        """``all`` and each ``mode=...``, ``model=...``, ``source=...``, ``finding=...`` with its bool mask of cases."""
        yield "all", np.ones(len(self.cases), bool)
        for name in TRACKS:
            column = np.array([case[name] for case in self.cases], object)
            for value in sorted(set(column)):
                yield f"{name}={value}", column == value

    def split(self, split: str) -> np.ndarray:
        """The bool mask of the cases of ``dev``, ``test`` or ``all``."""
        return np.array([split in ("all", case["split"]) for case in self.cases], bool)

    def resampled(self, chosen: np.ndarray, name: str, resamples: int, seed: int) -> tuple[np.ndarray, int]:
        """Resampled mean IoU ``[resamples, entries]`` of the chosen cases and the number of their patients.

        The draws depend on the seed and the name of the choice alone: a new entry does not move the others.
        """
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        patients = [case["patient_id"] for case, inside in zip(self.cases, chosen, strict=True) if inside]
        return resample_patients(self.values[METRICS.index("iou")][:, chosen], patients, resamples, rng)

    def faithful(
        self, chosen: np.ndarray, name: str, *, resamples: int, level: float, seed: int
    ) -> dict[str, list[float | None]]:
        """Columns over entries: how many of the chosen cases were ``measured``, and the mean ``deletion`` and
        ``insertion`` on those, each with the ends of its interval; None without any."""
        known = ~np.isnan(self.measured[0]) & chosen
        columns = {"measured": known.sum(1).tolist()}
        columns |= {f"{metric}{end}": [None] * len(self.entries) for metric in FAITHFUL for end in ("", *ENDS)}
        for cases in np.unique(known[known.any(1)], axis=0):  # entries that were measured on the same cases
            alike = np.flatnonzero((known == cases).all(1))
            patients = [case["patient_id"] for case, inside in zip(self.cases, cases, strict=True) if inside]
            for metric, values in zip(FAITHFUL, self.measured, strict=True):
                values = values[np.ix_(alike, cases)]
                rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
                ends = interval(*resample_patients(values, patients, resamples, rng), level)
                for end, numbers in zip(("", *ENDS), (values.mean(1), *ends), strict=True):
                    for entry, number in zip(alike, numbers.tolist(), strict=True):
                        columns[f"{metric}{end}"][entry] = number
        return columns


def board(
    results: Results,
    kinds: Mapping[str, str],
    seconds: Mapping[str, float | None],
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> list[dict]:
    """Rows of `records.BOARD`, best first within each track and split; every entry is on every track.

    ``kinds`` says method, floor or submission for each entry; ``seconds`` is its mean time a case, if known.
    """
    drawn = {"resamples": resamples, "level": level, "seed": seed}
    return [
        row
        for track, of_track in results.tracks()
        for split in SPLITS
        if (chosen := of_track & results.split(split)).any()
        for row in ranked(results, chosen, {"track": track, "split": split}, kinds, seconds, **drawn)
    ]


def ranked(
    results: Results,
    chosen: np.ndarray,
    place: Mapping[str, str],
    kinds: Mapping[str, str],
    seconds: Mapping[str, float | None],
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> list[dict]:
    """One track of the `board`: rows of the ``chosen`` cases (bool mask, at least one), which begin with ``place``."""
    name = "/".join(place.values())
    means, patients = results.resampled(chosen, name, resamples, seed)
    metrics = dict(zip(METRICS, results.values[:, :, chosen].mean(2), strict=True))
    iou = metrics["iou"]
    different = differ(paired_p(iou, means, patients), level)
    low, high = interval(means, patients, level)
    rank_low, rank_high = rank_intervals(iou, different)
    columns = {
        **metrics,
        "coverage": results.valid[:, chosen].mean(1),
        "iou_low": low,
        "iou_high": high,
        "rank": 1 + (iou[None, :] > iou[:, None]).sum(1),
        "rank_low": rank_low,
        "rank_high": rank_high,
        "tie": np.array(letters(iou, different), object),
        "iou_published": results.published[:, chosen].mean(1),
    }
    lists = {name: column.tolist() for name, column in columns.items()}
    lists |= results.faithful(chosen, name, resamples=resamples, level=level, seed=seed)
    rows = []
    for number in np.argsort(-iou, kind="stable"):
        entry = results.entries[number]
        known = {
            **place,
            "entry": entry,
            "kind": kinds[entry],
            "cases": int(chosen.sum()),
            "seconds": seconds.get(entry),
        }
        rows.append({**known, **{name: values[number] for name, values in lists.items()}})
    return rows


def lead(
    results: Results,
    entry: str,
    track: str = "all",
    split: str = "all",
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> list[dict]:
    """How far ``entry`` is ahead of each other entry: mean IoU of both and `paired_difference`, least lead first.

    Each row has ``entry`` (the other), ``iou``, ``difference``, ``low``, ``high`` and ``p`` (one pair, uncorrected).
    Raises MedgroundError for an unknown entry, or a track or split without cases.
    """
    if entry not in results.entries:
        raise MedgroundError(f"the board has no entry {entry!r}; it has: {', '.join(results.entries)}")
    tracks = dict(results.tracks())
    if track not in tracks or not (chosen := tracks[track] & results.split(split)).any():
        raise MedgroundError(f"no cases on track {track!r} in split {split!r}; tracks: {', '.join(tracks)}")
    iou = dict(zip(results.entries, results.values[METRICS.index("iou")][:, chosen], strict=True))
    patients = [case["patient_id"] for case, inside in zip(results.cases, chosen, strict=True) if inside]
    drawn = {"resamples": resamples, "level": level, "seed": seed}
    rows = [
        {"entry": other, "iou": float(values.mean()), **paired_difference(iou[entry], values, patients, **drawn)}
        for other, values in iou.items()
        if other != entry
    ]
    return sorted(rows, key=lambda row: row["difference"])


def localisation(results: Results, *, resamples: int = 1000, level: float = 0.95, seed: int = 0) -> list[dict]:
    """Mean IoU with its interval by ``entry``, ``model`` and ``mode``: what the plots draw."""
    rows = []
    keys = np.array([f"{case['model']}\n{case['mode']}" for case in results.cases], object)
    for key in sorted(set(keys)):
        model, mode = key.split("\n")
        means, patients = results.resampled(keys == key, key, resamples, seed)
        iou = results.values[METRICS.index("iou")][:, keys == key].mean(1)
        for entry, mean, low, high in zip(results.entries, iou, *interval(means, patients, level), strict=True):
            numbers = {"iou": float(mean), "iou_low": float(low), "iou_high": float(high)}
            rows.append({"entry": entry, "model": model, "mode": mode, **numbers})
    return rows


def summary(results: Results, rows: Sequence[Mapping], *, dataset: str, resamples: int, level: float) -> dict:
    """What ``board.json`` says: what was ranked and how, and the track ``all`` of both splits, best first."""
    shown = ("entry", "kind", "coverage", "iou", "iou_low", "iou_high", "rank", "rank_low", "rank_high", "tie")
    return {
        "medground": __version__,
        "protocol": "medground",
        "dataset": dataset,
        "level": level,
        "resamples": resamples,
        "entries": len(results.entries),
        "patients": len({case["patient_id"] for case in results.cases}),
        "cases": {split: int(results.split(split).sum()) for split in SPLITS},
        "board": [
            {name: row[name] for name in shown} for row in rows if (row["track"], row["split"]) == ("all", "all")
        ],
    }
