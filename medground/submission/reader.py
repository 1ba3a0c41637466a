"""Read what a stranger sent: no pickle, no path, no more memory than a batch."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from ..scoring.tables import BATCH
from . import schema
from .schema import CARD, COLUMNS, RECEIPT, TABLE, Problem, shown

_NOT_PARQUET = "write it with medground.submission.write, or pandas' to_parquet"


def read_receipt(folder: Path) -> tuple[dict, list[Problem]]:
    """The content of ``receipt.json``, empty where there is none, and the problems that kept it from being read."""
    if not os.path.lexists(folder / RECEIPT):
        return {}, []
    data, problems = read_plain(folder / RECEIPT, schema.MAX_RECEIPT_BYTES)
    if problems:
        return {}, problems
    try:
        receipt = json.loads(data)
        if isinstance(receipt, dict) and all(isinstance(value, str) for value in receipt.values()):
            return receipt, []
        reason = "not a mapping of texts"
    except (ValueError, RecursionError) as error:
        reason = shown(" ".join(str(error).split()), 200)
    return {}, [Problem(RECEIPT, reason, "is damaged", "delete it, or restore it from git")]


def read_card(folder: Path) -> tuple[object, list[Problem]]:
    """The content of ``entry.yaml`` as plain Python values, and the problems that kept it from being read.

    Anchors, aliases and tags are refused before anything is built from them: ten lines of aliases can stand for
    gigabytes.
    """
    data, problems = read_plain(folder / CARD, schema.MAX_CARD_BYTES)
    if problems:
        return None, problems
    try:
        text = data.decode("utf-8")
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            where = f"{CARD} line {event.start_mark.line + 1}" if event.start_mark else CARD
            if depth > 5 or isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                return None, [Problem(where, "", "anchors, aliases or deep nesting", "write plain keys and values")]
            if tag := getattr(event, "tag", None):
                return None, [Problem(where, shown(tag), "a tag", "write plain keys and values")]
        return yaml.safe_load(text), []
    except (UnicodeDecodeError, yaml.YAMLError, ValueError, RecursionError) as error:
        reason = shown(" ".join(str(error).split()), 200)
        return None, [Problem(CARD, reason, "is not YAML in UTF-8", "correct it; `medground validate` checks again")]


def file_problems(folder: Path) -> list[Problem]:
    """Whether the folder has the two files, plain ones of an acceptable size, and nothing else."""
    if folder.is_symlink() or not folder.is_dir():
        return [Problem(shown(str(folder)), "", "is not a folder", f"give the folder that holds {CARD}", fatal=True)]
    problems = []
    limits = {CARD: schema.MAX_CARD_BYTES, TABLE: schema.MAX_TABLE_BYTES}
    if os.path.lexists(folder / RECEIPT):
        limits[RECEIPT] = schema.MAX_RECEIPT_BYTES
    for name, limit in limits.items():
        handle, found = open_plain(folder / name, limit)
        problems += found
        if handle is not None:
            os.close(handle)
    for name in sorted(os.listdir(folder)):
        if name not in (CARD, TABLE, RECEIPT):
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


def read_plain(path: Path, limit: int) -> tuple[bytes, list[Problem]]:
    """The bytes of a plain file of at most ``limit`` bytes, and the problems that kept it from being read."""
    handle, problems = open_plain(path, limit)
    if handle is None:
        return b"", problems
    with os.fdopen(handle, "rb") as file:
        data = file.read(limit + 1)
    return (data, []) if len(data) <= limit else (b"", [_too_large(path.name, f"more than {limit:,} bytes", limit)])


def open_plain(path: Path, limit: int) -> tuple[int | None, list[Problem]]:
    """A descriptor of a plain file of at most ``limit`` bytes, opened without following a link or waiting for a pipe;
    None, with the problems, of anything else. Where the platform has no such flags, the path is looked at first."""
    fatal = path.name == TABLE
    if not hasattr(os, "O_NOFOLLOW") and path.is_symlink():
        return None, [Problem(path.name, "", "is a link", "send a plain file", fatal)]
    flags = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(path, os.O_RDONLY | flags)
    except FileNotFoundError:
        return None, [Problem(path.name, "", "is missing", f"an entry has {CARD} and {TABLE}", fatal)]
    except OSError as error:
        return None, [Problem(path.name, error.strerror or "", "cannot be opened", "send a plain file", fatal)]
    status = os.fstat(handle)
    problem = None
    if not stat.S_ISREG(status.st_mode):
        problem = Problem(path.name, "", "is not a plain file", "send a plain file, no link, folder or pipe", fatal)
    elif status.st_size > limit:
        problem = _too_large(path.name, f"{status.st_size:,} bytes", limit)
    if problem:
        os.close(handle)
        return None, [problem]
    return handle, []


def _too_large(name: str, value: str, limit: int) -> Problem:
    remedy = {TABLE: "send coarser maps", CARD: "shorten its texts"}.get(name, "it is not what was written here")
    return Problem(name, value, "is too large", f"at most {limit:,} bytes; {remedy}", name == TABLE)


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
