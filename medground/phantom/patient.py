"""Virtual patients: the healthy chest deformed in 3-D and projected by a cone beam onto the detector."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from ..geometry import Box
from . import volume as anatomy
from .ct import load_ct, verify_ct
from .film import PITCH, SIZE, Film, Pose, boxes_of, concept_masks, expose

_SOURCE = 1800.0  # mm from the x-ray tube to the detector
_U = np.arange(-180, 180.1, 1.45)  # columns of the projection, mm on the detector
_V = np.arange(-222, 222.1, 1.7)  # rows
_DEPTH = np.arange(5.0, 285.0, 5.625)  # samples along each ray, mm from the detector


@dataclass(frozen=True)
class Variety:
    """How much virtual patients differ from the scanned one, and how freely they stand before the detector."""

    turned: tuple[float, float] = (2.2, 2.5)  # standard deviations of yaw and tilt, degrees
    most_turned: float = 5.0  # degrees
    least: tuple[float, float, float] = (0.93, 0.88, 0.93)  # size across, along the rays and down, at least
    largest: tuple[float, float, float] = (1.07, 1.12, 1.06)  # and at most
    body: tuple[float, float] = (0.86, 1.2)  # soft tissue against the scanned patient's
    warp: tuple[float, float] = (5.0, 9.0)  # random displacement, root mean square in mm
    mirrored: float = 0.0  # share of patients with their organs on the other side


USUAL = Variety()


class Phantom:
    """The chest CT, ready to make patients of."""

    def __init__(self, layers: np.ndarray, marks: np.ndarray):
        self._layers = torch.from_numpy(layers.astype(np.float32))[None]
        self._marks = torch.from_numpy(marks.astype(np.float32))[None]

    @classmethod
    def open(cls, folder: Path, cache: Path = Path(".cache/phantom")) -> Self:
        """Load the CT that `fetch_ct` brought into ``folder``; its layers (27 MB) are kept under ``cache``, so that
        only the first opening takes long. Raises MedgroundError where a file is missing, truncated or altered."""
        recipe = hashlib.sha256(Path(anatomy.__file__).read_bytes()).hexdigest()
        layers = Path(cache) / f"{verify_ct(folder)[:12]}-{recipe[:12]}.npz"
        if not layers.is_file():
            fine, marks = anatomy.layers(*load_ct(folder))
            layers.parent.mkdir(parents=True, exist_ok=True)
            partial = layers.with_name(f".{os.getpid()}.npz")
            np.savez(partial, layers=fine, marks=marks)
            partial.replace(layers)
        with np.load(layers) as stored:
            return cls(stored["layers"], stored["marks"])

    def patient(self, seed: int) -> Patient:
        """Patient number ``seed``: always the same for the same seed, on any machine."""
        rng = np.random.default_rng([seed, 0])
        return Patient(seed, self._maps(rng, USUAL), rng)

    def _maps(self, rng: np.random.Generator, variety: Variety) -> dict[str, np.ndarray]:
        """A new patient's thickness maps on the detector, mm."""
        grid = _rays(rng, variety)
        fine = self._project(self._layers, grid)
        coarse = self._project(self._marks, grid[:, ::2, ::2, ::2]) * 2
        marks = F.interpolate(torch.from_numpy(coarse)[None], fine.shape[1:], mode="bilinear", align_corners=True)
        body, bone, *lungs = fine
        heart, mediastinum, upper, clavicles, hila = marks[0].numpy()
        volumes, tissues = np.stack(lungs[:2]), np.stack(lungs[2:])
        tissues *= rng.uniform(0.85, 1.3)
        body = body * rng.uniform(*variety.body)
        if rng.random() < 0.5:
            body = body + _breasts(rng, volumes)
        return {
            "body": body,
            "bone": bone * rng.uniform(0.9, 1.5),
            "left lung": volumes[0],
            "right lung": volumes[1],
            "left tissue": tissues[0],
            "right tissue": tissues[1],
            "heart": heart,
            "mediastinum": mediastinum,
            "upper mediastinum": upper,
            "left clavicle": -clavicles,
            "right clavicle": clavicles,
            "left hilum": -hila,
            "right hilum": hila,
        }

    @staticmethod
    def _project(volume: torch.Tensor, grid: torch.Tensor) -> np.ndarray:
        """Line integrals in mm ``[c, v, u]`` of ``volume [1, c, z, y, x]`` along the rays ``[1, v, u, depth, 3]``."""
        samples = F.grid_sample(volume, grid, mode="bilinear", padding_mode="border", align_corners=False)
        return (samples[0].sum(-1) * float(_DEPTH[1] - _DEPTH[0])).numpy()


