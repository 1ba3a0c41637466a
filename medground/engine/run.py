"""The frame around every long stage: batches, progress, resume, one table at the end."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
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


@dataclass(frozen=True)
class Table:
    """A table to make: where, of which items, and what its rows depend on besides them."""

    out: Path | str
    items: Sequence[Any]
    key: Callable[[Any], str]
    schema: pa.Schema
    batch_size: int = 16
    fingerprint: str = ""  # names settings and input files; without one the table is always made anew
    made_by: dict = field(default_factory=dict)  # goes into the table's metadata

    @cached_property
    def state(self) -> str:
        """Equal for tables that would come out equal. MedgroundError where an item is there twice."""
        keys = [self.key(item) for item in self.items]
        if len(set(keys)) != len(keys):
            twice = next(k for k in keys if keys.count(k) > 1)
            raise MedgroundError(f"{self.out}: the item {twice} is there twice")
        return hashlib.sha256(json.dumps([self.fingerprint, self.batch_size, keys]).encode()).hexdigest()

    @property
    def made(self) -> bool:
        """Whether the table is there, made from the same as it would be now."""
        try:
            return bool(self.fingerprint) and records.made_by(self.out).get("state") == self.state
        except (pa.ArrowException, OSError):  # not there, or damaged
            return False

    @cached_property
    def batches(self) -> list[list[Any]]:
        return list(_batched(self.items, self.batch_size))

    def begin(self) -> list[int]:
        """Make room for finished batches, and drop those of another state; numbers of the batches still to do."""
        if not self._folder.exists():
            shutil.rmtree(self._folder.parent, ignore_errors=True)
            self._folder.mkdir(parents=True)
        return [number for number in range(len(self.batches)) if not self._part(number).exists()]

    def keep(self, number: int, rows: list[dict]) -> None:
        """Store the rows of a finished batch."""
        records.write_table(rows, self.schema, self._part(number))

    def finish(self) -> None:
        """Write the table out of its batches, in the order of the items."""
        parts = [pq.read_table(self._part(number)) for number in range(len(self.batches))]
        table = pa.concat_tables(part.replace_schema_metadata(None) for part in parts) if parts else []
        records.write_table(table, self.schema, self.out, **self.made_by, state=self.state)
        shutil.rmtree(self._folder.parent)

    def _part(self, number: int) -> Path:
        return self._folder / f"{number:06d}.parquet"

    @property
    def _folder(self) -> Path:
        return PROGRESS / str(self.out).replace("/", "_").strip("._") / self.state


def map(
    fn: Callable[[list[Any]], list[dict]],
    items: Sequence[Any],
    *,
    key: Callable[[Any], str],
    out: Path | str,
    schema: pa.Schema,
    name: str = "local",
    workers: int = 0,
    **about: Any,
) -> None:
    """Write the rows that ``fn`` returns for ``items`` as one table, in the order of the items.

    ``fn`` takes a list of items and returns any number of rows of ``schema``. Finished batches are kept under
    ``.progress/`` until the table is written, so that an interrupted run goes on where it stopped; kept batches of
    another fingerprint are dropped, and a table that was made from the same is left as it is. ``name`` is ``local`` or
    ``ray`` and ``workers`` the number of processes (0: one a GPU, else one a core); the table does not depend on them.
    ``fn`` must pickle. ``about`` is ``batch_size``, ``fingerprint`` and ``made_by`` of `Table`.
    """
    map_tables(fn, [Table(out, items, key, schema, **about)], name=name, workers=workers)


def map_tables(
    fn: Callable[[list[Any]], list[dict]], tables: Sequence[Table], *, name: str = "local", workers: int = 0
) -> None:
    """Several tables as `map` makes one, by the same processes, so that what these load they load once.

    A batch holds items of one table, and a table is written when its last batch is done.
    """
    if name not in EXECUTORS:
        raise MedgroundError(f"engine.name is {name!r}; known: {', '.join(EXECUTORS)}")
    due = [table for table in tables if not table.made]
    left = {index: set(table.begin()) for index, table in enumerate(due)}
    jobs = [(index, number) for index, numbers in left.items() for number in sorted(numbers)]
    waiting = [(n, due[index].batches[number]) for n, (index, number) in enumerate(jobs)]
    run = import_module(EXECUTORS[name]).run
    with _bar() as bar:
        tasks = []
        for index, table in enumerate(due):
            done = len(table.items) - sum(len(table.batches[number]) for number in left[index])
            tasks.append(bar.add_task(str(table.out), total=len(table.items), completed=done))
            if not left[index]:
                table.finish()
        for (n, batch), rows in run(fn, waiting, workers):
            index, number = jobs[n]
            due[index].keep(number, rows)
            bar.advance(tasks[index], len(batch))
            left[index].remove(number)
            if not left[index]:
                due[index].finish()


def _batched(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))
