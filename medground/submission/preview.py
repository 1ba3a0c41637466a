"""What the board would say about an entry, before anyone has received it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Unpack

import pyarrow as pa

from .. import files, params, ranking, records
from ..cases import localised
from ..errors import MedgroundError
from ..ranking import Resampling, Results
from ..scoring import score_entry
from ..scoring.entries import Entry
from ..scoring.tables import load_cases, read_attributions
from .schema import CARD, TABLE
from .validator import Report, validate

NAME = "this entry"


def against_board(folder: Path | str, data: Path | str, split: str | None = None) -> tuple[Report, list[dict]]:
    """The validator's report on an entry, and its `preview` among the entries that ``data`` has scores of, if any.

    The draws are those of the board in ``data``, so that its numbers are the board's to the last digit. ``split`` is
    `default_split` where it is not given.
    """
    data = Path(data)
    cases = load_cases(data)
    split = split or default_split(cases)
    report = validate(folder, cases)
    facts, scores = data / "scores" / "entries.json", data / "scores" / "scores.parquet"
    how = resampling(data / "board" / "board.parquet")
    if not scores.exists():
        return report, preview(folder, report, cases, split=split, **how)
    kinds = {entry["entry"]: entry["kind"] for entry in files.read_json(facts, list)}
    return report, preview(folder, report, cases, records.read_table(scores, records.SCORES), kinds, split, **how)


def default_split(cases: Sequence[Mapping]) -> str:
    """``all``, or ``dev`` where it is kept back what the answers to test cases depend on."""
    on_test = [case for case in cases if case["split"] == "test"]
    told = any(localised(case) or case.get("pair") is not None for case in on_test)
    return "all" if told or not on_test else "dev"


def resampling(board: Path) -> Resampling:
    """How a board was resampled, as its metadata says; nothing where it is not there, so that the defaults hold."""
    settings = records.made_by(board).get("settings", {}) if board.exists() else {}
    how: Resampling = {}
    if "resamples" in settings:
        how["resamples"] = int(settings["resamples"])
    if "level" in settings:
        how["level"] = float(settings["level"])
    if "seed" in settings:
        how["seed"] = int(settings["seed"])
    return how


def measured(folder: Path | str, data: Path | str, split: str, most: int | None, out: Path | str) -> pa.Table:
    """`records.FAITHFULNESS` of an entry, also written to ``out``: on dev cases, or those test cases that the
    pipeline measures. Runs the models that the entry's card names, by the active ``params.yaml``; cases of the
    others are missing.

    Raises MedgroundError for a table that cannot be read at all, or a card that names no model of the benchmark.
    """
    from ..attribution.faithfulness import measure  # imports the engine
    from ..scoring.faithfulness import SPLIT, WORST, measured_cases

    data, p = Path(data), params.load()
    cases = load_cases(data)
    report = _scorable(folder, validate(folder, cases))
    named = (report.card or {}).get("models") or []
    own = [case for case in cases if case["model"] in named]
    if not own:
        raise MedgroundError(f"{Path(folder) / CARD} names no model of the benchmark, so there is none to run")
    split, most = "dev" if split == "dev" else SPLIT, p.faithfulness.cases if most is None else most
    if most < 1:
        raise MedgroundError("faithfulness.cases in params.yaml is 0, so no case would be measured; give --most N")
    measure([Entry(NAME, "submission", (Path(folder) / TABLE,))], own, p, out, data.parent, most, split)
    worst = {"entry": NAME, **WORST, "problem": "missing"}
    others = [case for case in measured_cases(cases, most, p.seed, split) if case["model"] not in named]
    rows = records.read_rows(out, records.FAITHFULNESS) + [{**worst, "case_id": case["case_id"]} for case in others]
    records.write_table(rows, records.FAITHFULNESS, out, **records.made_by(out))
    return records.read_table(out, records.FAITHFULNESS)


def preview(
    folder: Path | str,
    report: Report,
    cases: Sequence[Mapping],
    scores: pa.Table | None = None,
    kinds: Mapping[str, str] | None = None,
    split: str = "dev",
    **how: Unpack[Resampling],
) -> list[dict]:
    """The rows of `records.BOARD` on the track of all cases of a split, with the entry as ``this entry``.

    ``report`` is the validator's on the folder. ``scores`` and ``kinds`` are those of the board to compare with,
    ``how`` its resamples, level and seed. Cases whose regions are kept back are left out; ``cases`` of the rows says
    how many were scored.

    Raises MedgroundError for a table that cannot be read at all, or a split without public regions.
    """
    _scorable(folder, report)
    known = [case for case in cases if len(case["regions"])]
    if not any(split in ("all", case["split"]) for case in known):
        raise MedgroundError(f"no case of the split {split!r} has public regions; choose dev, test or all")
    own = records.as_table(score_entry(NAME, read_attributions(Path(folder) / TABLE), known), records.SCORES)
    known_causes = [case for case in known if localised(case) or case.get("pair") is not None]
    if not any(split in ("all", case["split"]) for case in known_causes):
        raise MedgroundError(
            f"what the answers of the split {split!r} depend on is kept back, so that no score can be made of it here; "
            "choose dev, or submit the entry: the board scores both"
        )
    together = [own, *([scores] if scores is not None else [])]
    results = Results.of(pa.concat_tables(together, promote_options="default"), known)
    place, kinds = {"track": "all", "split": split}, {**(kinds or {}), NAME: "submission"}
    return ranking.ranked(results, results.split(split), place, kinds, {}, **how)


def _scorable(folder: Path | str, report: Report) -> Report:
    if not report.scorable:
        raise MedgroundError(f"{Path(folder) / TABLE} cannot be scored:\n{report.text()}")
    return report
