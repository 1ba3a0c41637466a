"""Read what a stranger sent: no pickle, no path, no more memory than a batch."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from ..scoring.tables import BATCH
from . import schema
from .schema import CARD, COLUMNS, TABLE, Problem, shown

_NOT_PARQUET = "write it with medground.submission.write, or pandas' to_parquet"


def read_card(folder: Path) -> tuple[object, list[Problem]]:
    """The content of ``entry.yaml`` as plain Python values, and the problems that kept it from being read.

    Anchors, aliases and tags are refused before anything is built from them: ten lines of aliases can stand for
    gigabytes.
    """
    data, problems = _read(folder / CARD, schema.MAX_CARD_BYTES)
    if problems:
        return None, problems
    try:
        text = data.decode("utf-8")
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > 5 or isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                where = f"{CARD} line {event.start_mark.line + 1}"
                return None, [Problem(where, "", "anchors, aliases or deep nesting", "write plain keys and values")]
            if getattr(event, "tag", None):
                where = f"{CARD} line {event.start_mark.line + 1}"
                return None, [Problem(where, shown(event.tag), "a tag", "write plain keys and values")]
        return yaml.safe_load(text), []
    except (UnicodeDecodeError, yaml.YAMLError, ValueError, RecursionError) as error:
        reason = shown(" ".join(str(error).split()), 200)
        return None, [Problem(CARD, reason, "is not YAML in UTF-8", "correct it; `medground validate` checks again")]


def file_problems(folder: Path) -> list[Problem]:
    """Whether the folder has the two files, plain ones of an acceptable size, and nothing else."""
    if folder.is_symlink() or not folder.is_dir():
        return [Problem(shown(str(folder)), "", "is not a folder", f"give the folder that holds {CARD}", fatal=True)]
    problems = []
    for name, limit in ((CARD, schema.MAX_CARD_BYTES), (TABLE, schema.MAX_TABLE_BYTES)):
        problems += _status(folder / name, limit)[1]
    for name in sorted(os.listdir(folder)):
        if name not in (CARD, TABLE, schema.RECEIPT):
            problems.append(Problem(shown(name), "", "does not belong to an entry", f"leave only {CARD} and {TABLE}"))
    return problems


def open_table(path: Path) -> tuple[pq.ParquetFile | None, list[Problem]]:
    """A Parquet file whose footer promises acceptable columns and sizes; only the footer has been read."""
    try:
        file = pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20, page_checksum_verification=True)
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        return None, [Problem(TABLE, shown(str(error), 160), "is not a readable Parquet file", _NOT_PARQUET, True)]
    problems = _promises(file.metadata) + _columns(file.schema_arrow)
    return file, problems


def read_batches(file: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    """The table some rows at a time, in its own types.

    Raises pyarrow's errors, OSError or MemoryError where the data are not what the footer promised.
    """
    yield from file.iter_batches(BATCH, use_threads=False)


def _read(path: Path, limit: int) -> tuple[bytes, list[Problem]]:
    handle, problems = _status(path, limit, keep=True)
    if problems:
        return b"", problems
    with os.fdopen(handle, "rb") as file:
        return file.read(limit + 1), []


def _status(path: Path, limit: int, keep: bool = False) -> tuple[int, list[Problem]]:
    """Open without following a link or waiting for a pipe, and look at what was opened."""
    fatal = path.name == TABLE
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return -1, [Problem(path.name, "", "is missing", f"an entry has {CARD} and {TABLE}", fatal)]
    except OSError as error:
        return -1, [Problem(path.name, error.strerror, "cannot be opened", "send a plain file", fatal)]
    status = os.fstat(handle)
    problem = None
    if not stat.S_ISREG(status.st_mode):
        problem = Problem(path.name, "", "is not a plain file", "send a plain file, no link, folder or pipe", fatal)
    elif status.st_size > limit:
        value = f"{status.st_size:,} bytes"
        problem = Problem(path.name, value, "is too large", f"at most {limit:,} bytes; send coarser maps", fatal)
    if problem or not keep:
        os.close(handle)
    return handle, [problem] if problem else []


def _promises(footer: pq.FileMetaData) -> list[Problem]:
    problems = []

    def check(what: str, value: int, limit: int) -> None:
        if not 0 <= value <= limit:
            problems.append(Problem(TABLE, f"{value:,}", f"too many {what}", f"at most {limit:,}", fatal=True))

    check("rows", footer.num_rows, schema.MAX_ROWS)
    check("columns", footer.num_columns, 64)
    check("row groups", footer.num_row_groups, schema.MAX_ROWS)
    if problems:
        return problems
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    chunks = [group.column(number) for group in groups for number in range(group.num_columns)]
    check("bytes when expanded", sum(chunk.total_uncompressed_size for chunk in chunks), schema.MAX_EXPANDED_BYTES)
    check("values", max((chunk.num_values for chunk in chunks), default=0), schema.MAX_VALUES)
    check("values", sum(chunk.num_values for chunk in chunks), 2 * schema.MAX_VALUES)
    return problems


def _columns(found: pa.Schema) -> list[Problem]:
    problems = []
    for name in found.names:
        if name not in COLUMNS.names:
            remedy = f"leave it out; known columns: {', '.join(COLUMNS.names)}"
            problems.append(Problem(f"{TABLE} column {shown(name)}", "", "is unknown", remedy, fatal=True))
        elif found.names.count(name) > 1:
            where = f"{TABLE} column {name}"
            problems.append(Problem(where, "", "is there more than once", "keep one", fatal=True))
        elif not _fits(found.field(name).type, COLUMNS.field(name).type):
            where, value = f"{TABLE} column {name}", shown(str(found.field(name).type))
            remedy = f"write {COLUMNS.field(name).type}"
            problems.append(Problem(where, value, "has the wrong type", remedy, fatal=True))
    if "case_id" not in found.names:
        remedy = "add the ids of data/cases/cases.parquet"
        problems.append(Problem(f"{TABLE} column case_id", "", "is missing", remedy, fatal=True))
    if "grid" in found.names:
        for name in {"grid_height", "grid_width"} - set(found.names):
            remedy = "say how many rows and columns each grid has"
            problems.append(Problem(f"{TABLE} column {name}", "", "is missing", remedy, fatal=True))
    elif "boxes" not in found.names:
        remedy = "add a column grid (with grid_height, grid_width) or boxes"
        problems.append(Problem(f"{TABLE} columns grid, boxes", "", "are both missing", remedy, fatal=True))
    return problems


def _fits(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether a column's type can be cast value by value: any width of float or integer, any kind of list or text."""
    types = pa.types
    if types.is_null(found):
        return True
    if types.is_list(wanted) or types.is_fixed_size_list(wanted):
        is_list = types.is_list(found) or types.is_large_list(found) or types.is_fixed_size_list(found)
        return is_list and _fits(found.value_type, wanted.value_type)
    if types.is_struct(wanted):
        return found.equals(wanted)
    if types.is_string(wanted):
        found = found.value_type if types.is_dictionary(found) else found
        return types.is_string(found) or types.is_large_string(found) or types.is_string_view(found)
    if types.is_integer(wanted):
        return types.is_integer(found)
    return types.is_floating(found) or types.is_integer(found)
