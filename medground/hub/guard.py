"""The licence guard: opens every file of a folder that is about to leave, and refuses what no declaration allows.

It trusts nothing that made the folder. It reads what is there, row by row, against `licences` and `tables`, and looks
into the rows of restricted sources for image bytes and file paths wherever they may hide.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .. import folders
from .licences import NO_CONTENT, Kind, LicenceError, declared, may_leave
from .licences import source as declaration
from .tables import CONFIGS

RECORDS = ("direct.json", "reasoning.json")  # the paper's format
TEXTS = ("README.md", "LICENSE.md", "croissant.json")
RECORD_KEYS = {"model", "dataset", "index", "answer"}  # of a restricted source, besides predictions of yes or no
LONGEST = 200  # characters of a key, a licence's name or an address

_IMAGE = re.compile(
    rb"\x89PNG|\xff\xd8\xff|GIF8[79]a|II\*\x00|MM\x00\*|DICM|\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51"
    rb"|RIFF....WEBP|BM.{4}\x00{4}|\x1f\x8b\x08|PK\x03\x04|\x93NUMPY",
    re.DOTALL,
)
_ENCODED_IMAGE = re.compile(r"iVBORw0KGgo|/9j/[0-9A-Za-z+/]{8}|R0lGOD|SUkqA|TU0AK|data:image/")
_PATH = re.compile(
    r"\.(png|jpe?g|dcm|dicom|tiff?|bmp|gif|webp|jp2|npy|npz|nii)\b|^[/~]|\\|^[A-Za-z]:|(^|/)\.\.?(/|$)|file:|(^|/)data/",
    re.IGNORECASE,
)


def check(folder: Path | str) -> None:
    """Raise LicenceError with every offending file and column; return where all of the folder may leave."""
    folder = Path(folder)
    problems = []
    named = _named_findings(folder)
    for path in sorted(path for path in folder.rglob("*") if not path.is_dir()):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found = ["a link; only plain files leave"]
        elif name == folders.MARK:
            found = (
                []
                if path.read_bytes() == folders.mark(folder, "medground export")
                else ["is not what `medground export` wrote"]
            )
        elif path.suffix == ".parquet":
            found = _shard(path, named)
        elif name in RECORDS:
            found = _records(path)
        elif name in TEXTS:
            found = ["holds an image"] if _ENCODED_IMAGE.search(path.read_text()) else []
        else:
            found = ["a file that no table declares"]
        problems += [f"{name}: {problem}" for problem in found]
    if problems:
        raise LicenceError(
            "this may not leave:\n  " + "\n  ".join(problems) + "\nwhat may leave is declared where each source "
            "is registered; `medground export` makes a folder that keeps to it"
        )


def _named_findings(folder: Path) -> set[str]:
    """The findings that case tables name, which is where their sources allow it."""
    shards = [shard for config in ("direct", "reasoning") for shard in folder.glob(f"{config}/*.parquet")]
    columns = [pq.read_table(shard) for shard in shards]
    named = {
        finding for table in columns if "finding" in table.column_names for finding in table["finding"].to_pylist()
    }
    return named - {None}


def _shard(path: Path, named: set[str]) -> list[str]:
    config = path.parent.name
    if config not in CONFIGS:
        return [f"{config} is not a declared config"]
    kinds = {column.name: column.kind for column in CONFIGS[config]}
    file = pq.ParquetFile(path)
    problems = [f"metadata key {key.decode()}" for key in file.metadata.metadata or {} if key not in _METADATA]
    problems += [f"column {name} is not declared" for name in file.schema_arrow.names if name not in kinds]
    if problems:
        return problems
    rows: dict[str, int] = {}  # problem: rows
    for group in range(file.num_row_groups):
        table = file.read_row_group(group)
        for problem, count in _by_source(table, kinds) if "source" in kinds else _aggregates(table, kinds, named):
            rows[problem] = rows.get(problem, 0) + count
    return [f"{problem} ({count} rows)" for problem, count in rows.items()]


_METADATA = (b"huggingface", b"ARROW:schema")


def _by_source(table: pa.Table, kinds: dict[str, Kind]) -> Iterator[tuple[str, int]]:
    for source in table["source"].unique().to_pylist():
        if not declared(source):
            yield f"column source names {source!r}, which declares nothing", table.num_rows
            continue
        allowed = declaration(source).may_leave
        theirs = table.filter(pc.equal(table["source"], source))
        for name, kind in kinds.items():
            filled = len(theirs) - theirs[name].null_count
            if filled and kind not in allowed:
                yield f"column {name} holds {kind.value} of {source}", filled
        if Kind.PIXELS not in allowed:
            for name in (name for name, kind in kinds.items() if kind in allowed):
                yield from _hidden(name, source, theirs[name].to_pylist())


def _aggregates(table: pa.Table, kinds: dict[str, Kind], named: set[str]) -> Iterator[tuple[str, int]]:
    for name, kind in kinds.items():
        if kind not in NO_CONTENT:
            yield f"column {name} holds {kind.value} of no declared source", table.num_rows
        yield from _hidden(name, "no declared source", table[name].to_pylist())
    for track in table["track"].to_pylist() if "track" in kinds else ():
        finding = re.search(r"finding=([^,]*)", track)
        if finding and finding[1] not in named:
            yield f"column track names the finding {finding[1]!r}, which no case table names", 1


def _hidden(column: str, source: str, values: list) -> Iterator[tuple[str, int]]:
    for value in values:
        if what := _content(value):
            yield f"column {column} hides {what} of {source}", 1


def _content(value: object) -> str | None:
    """What a value carries that no key, verdict, hash or number does."""
    if isinstance(value, bytes | list | dict):
        return "bytes" if isinstance(value, bytes) else "a structure"
    if not isinstance(value, str):
        return None
    if _ENCODED_IMAGE.search(value) or _IMAGE.search(value.encode("latin-1", "ignore")):
        return "an image"
    if _PATH.search(value):
        return "a file path"
    return "a long text" if len(value) > LONGEST else None


def _records(path: Path) -> list[str]:
    rows: dict[str, int] = {}
    for record in json.loads(path.read_text()):
        for problem in _record(record):
            rows[problem] = rows.get(problem, 0) + 1
    return [f"{problem} ({count} records)" for problem, count in rows.items()]


def _record(record: dict) -> Iterator[str]:
    source = record.get("dataset")
    if not declared(source):
        yield f"dataset {source!r} declares nothing"
        return
    if may_leave(source, Kind.TEXT):
        return
    for key, value in record.items():
        if key.startswith("prediction"):
            if value not in ("Yes", "No"):
                yield f"{key} holds text of {source}"
        elif key not in RECORD_KEYS:
            yield f"{key} of {source} is not declared"
        else:
            yield from (problem for problem, _ in _hidden(key, source, [value]))
