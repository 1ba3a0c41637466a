"""Make an entry from a dict of arrays."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from ..errors import MedgroundError
from ..geometry import Box
from .schema import CARD, COLUMNS, FIELDS, TABLE

_BATCH = 256
_FLOATS = ("grid.list.element",)  # their bytes compress better one plane after the other


def write(
    folder: Path | str,
    *,
    maps: Mapping[str, np.ndarray] | None = None,
    boxes: Mapping[str, Sequence[Box]] | None = None,
    extents: Mapping[str, Box] | None = None,
    seconds: Mapping[str, float] | None = None,
    **card,
) -> Path:
    """Write an entry and return its folder, which must not hold another.

    ``maps`` are arrays ``[h, w]`` of any resolution by case id, larger meaning more evidence for the answer;
    ``extents`` the native boxes that they cover, where that is not the whole film (a padded canvas, say). ``boxes``
    are native boxes by case id, the best first. ``seconds`` is the time each case took. The rest is the card: see
    `medground.submission.FIELDS`; `medground.submission.validate` checks all of it.

    >>> write("my-entry", maps={"m/direct/s/0": heat}, method="Mine", version="1", authors=["A. Author"], ...)
    """
    maps, boxes, extents, seconds = maps or {}, boxes or {}, extents or {}, seconds or {}
    twice, lost = maps.keys() & boxes.keys(), (extents.keys() | seconds.keys()) - maps.keys() - boxes.keys()
    if twice or lost:
        reason = "has both a map and boxes" if twice else "has an extent or seconds, but neither a map nor boxes"
        raise MedgroundError(f"case {min(twice or lost)} {reason}; give each case one attribution")
    if unknown := card.keys() - FIELDS.keys():
        raise MedgroundError(f"unknown keys {sorted(unknown)}; the card of an entry has {', '.join(FIELDS)}")

    def rows() -> Iterator[dict]:
        for case, heat in maps.items():
            heat = np.asarray(heat)
            if heat.ndim != 2:
                raise MedgroundError(f"the map of case {case} has the shape {heat.shape}; pass [h, w]")
            shape = {"grid": heat.ravel(), "grid_height": heat.shape[0], "grid_width": heat.shape[1]}
            yield {"case_id": case, **shape, "extent": extents.get(case), "seconds": seconds.get(case)}
        for case, found in boxes.items():
            numbers = [[float(value) for value in box] for box in found]
            yield {"case_id": case, "boxes": numbers, "seconds": seconds.get(case)}

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (CARD, TABLE):
        if (folder / name).exists():
            raise MedgroundError(f"{folder / name} exists; choose another folder or delete it")
    write_rows(rows(), folder / TABLE)
    card = {key: card[key] for key in FIELDS if key in card}
    (folder / CARD).write_text(yaml.safe_dump(card, sort_keys=False, allow_unicode=True))
    return folder


def write_rows(rows: Iterable[Mapping], path: Path) -> None:
    """Stream rows into a table of `schema.COLUMNS`, which takes its place when it is whole; a grid may be an array.

    Raises MedgroundError for a value that does not fit.
    """
    rows, partial = iter(rows), path.with_name(f".{path.name}")
    options: dict[str, Any] = {
        "compression": "zstd", "use_dictionary": ["case_id"], "use_byte_stream_split": list(_FLOATS),
        "write_page_checksum": True,  # zstd passes on many a changed byte as another number
    }  # fmt: skip
    try:
        with pq.ParquetWriter(partial, COLUMNS, **options) as writer:
            while batch := list(islice(rows, _BATCH)):
                columns = [pa.array([_value(row, field.name) for row in batch], field.type) for field in COLUMNS]
                writer.write_table(pa.Table.from_arrays(columns, schema=COLUMNS))
        os.replace(partial, path)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise MedgroundError(f"{path}: a value does not fit its column: {error}; check the arrays") from None
    finally:
        partial.unlink(missing_ok=True)


def _value(row: Mapping, name: str) -> object:
    value = row.get(name)
    return np.asarray(value, np.float32) if name == "grid" and value is not None else value
