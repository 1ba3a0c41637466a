"""What the board would say about an entry, before anyone has received it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from .. import ranking, records
from ..errors import MedgroundError
from ..ranking import Results
from ..scoring import score_entry
from ..scoring.tables import load_cases, read_attributions
from .schema import TABLE
from .validator import Report, validate

NAME = "this entry"


def against_board(folder: Path | str, data: Path | str, split: str) -> tuple[Report, list[dict]]:
    """The validator's report on an entry, and its `preview` among the entries that ``data`` has scores of, if any."""
    data = Path(data)
    cases = load_cases(data)
    report = validate(folder, cases)
    facts, scores = data / "scores" / "entries.json", data / "scores" / "scores.parquet"
    if not scores.exists():
        return report, preview(folder, report, cases, split=split)
    kinds = {entry["entry"]: entry["kind"] for entry in json.loads(facts.read_text())}
    return report, preview(folder, report, cases, records.read_table(scores, records.SCORES), kinds, split)


def preview(
    folder: Path | str,
    report: Report,
    cases: Sequence[Mapping],
    scores: pa.Table | None = None,
    kinds: Mapping[str, str] | None = None,
    split: str = "dev",
) -> list[dict]:
    """The rows of `records.BOARD` on the track of all cases of a split, with the entry as ``this entry``.

    ``report`` is the validator's on the folder. ``scores`` and ``kinds`` are those of the board to compare with. Cases
    whose regions are kept back are left out; ``cases`` of the rows says how many were scored.

    Raises MedgroundError for a table that cannot be read at all, or a split without public regions.
    """
    if not report.scorable:
        raise MedgroundError(f"{Path(folder) / TABLE} cannot be scored:\n{report.text()}")
    honest = [case for case in cases if split in ("all", case["split"]) and case["control"] != "shortcut"]
    known = [case for case in honest if len(case["regions"])]
    if not known:
        raise MedgroundError(f"no case of the split {split!r} has public regions; choose dev, test or all")
    own = pa.Table.from_pylist(score_entry(NAME, read_attributions(Path(folder) / TABLE), known), records.SCORES)
    results = Results.of(pa.concat_tables([own, *([scores] if scores is not None else [])]), known)
    place = {"track": "all", "split": split}
    return ranking.ranked(results, np.ones(len(results.cases), bool), place, {**(kinds or {}), NAME: "submission"}, {})
