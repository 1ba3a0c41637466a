"""An attribution of a case becomes a row of numbers; an entry becomes rows for every case, whatever it left out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice, pairwise
from typing import TypeGuard

import numpy as np
from PIL import Image

from ..errors import MedgroundError
from ..geometry import Box, Letterbox, as_box, fill, intersect, resample
from .boxes import PROTOCOLS, boxes_from_heatmap, check_protocol, invalid
from .metrics import METRICS, Evidence, Metric

MAX_CELLS = 1 << 20  # 1024 x 1024 a map
MAX_BOXES = 100  # an attribution
SIDE = 224  # pixels of the longer side of the canvas on which maps are scored, as in the reference
_BATCH = 32


def score_case(
    attribution: Mapping | None,
    width: int,
    height: int,
    regions: Sequence[Box],
    protocol: str = "medground",
    cause: Sequence[Box] | None = None,
    other: Sequence[Box] | None = None,
) -> dict:
    """The metrics of a case by name, and ``problem``: why it scored the worst value, or None.

    ``attribution`` has ``grid`` (flat or ``[h, w]``), ``grid_height``, ``grid_width`` and ``extent`` (the native box
    that the grid covers; None is the whole film), or ``boxes`` (native pixels, best first); None is a missing case.
    ``width, height`` is the film's size; ``regions`` are the expert's boxes, ``cause`` those of what is known to have
    caused the answer, ``other`` those of the other cause of its pair, all in native pixels. Metrics that need what is
    not given, or empty, are left out; so are those of causes under ``published``.

    A map becomes boxes on the canvas of the protocol (`canvases`); boxes are compared exactly, at any size of the film.
    ``published`` applies the reference's scorer, map and expert boxes alike on its canvas: as shipped, the reference
    compares boxes in pixels of the canvas with boxes in native pixels, so that the film's size decides the score. What
    takes the map itself, or a cause, knows no protocol: it is measured without the padding, where a region counts for
    one pixel at least, and boxes as the map that `render` makes of them.

    Raises MedgroundError for an unknown protocol or a case without expert regions on its film.
    """
    case = {"width": width, "height": height, "regions": regions, "cause": cause, "other": other}
    return _scores(attribution, case, (protocol,))[0]


def canvases(width: int, height: int) -> dict[str, Letterbox]:
    """Where maps of a film of that size in pixels are scored, by protocol; large films cost no more than small ones.

    ``published``: letterboxed to 224x224. ``medground``: the part of it that is film, without the padding.
    ``width, height`` are the film's.
    """
    padded = Letterbox.fit(width, height, SIDE)
    film = Letterbox.stretch(width, height, round(padded.scale_x * width), round(padded.scale_y * height))
    return {"published": padded, "medground": film}


def render(attribution: Mapping, letterbox: Letterbox) -> tuple[np.ndarray, str | None]:
    """An attribution without `attribution_problem` as a map ``[h, w]`` on a canvas, and why it is invalid, or None.

    A grid is resampled bilinearly; one of more than twice as many cells as there are pixels is averaged over blocks of
    cells first. The k-th best box of n stands at (n - k + 1) / n above a zero ground.
    ``letterbox`` is the canvas, as `canvases` gives it.
    """
    height, width = letterbox.height, letterbox.width
    if not _given(attribution.get("grid")):
        return _ranked(_boxes(attribution, letterbox), height, width), None
    grid = np.asarray(attribution["grid"]).reshape(attribution["grid_height"], attribution["grid_width"])
    given = attribution.get("extent")
    extent = as_box(given) if given else _film(letterbox)
    heat = _resampled(grid, letterbox.to_canvas(extent), height, width)
    return heat, invalid(grid) or invalid(heat)


def attribution_problem(attribution: Mapping | None, film: Box) -> str | None:
    """Why an attribution cannot be drawn on its film, or None where it can."""
    if attribution is None:
        return "missing"
    grid, boxes = attribution.get("grid"), attribution.get("boxes")
    if not _given(grid):
        if not _given(boxes):
            return "neither a grid nor boxes"
        if len(boxes) > MAX_BOXES:
            return f"more than {MAX_BOXES} boxes"
        if any(box is None or len(box) != 4 for box in boxes):
            return "a box has not four numbers"
        if not np.isfinite(np.asarray(boxes, float)).all():
            return "a box has NaN or infinite coordinates"
        return None if any(intersect(as_box(box), film) for box in boxes) else "no box has area on the film"
    if _given(boxes):
        return "both a grid and boxes"
    if np.size(grid) > MAX_CELLS:
        return f"the grid has more than {MAX_CELLS:,} cells"
    rows, columns = attribution.get("grid_height"), attribution.get("grid_width")
    if not rows or not columns or rows < 1 or columns < 1 or np.size(grid) != rows * columns:
        return f"the grid has {np.size(grid)} values, not {rows} x {columns}"
    extent = attribution.get("extent") or film
    if len(extent) != 4 or not np.isfinite(np.asarray(extent, float)).all() or not intersect(as_box(extent), film):
        return f"the extent {list(extent)} does not overlap the film"
    return None


def score_entry(
    entry: str, attributions: Iterable[Mapping], cases: Sequence[Mapping], protocols: Sequence[str] = PROTOCOLS
) -> list[dict]:
    """Rows of `records.SCORES` for every case and protocol, in the order of ``cases``.

    ``attributions`` are read once, in batches; each has a ``case_id``. A case that none or two of them name scores
    the worst value; attributions of other cases are ignored.
    ``entry`` is its name, ``protocols`` are those of `boxes.PROTOCOLS` to score under.
    """
    known = {case["case_id"]: case for case in cases}
    scored: dict[str, list[dict]] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        known_ones = (attribution for attribution in attributions if attribution["case_id"] in known)
        begun = (
            ([one["case_id"] for one in batch], pool.map(lambda a: _rows(a, known[a["case_id"]], protocols), batch))
            for batch in _batches(known_ones, _BATCH)
        )
        end: tuple[list[str], Iterator[list[dict]]] = ([], iter(()))
        for (names, rows), _ in pairwise(chain(begun, [end])):  # the next batch is read while this one is scored
            for name, scores in zip(names, rows, strict=True):
                again = name in scored
                scored[name] = _worst(known[name], protocols, "given more than once") if again else scores
    return [
        {"entry": entry, "case_id": case["case_id"], "protocol": protocol, **row}
        for case in cases
        for protocol, row in zip(
            protocols, scored.get(case["case_id"]) or _worst(case, protocols, "missing"), strict=True
        )
    ]


def measured(case: Mapping, protocol: str) -> list[Metric]:
    """The metrics that a case can be given: by expert regions always, by its cause where it is known to lie somewhere,
    by its pair where it has one; causes are no matter of the published protocol."""
    has_cause = protocol != "published" and _given(case.get("cause"))
    needs = [
        "regions",
        *(["cause"] if has_cause else []),
        *(["pair"] if has_cause and _given(case.get("other")) else []),
    ]
    return METRICS.that_need(*needs)


def _rows(attribution: Mapping, case: Mapping, protocols: Sequence[str]) -> list[dict]:
    return _scores(attribution, case, protocols)


def _scores(attribution: Mapping | None, case: Mapping, protocols: Sequence[str]) -> list[dict]:
    """`score_case` under several protocols."""
    for protocol in protocols:
        check_protocol(protocol)
    width, height = case["width"], case["height"]
    film = (0.0, 0.0, float(width), float(height))
    regions = _on(film, case["regions"])
    if not regions:
        raise MedgroundError(f"a case has no expert region on its film of {width}x{height}; rebuild its samples")
    if attribution is None:
        return _worst(case, protocols, "missing")
    if problem := attribution_problem(attribution, film):
        return _worst(case, protocols, problem)
    where = canvases(width, height)
    padded, film_canvas = where["published"], where["medground"]
    left, top = int(padded.left), int(padded.top)
    heat, problem = render(attribution, padded)
    heats = {"published": heat, "medground": heat[top : top + film_canvas.height, left : left + film_canvas.width]}
    finite, is_map = np.isfinite(heat).all(), _given(attribution.get("grid"))
    if is_map and not problem:
        problem = invalid(heats["medground"])
    inside = _inside(regions, film_canvas)
    rows = []
    for protocol in protocols:
        if problem and protocol == "medground":
            rows += _worst(case, [protocol], problem)
            continue
        canvas = where[protocol]
        boxes = boxes_from_heatmap(heats[protocol], protocol) if is_map else _boxes(attribution, canvas)
        flat = heats["medground"] if finite else np.zeros_like(inside, np.float32)
        expert = [canvas.to_canvas(region) for region in regions]
        on_film = boxes if is_map or protocol == "medground" else _boxes(attribution, film_canvas)
        padded_boxes = (boxes, expert) if protocol == "published" else None
        known = {"regions": Evidence(flat, inside, on_film, expert, is_map, published=padded_boxes)}
        if protocol == "medground" and (cause := _on(film, case.get("cause"))):
            caused, others = _inside(cause, canvas), _on(film, case.get("other"))
            other = _inside(others, canvas) if others else None
            on_canvas = [canvas.to_canvas(box) for box in cause]
            known["cause"] = known["pair"] = Evidence(flat, caused, boxes, on_canvas, is_map, other)
        values = {one.name: one.of(known[one.needs]) for one in measured(case, protocol)}
        rows.append({**values, "problem": None if finite else problem})
    return rows


def _on(film: Box, boxes: Sequence[Box] | None) -> list[Box]:
    """The parts of boxes that lie on the film."""
    return [clipped for box in (boxes if boxes is not None else ()) if (clipped := intersect(as_box(box), film))]


def _worst(case: Mapping, protocols: Sequence[str], problem: str) -> list[dict]:
    return [{**{one.name: one.worst for one in measured(case, p)}, "problem": problem} for p in protocols]


def _batches(items: Iterable, size: int) -> Iterator[list]:
    items = iter(items)
    while batch := list(islice(items, size)):
        yield batch


def _film(letterbox: Letterbox) -> Box:
    return 0.0, 0.0, float(letterbox.film_width), float(letterbox.film_height)


def _boxes(attribution: Mapping, letterbox: Letterbox) -> list[Box]:
    film = _film(letterbox)
    on_film = [clipped for box in attribution["boxes"] if (clipped := intersect(as_box(box), film))]
    return [letterbox.to_canvas(box) for box in on_film]


def _inside(regions: Sequence[Box], letterbox: Letterbox) -> np.ndarray:
    height, width = letterbox.height, letterbox.width
    regions = [letterbox.to_canvas(region) for region in regions]
    inside = fill(regions, height, width)
    for x1, y1, x2, y2 in regions:  # the pixel in the middle of one that holds no pixel's centre
        inside[min(int((y1 + y2) / 2), height - 1), min(int((x1 + x2) / 2), width - 1)] = True
    return inside


def _resampled(grid: np.ndarray, extent: Box, height: int, width: int) -> np.ndarray:
    if grid.shape == (height, width) and extent == (0.0, 0.0, width, height):
        return grid
    grid, extent = _coarser(grid, extent)
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is reported, not warned about
        return resample(grid, extent, height, width).astype(np.float32)  # the precision of stored grids


def _coarser(grid: np.ndarray, extent: Box) -> tuple[np.ndarray, Box]:
    """Means over blocks of cells as large as fit in a pixel, and the box in pixels that the blocks cover."""
    x1, y1, x2, y2 = extent
    down, across = max(1, int(grid.shape[0] / (y2 - y1))), max(1, int(grid.shape[1] / (x2 - x1)))
    if down == across == 1:
        return grid, extent
    cell_width, cell_height = (x2 - x1) / grid.shape[1], (y2 - y1) / grid.shape[0]
    blocks = np.asarray(Image.fromarray(np.asarray(grid, np.float32)).reduce((across, down)))
    height, width = blocks.shape[0] * down, blocks.shape[1] * across
    return blocks, (x1, y1, x1 + width * cell_width, y1 + height * cell_height)


def _ranked(boxes: Sequence[Box], height: int, width: int) -> np.ndarray:
    heat = np.zeros((height, width), np.float32)
    for rank in reversed(range(len(boxes))):
        heat[fill([boxes[rank]], height, width)] = (len(boxes) - rank) / len(boxes)
    return heat


def _given(values: object) -> TypeGuard[Sequence]:
    return isinstance(values, Sized) and len(values) > 0
