"""Entries of the board: where their attributions are, and their scores, made again only when something changed."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .. import geometry, records
from ..cases import localised
from ..errors import MedgroundError
from . import agreement, boxes, metrics, score
from .tables import dataset_version, read_attributions


@dataclass(frozen=True)
class Entry:
    """``kind`` is method, floor or submission; ``tables`` hold its attributions.

    ``claimed`` is the mean IoU that its author reports; ``check``, where given, raises MedgroundError for tables that
    must not be read.
    """

    name: str
    kind: str
    tables: tuple[Path, ...]
    claimed: float | None = None
    check: Callable[[], None] | None = None

    def attributions(self) -> Iterator[dict]:
        """All its attributions, as a stream."""
        if self.check:
            self.check()
        for table in self.tables:
            yield from read_attributions(table)

    def seconds(self) -> float | None:
        """Mean seconds a case, where its tables say so."""
        columns = [
            pq.read_table(table, columns=["seconds"])["seconds"]
            for table in self.tables
            if "seconds" in pq.read_schema(table).names
        ]
        return pc.mean(pa.chunked_array([c for column in columns for c in column.chunks], pa.float64())).as_py()

    def facts(self) -> dict:
        """What ranking needs to know besides the scores."""
        return {"entry": self.name, "kind": self.kind, "seconds": self.seconds(), "claimed": self.claimed}


def method_entry(name: str, models: Sequence[str], attributions: Path, floors: Iterable[str]) -> Entry:
    """What the pipeline ran: one method over all models. Raises MedgroundError naming a missing table.

    ``attributions`` is the folder of the tables, ``<model>/<name>.parquet``; ``floors`` are the names of the methods
    that look at no model.
    """
    tables = tuple(attributions / model / f"{name}.parquet" for model in models)
    for table in tables:
        if not table.exists():
            raise MedgroundError(f"{table} is missing; run `dvc repro` to make it, or take {name} out of params.yaml")
    return Entry(name, "floor" if name in floors else "method", tables)


def score_entries(entries: Sequence[Entry], cases: Sequence[dict], cache: Path) -> pa.Table:
    """`records.SCORES` of all entries. Those whose tables, cases and scorer are as before come from ``cache``.

    Raises MedgroundError where two entries have one name.
    """
    names = [entry.name for entry in entries]
    for name in names:
        if names.count(name) > 1:
            raise MedgroundError(f"two entries are named {name}; rename the folder under submissions/")
    about, tables = _about(cases), []
    for entry in entries:
        stored = cache / f"{_fingerprint(entry, about)}.parquet"
        if not stored.exists():
            records.write_table(score.score_entry(entry.name, entry.attributions(), cases), records.SCORES, stored)
        tables.append(records.read_table(stored, records.SCORES))
    return pa.concat_tables(tables, promote_options="default")


def summarise(scores: pa.Table, cases: Sequence[dict]) -> dict[str, dict]:
    """Mean IoU and pointing of each entry under ``medground``: over all honest cases that the filter kept, and by model
    and mode.
    ``scores`` is `records.SCORES` of all entries.
    """
    frame = scores.filter(pc.equal(scores["protocol"], "medground")).to_pandas()
    places = {c["case_id"]: (c["model"], c["mode"]) for c in cases if localised(c)}
    frame = frame[frame["case_id"].isin(places)]
    frame["model"], frame["mode"] = zip(*frame["case_id"].map(places), strict=True)
    return {entry: _means(rows) | _by_model(rows) for entry, rows in frame.groupby("entry")}


def _by_model(rows) -> dict:
    return {
        model: {mode: _means(cell) for mode, cell in of_model.groupby("mode")}
        for model, of_model in rows.groupby("model")
    }


def _means(rows) -> dict[str, float]:
    return {name: round(float(rows[name].mean()), 6) for name in ("iou", "hit")}


def _about(cases: Sequence[dict]) -> bytes:
    """What all entries' scores depend on: the cases, their causes, and the scorer."""
    causes = [[case["case_id"], case.get("cause"), case.get("other")] for case in cases]
    digest = hashlib.sha256(f"{dataset_version(cases)}\n{json.dumps(causes)}".encode())
    own = [Path(inspect.getfile(module)) for module in (agreement, boxes, score, geometry)]
    for source in (*own, *metrics.sources()):
        digest.update(source.read_bytes())
    return digest.digest()


def _fingerprint(entry: Entry, about: bytes) -> str:
    digest = hashlib.sha256(entry.name.encode() + b"\n" + about)
    for path in entry.tables:
        with path.open("rb") as table:
            digest.update(hashlib.file_digest(table, "sha256").digest())
    return digest.hexdigest()