def _rays(rng: np.random.Generator, variety: Variety) -> torch.Tensor:
    """Where every ray of the film meets the healthy chest, in grid_sample's coordinates ``[1, v, u, depth, 3]``."""
    shape = (len(_V), len(_U), len(_DEPTH))
    narrowing = (_SOURCE - _DEPTH) / _SOURCE
    x = _U[None, :, None] * narrowing
    z = _V[:, None, None] * narrowing
    y = (140.0 - _DEPTH)[None, None, :]  # towards the detector; the film is taken from behind (PA)
    yaw, tilt = np.radians(rng.normal(0, variety.turned).clip(-variety.most_turned, variety.most_turned))
    across, along, down = rng.uniform(variety.least, variety.largest)
    x, y = x * np.cos(yaw) - y * np.sin(yaw), x * np.sin(yaw) + y * np.cos(yaw)
    y, z = y * np.cos(tilt) - z * np.sin(tilt), y * np.sin(tilt) + z * np.cos(tilt)
    points = [np.broadcast_to(axis, shape) for axis in (x / across, y / along, z / down)]
    warp = _warp(rng, shape, variety.warp)
    extents = [spacing * size / 2 for spacing, size in zip(anatomy.SPACING[::-1], (256, 50, 179), strict=True)]
    centre = (0.0, 0.0, -10.0)
    grid = torch.empty((*shape, 3))
    for axis in range(3):
        np.add(points[axis], warp[axis] + centre[axis], out=grid[..., axis].numpy(), casting="unsafe")
        grid[..., axis] /= extents[axis]
    return grid[None]


def _warp(rng: np.random.Generator, shape: tuple[int, ...], size: tuple[float, float]) -> np.ndarray:
    """A smooth random displacement in mm ``[3, *shape]`` of ``size`` mm (root mean square, at least and at most)."""
    knots = rng.standard_normal((3, 5, 4, 4)).astype(np.float32)
    smooth = np.stack([ndimage.zoom(axis, 4, order=3, mode="nearest") for axis in knots])
    smooth *= rng.uniform(*size) / smooth.std()
    across = np.linspace(-1, 1, smooth.shape[2])[None, :, None]
    smooth[0] *= 1 - 0.75 * np.exp(-((across / 0.25) ** 2))  # the spine bends less than the chest
    full = F.interpolate(torch.from_numpy(smooth)[None], shape, mode="trilinear", align_corners=True)
    return full[0].numpy()


def _breasts(rng: np.random.Generator, volumes: np.ndarray) -> np.ndarray:
    """Thickness in mm of a pair of breasts over the lower lungs, sharp below and fading above."""
    u, v = _U[None, :], _V[:, None]
    bottom = _V[np.flatnonzero(volumes.sum(0).max(1) > 20)[-1]]
    size, thick, lift = rng.uniform(45, 68), rng.uniform(14, 38), rng.uniform(75, 120)
    total = np.zeros((len(_V), len(_U)))
    for side in (-1, 1):
        centre = side * rng.uniform(78, 95), bottom - lift + rng.normal(0, 5)
        down = v - centre[1]
        r = ((u - centre[0]) / size) ** 2 + (down / np.where(down > 0, 0.75 * size, 1.3 * size)) ** 2
        total = total + thick * np.sqrt(np.clip(1 - r, 0, None)) ** np.where(down > 0, 0.8, 1.6)
    return total.astype(np.float32)


