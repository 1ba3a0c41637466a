"""The board: every entry on every track and split; those that follow the model are ranked, the others listed apart.

What a track is ordered by is the first of `ORDER` that it has: the share of pairs in which an entry follows the model,
or, without pairs, localisation that knows no size. An entry is ranked where the interval of that number lies above the
interval of every floor; see docs/protocol.md for why. ``resamples``, ``level`` and ``seed`` are those of `bootstrap`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .. import records
from ..cases import localised
from ..errors import MedgroundError
from ..scoring.metrics import METRICS
from .bootstrap import (
    LEVEL,
    RESAMPLES,
    Resampling,
    exact_interval,
    interval,
    paired_difference,
    paired_p,
    resample_models,
    resample_patients,
    separates,
)
from .ties import differ, letters, rank_intervals

TRACKS = ("mode", "model", "source", "finding")
SPLITS = ("dev", "test", "all")
ORDER = ("follows", "iou_at_area")
LEAD = "iou_at_area"  # what `over_floor` is the lead in
ENDS = ("_low", "_high")
MULTIPLICITY = "Within a track, all pairs of ranked entries are tested together (Holm); tracks are not corrected for."


@dataclass(frozen=True)
class Units:
    """What a metric is a mean over: ``values`` ``[metrics, entries, units]`` with the patient and model of each unit.

    Units are cases, or for ``follows`` pairs of cases, whose model is that of both.
    """

    names: list[str]
    values: np.ndarray
    patients: list
    models: list

    def of(self, name: str) -> np.ndarray:
        """``[entries, units]`` of one metric.

        ``name`` is its name.
        """
        return self.values[self.names.index(name)]


@dataclass(frozen=True)
class Results:
    """Scores as arrays over entries and cases: ``values`` of each metric, NaN where a case does not have what it needs,
    ``published``, the IoU of the published scorer, and ``valid``, whether the attribution could be scored."""

    entries: list[str]
    cases: list[Mapping]
    values: Mapping[str, np.ndarray]
    published: np.ndarray
    valid: np.ndarray

    @classmethod
    def of(cls, scores: pa.Table, cases: Sequence[Mapping]) -> Results:
        """From `records.SCORES` and the cases of the benchmark.

        An entry without a row for a case has the worst value there, wherever another entry has a number.
        ``scores`` has the rows of all entries, of both protocols.
        """
        cases, entries = list(cases), sorted(pc.unique(scores["entry"]).to_pylist())
        ids = [case["case_id"] for case in cases]
        rows = pc.index_in(scores["entry"], pa.array(entries, pa.string())).to_numpy()
        columns = pc.fill_null(pc.index_in(scores["case_id"], pa.array(ids, pa.string())), -1).to_numpy()
        ours = pc.equal(scores["protocol"], "medground").to_numpy()
        here, theirs = ours & (columns >= 0), ~ours & (columns >= 0)
        shape = len(entries), len(cases)
        names = [name for name in METRICS if name in scores.schema.names]
        values = {name: np.full(shape, np.nan) for name in names}
        for name in names:
            column = scores[name].to_numpy()
            values[name][rows[here], columns[here]] = column[here]
            known = ~np.isnan(values[name]).all(0)
            values[name][:, known] = np.nan_to_num(values[name][:, known], nan=METRICS[name].worst)
        published, valid = np.zeros(shape), np.zeros(shape, bool)
        published[rows[theirs], columns[theirs]] = scores["iou"].to_numpy()[theirs]
        valid[rows[here], columns[here]] = scores["problem"].is_null().to_numpy()[here]
        return cls(entries, cases, values, published, valid)

    def tracks(self) -> Iterator[tuple[str, np.ndarray]]:
        """``all`` and each ``mode=...``, ``model=...``, ``source=...``, ``finding=...`` with its bool mask of cases."""
        yield "all", np.ones(len(self.cases), bool)
        for name in TRACKS:
            column = np.array([case[name] for case in self.cases], object)
            for value in sorted(set(column)):
                yield f"{name}={value}", column == value

    def split(self, split: str) -> np.ndarray:
        """The bool mask of the cases of ``dev``, ``test`` or ``all``.

        ``split`` is one of these.
        """
        return np.array([split in ("all", case["split"]) for case in self.cases], bool)

    @cached_property
    def localised(self) -> np.ndarray:
        """The bool mask of the cases whose answer comes from the expert's region."""
        return np.array([localised(case) for case in self.cases], bool)

    @cached_property
    def pairs(self) -> np.ndarray:
        """``[pairs, 2]`` places of the two cases of each pair on which ``follows`` was measured under both models."""
        if "follows" not in self.values:
            return np.zeros((0, 2), int)
        both: dict[str, list[int]] = {}
        for number, case in enumerate(self.cases):
            if case.get("pair") is not None and not np.isnan(self.values["follows"][:, number]).any():
                both.setdefault(case["pair"], []).append(number)
        return np.array([pair for pair in both.values() if len(pair) == 2], int).reshape(-1, 2)

    def units(self, chosen: np.ndarray) -> list[Units]:
        """What the metrics of the chosen cases are means over, by what they need; a need without any unit is left out.

        Localisation is measured on cases whose answer comes from the expert's region, causes on the cases of pairs,
        ``follows`` on pairs of which at least one case is chosen.
        """
        known = [name for name in METRICS if name in self.values]
        paired = np.array([case.get("pair") is not None for case in self.cases], bool)
        found = []
        for need, where in (("regions", self.localised), ("cause", paired)):
            names = [name for name in known if METRICS[name].needs == need]
            names = [name for name in names if not np.isnan(self.values[name][:, chosen & where]).all()]
            if not names:
                continue
            values = np.stack([self.values[name] for name in names])
            here = np.flatnonzero(chosen & where & ~np.isnan(values).any((0, 1)))
            cases = [self.cases[number] for number in here]
            found.append(
                Units(names, values[:, :, here], [c["patient_id"] for c in cases], [c["model"] for c in cases])
            )
        first, second = self.pairs[chosen[self.pairs].any(1)].T
        if first.size:
            both = (self.values["follows"][:, first] * self.values["follows"][:, second])[None]
            pairs = [(self.cases[a], self.cases[b]) for a, b in zip(first, second, strict=True)]
            models = ["\n".join(sorted((a["model"], b["model"]))) for a, b in pairs]
            found.append(Units(["follows"], both, [a["patient_id"] for a, _ in pairs], models))
        return [units for units in found if units.patients]


