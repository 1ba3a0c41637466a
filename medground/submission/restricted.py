"""What an entry may tell about films whose pixels may not leave: so little that no film comes back from it.

An entry is public, in git or on the Hub, and a map can be anything, the film itself included. For cases of a source
whose licence does not let pixels leave, a map is stored with at most `SIDE` x `SIDE` cells of `LEVELS` levels (512
bytes), boxes and extents in whole pixels, and nothing else that could carry content: no texts, no effects, no counts.
`confined` makes that of a row, `excess` says where a row is more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
from PIL import Image

from ..sources import SOURCES, Kind, licence_of

SIDE = 32  # cells: finer than the token grids of the models (16 x 16) and the tiles of occlusion (8 x 8)
LEVELS = 16
_DROPPED = ("concepts", "tokens", "note", "forwards")


def pixels_may_leave(source: str) -> bool:
    """Whether the films of a source may be published; an unknown source says nothing, so they may not."""
    return source in SOURCES and Kind.PIXELS in licence_of(source).may_leave


def source_of(case_id: str) -> str:
    """The source that a case's id names: ``model/mode/source/index``."""
    return case_id.split("/")[-2] if case_id.count("/") >= 3 else ""


def confined(row: Mapping) -> dict:
    """A row of `records.ATTRIBUTIONS` with a flat or ``[h, w]`` grid, made so coarse that it may leave."""
    row = {**row, **dict.fromkeys(_DROPPED)}
    if row.get("seconds") is not None:
        row["seconds"] = round(row["seconds"], 1)
    if row.get("extent") is not None:
        row["extent"] = [float(round(value)) for value in row["extent"]]
    if row.get("boxes") is not None:
        row["boxes"] = [
            [float(math.floor(x1)), float(math.floor(y1)), float(math.ceil(x2)), float(math.ceil(y2))]
            for x1, y1, x2, y2 in row["boxes"]
        ]
    if row.get("grid") is not None:
        grid = np.asarray(row["grid"], np.float32).reshape(row["grid_height"], row["grid_width"])
        height, width = (min(side, SIDE) for side in grid.shape)
        if (height, width) != grid.shape:
            grid = np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BOX))
        low, high = float(grid.min()), float(grid.max())
        levels = np.rint((grid - low) / ((high - low) or 1.0) * (LEVELS - 1)).astype(np.float32)
        row |= {"grid": levels.ravel(), "grid_height": height, "grid_width": width}
    return row


def excess(row: Mapping) -> Iterator[str]:
    """What a row says about a film beyond what `confined` leaves."""
    grid = row.get("grid")
    if grid is not None:
        grid = np.asarray(grid)
        if max(row["grid_height"] or 0, row["grid_width"] or 0) > SIDE or grid.size > SIDE * SIDE:
            yield f"a map of more than {SIDE} x {SIDE} cells"
        elif not np.isin(grid, np.arange(LEVELS)).all():
            yield f"a map of other values than 0 to {LEVELS - 1}"
    numbers = [value for box in (*(row.get("boxes") or ()), row.get("extent") or ()) for value in box]
    if any(value != round(value) for value in numbers if math.isfinite(value)):
        yield "boxes or an extent that are not in whole pixels"
    yield from (f"{name}" for name in _DROPPED if row.get(name) is not None)
    if row.get("seconds") is not None and row["seconds"] != round(row["seconds"], 1):
        yield "seconds of more than one decimal"
