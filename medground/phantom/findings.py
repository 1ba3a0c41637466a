"""The eight findings, each a change of the line integral that the aerated lung limits.

A ray crosses body, bone and two lungs; its integral is body + bone - air (mm of water), where the air of a lung is its
volume less the tissue in it. Fluid, consolidation and nodes put tissue where there was air, a large heart or a wide
mediastinum pushes the lung aside, and a pneumothorax takes the tissue out of a rim of it. Nothing can therefore look
denser than a ray without lung, and contours vanish where they do on real films (silhouette sign).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from scipy.interpolate import PchipInterpolator

from ..geometry import Box, box_of, hull

FINDINGS = (
    "cardiomegaly",
    "left pleural effusion",
    "right pleural effusion",
    "left lung opacity",
    "right lung opacity",
    "hilar enlargement",
    "widened mediastinum",
    "pneumothorax",
)
BONE = 1.4  # how much more bone attenuates than its excess density alone
_OUTWARD = {"left": 1, "right": -1}  # the patient's left is the film's right
_LUNGS = ("left lung", "right lung", "left tissue", "right tissue")


@dataclass(frozen=True)
class Chest:
    """A chest on the film: thickness maps in mm ``[h, w]``, concept masks ``[h, w]``, ``pitch`` in mm per pixel.

    ``healthy`` keeps the maps from before any finding, so that where one is put does not depend on the others.
    """

    maps: dict[str, np.ndarray]
    masks: dict[str, np.ndarray]
    pitch: float
    healthy: dict[str, np.ndarray]
    unaerated: np.ndarray | None = None  # pleural air of a pneumothorax: no lung there to be diseased

    def integral(self) -> np.ndarray:
        """Line integral in mm of water, float32 ``[h, w]``."""
        return self.maps["body"] + np.float32(BONE) * self.maps["bone"] - self.air("left") - self.air("right")

    def air(self, side: str) -> np.ndarray:
        """Air in the lung of one side, mm."""
        return self.maps[f"{side} lung"] - self.maps[f"{side} tissue"]

    def with_finding(self, name: str, rng: np.random.Generator) -> tuple[Chest, np.ndarray | None]:
        """This chest with one more finding, and the mask of what it changes noticeably, or None if it is hidden."""
        altered, expected = _DRAW[name](self, rng)
        mask = _noticeable(np.abs(altered.integral() - self.integral()))
        return altered, mask if mask.sum() * self.pitch**2 > 0.45 * expected else None

    def filled(self, side: str, thickness: np.ndarray) -> Chest:
        """With ``thickness`` mm of water in the lung of one side, where there is that much air."""
        if self.unaerated is not None:
            thickness = np.where(self.unaerated, 0, thickness)
        added = np.minimum(thickness, 0.96 * self.air(side)).astype(np.float32)
        return replace(self, maps=self.maps | {f"{side} tissue": self.maps[f"{side} tissue"] + added})


#: drawing order: what moves or hides others comes first
DRAWN = (
    "cardiomegaly",
    "widened mediastinum",
    "pneumothorax",
    "left pleural effusion",
    "right pleural effusion",
    "hilar enlargement",
    "left lung opacity",
    "right lung opacity",
)


def region(name: str, boxes: dict[str, Box], extent: Box) -> Box:
    """The anatomical region that a report would name for a finding, from the boxes of the film's concepts."""
    middle = (extent[0] + extent[2]) / 2
    nearer = min(("left", "right"), key=lambda side: abs(sum(boxes[f"{side} lung"][::2]) / 2 - middle))
    side = next((side for side in ("left", "right") if name.startswith(side)), nearer)
    lung = boxes[f"{side} lung"]
    if name.endswith("pleural effusion"):
        return lung[0], lung[1] + 0.4 * (lung[3] - lung[1]), lung[2], lung[3]
    grown = {
        "cardiomegaly": "cardiac silhouette",
        "widened mediastinum": "mediastinum",
        "hilar enlargement": f"{side} hilar structures",
    }
    return hull([boxes[grown[name]], extent]) if name in grown else lung


def tight(mask: np.ndarray) -> Box:
    """The box of a mask ``[h, w]``. Raises ValueError for an empty one."""
    box = box_of(mask)
    if box is None:
        raise ValueError("an empty mask has no box")
    return box


