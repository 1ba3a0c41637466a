"""The frame around every long stage: batches, progress, resume, one table at the end.

Whatever dies, and whenever, the same command goes on and ends with the files of an undisturbed run. What makes that so:

- a worker returns what it made, rows and the contents of the files that they name, and writes nothing;
- the rows and files of a batch are kept as one file under ``.progress/``, which is whole or absent;
- the table and its files are made from the kept batches alone, files first, table last. Kept batches stay until
  something that they depend on changes: DVC deletes a stage's outputs before it runs it, and may itself die after a
  stage is done and before it has written that down.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from .. import files, records
from ..errors import MedgroundError
from .job import DIED, TRIES, Failure, Job
from .lock import only

PROGRESS = Path(".progress")
DURATIONS = Path("data/durations")  # what each table cost; ignored by git, unknown to DVC
# An executor yields (job, rows or failure) in any order: run(fn, jobs, workers, idle) -> iterator.
EXECUTORS = {"local": "medground.engine.local", "ray": "medground.engine.ray"}
ALIKE = 3  # items that all fail with one and the same message, when none has gone well, end the run
HOPELESS = 20  # items that fail with whatever message do, too
SHOWN = 10  # failures that the message lists; all are in FAILED
FAILED = "failed.json"
_FILE = pa.struct([pa.field("path", pa.string()), pa.field("content", pa.binary())])


@dataclass(frozen=True)
class Table:
    """A table to make: where, of which items, and what its rows depend on besides them."""

    out: Path | str
    items: Sequence[Any]
    key: Callable[[Any], str]
    schema: pa.Schema
    batch_size: int = 16
    fingerprint: str = ""  # names settings and input files; without one the table is always made anew
    settings: dict = field(default_factory=dict)  # goes into the table's metadata; follows from what the stage reads
    #: What an item's rows depend on besides the fingerprint; and the key of the item that a row is of. With both, the
    #: rows of an item are used again whatever other items there are.
    content: Callable[[Any], str] | None = None
    of: Callable[[dict], str] | None = None
    #: Columns by which the rows are sorted in the end; rows that are alike there stay in the order of their items.
    sort_by: Sequence[str] = ()

    @cached_property
    def keys(self) -> list[str]:
        """The name of each item. MedgroundError where an item is there twice."""
        keys = [self.key(item) for item in self.items]
        if twice := [key for key, count in Counter(keys).items() if count > 1]:
            raise MedgroundError(f"{self.out}: the item {twice[0]} is there twice")
        return keys

    @cached_property
    def contents(self) -> list[str]:
        """What the rows of each item depend on, besides the fingerprint; its key, where the table does not say."""
        return [
            f"{key} {self.content(item)}" if self.content else key
            for key, item in zip(self.keys, self.items, strict=True)
        ]

    def begin(self) -> list[tuple[int, int]]:
        """Drop what was kept for another fingerprint; the spans of items that are still to do, start and stop."""
        if not self.fingerprint or not self._folder.exists():
            shutil.rmtree(self._folder.parent, ignore_errors=True)
        (self._folder / FAILED).unlink(missing_ok=True)
        left = [left for span in self._spans for left in self._left(*span)]
        if left and self.of and self._use_again(left, self.of):
            left = [left for span in self._spans for left in self._left(*span)]
        return left

    def _use_again(self, spans: Sequence[tuple[int, int]], of: Callable[[dict], str]) -> bool:
        """Keep by itself each item of the spans that was kept among others; whether there was one."""
        wanted = {self.contents[place]: place for span in spans for place in range(*span)}
        found = False
        for part in sorted(self._folder.glob("*.parquet")):
            try:
                held = records.made_by(part).get("contents", [])
                if not set(held) & set(wanted):
                    continue
                rows = records.read_rows(part, self._part_schema)
            except (MedgroundError, pa.ArrowException, OSError):  # damaged: as if it were absent
                continue
            for content in held:
                if (place := wanted.pop(content, None)) is not None:
                    own = [row | {"files": None} for row in rows if of(row) == self.keys[place]]
                    self.keep(Job(0, place, place + 1, [self.items[place]]), own)
                    found = True
        return found

    def keep(self, job: Job, rows: list[dict]) -> None:
        """Store the rows of a finished job with the files that they name."""
        contents: dict[str, bytes] = {}
        rows = [_named(row, contents) for row in rows]
        if rows:  # a part is a table too: its first row carries the files
            rows[0] |= {"files": [{"path": path, "content": content} for path, content in contents.items()]}
        contents_of = self.contents[job.start : job.stop]
        records.write_table(rows, self._part_schema, self._part(job.start, job.stop), contents=contents_of)

    def note(self, failures: list[dict]) -> Path:
        """Write down which items failed, and why."""
        files.write_json(failures, self._folder / FAILED)
        return self._folder / FAILED

    def finish(self) -> None:
        """Write the files and then the table out of what was kept, in the order of the items."""
        parts, named = [], set()
        for part in itertools.chain.from_iterable(self._parts(*span) for span in self._spans):
            rows = records.read_table(part, self._part_schema)
            for file in itertools.chain.from_iterable(filter(None, rows["files"].to_pylist())):
                named.add(Path(file["path"]))
                self._put(file)
            parts.append(rows.drop_columns("files"))
        for leftover in _beside(named) - named:
            leftover.unlink()
        rows = pa.concat_tables(parts) if parts else self._part_schema.empty_table()
        if self.sort_by:  # Arrow's sort is stable
            rows = rows.take(pc.sort_indices(rows, [(column, "ascending") for column in self.sort_by]))
        records.write_table(rows.select(self.schema.names), self.schema, self.out, **self.settings)
        if absent := [path for path in named if not path.is_file()]:
            raise MedgroundError(f"{self.out} names {absent[0]}, which is not there; run the same command again")
        self._write_durations(rows)
        if not self.fingerprint:
            shutil.rmtree(self._folder.parent)

    def _put(self, file: dict) -> None:
        """A file of the table, where it is not there yet as it should be; the table of before goes first."""
        path = Path(file["path"])
        if not path.is_file() or path.read_bytes() != file["content"]:
            Path(self.out).unlink(missing_ok=True)
            files.write(file["content"], path)

    def _write_durations(self, rows: pa.Table) -> None:
        """How long the rows took, where the work says so in a column ``seconds`` that is none of the table's."""
        if "seconds" in self.schema.names or rows["seconds"].null_count == len(rows):
            return
        total = pc.sum(rows["seconds"]).as_py()
        files.write_json({"rows": len(rows), "seconds": round(total, 3)}, duration(self.out))

    def _left(self, start: int, stop: int) -> list[tuple[int, int]]:
        """What is left to do of a span: nothing, all of it, or where it was taken apart, some of its halves."""
        if self._kept(start, stop):
            return []
        if stop - start == 1:
            return [(start, stop)]
        halves = (start, (start + stop) // 2), ((start + stop) // 2, stop)
        left = [self._left(*half) for half in halves]
        return [(start, stop)] if left == [[half] for half in halves] else left[0] + left[1]

    def _kept(self, start: int, stop: int) -> bool:
        try:
            records.read_table(self._part(start, stop), self._part_schema)
        except MedgroundError:  # absent, or damaged
            return False
        return True

    def _parts(self, start: int, stop: int) -> Iterator[Path]:
        """The files that were kept of a span, in order."""
        if (whole := self._part(start, stop)).exists() or stop - start == 1:
            yield whole
        else:
            yield from self._parts(start, (start + stop) // 2)
            yield from self._parts((start + stop) // 2, stop)

    @property
    def _spans(self) -> list[tuple[int, int]]:
        """The batches: start and stop of each."""
        count = len(self.keys)
        return [(start, min(start + self.batch_size, count)) for start in range(0, count, self.batch_size)]

    def _part(self, start: int, stop: int) -> Path:
        name = hashlib.sha256(json.dumps(self.contents[start:stop]).encode()).hexdigest()[:24]
        return self._folder / f"{name}.parquet"

    @cached_property
    def _part_schema(self) -> pa.Schema:
        extra = [pa.field("files", pa.list_(_FILE))]
        if "seconds" not in self.schema.names:
            extra.append(pa.field("seconds", pa.float64()))
        return pa.schema([*self.schema, *extra])

    @property
    def _folder(self) -> Path:
        name = hashlib.sha256(self.fingerprint.encode()).hexdigest()[:24]
        return PROGRESS / str(self.out).replace("/", "_").strip("._") / name


def map(
    fn: Callable[[list[Any]], list[dict]],
    items: Sequence[Any],
    *,
    key: Callable[[Any], str],
    out: Path | str,
    schema: pa.Schema,
    name: str = "local",
    workers: int = 0,
    idle: float = 0,
    **about: Any,
) -> None:
    """Write the rows that ``fn`` returns for ``items`` as one table, in the order of the items.

    ``fn`` takes a list of items and returns any number of rows of ``schema``; a value may be a `files.File`, whose path
    goes into the table and whose content is written to that path. A row may have ``seconds`` that the schema has not:
    they go to `DURATIONS`. ``key`` names an item, in the way that a user can find it.

    Finished batches are kept under ``.progress/``, so that an interrupted run goes on where it stopped and a finished
    one costs nothing again; kept batches of another fingerprint are dropped. ``name`` is ``local`` or ``ray`` and
    ``workers`` the number of processes (0: one a GPU, else one a core; 1: this one), which start warm where others
    were needed within ``idle`` seconds before (`local`); the table does not depend on any of these. ``fn`` must pickle.
    ``about`` is what else `Table` takes, such as ``batch_size`` and ``fingerprint``.

    An item for which ``fn`` raises, or over which its workers die, is passed over and the rest is finished; then a
    MedgroundError names each with its reason. The next run tries those alone. The batch that an item was in is halved
    to find it, and what the others gave in their halves is kept.
    """
    map_tables(fn, [Table(out, items, key, schema, **about)], name=name, workers=workers, idle=idle)


def map_tables(
    fn: Callable[[list[Any]], list[dict]],
    tables: Sequence[Table],
    *,
    name: str = "local",
    workers: int = 0,
    idle: float = 0,
) -> None:
    """Several tables as `map` makes one, by the same processes, so that what these load they load once.

    A batch holds items of one table, and a table is written when its last batch is done. The first batches of all
    tables come first, then the second ones, and so on: what tables have to say about the same items, they say in turn.
    """
    if name not in EXECUTORS:
        raise MedgroundError(f"engine.name is {name!r}; known: {', '.join(EXECUTORS)}")
    run = import_module(EXECUTORS[name]).run
    with ExitStack() as held:
        for table in tables:
            held.enter_context(only(str(table.out)))
        work = _Work(tables, held.enter_context(_bar()))
        for job, result in run(fn, work.jobs, workers, idle):
            work.take(job, result)
        work.end()


class _Work:
    """What is left to do of some tables, and what failed."""

    def __init__(self, tables: Sequence[Table], bar: Progress) -> None:
        self.tables, self.bar = tables, bar
        jobs: list[Job] = []
        self.left: list[int] = []  # jobs of each table that are not done
        self.failed: dict[int, list[dict]] = {}
        self.went_well = False
        self.tasks = []
        for number, table in enumerate(tables):
            spans = table.begin()
            jobs += [Job(number, start, stop, list(table.items[start:stop])) for start, stop in spans]
            self.left.append(len(spans))
            done = len(table.items) - sum(stop - start for start, stop in spans)
            self.tasks.append(bar.add_task(str(table.out), total=len(table.items), completed=done))
            if not spans:
                table.finish()
        self.jobs = deque(sorted(jobs, key=lambda job: job.start))  # executors take from the left

    def take(self, job: Job, result: list[dict] | Failure) -> None:
        """Keep what a job gave, or go on without."""
        table = self.tables[job.table]
        if isinstance(result, Failure):
            self._again(job, result)
        else:
            table.keep(job, result)
            self.went_well = True
            self.left[job.table] -= 1
        if not isinstance(result, Failure) or job.stop - job.start == 1:
            self.bar.advance(self.tasks[job.table], len(job.items))
        if not self.left[job.table] and job.table not in self.failed:
            table.finish()

    def end(self, stopped: str = "") -> None:
        """Raise MedgroundError where items failed."""
        if not self.failed:
            return
        for failures in self.failed.values():
            failures.sort(key=lambda failure: failure["number"])
        notes = [self.tables[number].note(failures) for number, failures in self.failed.items()]
        listed = [failure for failures in self.failed.values() for failure in failures]
        lines = [f"  {failure['table']}, {failure['item']}: {failure['error']}" for failure in listed[:SHOWN]]
        if len(listed) > SHOWN:
            lines.append(f"  and {len(listed) - SHOWN} more")
        if any(failure["error"] == DIED for failure in listed):
            lines.append("where memory was short, a smaller engine.batch_size or engine.workers in params.yaml helps")
        what = "1 item" if len(listed) == 1 else f"{len(listed)} items"
        raise MedgroundError(
            f"{what} failed, {stopped or 'all others are done and kept'}:\n" + "\n".join(lines) + "\n"
            f"mend what is named and run the same command again: it tries only what is left; details in "
            f"{', '.join(str(note) for note in notes)}"
        )

    def _again(self, job: Job, failure: Failure) -> None:
        """Once more, in halves, or not at all."""
        self.left[job.table] -= 1
        if failure.died:
            job = job.after_death()
        if failure.died and job.deaths < TRIES:
            again = [job]
        elif len(job.items) > 1:
            again = job.halves()
        else:
            again = []
            self._fail(job, failure)
        self.jobs.extendleft(reversed(again))
        self.left[job.table] += len(again)

    def _fail(self, job: Job, failure: Failure) -> None:
        table = self.tables[job.table]
        about = {"table": str(table.out), "number": job.start, "item": table.keys[job.start]}
        self.failed.setdefault(job.table, []).append(about | {"error": failure.text, "where": failure.where})
        texts = [failure["error"] for failures in self.failed.values() for failure in failures]
        alike = len(texts) == ALIKE and len(set(texts)) == 1
        if not self.went_well and (alike or len(texts) == HOPELESS):
            self.end("and none went well, so that the others were not tried")


def duration(table: Path | str) -> Path:
    """The file that says how many rows a table has and how many seconds they took in all, as `map` measured it."""
    path = Path(table)
    return (DURATIONS / (path.relative_to("data") if path.parts[0] == "data" else path.name)).with_suffix(".json")


def _named(value: Any, contents: dict[str, bytes]) -> Any:
    """A value of a row, wherever a file is in it with the file's path instead; the file goes to ``contents``."""
    if isinstance(value, files.File):
        contents[value.path] = value.content
        return value.path
    if isinstance(value, dict):
        return {name: _named(part, contents) for name, part in value.items()}
    if isinstance(value, list) and any(isinstance(part, dict | files.File) for part in value):
        return [_named(part, contents) for part in value]
    return value


def _beside(named: set[Path]) -> set[Path]:
    """The files of the same kinds in the folders of those that a table names."""
    kinds = {(path.parent, path.suffix) for path in named}
    return {path for folder, suffix in kinds for path in folder.glob(f"*{suffix}")}


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))
