"""The folder that is pushed: the pipeline's tables as typed Parquet shards, withheld where a licence says so.

The same tables give the same bytes: rows stand in the tables' order, shards are cut by size, nothing is dated. Tables
are columns, and a few of their rows are Python objects at once; of the samples of cases that leave, one each.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .. import files, folders, records
from ..cases import benchmarked, of_benchmark
from ..errors import MedgroundError
from ..evaluation.questions import TABLE
from ..evaluation.results import published
from ..evaluation.tables import EDITS, QUESTIONS, RESULTS
from ..lvlm.verdict import parse_verdict
from ..scoring import METRICS
from ..scoring.tables import read_attributions
from ..thumbnail import thumbnail
from ..verification.causes import KEPT_BACK, exported
from ..verification.gates import retention
from . import card, guard
from .about import ABOUT, COMMAND, EVAL, about, tasks
from .facts import COUNTS
from .hidden import hidden
from .licences import Kind, may_leave, source
from .models import pinned
from .tables import CONFIGS, write_rows

SPLITS = ("dev", "test")
SHARD_BYTES = 256 << 20
PREVIEW = 224  # pixels of the longer side
#: Columns that are looked at of every case; of a case whose attributions leave; of its sample; of a question's film.
COUNTED = ("model", "mode", "source", "patient_id", "finding", "control", "right", "flipped", "stayed_removed",
           "stayed_normal", "reason")  # fmt: skip
WHOSE = ("case_id", "model", "mode", "source", "split")
SAMPLE = ("source", "index", "split", "film", "width", "height", "regions")
FILM = ("source", "film", "width", "height")


def build(
    data: Path | str,
    out: Path | str,
    *,
    hide_test_regions: bool = False,
    asked: Mapping | None = None,
    normal: str | None = None,
    models: Path | str = "models",
    links: Mapping[str, str] | None = None,
) -> None:
    """Make the folder ``out`` from the tables under ``data``; replaces it whole, or leaves it as it was.

    With ``hide_test_regions`` the expert boxes of the test split stay back, and what would tell them. ``asked`` says
    how the models were asked (`about.about`), ``normal`` is the source of the reference films, which stay back where it
    is not given; ``models`` is where `models.PINS` says what was published, and ``links`` are the addresses of code and
    board (`links.links`). Raises MedgroundError for a table that is
    missing or wrong, or an ``out`` that this did not make (`folders.check`), LicenceError for a source that declares
    nothing.
    """
    data, out = Path(data), Path(out)
    folders.check(out, COMMAND)
    tables = Tables(data, Path(models), normal, hide_test_regions)
    with folders.rebuilt(out, COMMAND) as partial:
        for config, splits in _rows(tables).items():
            for split, rows in splits.items():
                _write(partial / config, split, rows, config)
        for mode, answers in tables.records.items():
            _write_records(partial / f"{mode}.json", [answer for answer in answers if tables.may_tell(answer)])
        said = about(data, tables.made_by, list(tables.records), asked, links)
        files.write_json(said, partial / ABOUT)
        files.write(tasks(list(tables.records)), partial / EVAL)
        card.write(partial, tables.made_by, hidden=hide_test_regions)
        guard.check(partial)


class Tables:
    """What the pipeline made, read and checked: ``cases``, those that leave, and ``questions`` as Arrow tables."""

    def __init__(self, data: Path, models: Path, normal: str | None, hide_test_regions: bool) -> None:
        self.data, self.root, self.normal, self.hide = data, data.parent, normal, hide_test_regions
        path = data / "cases" / "cases.parquet"
        everything = records.read_table(path, records.CASES)
        self.made_by = records.made_by(path)
        self.taught = _values(everything.filter(pc.not_equal(everything["control"], "honest")), "model")
        self.cases = everything.filter(pc.or_(of_benchmark(everything), self._verified(everything)))
        if not pc.any(of_benchmark(self.cases)).as_py():
            raise MedgroundError(f"{path} keeps no case; there is nothing to export")
        self.retention = {
            split: _retention(_of(everything, split), self.taught if split == KEPT_BACK else set()) for split in SPLITS
        }
        wanted = {(row["source"], row["index"]) for row in records.rows_of(self.cases, ("source", "index"))}
        self.samples = {
            (sample["source"], sample["index"]): sample
            for name in sorted(_values(everything, "source"))
            for sample in records.iter_rows(data / "samples" / name / "samples.parquet", records.SAMPLES, SAMPLE)
            if (sample["source"], sample["index"]) in wanted
        }
        self.questions = records.read_table(data / TABLE, QUESTIONS)
        self.records = {mode: _read_json(data / f"cases/{mode}.json") for mode in sorted(_values(everything, "mode"))}
        self.board = records.read_rows(data / "board" / "board.parquet", records.BOARD)
        self.results = records.read_rows(data / "results" / "results.parquet", RESULTS)
        self.revisions = {
            model: _revision(data / "answers" / f"{model}.parquet") for model in sorted(_values(everything, "model"))
        }
        self.pins = pinned(models)

    def _verified(self, cases: pa.Table) -> pa.ChunkedArray:
        """Which of the cases that were not drawn may be shown: on the split whose causes are kept back, which cases of
        a model that was taught causes passed the filter would tell them."""
        taught = pc.is_in(cases["model"], pa.array(sorted(self.taught), pa.string()))
        tells = pc.and_(pc.equal(cases["split"], KEPT_BACK), taught)
        return pc.and_not(pc.equal(cases["reason"], "surplus"), tells)

    def may_tell(self, record: dict) -> bool:
        """Whether the paper's files may have a record: that it is there says that the filter kept the case."""
        split = self.sample(record["dataset"], record["index"])["split"]
        return split != KEPT_BACK or record["model"] not in self.taught

    def sample(self, source: str, index: int) -> dict:
        """The sample that a case asks about: its columns `SAMPLE`."""
        if (source, index) not in self.samples:
            raise MedgroundError(
                f"sample {index} of {source} is in no samples.parquet, or no case of it; run `dvc repro`"
            )
        return self.samples[source, index]

    def content(self, film: str) -> bytes:
        """The bytes of a film's file."""
        path = self.root / film
        try:
            return path.read_bytes()
        except OSError as error:
            raise MedgroundError(f"{path} cannot be read ({error.strerror}); run `dvc repro ingest`") from None

    def named(self) -> set[str]:
        """The findings whose names may leave."""
        pairs = self.questions.select(["source", "finding"]).group_by(["source", "finding"]).aggregate([])
        return {one["finding"] for one in pairs.to_pylist() if may_leave(one["source"], Kind.TEXT)}


