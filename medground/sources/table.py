"""Your own films: a CSV, Parquet or COCO JSON file that names images, patients, findings and boxes.

Everything that is wrong with it is said at once, with row, value and remedy. See docs/how-to/your-own-data.md.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from .. import params as parameters
from ..errors import MedgroundError
from ..images import read_film
from .licence import NO_CONTENT, Licence
from .provider import Annotated, samples
from .source import Source, register_source

if TYPE_CHECKING:
    from ..params import Params

CORNERS = ("x1", "y1", "x2", "y2")
REQUIRED = ("image", "patient", "finding")
OPTIONAL = ("question", "split", "licence", "view")
COORDINATES = ("pixels", "relative")
FRONTAL = {"", "frontal", "pa", "ap"}
SPLITS = ("dev", "test")
LISTED = 100  # problems that are printed
_SLACK = 1.0  # pixels by which a box may lie beyond its film: annotation tools round


@dataclass
class Row:
    """One row of the file: a film, a finding, and the boxes of it that the row holds."""

    where: str  # "row 3", as a person counts in that file
    image: str
    patient: str
    finding: str
    boxes: list[list[Any]]
    question: str = ""
    split: str = ""
    licence: str = ""
    view: str = ""


@dataclass
class Table:
    """A file of annotations, read and checked: its rows, and everything that is wrong with them."""

    path: Path
    rows: list[Row] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)  # of the films, (width, height)

    def report(self) -> str:
        """What the file holds, or all that is wrong with it, a line each."""
        if self.problems:
            more = len(self.problems) - LISTED
            lines = [f"{self.path}: {len(self.problems)} problems", *self.problems[:LISTED]]
            return "\n".join([*lines, f"... and {more} more"] if more > 0 else lines)
        patients, samples_ = {row.patient for row in self.rows}, {(row.image, row.finding) for row in self.rows}
        return (
            f"{self.path}: no problems; {len(samples_)} samples on {len(self.sizes)} films of {len(patients)} patients"
        )


def read(path: Path | str, images: Path | str | None = None, coordinates: str = "pixels") -> Table:
    """Read and check a file of annotations; every film is decoded once.

    ``images`` is the folder that image names are relative to, by default the file's own. Boxes are ``[x1, y1, x2, y2]``
    with the origin at the top left, in the film's ``pixels`` or ``relative`` to its width and height (0 to 1); COCO's
    ``[x, y, width, height]`` is turned into that. Raises MedgroundError where the file cannot be read at all.
    """
    path = Path(path)
    parameters.choose(coordinates, list(COORDINATES), "kind of coordinates")
    found = Table(path)
    if not path.is_file():
        raise MedgroundError(f"{path} is missing; give the path of your table (table.path in params.yaml)")
    if path.suffix.lower() == ".json":
        _coco(found)
    else:
        _frame(found)
    _check(found, Path(images) if images else path.parent, coordinates)
    return found


def _frame(table: Table) -> None:
    """The rows of a CSV, TSV or Parquet file."""
    kind = table.path.suffix.lower()
    try:
        if kind in (".parquet", ".pq"):
            frame = pd.read_parquet(table.path)
        elif kind in (".csv", ".tsv", ".txt"):
            separator = "\t" if kind == ".tsv" else ","
            frame = pd.read_csv(table.path, sep=separator, dtype=str, keep_default_na=False)
        else:
            raise MedgroundError(f"{table.path} is neither .csv, .tsv, .parquet nor COCO .json; save it as such")
    except (OSError, ValueError) as error:
        raise MedgroundError(f"{table.path} cannot be read ({error}); save it again as CSV or Parquet") from None
    missing = [name for name in REQUIRED if name not in frame]
    boxed = "boxes" in frame or all(name in frame for name in CORNERS)
    if missing:
        table.problems.append(f"columns {', '.join(missing)} are missing among {list(frame)}; rename or add them")
    if not boxed:
        table.problems.append(f"there are neither columns {', '.join(CORNERS)} nor a column boxes; add one of the two")
    if missing or not boxed:
        return
    for number, row in enumerate(frame.to_dict("records")):
        where = f"row {number + (2 if kind not in ('.parquet', '.pq') else 0)}"  # of a CSV, as an editor counts lines
        boxes = _boxes(row["boxes"]) if "boxes" in row else [[row[name] for name in CORNERS]]
        if boxes is None:
            table.problems.append(f"{where}: boxes is {row['boxes']!r}, not a list of [x1, y1, x2, y2]; write it so")
            continue
        texts = {name: _text(row.get(name)) for name in (*REQUIRED, *OPTIONAL)}
        table.rows.append(Row(where=where, boxes=boxes, **texts))


def _coco(table: Table) -> None:
    """The rows of a COCO file: annotations, joined with images (with ``patient``) and categories."""
    try:
        content = json.loads(table.path.read_bytes())
        images = {image["id"]: image for image in content["images"]}
        names = {category["id"]: category["name"] for category in content["categories"]}
        annotations = content["annotations"]
    except OSError as error:
        raise MedgroundError(f"{table.path} cannot be read ({error.strerror}); check its path") from None
    except (ValueError, KeyError, TypeError) as error:
        raise MedgroundError(
            f"{table.path} is not COCO JSON ({type(error).__name__}: {error}): it needs images, annotations and "
            "categories, each with an id"
        ) from None
    for number, annotation in enumerate(annotations):
        where = f"annotation {annotation.get('id', number)}"
        image, finding = images.get(annotation.get("image_id")), names.get(annotation.get("category_id"))
        if image is None or finding is None:
            key = "image_id" if image is None else "category_id"
            table.problems.append(f"{where}: {key} is {annotation.get(key)!r}, which the file does not list; add it")
            continue
        box = annotation.get("bbox")
        if isinstance(box, list) and len(box) == 4 and all(_number(edge) is not None for edge in box):
            x, y, width, height = map(float, box)
            box = [x, y, x + width, y + height]
        extra = {name: _text(annotation.get(name, image.get(name))) for name in OPTIONAL}
        patient = _text(image.get("patient", image.get("patient_id")))
        table.rows.append(Row(where, _text(image.get("file_name")), patient, _text(finding), [box], **extra))


def _check(table: Table, images: Path, coordinates: str) -> None:
    """Note everything that is wrong with the rows."""
    films = sorted({row.image for row in table.rows if row.image})
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        sizes = dict(zip(films, pool.map(_size, [images / name for name in films]), strict=True))
    table.sizes = {name: size for name, size in sizes.items() if isinstance(size, tuple)}
    splits: dict[str, tuple[str, str]] = {}  # of each patient, and the row that says so
    first: dict[tuple[str, str], Row] = {}
    for row in table.rows:
        table.problems += [
            f"{row.where}: {problem}" for problem in _row(row, sizes.get(row.image), images, coordinates)
        ]
        said, where = splits.setdefault(row.patient, (row.split, row.where))
        if row.patient and said != row.split:
            table.problems.append(
                f"{row.where}: patient {row.patient!r} is in split {row.split or 'none'!r}, in {where} in "
                f"{said or 'none'!r}; all films of a patient belong in one"
            )
        other = first.setdefault((row.image, row.finding), row)
        for name in ("patient", *OPTIONAL):
            if getattr(other, name) != getattr(row, name):
                table.problems.append(
                    f"{row.where}: {name} is {getattr(row, name)!r}, in {other.where} of the same image and finding "
                    f"{getattr(other, name)!r}; they are one sample and must agree"
                )
    if not table.rows and not table.problems:
        table.problems.append("there is no row; add one for each box")


def _row(row: Row, size: tuple[int, int] | str | None, images: Path, coordinates: str) -> Iterator[str]:
    for name in REQUIRED:
        if not getattr(row, name):
            yield f"{name} is empty; fill it in" + (
                ", with the image's name where each film is of another patient" if name == "patient" else ""
            )
    if isinstance(size, str):
        yield f"image {row.image!r} {size}; it is looked for in {images}"
    if row.split not in ("", *SPLITS):
        yield f"split is {row.split!r}; write dev or test, or leave the column out"
    if not row.boxes:
        yield "there is no box; add one, or leave the row out: only findings that somebody drew are asked about"
    for box in row.boxes:
        numbers = [_number(edge) for edge in box] if isinstance(box, Sequence) and not isinstance(box, str) else []
        if len(numbers) != 4 or any(edge is None for edge in numbers):
            yield f"the box is {box!r}; it must be four numbers, x1, y1, x2, y2"
            continue
        x1, y1, x2, y2 = (edge for edge in numbers if edge is not None)
        if x2 <= x1 or y2 <= y1:
            yield f"the box {[x1, y1, x2, y2]} has no area; x2 and y2 are its lower right corner, not its size"
            continue
        if not isinstance(size, tuple):
            continue
        width, height = (1.0, 1.0) if coordinates == "relative" else size
        slack = _SLACK / max(size) if coordinates == "relative" else _SLACK
        if x1 < -slack or y1 < -slack or x2 > width + slack or y2 > height + slack:
            other = "relative" if coordinates == "pixels" else "pixels"
            yield (
                f"the box {[x1, y1, x2, y2]} lies beyond the film, {width:g} x {height:g}; correct it, or set "
                f"table.coordinates to {other}"
            )
        elif coordinates == "pixels" and max(x2, y2) <= 1.0:
            yield f"the box {[x1, y1, x2, y2]} is within one pixel; set table.coordinates to relative"


def _size(path: Path) -> tuple[int, int] | str:
    """Width and height of a film, or why it cannot be used."""
    if not path.is_file():
        return "is missing"
    try:
        height, width = read_film(path).shape
    except MedgroundError as error:
        return f"cannot be used ({error})"
    return width, height


def _boxes(value: Any) -> list[list[Any]] | None:
    """A list of boxes from JSON text or from Parquet; None where it is none."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    if value is None or isinstance(value, float):
        return []
    try:
        listed = [list(box) for box in value]
    except TypeError:
        return None
    return listed


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _text(value: Any) -> str:
    """A cell as text; empty where there is none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(value).strip()


@register_source
class OwnTable(Source):
    """Samples of your own table, one for each (image, finding), in the order of their first rows."""

    name = "table"
    title = "Your own films"
    licence = Licence(
        text="as its table says, else not to be passed on",
        url="the table's path in params.yaml",
        credit="The films are yours.",
        obtain="from whoever made this dataset: nothing but keys and numbers of these films leaves",
        may_leave=NO_CONTENT,
    )
    ships = "a CSV, Parquet or COCO JSON file at table.path in params.yaml"

    def annotated(self, root: Path) -> Sequence[Annotated]:
        """What a table in ``root`` would say needs its name: use `read`."""
        raise MedgroundError("the source table reads table.path in params.yaml")

    def files(self, params: Params, raw: Path) -> tuple[Path, list[Path]]:
        """The table and its films; MedgroundError lists everything that is wrong with it."""
        table, images = self._read(params)
        films = sorted(images / name for name in table.sizes)
        paths = [table.path, *films]
        root = Path(os.path.commonpath([path.resolve().parent for path in paths]))
        return root, [path.resolve().relative_to(root) for path in paths]

    def samples(self, root: Path, params: Params | None = None) -> tuple[list[dict], dict[str, int]]:
        assert params is not None
        table, images = self._read(params)
        settings = params.table
        grouped: dict[tuple[str, str], list[Row]] = {}
        for row in table.rows:
            grouped.setdefault((row.image, row.finding), []).append(row)
        items = []
        for (image, finding), rows in grouped.items():
            row = rows[0]
            view = row.view.lower()
            items.append(
                Annotated(
                    patient_id=row.patient,
                    film=images / image,
                    finding=finding,
                    boxes=[[float(edge) for edge in box] for one in rows for box in one.boxes],
                    frame=(1.0, 1.0) if settings.coordinates == "relative" else None,
                    problem=None if view in FRONTAL else f"the view is {view}, not frontal",
                    question=row.question or None,
                    split=row.split or split(params.seed, row.patient, settings.dev_share),
                    licence=row.licence or settings.licence or None,
                )
            )
        return samples(self.name, self.licence.text, items)

    def root(self, params: Params | None = None) -> Path:
        if params is None:
            raise MedgroundError("the source table reads table.path in params.yaml; run this where params.yaml is")
        return Path(params.table.images or Path(params.table.path).parent)

    def films(self, root: Path) -> list[Path]:
        raise MedgroundError("the films of the source table are the images that your table names")

    def _read(self, params: Params) -> tuple[Table, Path]:
        settings = params.table
        if not settings.path:
            raise MedgroundError("the source table needs table.path in params.yaml: docs/how-to/your-own-data.md")
        table = read(settings.path, settings.images or None, settings.coordinates)
        if table.problems:
            raise MedgroundError(table.report())
        return table, self.root(params)


def split(seed: int, patient: str, dev_share: float) -> str:
    """``dev`` or ``test``, by patient: the same for the same seed, whatever else is in the table."""
    digest = hashlib.sha256(f"table/{seed}/{patient}".encode()).digest()
    return "dev" if int.from_bytes(digest[:8], "big") / 2**64 < dev_share else "test"