def _noticeable(change: np.ndarray) -> np.ndarray:
    """Where a change (mm of water) stands out: the connected parts above a ninth of its greatest value."""
    smooth = ndimage.uniform_filter(change, 5)
    mask = smooth > max(3.5, 0.11 * float(smooth.max()))
    parts, count = ndimage.label(mask)
    if count > 1:
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        mask = (sizes > 0.04 * sizes.max())[parts]
    return mask


def _cardiomegaly(chest: Chest, rng: np.random.Generator) -> tuple[Chest, float]:
    x1, y1, x2, y2 = tight(chest.masks["cardiac silhouette"])
    severity = rng.random()
    growth = {"left": 1.26 + 0.28 * severity, "right": 1.25 + 0.35 * rng.random()}
    middle = _middle(chest)
    half = {"left": x2 - middle, "right": middle - x1}
    height = y2 - y1
    rows = _plateau(chest, y1 + rng.uniform(0.15, 0.35) * height, y2, 0.4 * height)
    shift = {side: max(12 / chest.pitch, (growth[side] - 1) * half[side]) for side in half}
    moved = _push(chest, middle, half, shift, rows, ("cardiac silhouette", "mediastinum"))
    inside = ndimage.uniform_filter(moved.masks["cardiac silhouette"].astype(np.float32), 25)
    for side in _OUTWARD:  # it grows to the front and back as well
        moved = moved.filled(side, (0.12 + 0.15 * severity) * inside * moved.air(side))
    return moved, 0.0


def _widened_mediastinum(chest: Chest, rng: np.random.Generator) -> tuple[Chest, float]:
    x1, y1, x2, y2 = tight(chest.masks["upper mediastinum"])
    top = max(y1, min(tight(chest.masks[f"{side} lung"])[1] for side in _OUTWARD))
    middle = _middle(chest)
    half = {"left": max(18 / chest.pitch, x2 - middle), "right": max(18 / chest.pitch, middle - x1)}
    share = rng.uniform(0.35, 0.65)
    total = rng.uniform(30, 52) / chest.pitch
    rows = _plateau(chest, top - 5, y2 + rng.uniform(0, 15), 30 / chest.pitch)
    shift = {"left": share * total, "right": (1 - share) * total}
    moved = _push(chest, middle, half, shift, rows, ("mediastinum", "upper mediastinum"))
    columns = np.arange(moved.maps["body"].shape[1], dtype=np.float32)
    for side, outward in _OUTWARD.items():
        edge = (columns - middle) * outward - 0.9 * (half[side] + shift[side])
        moved = moved.filled(side, 0.3 * (rows[:, None] / (1 + np.exp(edge / 4))) * moved.air(side))
    return moved, 0.0


def _effusion(side: str):
    def draw(chest: Chest, rng: np.random.Generator) -> tuple[Chest, float]:
        x1, _, x2, _ = tight(chest.masks[f"{side} lung"])
        bottom = tight(chest.masks[f"{side} costophrenic angle"])[3]
        height, climb = rng.uniform(58, 112), rng.uniform(24, 52)
        fade, reach = rng.uniform(16, 32), rng.uniform(20, 42)
        rows, columns = _axes(chest)
        wall, inner = (x2, x1) if side == "left" else (x1, x2)
        outer = np.abs(wall - columns) * chest.pitch
        medial = np.abs(columns - inner) * chest.pitch
        ripple = 2.0 * np.sin(columns / rng.uniform(18, 40) + rng.uniform(0, 6))
        surface = height + climb * np.exp(-outer / reach) + 0.35 * climb * np.exp(-medial / reach) + ripple
        depth = (rows - bottom) * chest.pitch + surface  # below the meniscus, mm
        return chest.filled(side, 170 * np.clip(depth / fade, 0, 1) ** 1.4), 0.0

    return draw


