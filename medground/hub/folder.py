"""The folder that is pushed: the pipeline's tables as typed Parquet shards, withheld where a licence says so.

The same tables give the same bytes: rows are sorted, shards are cut by size, nothing is dated.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Set
from pathlib import Path

import pyarrow as pa

from .. import files, folders, records
from ..errors import MedgroundError
from ..lvlm.verdict import parse_verdict
from ..scoring.tables import benchmarked
from ..verification.causes import KEPT_BACK, exported
from ..verification.gates import retention
from . import card, guard
from .facts import COUNTS
from .hidden import hidden
from .licences import Kind, may_leave, source
from .tables import CONFIGS, schema, write_shard

SPLITS = ("dev", "test")
SHARD_BYTES = 256 << 20
COMMAND = "medground export"


def build(data: Path | str, out: Path | str, *, hide_test_regions: bool = False) -> None:
    """Make the folder ``out`` from the tables under ``data``; replaces it whole, or leaves it as it was.

    With ``hide_test_regions`` the expert boxes of the test split stay back. Raises MedgroundError for a table that is
    missing or wrong, or an ``out`` that this did not make (`folders.check`), LicenceError for a source that declares
    nothing.
    """
    data, out = Path(data), Path(out)
    folders.check(out, COMMAND)
    tables = Tables(data)
    with folders.rebuilt(out, COMMAND) as partial:
        for config, splits in _rows(tables, hide_test_regions).items():
            for split, rows in splits.items():
                _write(partial / config, split, rows, config)
        for mode, answers in tables.records.items():
            _write_records(partial / f"{mode}.json", [answer for answer in answers if tables.may_tell(answer)])
        card.write(partial, tables.made_by, hidden=hide_test_regions)
        guard.check(partial)


class Tables:
    """What the pipeline made, read and checked: cases, the samples they ask about, counts, board."""

    def __init__(self, data: Path) -> None:
        self.root = data.parent
        cases = records.read_rows(data / "cases" / "cases.parquet", records.CASES)
        self.made_by = records.made_by(data / "cases" / "cases.parquet")
        self.cases = sorted((case for case in cases if benchmarked(case)), key=_case_order)
        if not self.cases:
            raise MedgroundError(f"{data}/cases/cases.parquet keeps no case; there is nothing to export")
        self.taught = {case["model"] for case in cases if case["control"] != "honest"}
        self.retention = {
            split: _retention(cases, split, self.taught if split == KEPT_BACK else set()) for split in SPLITS
        }
        self.samples = {
            (sample["source"], sample["index"]): sample
            for name in sorted({case["source"] for case in cases})
            for sample in records.read_rows(data / "samples" / name / "samples.parquet", records.SAMPLES)
        }
        self.records = {mode: _read_json(data / f"cases/{mode}.json") for mode in sorted({c["mode"] for c in cases})}
        self.board = records.read_rows(data / "board" / "board.parquet", records.BOARD)
        self.revisions = {
            model: _revision(data / "answers" / f"{model}.parquet") for model in sorted({c["model"] for c in cases})
        }

    def may_tell(self, record: dict) -> bool:
        """Whether the paper's files may have a record: that it is there says that the filter kept the case."""
        split = self.samples[record["dataset"], record["index"]]["split"]
        return split != KEPT_BACK or record["model"] not in self.taught

    def sample(self, case: dict) -> dict:
        """The sample that a case asks about."""
        if (case["source"], case["index"]) not in self.samples:
            raise MedgroundError(f"{case['case_id']}: its sample is not in samples.parquet; run `dvc repro`")
        return self.samples[case["source"], case["index"]]


def shards(folder: Path, config: str, split: str) -> list[Path]:
    """The shards of a split in order."""
    return sorted(folder.glob(f"{config}/{split}-*.parquet"))


def _rows(tables: Tables, hide_test_regions: bool) -> dict[str, dict[str, Iterable[dict]]]:
    """Config to split to rows."""
    return {
        **{
            mode: {
                split: [
                    _case(case, tables, hidden(split, hide_test_regions))
                    for case in tables.cases
                    if case["mode"] == mode and case["split"] == split
                ]
                for split in SPLITS
            }
            for mode in tables.records
        },
        "films": {split: _films(tables, split) for split in SPLITS},
        "retention": dict(tables.retention),
        "baselines": {split: _baselines(tables, split) for split in SPLITS},
    }


def _case(case: dict, tables: Tables, hide_regions: bool) -> dict:
    sample = tables.sample(case)
    row = {
        **exported(case),
        "revision": tables.revisions[case["model"]],
        "film": film_key(sample),
        "width": sample["width"],
        "height": sample["height"],
        "regions": None if hide_regions else sample["regions"],
    }
    return _withheld(row, "direct")


def film_key(sample: dict) -> str:
    """The name of a film within its source: the provider's file name without its folder and ending."""
    return Path(sample["film"]).name.split(".")[0]