def board(
    results: Results,
    kinds: Mapping[str, str],
    seconds: Mapping[str, float | None],
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
    carried: Sequence[dict] = (),
    carried_from: str = "",
    sanity: Mapping[str, str] | None = None,
) -> list[dict]:
    """Rows of `records.BOARD`, in order within each track and split; every entry is on every track.

    ``kinds`` says method, floor or submission for each entry; ``seconds`` is its mean time a case, ``sanity`` what its
    sanity checks say, if known. Tracks without pairs carry ``follows`` over: from the track ``all`` of their split, or
    from ``carried``, rows of another board, which ``carried_from`` names.
    ``results`` are the scores of all entries.
    """
    how: Resampling = {"resamples": resamples, "level": level, "seed": seed}
    rows = []
    for split in SPLITS:
        own, label = list(carried), carried_from
        for track, of_track in results.tracks():
            chosen = of_track & results.split(split)
            if not results.units(chosen):
                continue
            place = {"track": track, "split": split}
            found = ranked(
                results, chosen, place, kinds, seconds, **how, carried=own, carried_from=label, sanity=sanity
            )
            if track == "all" and found[0]["follows_from"] == "pairs":
                own, label = found, "the pairs of all cases"
            rows += found
    return sorted(rows, key=lambda row: row["track"] != "all")  # stable: all tracks of a split follow each other