class Patient:
    """One virtual patient, healthy; `film` takes radiographs of them, with or without findings."""

    def __init__(self, seed: int, maps: dict[str, np.ndarray], rng: np.random.Generator):
        self.seed = seed
        self._maps = maps
        self._origin = _position(rng, maps)
        healthy = (
            maps["body"]
            + 1.4 * maps["bone"]
            - sum(maps[f"{side} lung"] - maps[f"{side} tissue"] for side in ("left", "right"))
        )
        blurred = ndimage.gaussian_filter(healthy[::3, ::3], 8)
        blurred = ndimage.zoom(blurred, 3, order=1)[: healthy.shape[0], : healthy.shape[1]]
        pad = [(0, n - m) for n, m in zip(healthy.shape, blurred.shape, strict=True)]
        maps["background"] = np.pad(blurred, pad, mode="edge")
        level = float(np.median(maps["background"][healthy > 30]))
        maps["background"] -= level
        self._compress = rng.uniform(0.25, 0.5)
        shown = healthy - self._compress * maps["background"]
        lungs = (maps["left lung"] > 60) | (maps["right lung"] > 60)
        darkest = float(np.percentile(shown[lungs], 5)) - rng.uniform(20, 40)
        self._window = darkest, float(np.percentile(shown[healthy > 30], 98))
        self._stack = torch.from_numpy(np.stack([m.astype(np.float32) for m in maps.values()]))[None]
        self._names = tuple(maps)

    @cached_property
    def masks(self) -> dict[str, np.ndarray]:
        """Concept -> bool mask ``[416, 352]`` on a film without pose jitter."""
        return concept_masks(self.maps(Pose()))

    @cached_property
    def anatomy(self) -> dict[str, Box]:
        """Concept -> tight box of its mask."""
        return boxes_of(self.masks)

    def film(self, findings: Sequence[str] = (), *, seed: int = 0, marks: Sequence[str] = ()) -> Film:
        """A radiograph with ``findings`` and ``marks`` (a ``letter``), its healthy twin and the truth about both.

        ``seed`` decides pose, exposure, noise and each finding's size, shape and place; a finding looks the same
        whatever else is asked for. Findings that cannot be seen (under an effusion) are left out of the film and
        of ``extents``. Raises MedgroundError for an unknown name.
        """
        return expose(self, findings, np.random.SeedSequence([self.seed, 1, seed]), marks)

    def maps(self, pose: Pose) -> dict[str, np.ndarray]:
        """The patient's thickness maps in mm, float32 ``[416, 352]``, as this pose puts them on the film."""
        width, height = SIZE
        u, v = self._detector(pose)
        grid = torch.empty((1, height, width, 2))
        grid[0, ..., 0] = torch.from_numpy((u / _U[-1]).astype(np.float32))
        grid[0, ..., 1] = torch.from_numpy((v / _V[-1]).astype(np.float32))
        sampled = F.grid_sample(self._stack, grid, mode="bilinear", padding_mode="border", align_corners=True)
        return dict(zip(self._names, sampled[0].numpy(), strict=True))

    def _detector(self, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
        """Where each pixel of a film lies on the detector, mm: columns and rows ``[416, 352]``."""
        width, height = SIZE
        cos, sin = np.cos(pose.angle) * pose.scale, np.sin(pose.angle) * pose.scale
        x = (np.arange(width, dtype=np.float32) - (width - 1) / 2)[None, :] * np.float32(PITCH)
        y = (np.arange(height, dtype=np.float32) - (height - 1) / 2)[:, None] * np.float32(PITCH)
        u = cos * x - sin * y + (self._origin[0] - pose.right)
        v = sin * x + cos * y + (self._origin[1] - pose.down)
        return u, v

    @property
    def window(self) -> tuple[float, float]:
        """Line integrals in mm of water shown as nearly black and nearly white."""
        return self._window

    @property
    def compression(self) -> float:
        """Share of the slow background that processing takes away, as digital radiography does."""
        return self._compress


def _position(rng: np.random.Generator, maps: dict[str, np.ndarray]) -> tuple[float, float]:
    """Detector position in mm of the film's centre: lungs in the middle, room for a letter above them."""
    lungs = np.maximum(maps["left lung"], maps["right lung"]) > 12
    rows, columns = np.flatnonzero(lungs.any(1)), np.flatnonzero(lungs.any(0))
    height = SIZE[1] * PITCH
    top, bottom = _V[rows[0]], _V[rows[-1]]
    slack = max(0.0, height - (bottom - top) - 70 * PITCH - 14)
    above = 70 * PITCH + rng.uniform(0.0, 0.6) * min(slack, 40)
    return float(_U[columns].mean() + rng.normal(0, 4)), float(top - above + height / 2)
