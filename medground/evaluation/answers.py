"""Answers in a file, of a model that runs elsewhere: one row for each question, mode and film that it was shown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from ..errors import MedgroundError
from ..lvlm.verdict import parse_verdict
from .tables import EDITS

COLUMNS = ("source", "index", "mode", "edit", "text")
SHOWN = ("original", *EDITS)


def read(
    path: Path | str, model: str, questions: Sequence[Mapping], modes: Sequence[str]
) -> tuple[list[dict], list[str]]:
    """Rows of `records.ANSWERS` from a CSV, Parquet or JSON-lines file with the columns `COLUMNS`, and what it lacks.

    ``edit`` is one of `SHOWN`; what was not answered counts as an answer that says neither yes nor no. Raises
    MedgroundError that lists the rows which fit no question.
    """
    path = Path(path)
    frame = _frame(path)
    if missing := [name for name in COLUMNS if name not in frame]:
        raise MedgroundError(f"{path}: columns {', '.join(missing)} are missing among {list(frame)}; add them")
    asked = {(one["source"], one["index"]): one for one in questions}
    said: dict[tuple, str] = {}
    problems = []
    for number, row in enumerate(frame[list(COLUMNS)].to_dict("records"), 2):
        key = str(row["source"]), _whole(row["index"]), str(row["mode"]), str(row["edit"])
        if key[3] not in SHOWN:
            problems.append(f"row {number}: edit is {key[3]!r}; write one of {', '.join(SHOWN)}")
        elif key in said:
            problems.append(f"row {number}: the same question, mode and edit as in a row above; keep one")
        elif key[2] in modes and key[:2] in asked:
            said[key] = "" if pd.isna(row["text"]) else str(row["text"])
    if problems:
        more = [f"and {len(problems) - 20} more"] if len(problems) > 20 else []
        raise MedgroundError(f"{path}: {len(problems)} problems\n  " + "\n  ".join([*problems[:20], *more]))
    if not said:
        raise MedgroundError(f"{path} answers no question of this dataset and split; source and index name them")
    rows, lacking = [], 0
    for mode in modes:
        for question in questions:
            present = question["answer"] == "Yes"
            for edit in SHOWN if present else SHOWN[:1]:
                text = said.get((question["source"], question["index"], mode, edit))
                right = parse_verdict(said.get((question["source"], question["index"], mode, "original"), "")) == "yes"
                lacking += text is None and (edit == "original" or right)
                rows.append(
                    {
                        "model": model,
                        "mode": mode,
                        "source": question["source"],
                        "index": question["index"],
                        "edit": edit,
                        "seed": -1 if edit == "original" else 0,
                        "text": text or "",
                        "verdict": parse_verdict(text or ""),
                        "margin": 0.0,
                    }
                )
    return rows, [f"{lacking} answers are missing from {path.name}; they count as neither yes nor no"] * bool(lacking)


def _frame(path: Path) -> pd.DataFrame:
    try:
        if path.suffix in (".parquet", ".pq"):
            return pd.read_parquet(path)
        if path.suffix == ".jsonl":
            return pd.DataFrame([json.loads(line) for line in path.read_text().splitlines() if line.strip()])
        if path.suffix == ".csv":
            return pd.read_csv(path, dtype={"text": str}, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise MedgroundError(f"{path} cannot be read ({error}); save it again") from None
    raise MedgroundError(f"{path} is neither .csv, .parquet nor .jsonl; save it as such")


def _whole(value: object) -> int:
    try:
        return int(str(value))
    except ValueError:
        return -1
