"""The frame around every long stage: batches, progress, resume, one table at the end."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from .. import records
from ..errors import MedgroundError

PROGRESS = Path(".progress")
# An executor yields (batch, rows) in any order: run(fn, batches, workers) -> iterator.
EXECUTORS = {"local": "medground.engine.local", "ray": "medground.engine.ray"}


def map(
    fn: Callable[[list[Any]], list[dict]],
    items: Sequence[Any],
    *,
    key: Callable[[Any], str],
    out: Path | str,
    schema: pa.Schema,
    name: str = "local",
    workers: int = 0,
    batch_size: int = 16,
    fingerprint: str = "",
    made_by: dict | None = None,
) -> None:
    """Write the rows that ``fn`` returns for ``items`` as one table, in the order of the items.

    ``fn`` takes a list of items and returns any number of rows of ``schema``. Finished batches are kept under
    ``.progress/`` until the table is written, so that an interrupted run goes on where it stopped; ``fingerprint``
    names what the rows depend on besides the items (settings, input files), and kept batches of another fingerprint
    are dropped. ``name`` is ``local`` or ``ray`` and ``workers`` the number of processes (0: one a GPU, else one a
    core); the table does not depend on them. ``fn`` must pickle.
    """
    if name not in EXECUTORS:
        raise MedgroundError(f"engine.name is {name!r}; known: {', '.join(EXECUTORS)}")
    keys = [key(item) for item in items]
    if len(set(keys)) != len(keys):
        twice = next(k for k in keys if keys.count(k) > 1)
        raise MedgroundError(f"{out}: the item {twice} is there twice")
    folder = PROGRESS / _slug(out)
    state = hashlib.sha256(json.dumps([fingerprint, batch_size, keys]).encode()).hexdigest()
    if not (folder / state).exists():
        shutil.rmtree(folder, ignore_errors=True)
        (folder / state).mkdir(parents=True)
    folder /= state
    batches = list(enumerate(_batched(items, batch_size)))
    waiting = [(n, batch) for n, batch in batches if not _part(folder, n).exists()]
    run = import_module(EXECUTORS[name]).run
    with _bar() as bar:
        task = bar.add_task(str(out), total=len(items), completed=len(items) - sum(len(b) for _, b in waiting))
        for (number, batch), rows in run(fn, waiting, workers):
            records.write_table(rows, schema, _part(folder, number))
            bar.advance(task, len(batch))
    parts = [pq.read_table(_part(folder, n)) for n, _ in batches]
    table = pa.concat_tables(part.replace_schema_metadata(None) for part in parts) if parts else []
    records.write_table(table, schema, out, **(made_by or {}))
    shutil.rmtree(folder.parent)


def _part(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.parquet"


def _slug(out: Path | str) -> str:
    return str(out).replace("/", "_").strip("._")


def _batched(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))
