"""The one validator: command line, app, tests and continuous integration all ask it.

It lists every problem at once. The table is opened in a process of its own with bounded memory and time, so that a
file made to break its reader breaks nothing else.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from . import schema
from .reader import file_problems, open_table, read_batches, read_card
from .sandbox import environment
from .schema import CARD, TABLE, Problem, card_problems, plain, shown
from .slots import slot

MEMORY = 2 << 30  # bytes of data that the reading process may hold
SECONDS = 300
MISSING = "is missing"
_LISTED = 100  # problems of one kind that are listed one by one


@dataclass(frozen=True)
class Report:
    """``card`` is the content of entry.yaml where it could be read, ``problems`` what is wrong, the worst first, and
    ``missing`` every case that the card promises and the table lacks."""

    card: dict | None
    problems: list[Problem]
    missing: tuple[str, ...] = ()

    @property
    def valid(self) -> bool:
        """Nothing is wrong."""
        return not self.problems

    @property
    def scorable(self) -> bool:
        """The table can be scored, whatever single cases and the card suffer from."""
        return not any(problem.fatal for problem in self.problems)

    def text(self) -> str:
        """One line a problem."""
        return "\n".join(map(str, self.problems)) or "no problems"


def validate(folder: Path | str, cases: Sequence[Mapping]) -> Report:
    """Check an entry against the benchmark's ``cases`` (case_id, model, mode, width, height).

    Never raises for what the folder holds: whatever is wrong is in the report. Raises MedgroundError where too many
    other entries are being validated on this machine (`slots`).
    """
    folder = Path(folder)
    problems = file_problems(folder)
    if any(problem.where == CARD for problem in problems) or not folder.is_dir():
        card = None
    else:
        card, unread = read_card(folder)
        models, modes = ({case[key] for case in cases} for key in ("model", "mode"))
        problems += unread or card_problems(card, models, modes)
    if not any(problem.fatal for problem in problems):
        problems += _in_sandbox(folder / TABLE, _expected(cases, card), cases)
    card = card if isinstance(card, dict) else None
    before = f"{TABLE} case "
    missing = tuple(
        problem.where.removeprefix(before)
        for problem in problems
        if problem.message == MISSING and problem.where.startswith(before)
    )
    return Report(card, sorted(_shortened(problems), key=lambda problem: not problem.fatal), missing)


def table_problems(path: Path, expected: Iterable[str], films: Mapping[str, tuple[int, int]]) -> Iterator[Problem]:
    """What is wrong with a table of attributions, while holding one batch of it.

    ``expected`` are the case ids that the card promises, ``films`` the width and height of every known case's film.
    """
    file, problems = open_table(path)
    yield from problems
    if problems:
        return
    expected, row = set(expected), 0
    seen: set[str] = set()
    try:
        for batch in read_batches(file):
            for values in _rows(batch):
                yield from _row_problems(values, f"{TABLE} row {row}", expected, films, seen)
                row += 1
    except MemoryError:  # pyarrow's too, hence first
        yield _too_much(f"{TABLE} after row {row}")
        return
    except (pa.ArrowException, OSError, ValueError) as error:
        remedy = "write the file again"
        yield Problem(f"{TABLE} after row {row}", shown(str(error), 160), "cannot be decoded", remedy, fatal=True)
        return
    for case in sorted(expected - seen):
        remedy = "add a row; without grid and boxes it abstains, which scores the worst value"
        yield Problem(f"{TABLE} case {shown(case, 200)}", "", MISSING, remedy)


def _row_problems(row: dict, where: str, expected: set, films: Mapping, seen: set) -> Iterator[Problem]:
    case = row["case_id"]
    if not isinstance(case, str):
        yield Problem(where, "", "has no case_id", "give every row the id of a case")
        return
    where = f"{where} case {shown(case)}"
    if case in seen:
        yield Problem(where, "", "was already given", "keep one row a case; as it is, the case scores the worst value")
    elif case not in films:
        yield Problem(where, "", "is unknown", "take the ids of data/cases/cases.parquet; the row is not scored")
    elif case not in expected:
        yield Problem(where, "", f"is of a model or mode that {CARD} does not list", "list it, or leave the row out")
    seen.add(case)
    width, height = films.get(case, (math.inf, math.inf))
    grid, boxes = row.get("grid"), row.get("boxes")
    if grid is not None and boxes:
        yield Problem(where, "", "has both a grid and boxes", "give either")
    if grid is not None:
        yield from _grid_problems(row, where, width, height)
    if boxes:
        yield from _boxes_problems(boxes, where, width, height)
    for name in ("seconds", "forwards"):
        value = row.get(name)
        if value is not None and not 0 <= value < math.inf:
            yield Problem(f"{where} {name}", shown(value), "is not a positive number", "measure it or leave it empty")
    yield from _extras_problems(row, where)


def _grid_problems(row: dict, where: str, width: float, height: float) -> Iterator[Problem]:
    grid, rows, columns = row["grid"], row.get("grid_height"), row.get("grid_width")
    if not rows or not columns or rows < 1 or columns < 1 or rows * columns != grid.size:
        value = f"{grid.size} values, {rows} x {columns}"
        yield Problem(f"{where} grid", value, "has another shape", "write grid_height x grid_width values, row by row")
    elif grid.size > schema.MAX_CELLS:
        remedy = f"at most {schema.MAX_CELLS:,} cells a map; make it coarser and say which extent it covers"
        yield Problem(f"{where} grid", f"{rows} x {columns}", "is too large", remedy)
    elif not np.isfinite(grid).all():
        at = int(np.flatnonzero(~np.isfinite(grid))[0])
        remedy = "correct it, or leave the grid empty to abstain"
        yield Problem(f"{where} grid", f"{grid[at]} at {at}", "has NaN, empty or infinite values", remedy)
    elif grid.min() == grid.max():
        remedy = "a constant map shows nothing; leave the grid empty to abstain"
        yield Problem(f"{where} grid", shown(float(grid[0])), "has no contrast", remedy)
    extent = row.get("extent")
    if extent is not None:
        if wrong := _box_problem(extent):
            yield Problem(f"{where} extent", _numbers(extent), wrong, "give x1, y1, x2, y2 in native pixels")
        elif extent[0] >= width or extent[1] >= height or extent[2] <= 0 or extent[3] <= 0:
            remedy = f"give the native box that the grid covers; the film is {width} x {height}"
            yield Problem(f"{where} extent", _numbers(extent), "does not overlap the film", remedy)


def _boxes_problems(boxes: list, where: str, width: float, height: float) -> Iterator[Problem]:
    if len(boxes) > schema.MAX_BOXES:
        remedy = f"at most {schema.MAX_BOXES}, the best first"
        yield Problem(f"{where} boxes", str(len(boxes)), "are too many", remedy)
    for number, box in enumerate(boxes[: schema.MAX_BOXES]):
        at = f"{where} box {number}"
        if wrong := _box_problem(box):
            yield Problem(at, _numbers(box), wrong, "give x1, y1, x2, y2 in native pixels, x1 < x2 and y1 < y2")
        elif min(box[0], box[1], width - box[2], height - box[3]) < -schema.OUTSIDE:
            remedy = f"boxes are in native pixels of the film, {width} x {height}; clip them"
            yield Problem(at, _numbers(box), "lies outside the film", remedy)


def _box_problem(box: list | None) -> str | None:
    if box is None or len(box) != 4:
        return "has not four numbers"
    if any(value is None or not math.isfinite(value) for value in box):
        return "has NaN, empty or infinite coordinates"
    return "is inverted or empty" if box[0] >= box[2] or box[1] >= box[3] else None


def _extras_problems(row: dict, where: str) -> Iterator[Problem]:
    texts = [row.get("note")]
    for name, key in (("concepts", "concept"), ("tokens", "token")):
        items = row.get(name) or []
        texts += [item and item[key] for item in items]
        if len(items) > schema.MAX_TEXT or any(
            item is None or not isinstance(item[key], str) or not math.isfinite(_or_nan(item["effect"]))
            for item in items
        ):
            yield Problem(f"{where} {name}", "", f"need a {key} and a finite effect each", "correct or leave empty")
        if any(item and "box" in item and _box_problem(item["box"]) for item in items):
            yield Problem(f"{where} {name}", "", "have a box that is none", "give x1, y1, x2, y2 in native pixels")
    for text in texts:
        if isinstance(text, str) and (len(text) > schema.MAX_TEXT or not plain(text.replace("\n", ""))):
            remedy = f"plain text of at most {schema.MAX_TEXT} characters"
            yield Problem(where, shown(text), "has a text that is too long or has control characters", remedy)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _numbers(box: list | None) -> str:
    return shown(", ".join("empty" if v is None else f"{v:g}" for v in (box or [])[:6]))


def _rows(batch: pa.RecordBatch) -> Iterator[dict]:
    """Rows as dicts; a grid is a float array, since a list of a million Python numbers is 32 MB."""
    names = batch.schema.names
    columns = [batch[name] if name == "grid" else batch[name].to_pylist() for name in names]
    for values in zip(*columns, strict=True):
        row = dict(zip(names, values, strict=True))
        if "grid" in row:
            grid = row["grid"]
            row["grid"] = _single(grid.values.to_numpy(zero_copy_only=False)) if grid.is_valid else None
        yield row


def _single(grid: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return grid.astype(np.float32)  # as it is stored and scored: what overflows here is infinite there


def _expected(cases: Sequence[Mapping], card: object) -> list[str]:
    """The cases that a card promises to explain; all of them where it does not say."""
    promised = card if isinstance(card, dict) else {}
    models, modes = (promised.get(key) for key in ("models", "modes"))
    return [
        case["case_id"]
        for case in cases
        if (not isinstance(models, list) or case["model"] in models)
        and (not isinstance(modes, list) or case["mode"] in modes)
    ]


def _shortened(problems: Iterable[Problem]) -> list[Problem]:
    """At most `_LISTED` problems of a kind, then how many more there are."""
    counts: Counter[str] = Counter()
    listed = []
    for problem in problems:
        counts[problem.message] += 1
        if counts[problem.message] <= _LISTED:
            listed.append(problem)
    for message, count in counts.items():
        if count > _LISTED:
            listed.append(Problem(TABLE, "", f"{count - _LISTED:,} more of: {message}", "correct the first ones"))
    return listed


def _too_much(where: str) -> Problem:
    return Problem(where, "", "expands beyond what may be held in memory", "send coarser maps", fatal=True)


def _in_sandbox(path: Path, expected: list[str], cases: Sequence[Mapping]) -> list[Problem]:
    films = {case["case_id"]: (case["width"], case["height"]) for case in cases}
    question = json.dumps({"path": str(path.resolve()), "expected": expected, "films": films})
    try:
        with slot(MEMORY):
            answer = subprocess.run(
                [sys.executable, "-m", "medground.submission.sandbox", str(MEMORY), str(SECONDS)],
                input=question, capture_output=True, text=True, timeout=10 * SECONDS, env=environment(os.environ),
            )  # fmt: skip
    except subprocess.TimeoutExpired:
        return [Problem(TABLE, "", f"takes more than {10 * SECONDS} seconds to read", "send coarser maps", fatal=True)]
    if answer.returncode:
        remedy = "the file is damaged or made to do harm; write it again with medground.submission.write"
        return [Problem(TABLE, f"exit {answer.returncode}", "makes its reader fail", remedy, fatal=True)]
    return [Problem(**problem) for problem in json.loads(answer.stdout)]