def _values(table: pa.Table, column: str) -> set[str]:
    return set(pc.unique(table[column]).to_pylist())


def _of(table: pa.Table, split: str) -> pa.Table:
    """The rows of a split."""
    return table.filter(pc.equal(table["split"], split))


def shards(folder: Path, config: str, split: str) -> list[Path]:
    """The shards of a split in order."""
    return sorted(folder.glob(f"{config}/{split}-*.parquet"))


def _rows(tables: Tables) -> dict[str, dict[str, Iterable[dict]]]:
    """Config to split to rows."""

    def by_split(rows: Callable[[Tables, str], Iterable[dict]]) -> dict[str, Iterable[dict]]:
        return {split: rows(tables, split) for split in SPLITS}

    return {
        **{mode: {split: _cases(tables, mode, split) for split in SPLITS} for mode in tables.records},
        "questions": by_split(_questions),
        "films": by_split(_films),
        "attributions": by_split(_attributions),
        "retention": dict(tables.retention),
        "results": by_split(_results),
        "baselines": by_split(_baselines),
        "models": {"asked": _models(tables)},
        **({"references": {"normal": _references(tables)}} if tables.normal else {}),
    }  # fmt: skip


def _cases(tables: Tables, mode: str, split: str) -> Iterator[dict]:
    own = _of(tables.cases, split)
    for case in records.rows_of(own.filter(pc.equal(own["mode"], mode))):
        yield _case(case, tables)


def _case(case: dict, tables: Tables) -> dict:
    sample, hide_regions = tables.sample(case["source"], case["index"]), hidden(case["split"], tables.hide)
    name = case["source"]
    shown = may_leave(name, Kind.PIXELS)
    regions = sample["regions"] if may_leave(name, Kind.BOXES) and not hide_regions else []
    small = thumbnail(tables.root / sample["film"], regions, PREVIEW) if shown else None
    row = {
        **exported(case),
        "revision": tables.revisions[case["model"]],
        "film": film_key(sample),
        "benchmark": benchmarked(case),
        "width": sample["width"],
        "height": sample["height"],
        "regions": None if hide_regions else sample["regions"],
        "preview": _picture(small, "preview.jpg") if small else None,
    }
    return _withheld(row, "direct")


def _picture(content: bytes, name: str) -> dict:
    return {"bytes": content, "path": name}


def film_key(sample: Mapping) -> str:
    """The name of a film within its source: the provider's file name without its folder and ending."""
    return Path(sample["film"]).name.split(".")[0]


