"""From a patient's thickness maps to the film: pose, findings, exposure, noise, marker, and the truth about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..errors import MedgroundError
from ..geometry import Box, box_of, intersect
from .findings import DRAWN, FINDINGS, Chest, region

if TYPE_CHECKING:
    from .patient import Patient

SIZE = (352, 416)  # width, height of a film in pixels
PITCH = 0.98  # mm per pixel at the detector
CONCEPTS = (
    "cardiac silhouette",
    "left lung",
    "right lung",
    "mediastinum",
    "upper mediastinum",
    "left clavicle",
    "right clavicle",
    "left hilar structures",
    "right hilar structures",
    "left costophrenic angle",
    "right costophrenic angle",
)
_ATTENUATION = 0.0166  # per mm of water


@dataclass(frozen=True)
class Pose:
    """How the patient stands before the detector: turned by ``angle`` (radians), moved in mm, ``scale`` mm per mm."""

    angle: float = 0.0
    right: float = 0.0
    down: float = 0.0
    scale: float = 1.0


@dataclass(frozen=True)
class Film:
    """A radiograph, its exact healthy twin, and where everything is (native pixels, half-open boxes)."""

    image: np.ndarray  # uint8 [416, 352], with findings and marker
    twin: np.ndarray  # uint8 [416, 352], same patient, pose, exposure and noise; no finding, no marker
    extents: dict[str, Box]  # visible finding -> tight box of what it changes noticeably
    lesions: dict[str, np.ndarray]  # the same as bool masks [416, 352]
    anatomy: dict[str, Box]  # concept -> box on this film, with the findings
    masks: dict[str, np.ndarray]  # the same as bool masks [416, 352]
    regions: dict[str, Box]  # visible finding -> the anatomical region that a report would name
    marker: Box | None  # the letter in the corner
    render: Callable[[Sequence[str]], np.ndarray]  # the same film with no findings and marks but these, uint8

    @property
    def parts(self) -> dict[str, list[Box]]:
        """The findings and marks that can be seen, and where each is."""
        return {name: [box] for name, box in self.extents.items()} | ({"letter": [self.marker]} if self.marker else {})


def expose(patient: Patient, findings: Sequence[str], seed: np.random.SeedSequence, marker: bool) -> Film:
    """Take the film that `Patient.film` describes."""
    if unknown := [name for name in findings if name not in FINDINGS]:
        raise MedgroundError(f"unknown finding {unknown[0]!r}; the phantom has: {', '.join(FINDINGS)}.")
    look, corner, *own = (np.random.default_rng(child) for child in seed.spawn(2 + len(FINDINGS)))
    pose = Pose(np.radians(look.normal(0, 0.9)), look.normal(0, 4), abs(look.normal(0, 2)), look.uniform(0.98, 1.03))
    maps = patient.maps(pose)
    chest = Chest(maps, concept_masks(maps), PITCH, healthy=maps)
    healthy = chest.integral()
    develop = developer(patient, maps["background"], healthy, look)
    twin = develop(healthy)

    lesions, start = {}, chest
    streams = dict(zip(FINDINGS, own, strict=True))
    states = {name: rng.bit_generator.state for name, rng in streams.items()}
    for name in DRAWN:
        if name in findings:
            altered, mask = chest.with_finding(name, streams[name])
            if mask is not None:
                chest, lesions[name] = altered, mask
    image = develop(chest.integral()) if lesions else twin.copy()
    extents = {name: box_of(mask) for name, mask in lesions.items()}
    masks = chest.masks
    boxes = {name: box_of(masks[name]) for name in CONCEPTS}
    regions = {name: region(name, boxes, extents[name]) for name in extents}
    stamp = None
    if marker:
        taken = [*extents.values(), *regions.values(), boxes["left lung"], boxes["right lung"]]
        stamp = _stamp(taken, corner)

    def render(parts: Sequence[str]) -> np.ndarray:
        chest, film = start, twin.copy()
        wanted = [name for name in DRAWN if name in parts and name in lesions]
        for name in wanted:
            again = np.random.default_rng()
            again.bit_generator.state = states[name]
            chest, _ = chest.with_finding(name, again)
        if wanted:
            film = develop(chest.integral())
        return stamp.over(film) if stamp and "letter" in parts else film

    if stamp:
        image = stamp.over(image)
    return Film(image, twin, extents, lesions, boxes, masks, regions, stamp.box if stamp else None, render)


def concept_masks(maps: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Bool masks ``[416, 352]`` of the concepts in thickness maps (mm) of a chest on the film."""
    masks = {
        "cardiac silhouette": maps["heart"] > 22,
        "left lung": maps["left lung"] > 12,
        "right lung": maps["right lung"] > 12,
        "mediastinum": maps["mediastinum"] > 12,
        "upper mediastinum": maps["upper mediastinum"] > 12,
        "left clavicle": maps["left clavicle"] > 3,
        "right clavicle": maps["right clavicle"] > 3,
        "left hilar structures": maps["left hilum"] > 4,
        "right hilar structures": maps["right hilum"] > 4,
    }
    for side in ("left", "right"):
        masks[f"{side} costophrenic angle"] = _angle(masks[f"{side} lung"], side)
    return masks