def ranked(
    results: Results,
    chosen: np.ndarray,
    place: Mapping[str, str],
    kinds: Mapping[str, str],
    seconds: Mapping[str, float | None],
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
    carried: Sequence[dict] = (),
    carried_from: str = "",
    sanity: Mapping[str, str] | None = None,
) -> list[dict]:
    """One track of the `board`: rows of the ``chosen`` cases (bool mask), which begin with ``place``; the ranked
    entries, best first, and then the others in the same order.

    The draws depend on the seed and the place alone: a new entry does not move the others' intervals.
    ``results``, ``kinds``, ``seconds``, ``carried``, ``carried_from`` and ``sanity`` are as for `board`.
    """
    name, entries = "/".join(place.values()), results.entries
    columns: dict[str, list] = {metric: [None] * len(entries) for metric in _columns()}
    draws: dict[str, tuple[np.ndarray, np.ndarray, int]] = {}
    for units in results.units(chosen):
        stacked = units.values.reshape(-1, len(units.patients))
        means, patients = resample_patients(stacked, units.patients, resamples, _rng(seed, name))
        means = means.reshape(resamples, len(units.names), len(entries))
        for number, metric in enumerate(units.names):
            observed = units.values[number].mean(1)
            low, high = interval(means[:, number], patients, level)
            if metric == "follows":
                least, most = exact_interval(observed, patients, level)
                low, high = np.minimum(low, least), np.maximum(high, most)
            draws[metric] = observed, means[:, number], patients
            for column, numbers in zip(("", *ENDS), (observed, low, high), strict=True):
                columns[metric + column] = numbers.tolist()
    order = next(metric for metric in ORDER if metric in draws)
    observed, means, patients = draws[order]
    floor = np.array([kinds[entry] == "floor" for entry in entries], bool)
    columns |= _carried(entries, carried) if order != "follows" else {}
    reasons = _reasons(entries, columns, order, floor, carried_from)
    is_ranked = np.array([reason is None for reason in reasons], bool)
    of_models = next(units for units in results.units(chosen) if order in units.names)
    columns |= _over_models(of_models, order, level, resamples, _rng(seed, name))
    columns |= _over_floor(draws, floor, level)
    columns |= _places(observed, means, patients, level, is_ranked)
    cases = chosen & results.localised
    every = cases if cases.any() else chosen
    columns |= {
        "coverage": results.valid[:, chosen].mean(1).tolist(),
        "iou_published": results.published[:, every].mean(1).tolist(),
        "reason": reasons,
        "ranked": is_ranked.tolist(),
        "sanity": [(sanity or {}).get(entry) for entry in entries],
        "seconds": [seconds.get(entry) for entry in entries],
        "kind": [kinds[entry] for entry in entries],
        "entry": entries,
    }
    same = {
        "cases": int(cases.sum()),
        "order": order,
        "pairs": int(chosen[results.pairs].any(1).sum()),
        "follows_from": "pairs" if order == "follows" else (carried_from or None),
    }
    best_first = np.lexsort((-observed, ~is_ranked))
    return [{**place, **same, **{key: values[number] for key, values in columns.items()}} for number in best_first]


def board_columns() -> pa.Schema:
    """`records.BOARD` with the columns of all metrics that are on it."""
    return records.with_metrics(records.BOARD, _columns())


