"""From the tables to items: a model's kept cases with their films and concepts."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from .. import records
from ..errors import MedgroundError
from ..geometry import Box
from ..images import read_film
from .method import Item

CASES = Path("data/cases/cases.parquet")


def kept_cases(model: str, root: Path | str = ".") -> list[dict]:
    """The rows of the cases table that the filter kept for ``model``, those of one prompt next to each other.

    Raises MedgroundError when the table knows nothing of the model; a model without kept cases gives an empty list.
    """
    rows = records.read_rows(Path(root) / CASES, records.CASES)
    models = sorted({row["model"] for row in rows})
    if model not in models:
        raise MedgroundError(f"{CASES} has no case of model {model!r}; it has: {', '.join(models) or 'none'}")
    kept = [row for row in rows if row["model"] == model and row["kept"]]
    return sorted(kept, key=lambda row: (row["question"], row["answer"], row["source"], row["index"]))


@dataclass
class Items:
    """Turns rows of the cases table into items; reads each table once, and a film when its item is made.

    ``concepts`` names a table of ``data/concepts`` whose boxes go along.
    """

    root: Path
    concepts: str | None = None

    @property
    def concepts_table(self) -> Path | None:
        """Where the concepts come from."""
        return self.root / f"data/concepts/{self.concepts}.parquet" if self.concepts else None

    def __call__(self, case: dict) -> Item:
        """The item of a case; MedgroundError names the case whose sample or concepts are missing."""
        source, index = case["source"], case["index"]
        sample = self._samples(source).get(index)
        if sample is None:
            raise MedgroundError(f"case {case['case_id']} is not in data/samples/{source}; run `dvc repro`")
        concepts = self._boxes.get((source, index), []) if self.concepts else []
        if self.concepts and not concepts:
            raise MedgroundError(f"case {case['case_id']} is not in {self.concepts_table}; run `dvc repro`")
        film = read_film(self.root / sample["film"])
        return Item(case["case_id"], film, case["question"], case["answer"], case["finding"], tuple(concepts))

    def _samples(self, source: str) -> dict[int, dict]:
        if source not in self._read:
            rows = records.read_rows(self.root / f"data/samples/{source}/samples.parquet", records.SAMPLES)
            self._read[source] = {row["index"]: row for row in rows}
        return self._read[source]

    @cached_property
    def _read(self) -> dict[str, dict[int, dict]]:
        return {}

    @cached_property
    def _boxes(self) -> dict[tuple[str, int], list[tuple[str, Box]]]:
        boxes = defaultdict(list)
        for row in records.read_rows(self.concepts_table, records.CONCEPTS):
            boxes[row["source"], row["index"]].append((row["concept"], tuple(row["box"])))
        return dict(boxes)
