"""The questions that every model is asked: the samples with their edits, and as many about findings that are absent."""

from __future__ import annotations

import json
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from .. import records
from ..lvlm import prompts
from .tables import EDITS, QUESTIONS

TABLE = Path("questions/questions.parquet")  # below the folder of the tables
_SAME = ("source", "index", "patient_id", "split", "finding", "question", "answer", "film", "width", "height",
         "regions", "licence")  # fmt: skip


def questions(samples: Iterable[Mapping], edits: Iterable[Mapping], seed: int = 0) -> list[dict]:
    """Rows of `QUESTIONS` from rows of ``records.SAMPLES`` and ``records.EDITS``, sources in their order.

    Of several edits of a kind the first counts. Absent findings are known where the parts of a film are: of those that
    its source asks about and the film does not show, as many are drawn by ``seed`` as it shows.
    """
    made: dict[tuple, dict[str, Mapping]] = defaultdict(dict)
    for edit in edits:
        if edit["seed"] == 0:
            made[edit["source"], edit["index"]][edit["edit"]] = edit
    by_source: dict[str, list[Mapping]] = defaultdict(list)
    for sample in samples:
        by_source[sample["source"]].append(sample)
    return [
        row
        for own in by_source.values()
        for row in (*(_present(sample, made[sample["source"], sample["index"]]) for sample in own), *_absent(own, seed))
    ]


def read(data: Path | str) -> list[dict]:
    """The questions below a folder of tables, as rows of `QUESTIONS`. Raises MedgroundError where there are none."""
    return records.read_rows(Path(data) / TABLE, QUESTIONS)


def _present(sample: Mapping, edits: Mapping[str, Mapping]) -> dict:
    recipe = {kind: json.loads(edits[kind]["settings"]) for kind in EDITS if kind in edits}
    return {
        **{name: sample[name] for name in _SAME},
        **{kind: edits[kind]["path"] if kind in edits else None for kind in EDITS},
        "editor": next((edit["editor"] for edit in edits.values()), None),
        "recipe": json.dumps(recipe, sort_keys=True) if recipe else None,
    }


def _absent(samples: list[Mapping], seed: int) -> list[dict]:
    """Questions about findings that the films of a source do not show."""
    findings = sorted({sample["finding"] for sample in samples})
    films: dict[str, list[Mapping]] = defaultdict(list)
    for sample in samples:
        if sample.get("parts"):
            films[sample["film"]].append(sample)
    number = max((sample["index"] for sample in samples), default=-1)
    rows = []
    for film, own in sorted(films.items()):
        shown = {part["name"] for part in own[0]["parts"]} | {sample["finding"] for sample in own}
        others = [finding for finding in findings if finding not in shown]
        rng = np.random.default_rng([seed, zlib.crc32(film.encode())])  # a film does not move another
        for finding in sorted(rng.permutation(others)[: len(own)].tolist()):
            number += 1
            rows.append(
                {
                    **{name: own[0][name] for name in _SAME},
                    "index": number,
                    "finding": finding,
                    "question": prompts.question(finding),
                    "answer": "No",
                    "regions": [],
                    **dict.fromkeys((*EDITS, "editor", "recipe")),
                }
            )
    return rows