def _angle(lung: np.ndarray, side: str) -> np.ndarray:
    """The outer lower corner of a lung, about 5 cm across: the patient's left is the film's right."""
    x1, _, x2, _ = (int(v) for v in box_of(lung))
    size = int(0.36 * (x2 - x1))
    columns = slice(x2 - size, x2) if side == "left" else slice(x1, x1 + size)
    corner = np.zeros_like(lung)
    corner[:, columns] = lung[:, columns]
    bottom = int(box_of(corner)[3])
    corner[: bottom - int(1.15 * size)] = False
    return corner


def developer(patient: Patient, background: np.ndarray, healthy: np.ndarray, rng: np.random.Generator):
    """Exposure, tone and noise, all fixed by the healthy chest, as a function from line integral to uint8 film."""
    low, high = patient.window
    width = (high - low) * rng.uniform(0.92, 1.12)
    middle = (low + high) / 2 + rng.uniform(-0.06, 0.06) * (high - low)
    gain, gamma = rng.uniform(1.0, 1.35), rng.uniform(0.85, 1.2)
    offset = patient.compression * background
    noise = rng.standard_normal(healthy.shape, dtype=np.float32)
    noise = (noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1)) * np.float32(0.577)
    noise *= rng.uniform(1.2, 3.2) * np.exp(np.clip(0.5 * _ATTENUATION * (healthy - 150), -1.2, 0.9))
    offset = (offset - noise).astype(np.float32)
    scale = np.float32(np.tanh(gain))

    def develop(integral: np.ndarray) -> np.ndarray:
        tone = np.tanh((integral - offset - np.float32(middle)) * np.float32(2 * gain / width)) / scale
        tone = np.clip(0.5 + 0.47 * tone, 0, 1) ** np.float32(gamma)
        return (255 * tone + 0.5).astype(np.uint8)

    return develop


@dataclass(frozen=True)
class _Stamp:
    """A letter on a film: where, and how bright."""

    box: Box
    glyph: np.ndarray  # uint8

    def over(self, image: np.ndarray) -> np.ndarray:
        x1, y1, x2, y2 = (int(v) for v in self.box)
        marked = image.copy()
        np.maximum(marked[y1:y2, x1:x2], self.glyph, out=marked[y1:y2, x1:x2])
        return marked


def _stamp(taken: Sequence[Box], rng: np.random.Generator) -> _Stamp:
    """A lead side marker, as large as fits, in a top corner that the boxes in ``taken`` leave free."""
    letter = "RL"[rng.integers(2)]  # the patient's right is the film's left
    left, top = (int(v) for v in rng.integers(4, 10, 2))
    width, height = 60, 90
    x1 = left if letter == "R" else SIZE[0] - left - width
    column = (x1, 0.0, x1 + width, float(SIZE[1]))
    ceiling = min((box[1] for box in taken if intersect(box, column)), default=np.inf)
    height = int(min(height, ceiling - top - 2))
    width = max(45, min(width, int(1.1 * height)))
    x1 = left if letter == "R" else SIZE[0] - left - width
    glyph = np.asarray(_letter(letter).resize((width, height)))
    return _Stamp((float(x1), float(top), float(x1 + width), float(top + height)), glyph)


def _letter(letter: str) -> Image.Image:
    canvas = Image.new("L", (200, 200))
    font = ImageFont.load_default(120)
    ImageDraw.Draw(canvas).text((40, 20), letter, fill=255, font=font, stroke_width=6)
    return canvas.crop(canvas.getbbox())
