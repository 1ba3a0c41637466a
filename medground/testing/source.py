"""Is a source what every stage takes it for? The checks that our own sources pass."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .. import records
from ..errors import MedgroundError
from ..images import read_film
from ..sources import SOURCES, Kind, Licence, Source
from .checks import holds, run

if TYPE_CHECKING:
    from ..params import Params


def check_source(source: Source | str, root: Path | str, params: Params | None = None) -> None:
    """Check a source on files in its own format, a few films are enough.

    ``root`` is the folder that stands for ``MEDGROUND_DATA_ROOT``. What is checked: the source is registered under its
    name and declares its licence; its samples fit the schema, are numbered once each, and have a question, a licence
    and boxes within their films, which can be read; no patient is in two splits; reading twice gives the same; the
    films that it wants are those of its samples; and an empty folder is refused with a message that names a file.
    Raises AssertionError that lists all that is wrong.
    ``params`` are those of params.yaml, for a source that they configure.
    """
    if isinstance(source, str):
        source = SOURCES.get(source)
    root = Path(root)
    checks: dict[str, Callable[[], None]] = {
        "registration": partial(_registration, source),
        "licence": partial(_licence, source),
        "samples": partial(_samples, source, root, params),
        "patients": partial(_patients, source, root, params),
        "determinism": partial(_determinism, source, root, params),
        "films": partial(_films, source, root, params),
        "missing files": partial(_missing, source, params),
    }
    run(f"the source {source.name!r}", checks)


def _registration(source: Source) -> None:
    holds(source.name in SOURCES, f"it is not registered as {source.name!r}; use @register_source")
    holds(SOURCES.get(source.name) is source or type(SOURCES.get(source.name)) is type(source), "its name is another's")
    holds(bool(source.annotations), "annotations is empty; name the files that the samples are read from")
    holds(bool(source.ships.strip()), "ships is empty; say which files it needs, below the data root")


def _licence(source: Source) -> None:
    holds(isinstance(source.licence, Licence), "licence is not a Licence")
    for name in ("text", "url", "credit", "obtain"):
        holds(bool(getattr(source.licence, name).strip()), f"licence.{name} is empty")
    allowed = source.licence.may_leave
    holds(Kind.KEY in allowed, "not even keys may leave, so that no case could be published; ask for that much")
    holds(Kind.EDITED not in allowed or Kind.PIXELS in allowed, "edited pixels may leave, but pixels may not")


def _samples(source: Source, root: Path, params: Params | None) -> None:
    rows, dropped = source.samples(root, params)
    holds(bool(rows), f"no sample; dropped: {dropped}")
    holds(all(isinstance(count, int) and count > 0 for count in dropped.values()), f"dropped must count: {dropped}")
    with tempfile.TemporaryDirectory() as folder:
        records.write_table(rows, records.SAMPLES, Path(folder) / "samples.parquet")
    indices = [row["index"] for row in rows]
    holds(len(set(indices)) == len(indices), "an index stands for two samples")
    for row in rows:
        here = f"sample {row['index']}"
        holds(row["source"] == source.name, f"{here} is of source {row['source']!r}")
        holds(row["split"] in ("dev", "test"), f"{here} is in split {row['split']!r}")
        holds(bool(row["finding"].strip() and row["licence"].strip()), f"{here} has no finding, or no licence")
        holds(row["finding"] in row["question"] or row["question"].endswith("?"), f"{here} asks {row['question']!r}")
        height, width = read_film(row["film"]).shape
        holds((row["width"], row["height"]) == (width, height), f"{here} is not of its film's size {width} x {height}")
        holds(bool(row["regions"]), f"{here} has no region")
        for x1, y1, x2, y2 in row["regions"]:
            holds(
                0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height,
                f"{here}: the box {[x1, y1, x2, y2]} is not on the film",
            )


def _patients(source: Source, root: Path, params: Params | None) -> None:
    splits: dict[str, str] = {}
    for row in source.samples(root, params)[0]:
        holds(bool(row["patient_id"].strip()), f"sample {row['index']} has no patient")
        said = splits.setdefault(row["patient_id"], row["split"])
        holds(said == row["split"], f"patient {row['patient_id']!r} is in dev and in test")


def _determinism(source: Source, root: Path, params: Params | None) -> None:
    holds(source.samples(root, params) == source.samples(root, params), "reading twice gives other samples")


def _films(source: Source, root: Path, params: Params | None) -> None:
    wanted = {str(path) for path in source.films(root)}
    lacking = {row["film"] for row in source.samples(root, params)[0]} - wanted
    holds(not lacking, f"films() leaves out {sorted(lacking)[:3]}, of which there are samples")


def _missing(source: Source, params: Params | None) -> None:
    with tempfile.TemporaryDirectory() as empty:
        try:
            source.samples(Path(empty), params)
        except MedgroundError as error:
            names = [path.name for path in source.annotations]
            holds(any(name in str(error) for name in names), f"the message names none of {names}: {error}")
        else:
            holds(False, "an empty folder gives samples, where a MedgroundError should name the missing file")