def _opacity(side: str):
    def draw(chest: Chest, rng: np.random.Generator) -> tuple[Chest, float]:
        air = chest.healthy[f"{side} lung"] - chest.healthy[f"{side} tissue"]
        radius = rng.uniform(25, 42)
        hilum = _centre(chest.masks[f"{side} hilar structures"])
        rows, columns = _axes(chest)
        distance = np.hypot(rows - hilum[0], columns - hilum[1]) * chest.pitch
        share = air / np.maximum(chest.healthy["body"], 1)
        clear = share > 0.8 * np.percentile(share[air > 0], 95)  # not behind the heart nor below the diaphragm
        suitable = clear & (distance > min(22 + 0.8 * radius, 0.8 * float(distance[clear].max())))
        places = np.flatnonzero(suitable)
        y, x = divmod(int(places[int(rng.random() * len(places))]), air.shape[1])
        shape = rng.uniform(0.8, 1.25)
        r = np.hypot((rows - y) * shape, (columns - x) / shape) * (chest.pitch / radius)
        r = r * (1 + 0.12 * _clouds(rng, air.shape, 14))
        thickness = rng.uniform(55, 90) * np.exp(-(r**3)) * (1 + 0.15 * _clouds(rng, air.shape, 40))
        return chest.filled(side, thickness), np.pi * radius**2

    return draw


def _hilar_enlargement(chest: Chest, rng: np.random.Generator) -> tuple[Chest, float]:
    side = ("left", "right")[rng.integers(2)]
    name = f"{side} hilar structures"
    y, x = _centre(chest.masks[name])
    rows, columns = _axes(chest)
    squares = np.zeros(chest.masks[name].shape, np.float32)
    size = rng.uniform(18, 26)
    x += _OUTWARD[side] * rng.uniform(5, 11) / chest.pitch
    nodes = [(0.0, 0.0, size)] + [
        (rng.uniform(-1.2, 1.2) * size, rng.uniform(-0.5, 0.3) * size, rng.uniform(0.6, 0.85) * size) for _ in range(3)
    ]
    for down, out, radius in nodes:
        r2 = ((rows - y) * chest.pitch - down) ** 2 + ((columns - x) * _OUTWARD[side] * chest.pitch - out) ** 2
        squares += np.clip(radius**2 - r2, 0, None)
    # nodes and vessels of the hilum run into each other: a lobulated mass with a soft edge, not a row of balls
    thickness = ndimage.uniform_filter(ndimage.uniform_filter(rng.uniform(2.2, 2.8) * np.sqrt(squares), 7), 5)
    masks = chest.masks | {name: chest.masks[name] | (thickness > 15)}
    return replace(chest.filled(side, thickness), masks=masks), np.pi * size**2


def _pneumothorax(chest: Chest, rng: np.random.Generator) -> tuple[Chest, float]:
    side = ("left", "right")[rng.integers(2)]
    lung = chest.masks[f"{side} lung"]
    x1, y1, x2, y2 = tight(lung)
    y, x = _centre(chest.masks[f"{side} hilar structures"])
    rows, columns = _axes(chest)
    # the lung shrinks towards its hilum: by `apex` mm at the top, `rim` mm at the side, less towards the base
    apex, rim, base = rng.uniform(36, 64), rng.uniform(20, 38), rng.uniform(0.3, 1.0)
    up = 1 - apex / chest.pitch / (y - y1)
    source_rows = np.where(rows < y, y + (rows - y) / up, rows)
    out = (x2 - x) if side == "left" else (x - x1)
    taper = np.clip(1 - (1 - base) * (rows - y) / (y2 - y), base, 1)
    narrow = 1 - taper * rim / chest.pitch / out
    offset = (columns - x) * _OUTWARD[side]
    source_columns = x + np.where(offset > 0, offset / narrow, offset) * _OUTWARD[side]
    index = (
        np.clip(np.rint(np.broadcast_to(source, lung.shape)).astype(int), 0, size - 1)
        for source, size in zip((source_rows, source_columns), lung.shape, strict=True)
    )
    edge = ndimage.gaussian_filter(lung[tuple(index)].astype(np.float32), 1.2)
    edge *= lung
    tissue = chest.maps[f"{side} tissue"]
    near = ndimage.uniform_filter(1 - edge, 31) * 2
    kept = tissue * edge * (1 + 0.5 * np.clip(near, 0, 1))
    inner = ndimage.uniform_filter(lung.astype(np.float32), 9) > 0.9
    line = rng.uniform(7, 11) * np.clip(4 * edge * (1 - edge), 0, 1) * inner  # the visceral pleura, seen edge-on
    volume = chest.maps[f"{side} lung"]
    maps = chest.maps | {
        f"{side} tissue": np.minimum(kept + line, volume).astype(np.float32),
        f"{side} lung": (volume * (1 + 0.08 * (1 - edge))).astype(np.float32),
    }
    return replace(chest, maps=maps, unaerated=lung & (edge < 0.5)), 0.0