def _questions(tables: Tables, split: str) -> Iterator[dict]:
    for question in records.rows_of(_of(tables.questions, split)):
        hide = hidden(split, tables.hide)
        row = {**question, "film": film_key(question), "regions": None if hide else question["regions"]}
        row["image"] = _picture(tables.content(question["film"]), f"{row['film']}{Path(question['film']).suffix}")
        for edit in EDITS:
            content = tables.content(question[edit]) if question[edit] and not hide else None
            row[edit] = _picture(content, f"{edit}{Path(question[edit]).suffix}") if content else None
            row[f"{edit}_sha256"] = hashlib.sha256(content).hexdigest() if content else None
        yield _withheld(row, "questions")


def _films(tables: Tables, split: str) -> Iterator[dict]:
    films: dict[tuple[str, str], dict] = {}
    for question in records.rows_of(_of(tables.questions, split), FILM):
        first = films.setdefault((question["source"], film_key(question)), question)
        if first["film"] != question["film"]:
            raise MedgroundError(f"{first['film']} and {question['film']} have one name; rename one of them")
    for (name, key), question in sorted(films.items()):
        content = tables.content(question["film"])
        row = {
            "source": name,
            "film": key,
            "split": split,
            "sha256": hashlib.sha256(content).hexdigest(),
            "licence": source(name).licence,
            "obtain": source(name).obtain,
            "width": question["width"],
            "height": question["height"],
            "image": _picture(content, f"{key}{Path(question['film']).suffix}"),
        }
        yield _withheld(row, "films")


def _attributions(tables: Tables, split: str) -> Iterator[dict]:
    """What the pipeline's own methods say, with their scores: without any that a hidden region, or the cause of an
    answer, could be worked out from."""
    facts = files.read_json(tables.data / "scores/entries.json", list)
    kinds = {entry["entry"]: entry["kind"] for entry in facts if entry["kind"] in ("method", "floor")}
    scores = records.read_table(tables.data / "scores/scores.parquet", records.SCORES)
    cases = {case["case_id"]: case for case in records.rows_of(_of(tables.cases, split), WHOSE)}
    of_cases = pc.is_in(scores["case_id"], pa.array(sorted(cases), pa.string()))
    from_regions = {metric.name for metric in METRICS.that_need("regions")}
    for entry in sorted(kinds):
        own = scores.filter(pc.and_(of_cases, pc.equal(scores["entry"], entry)))
        known = {(row["case_id"], row["protocol"]): row for row in records.rows_of(own)}
        for model in tables.revisions:
            for found in read_attributions(tables.data / f"attributions/{model}/{entry}.parquet"):
                if found["case_id"] not in cases:
                    continue
                score = known.get((found["case_id"], "medground"), {})
                published = known.get((found["case_id"], "published"), {})
                told = set() if hidden(split, tables.hide) else from_regions if split == KEPT_BACK else set(METRICS)
                row = {name: score.get(name) if name in told else None for name in METRICS}
                row |= cases[found["case_id"]]
                row |= {name: found.get(name) for name in ("grid_height", "grid_width", "extent", "boxes")}
                grid = found.get("grid")
                row |= {
                    "entry": entry,
                    "kind": kinds[entry],
                    "grid": None if grid is None else np.asarray(grid, np.float32),
                    "iou_published": published.get("iou") if told else None,
                    "problem": score.get("problem"),
                }
                yield _withheld(row, "attributions")


def _retention(cases: pa.Table, closed: Set[str]) -> list[dict]:
    """The filter's counts of some cases; over all findings where a source does not let their names leave.

    Of the models of ``closed`` they are of all findings and all kinds of causes together: one by one they would say
    what each model was taught to answer from.
    """

    def key(row: Mapping) -> tuple:
        told = row["model"] not in closed
        finding = row["finding"] if told and may_leave(row["source"], Kind.TEXT) else ""
        return row["model"], row["mode"], row["source"], finding, row["control"] if told else ""

    sums: dict[tuple, dict] = defaultdict(lambda: dict.fromkeys(COUNTS, 0))
    patients: dict[tuple, set[str]] = defaultdict(set)
    for row in retention(_passed(cases)):
        for name in COUNTS:
            sums[key(row)][name] += row[name]
    for case in records.rows_of(cases, COUNTED):
        patients[key(case)].add(case["patient_id"])
    return [
        dict(zip(("model", "mode", "source", "finding", "control"), (*one[:3], one[3] or None, one[4] or None),
                 strict=True)) | {"patients": len(patients[one])} | total
        for one, total in sorted(sums.items())
    ]  # fmt: skip


