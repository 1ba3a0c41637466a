"""From the tables to items: a model's kept cases with their films and concepts."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow.compute as pc

from .. import films, records
from ..cases import of_benchmark
from ..errors import MedgroundError
from ..geometry import Box
from .method import Item, Method
from .prior import Prior, lungs_of

CASES = Path("data/cases/cases.parquet")
REFERENCES = Path("data/references/references.parquet")


def kept_cases(model: str, root: Path | str = ".") -> list[dict]:
    """The rows of the cases table that are to be explained for ``model``: those that the filter kept and those of
    pairs, those about one finding next to each other, and of these those about one film, in whichever mode.

    Raises MedgroundError when the table knows nothing of the model; a model without kept cases gives an empty list.
    """
    table = records.read_table(Path(root) / CASES, records.CASES)
    models = sorted(pc.unique(table["model"]).to_pylist())
    if model not in models:
        raise MedgroundError(f"{CASES} has no case of model {model!r}; it has: {', '.join(models) or 'none'}")
    own = table.filter(pc.equal(table["model"], model))
    kept = own.filter(of_benchmark(own)).to_pylist()
    return sorted(kept, key=lambda row: (row["finding"], row["source"], row["index"], row["question"], row["answer"]))


@dataclass
class Items:
    """Turns rows of the cases table into items; reads each table once, and a film when its item is made.

    ``concepts`` names a table of ``data/anatomy`` whose boxes go along; with ``normal``, so does a normal film drawn
    from the references. With ``prior`` the usual box of the finding goes along, in the lungs' frame where there are
    ``concepts``.
    """

    root: Path
    concepts: str | None = None
    normal: bool = False
    prior: bool = False

    @classmethod
    def of(cls, method: Method, root: Path | str = ".") -> Items:
        """What makes the items of a method, with all that it needs."""
        return cls(Path(root), method.concepts, "normal" in method.needs, "prior" in method.needs)

    def content(self, case: dict) -> str:
        """A digest of all that the item of a case is made of, but for the references: its row, film and concepts."""
        source, index = case["source"], case["index"]
        sample = self._samples(source).get(index) or {}
        told = [case[name] for name in ("case_id", "question", "answer", "finding")]
        told.append(self._boxes.get((source, index), []) if self.concepts else [])
        film = self.root / sample.get("film", "")
        read = film.read_bytes() if film.is_file() else b""
        return hashlib.sha256(json.dumps(told).encode() + read).hexdigest()

    @property
    def references(self) -> list[Path]:
        """The files that a normal film is drawn from; none, where the items come without one."""
        folder = (self.root / REFERENCES).parent
        return sorted(path for path in folder.rglob("*.*") if path.is_file()) if self.normal else []

    @property
    def tables(self) -> list[Path]:
        """What is read besides samples and films."""
        concepts = [self._concepts_table] if self.concepts else []
        samples = sorted(self.root.glob("data/samples/*/samples.parquet")) if self.prior else []
        return [self.root / CASES, *concepts, *([self.root / REFERENCES] if self.normal else []), *samples]

    @property
    def _concepts_table(self) -> Path:
        return self.root / f"data/anatomy/{self.concepts}.parquet"

    def __call__(self, case: dict) -> Item:
        """The item of a case; MedgroundError names the case whose sample or concepts are missing."""
        source, index = case["source"], case["index"]
        film = films.read(self.film(case))
        concepts = self._boxes.get((source, index), []) if self.concepts else []
        if self.concepts and not concepts:
            raise MedgroundError(f"case {case['case_id']} is not in {self._concepts_table}; run `dvc repro`")
        normal = films.drawn(film, self._normal.draw) if self.normal else None
        prior = self._prior.box(case, film.shape[1], film.shape[0]) if self.prior else None
        said = case["question"], case["answer"], case["finding"]
        labels = self._sample(case)["labels"] or "finding"
        return Item(case["case_id"], film, *said, tuple(concepts), normal, prior, labels)

    def film(self, case: dict) -> Path:
        """Where the film of a case is; MedgroundError names the case whose sample is missing."""
        return self.root / self._sample(case)["film"]

    def _sample(self, case: dict) -> dict:
        if (sample := self._samples(case["source"]).get(case["index"])) is None:
            raise MedgroundError(f"case {case['case_id']} is not in data/samples/{case['source']}; run `dvc repro`")
        return sample

    def _samples(self, source: str) -> dict[int, dict]:
        if source not in self._read:
            path = self.root / f"data/samples/{source}/samples.parquet"
            rows = records.iter_rows(path, records.SAMPLES, ("index", "film", "labels"))
            self._read[source] = {row["index"]: row for row in rows}
        return self._read[source]

    @cached_property
    def _normal(self):
        from ..anatomy import Locator, References  # floors start without them
        from ..anatomy.normal import Normal

        return Normal(Locator(References.read(self.root / REFERENCES, self.root)))

    @cached_property
    def _prior(self) -> Prior:
        tables = sorted(self.root.glob("data/samples/*/samples.parquet"))
        columns = ("source", "index", "split", "finding", "width", "height", "regions")
        samples = (row for table in tables for row in records.iter_rows(table, records.SAMPLES, columns))
        return Prior(samples, lungs_of(self._boxes) if self.concepts else None)

    @cached_property
    def _read(self) -> dict[str, dict[int, dict]]:
        return {}

    @cached_property
    def _boxes(self) -> dict[tuple[str, int], list[tuple[str, Box]]]:
        boxes = defaultdict(list)
        for row in records.iter_rows(self._concepts_table, records.CONCEPTS):
            boxes[row["source"], row["index"]].append((row["concept"], tuple(row["box"])))
        return dict(boxes)
