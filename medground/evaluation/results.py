"""From verdicts to the board of models: counts and shares, with intervals over patients."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Unpack

from ..ranking.bootstrap import Resampling, share_interval
from ..verification.causes import KEPT_BACK
from .tables import SHARES

ALL = None  # in the column finding: all of them together


def results(verdicts: Iterable[Mapping], revisions: Mapping[str, str | None], **how: Unpack[Resampling]) -> list[dict]:
    """Rows of `tables.RESULTS`: for each model, mode and split one of all findings together, and one of each."""
    groups: dict[tuple, list[Mapping]] = defaultdict(list)
    for row in verdicts:
        for finding in (ALL, row["finding"]):
            groups[row["model"], row["mode"], row["split"], finding].append(row)
    order = sorted(groups, key=lambda key: (*key[:3], key[3] or ""))
    return [
        {
            **dict(zip(("model", "mode", "split", "finding"), key, strict=True)),
            "revision": revisions.get(key[0]),
            **summed(groups[key], **how),
        }
        for key in order
    ]


def published(rows: Iterable[Mapping], taught: Collection[str]) -> list[dict]:
    """The rows of `tables.RESULTS` that may be shown to anybody: of models that were taught causes, those by finding on
    dev alone, since on the split whose causes are kept back they would tell which finding has which.

    ``taught`` are the models that have other controls than honest. Everything that shows results asks this function.
    """
    return [
        dict(row) for row in rows if row["finding"] is None or row["split"] != KEPT_BACK or row["model"] not in taught
    ]


def summed(rows: Sequence[Mapping], **how: Unpack[Resampling]) -> dict:
    """The counts and shares of `tables.RESULTS` over some rows of `tables.VERDICTS`."""
    present = [row for row in rows if row["answer"] == "Yes"]
    absent = [row for row in rows if row["answer"] == "No"]
    flipped = [row for row in present if row["right"] and row["region_removed"] == "no"]
    stayed = [row for row in flipped if row["background_removed"] == row["background_normal"] == "yes"]
    parts = {
        "accuracy": (rows, "right"),
        "sensitivity": (present, "right"),
        "specificity": (absent, "right"),
        "says_yes": ([{**row, "yes": row["verdict"] == "yes"} for row in rows], "yes"),
        "grounded": (present, "kept"),
    }
    shares: dict[str, float | None] = {}
    for name in SHARES:
        low, high = f"{name}_low", f"{name}_high"
        of, what = parts[name]
        shares |= {name: None, low: None, high: None}
        if of:
            values = [float(bool(row[what])) for row in of]
            shares[name] = sum(values) / len(values)
            shares[low], shares[high] = share_interval(values, _patients(of), **how)
    return {
        "patients": len(set(_patients(rows))),
        "asked": len(present),
        "right": sum(row["right"] for row in present),
        "flipped": len(flipped),
        "stayed": len(stayed),
        "kept": sum(bool(row["kept"]) for row in present),
        "absent": len(absent),
        "right_absent": sum(row["right"] for row in absent),
        "unparsable": sum(row["verdict"] == "unparsable" for row in rows),
        **shares,
    }


def _patients(rows: Iterable[Mapping]) -> list[str]:
    return [f"{row['source']}\n{row['patient_id']}" for row in rows]