def _passed(cases: pa.Table) -> Iterator[dict]:
    """The cases with all that passed the filter as kept: surplus ones are verified, but not drawn."""
    for case in records.rows_of(cases, COUNTED):
        yield {**case, "kept": case["reason"] in ("kept", "surplus")}


def _results(tables: Tables, split: str) -> list[dict]:
    """The board of models. By finding where its name may leave, and of models that were taught causes on dev alone."""
    named = tables.named()
    return [
        row
        for row in published(tables.results, tables.taught)
        if row["split"] == split and (row["finding"] is None or row["finding"] in named)
    ]


def _baselines(tables: Tables, split: str) -> list[dict]:
    """The board's rows of the pipeline's own entries; tracks by finding where the finding's name may leave."""
    named = tables.named()
    rows = [
        row
        for row in tables.board
        if row["split"] == split
        and row["kind"] in ("method", "floor")
        and (not row["track"].startswith("finding=") or row["track"].removeprefix("finding=") in named)
    ]
    return sorted(rows, key=lambda row: (row["track"], row["rank"] is None, row["rank"] or 0, row["entry"]))


def _models(tables: Tables) -> list[dict]:
    return [
        {
            "model": model,
            "revision": revision,
            "repository": tables.pins.get(model, {}).get("repository"),
            "commit": tables.pins.get(model, {}).get("commit"),
        }
        for model, revision in tables.revisions.items()
    ]


def _references(tables: Tables) -> Iterator[dict]:
    for row in records.read_rows(tables.data / "references/references.parquet", records.REFERENCES):
        masks = {mask["concept"]: tables.content(mask["path"]) for mask in row["masks"]}
        yield _withheld(
            {
                "source": tables.normal,
                "reference": row["reference"],
                "image": _picture(tables.content(row["film"]), Path(row["film"]).name),
                "concepts": list(masks),
                "masks": [_picture(mask, f"{name}.png") for name, mask in masks.items()],
            },
            "references",
        )


def _withheld(row: dict, config: str) -> dict:
    """The columns of a config, None where the row's source does not let them leave."""
    return {
        column.name: row[column.name] if may_leave(row["source"], column.kind) else None for column in CONFIGS[config]
    }


def _write(folder: Path, split: str, rows: Iterable[dict], config: str) -> None:
    """Write a split as ``<split>-00000-of-0000n.parquet``; one empty shard where there are no rows."""
    folder.mkdir(exist_ok=True)
    parts: list[Path] = []
    for _, some in groupby(_numbered(rows), itemgetter(0)):
        parts.append(folder / f".{split}-{len(parts)}")
        write_rows((row for _, row in some), config, parts[-1])
    if not parts:
        parts.append(folder / f".{split}-0")
        write_rows([], config, parts[-1])
    for number, part in enumerate(parts):
        part.rename(folder / f"{split}-{number:05d}-of-{len(parts):05d}.parquet")


def _numbered(rows: Iterable[dict]) -> Iterator[tuple[int, dict]]:
    """Rows, each with the number of its shard: of about `SHARD_BYTES` of image."""
    number = size = 0
    for row in rows:
        content = sum(len(value["bytes"]) for value in row.values() if isinstance(value, dict))
        if size and size + content > SHARD_BYTES:
            number, size = number + 1, 0
        size += content
        yield number, row


def _write_records(path: Path, answers: Sequence[dict]) -> None:
    """The paper's format; where a source lets only verdicts leave, they stand in for what the model wrote."""
    with path.open("w") as file:
        for place, line in enumerate(_lines(answers)):
            file.write((",\n" if place else "[") + line)
        file.write("]\n" if answers else "[]\n")


def _lines(answers: Iterable[dict]) -> Iterator[str]:
    for record in sorted(answers, key=lambda record: (record["model"], record["dataset"], record["index"])):
        if not may_leave(record["dataset"], Kind.TEXT):
            record = {
                key: _verdict(value) if key.startswith("prediction") else value
                for key, value in record.items()
                if key.startswith("prediction") or key in guard.RECORD_KEYS
            }
        yield json.dumps(record, ensure_ascii=False)


def _verdict(text: str) -> str:
    return {"yes": "Yes", "no": "No"}.get(parse_verdict(text), "")


def _revision(answers: Path) -> str | None:
    """The revision of the model that wrote a table of answers; None, and the card says so, where none was recorded."""
    if not answers.exists():
        raise MedgroundError(f"{answers} is missing; run `dvc repro answer`")
    return records.made_by(answers).get("settings", {}).get("revision")


def _read_json(path: Path) -> list[dict]:
    return files.read_json(path, list)