def _push(
    chest: Chest,
    middle: float,
    half: dict[str, float],
    shift: dict[str, float],
    rows: np.ndarray,
    names: tuple[str, ...],
) -> Chest:
    """Push the lungs sideways out of the way of a structure that grows by ``shift`` pixels from ``half`` pixels.

    A smooth monotone map of columns, weighted per row: what lies within the structure stretches, the lung beside it
    gives way, the chest wall stays.
    """
    width = chest.maps["body"].shape[1]
    columns = np.arange(width, dtype=np.float32)
    source = columns.copy()
    used = np.flatnonzero(rows > 0.01)
    for side, outward in _OUTWARD.items():
        wall = tight(chest.masks[f"{side} lung"][used[0] : used[-1] + 1])
        room = (wall[2] - middle if side == "left" else middle - wall[0]) - 6
        inner = max(4.0, half[side])
        outer = min(inner + shift[side], inner + 0.62 * max(room - inner, 1))
        end = min(outer + 1.5 * (outer - inner) + 5, max(room, outer + 4))
        give_way = PchipInterpolator([-1, 0, outer, end, end + 1], [-1, 0, inner, end, end + 1], extrapolate=True)
        offset = (columns - middle) * outward
        inside = (offset > 0) & (offset < end)
        source[inside] = middle + outward * give_way(offset[inside])
    band = slice(used[0], used[-1] + 1)
    where = columns + (source - columns) * rows[band, None].astype(np.float32)
    left = np.clip(where.astype(int), 0, width - 2)
    part = (where - left).astype(np.float32)
    maps, masks = dict(chest.maps), dict(chest.masks)
    for name in _LUNGS:
        old = chest.maps[name][band]
        new = maps[name] = chest.maps[name].copy()
        new[band] = (1 - part) * np.take_along_axis(old, left, 1) + part * np.take_along_axis(old, left + 1, 1)
    for name in names:
        masks[name] = chest.masks[name].copy()
        masks[name][band] = np.take_along_axis(chest.masks[name][band], left + (part >= 0.5), 1)
    return replace(chest, maps=maps, masks=masks)


def _middle(chest: Chest) -> float:
    """Column of the chest's midline: half-way between the lungs."""
    boxes = tight(chest.masks["left lung"]), tight(chest.masks["right lung"])
    return (boxes[0][2] + boxes[1][0]) / 2


def _plateau(chest: Chest, top: float, bottom: float, fade: float) -> np.ndarray:
    """Per row: 1 from ``top`` to ``bottom``, falling smoothly to 0 over ``fade`` pixels on both sides."""
    rows = np.arange(chest.maps["body"].shape[0], dtype=np.float32)
    t = np.clip(1 - np.maximum(top - rows, rows - bottom) / fade, 0, 1)
    return t * t * (3 - 2 * t)


def _axes(chest: Chest) -> tuple[np.ndarray, np.ndarray]:
    height, width = chest.maps["body"].shape
    return np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None, :]


def _centre(mask: np.ndarray) -> tuple[float, float]:
    rows, columns = np.nonzero(mask)
    return float(rows.mean()), float(columns.mean())


def _clouds(rng: np.random.Generator, shape: tuple[int, int], cells: int) -> np.ndarray:
    """Smooth noise ``[h, w]`` of about unit variance with ``cells`` bumps along each side."""
    coarse = torch.from_numpy(rng.standard_normal((1, 1, cells, cells), dtype=np.float32))
    return F.interpolate(coarse, shape, mode="bicubic", align_corners=True)[0, 0].numpy()


_DRAW = {
    "cardiomegaly": _cardiomegaly,
    "left pleural effusion": _effusion("left"),
    "right pleural effusion": _effusion("right"),
    "left lung opacity": _opacity("left"),
    "right lung opacity": _opacity("right"),
    "hilar enlargement": _hilar_enlargement,
    "widened mediastinum": _widened_mediastinum,
    "pneumothorax": _pneumothorax,
}