def _films(tables: Tables, split: str) -> Iterator[dict]:
    films: dict[tuple[str, str], dict] = {}
    for case in tables.cases:
        if case["split"] == split:
            sample = tables.sample(case)
            first = films.setdefault((case["source"], film_key(sample)), sample)
            if first["film"] != sample["film"]:
                raise MedgroundError(f"{first['film']} and {sample['film']} have one name; rename one of them")
    for (name, key), sample in sorted(films.items()):
        path = tables.root / sample["film"]
        try:
            content = path.read_bytes()
        except OSError as error:
            raise MedgroundError(f"{path} cannot be read ({error.strerror}); run `dvc repro ingest`") from None
        row = {
            "source": name,
            "film": key,
            "split": split,
            "sha256": hashlib.sha256(content).hexdigest(),
            "licence": source(name).licence,
            "obtain": source(name).obtain,
            "width": sample["width"],
            "height": sample["height"],
            "image": {"bytes": content, "path": f"{key}{path.suffix}"},
        }
        yield _withheld(row, "films")


def _retention(cases: Iterable[dict], split: str, closed: Set[str]) -> list[dict]:
    """The filter's counts of a split; over all findings where a source does not let their names leave.

    Of the models of ``closed`` they are of all findings and all kinds of causes together: one by one they would say
    what each model was taught to answer from.
    """
    sums: dict[tuple, dict] = defaultdict(lambda: dict.fromkeys(COUNTS, 0))
    passed = ({**case, "kept": case["reason"] in ("kept", "surplus")} for case in cases if case["split"] == split)
    for row in retention(passed):  # surplus: verified, but not drawn
        told = row["model"] not in closed
        finding = row["finding"] if told and may_leave(row["source"], Kind.TEXT) else ""
        total = sums[row["model"], row["mode"], row["source"], finding, row["control"] if told else ""]
        for name in COUNTS:
            total[name] += row[name]
    return [
        {"model": model, "mode": mode, "source": name, "finding": finding or None, "control": control or None, **total}
        for (model, mode, name, finding, control), total in sorted(sums.items())
    ]


def _baselines(tables: Tables, split: str) -> list[dict]:
    """The board's rows of the pipeline's own entries; tracks by finding where the finding's name may leave."""
    named = {case["finding"] for case in tables.cases if may_leave(case["source"], Kind.TEXT)}
    rows = [
        row
        for row in tables.board
        if row["split"] == split
        and row["kind"] in ("method", "floor")
        and (not row["track"].startswith("finding=") or row["track"].removeprefix("finding=") in named)
    ]
    return sorted(rows, key=lambda row: (row["track"], row["rank"] is None, row["rank"] or 0, row["entry"]))


def _withheld(row: dict, config: str) -> dict:
    """The columns of a config, None where the row's source does not let them leave."""
    return {
        column.name: row[column.name] if may_leave(row["source"], column.kind) else None for column in CONFIGS[config]
    }


def _write(folder: Path, split: str, rows: Iterable[dict], config: str) -> None:
    """Write a split as ``<split>-00000-of-0000n.parquet``; one empty shard where there are no rows."""
    folder.mkdir(exist_ok=True)
    parts: list[Path] = []
    for batch in _batches(rows):
        parts.append(folder / f".{split}-{len(parts)}")
        write_shard(pa.Table.from_pylist(batch, schema(config)), parts[-1])
    for number, part in enumerate(parts):
        part.rename(folder / f"{split}-{number:05d}-of-{len(parts):05d}.parquet")


def _batches(rows: Iterable[dict]) -> Iterator[list[dict]]:
    """Rows in runs of about `SHARD_BYTES` of image; at least one run."""
    batch: list[dict] = []
    size = runs = 0
    for row in rows:
        content = len(row["image"]["bytes"]) if row.get("image") else 0
        if batch and size + content > SHARD_BYTES:
            yield batch
            batch, size, runs = [], 0, runs + 1
        batch.append(row)
        size += content
    if batch or not runs:
        yield batch


def _write_records(path: Path, answers: list[dict]) -> None:
    """The paper's format; where a source lets only verdicts leave, they stand in for what the model wrote."""
    lines = []
    for record in sorted(answers, key=lambda record: (record["model"], record["dataset"], record["index"])):
        if not may_leave(record["dataset"], Kind.TEXT):
            record = {
                key: _verdict(value) if key.startswith("prediction") else value
                for key, value in record.items()
                if key.startswith("prediction") or key in guard.RECORD_KEYS
            }
        lines.append(json.dumps(record, ensure_ascii=False))
    path.write_text("[" + ",\n".join(lines) + "]\n")


def _verdict(text: str) -> str:
    return {"yes": "Yes", "no": "No"}.get(parse_verdict(text), "")


def _case_order(case: dict) -> tuple:
    return case["model"], case["mode"], case["source"], case["index"]


def _revision(answers: Path) -> str | None:
    """The revision of the model that wrote a table of answers; None, and the card says so, where none was recorded."""
    if not answers.exists():
        raise MedgroundError(f"{answers} is missing; run `dvc repro answer`")
    return records.made_by(answers).get("settings", {}).get("revision")


def _read_json(path: Path) -> list[dict]:
    return files.read_json(path, list)