def lead(
    results: Results,
    entry: str,
    track: str = "all",
    split: str = "all",
    *,
    metric: str | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> list[dict]:
    """How far ``entry`` is ahead of each other entry in a metric: both means and `paired_difference`, least lead first.

    ``metric`` is what the track is ordered by, unless it is given. Each row has ``entry`` (the other), ``metric``,
    ``value``, ``difference``, ``low``, ``high`` and ``p`` (one pair, uncorrected).
    Raises MedgroundError for an unknown entry or metric, or a track or split without cases.
    ``results`` are the scores of all entries.
    """
    if entry not in results.entries:
        raise MedgroundError(f"the board has no entry {entry!r}; it has: {', '.join(results.entries)}")
    tracks = dict(results.tracks())
    found = results.units(tracks[track] & results.split(split)) if track in tracks else []
    if not found:
        raise MedgroundError(f"no cases on track {track!r} in split {split!r}; tracks: {', '.join(tracks)}")
    names = [name for units in found for name in units.names]
    metric = metric or next(name for name in ORDER if name in names)
    units = next((units for units in found if metric in units.names), None)
    if units is None:
        raise MedgroundError(f"no metric {metric!r} on track {track!r}; it has: {', '.join(names)}")
    values = dict(zip(results.entries, units.of(metric), strict=True))
    how: Resampling = {"resamples": resamples, "level": level, "seed": seed}
    rows = [
        {
            "entry": other,
            "metric": metric,
            "value": float(theirs.mean()),
            **paired_difference(values[entry], theirs, units.patients, **how),
        }
        for other, theirs in values.items()
        if other != entry
    ]
    return sorted(rows, key=lambda row: row["difference"])


def localisation(results: Results, *, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0) -> list[dict]:
    """Mean IoU with its interval by ``entry``, ``model`` and ``mode``: what the plots draw.

    ``results`` are the scores of all entries.
    """
    rows = []
    keys = np.array([f"{case['model']}\n{case['mode']}" for case in results.cases], object)
    for key in sorted(set(keys[results.localised])):
        model, mode = key.split("\n")
        units = results.units(keys == key)[0]
        iou = units.of("iou")
        means, patients = resample_patients(iou, units.patients, resamples, _rng(seed, key))
        ends = interval(means, patients, level)
        for entry, mean, low, high in zip(results.entries, iou.mean(1), *ends, strict=True):
            numbers = {"iou": float(mean), "iou_low": float(low), "iou_high": float(high)}
            rows.append({"entry": entry, "model": model, "mode": mode, **numbers})
    return rows


def summary(
    results: Results, rows: Sequence[Mapping], *, dataset: str, resamples: int, level: float, seed: int = 0
) -> dict:
    """What ``board.json`` says: what was ranked and how, what differences the benchmark separates in each split, and
    the track ``all`` of both splits in its order.
    ``results`` are the scores, ``rows`` those of the `board`; ``dataset`` is its version.
    """
    shown = ("entry", "kind", "coverage", "ranked", "reason", "follows", "follows_low", "follows_high", "iou_at_area",
             "over_floor", "iou", "iou_low", "iou_high", "rank", "rank_low", "rank_high", "tie", "sanity")  # fmt: skip
    top = [row for row in rows if (row["track"], row["split"]) == ("all", "all")]
    return {
        "protocol": "medground",
        "dataset": dataset,
        "level": level,
        "resamples": resamples,
        "seed": seed,
        "multiplicity": MULTIPLICITY,
        "order": top[0]["order"],
        "follows_from": top[0]["follows_from"],
        "entries": len(results.entries),
        "patients": len({case["patient_id"] for case in results.cases}),
        "models": len({case["model"] for case in results.cases}),
        "cases": {split: int((results.split(split) & results.localised).sum()) for split in SPLITS},
        "pairs": {split: int(results.split(split)[results.pairs].any(1).sum()) for split in SPLITS},
        "separates": {split: _separates(results, split, resamples, level, seed) for split in SPLITS},
        "board": [{name: row[name] for name in shown} for row in top],
    }


def metrics(said: Mapping, test: Sequence[Mapping], kept_of_right: Mapping[str, float]) -> dict[str, float | int]:
    """The few numbers that tell one version of the board from another, for `dvc metrics`.

    ``said`` is the `summary`, ``test`` the rows of the track ``all`` of the split test in their order, and
    ``kept_of_right`` the share of the right answers that the filter kept, by control. Of the entries, the first that is
    ranked, MedFocus and the best floor are told, where there are such.
    """
    found: dict[str, float | int] = {f"cases_{split}": said["cases"][split] for split in ("dev", "test")}
    found |= {"pairs_test": said["pairs"]["test"], "entries": said["entries"]}
    found["ranked"] = sum(bool(row["ranked"]) for row in test)
    found |= {f"kept_of_right_{control}": share for control, share in sorted(kept_of_right.items())}
    floors = sorted((row for row in test if row["kind"] == "floor"), key=lambda row: row["iou"] or 0.0)
    named = {
        "first": [row for row in test if row["ranked"]][:1],
        "medfocus": [row for row in test if row["entry"] == "medfocus"],
        "best_floor": floors[-1:],
    }
    for name, rows in named.items():
        for row in rows:
            found |= {
                f"{metric}_{name}": round(row[metric], 4) for metric in ("iou", "follows") if row[metric] is not None
            }
    return found


def _separates(results: Results, split: str, resamples: int, level: float, seed: int) -> dict[str, dict]:
    found = {}
    for units in results.units(results.split(split)):
        for metric in set(units.names) & {*ORDER, "iou"}:
            means, patients = resample_patients(units.of(metric), units.patients, resamples, _rng(seed, f"all/{split}"))
            if told := separates(means, patients, level):
                found[metric] = {name: round(number, 4) for name, number in told.items()} | {"patients": patients}
    return dict(sorted(found.items()))


def _columns() -> list[str]:
    on_board = METRICS.that_need("regions", "cause", "pair")
    return [metric.name + end for metric in on_board for end in ("", *ENDS)]


def _rng(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def _carried(entries: Sequence[str], carried: Sequence[Mapping]) -> dict[str, list]:
    """``follows`` of another track or board, for the entries that it has."""
    known = {row["entry"]: row for row in carried}
    return {f"follows{end}": [known.get(entry, {}).get(f"follows{end}") for entry in entries] for end in ("", *ENDS)}


def _reasons(
    entries: Sequence[str], columns: Mapping[str, list], order: str, floor: np.ndarray, carried_from: str
) -> list[str | None]:
    """Why each entry is not ranked, or None where it is: a floor, or not above the floors in what orders the track, or
    in ``follows`` where that was carried over."""
    tested = [order] if order == "follows" or not carried_from else [order, "follows"]
    reasons: list[str | None] = []
    for number in range(len(entries)):
        reason = "looks at no model" if floor[number] else None
        for metric in tested:
            low, highs = columns[f"{metric}_low"][number], columns[f"{metric}_high"]
            against = [
                (highs[k], entries[k]) for k in np.flatnonzero(floor).tolist() if highs[k] is not None and k != number
            ]
            if reason or low is None or not against:
                continue
            high, best = max(against)
            if low <= high:
                mean, label = columns[metric][number], METRICS[metric].label.lower()
                where = f", by {carried_from}" if metric != order else ""
                reason = f"{label} {mean:.3f} from {low:.3f} is not above the floor {best}, up to {high:.3f}{where}"
        reasons.append(reason)
    return reasons


def _over_models(units: Units, metric: str, level: float, resamples: int, rng: np.random.Generator) -> dict[str, list]:
    """The interval of a metric when models are drawn again as well as patients; None for a single model."""
    values, models = units.of(metric), len(set(units.models))
    if models < 2 or len(set(units.patients)) < 2:
        return {f"order{end}_models": [None] * len(values) for end in ENDS}
    means = resample_models(values, units.patients, units.models, resamples, rng)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return {"order_low_models": low.tolist(), "order_high_models": high.tolist()}


def _over_floor(draws: Mapping[str, tuple], floor: np.ndarray, level: float) -> dict[str, list]:
    """The lead over the best floor, with its interval; None where the track has no localised case or no floor."""
    if LEAD not in draws or not floor.any():
        return {f"over_floor{end}": [None] * len(floor) for end in ("", *ENDS)}
    observed, means, patients = draws[LEAD]
    best = np.flatnonzero(floor)[np.argmax(observed[floor])]
    if patients < 2:
        low, high = np.full(len(floor), -1.0), np.ones(len(floor))
    else:
        low, high = interval(means - means[:, [best]], patients, level)
    columns = zip(("", *ENDS), (observed - observed[best], low, high), strict=True)
    return {f"over_floor{end}": numbers.tolist() for end, numbers in columns}


def _places(
    observed: np.ndarray, means: np.ndarray, patients: int, level: float, is_ranked: np.ndarray
) -> dict[str, list]:
    """Rank, its interval and tie letters of the ranked entries, compared among each other; None for the others."""
    columns: dict[str, list] = {name: [None] * len(observed) for name in ("rank", "rank_low", "rank_high", "tie")}
    here = np.flatnonzero(is_ranked)
    if not here.size:
        return columns
    ours = observed[here]
    different = differ(paired_p(ours, means[:, here], patients), level)
    low, high = rank_intervals(ours, different)
    values = {"rank": 1 + (ours[None, :] > ours[:, None]).sum(1), "rank_low": low, "rank_high": high}
    for name, numbers in {**{k: v.tolist() for k, v in values.items()}, "tie": letters(ours, different)}.items():
        for number, value in zip(here, numbers, strict=True):
            columns[name][number] = value
    return columns
