"""From a patient's thickness maps to the film: pose, findings, exposure, noise, marks, and the truth about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..errors import MedgroundError
from ..geometry import Box, box_of, fill, intersect
from .findings import DRAWN, FINDINGS, Chest, region, tight

if TYPE_CHECKING:
    from .patient import Patient

SIZE = (352, 416)  # width, height of a film in pixels
PITCH = 0.98  # mm per pixel at the detector
MARKS = ("letter",)
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


class Mark(Protocol):
    """What lies over a film: a letter, a device, a word, an exposure."""

    @property
    def boxes(self) -> tuple[Box, ...]:
        """Where it is, in native pixels; none where it changes the whole film."""

    @property
    def mask(self) -> np.ndarray | None:
        """Where it can be seen, bool ``[h, w]``; None where it changes the whole film."""

    def over(self, film: np.ndarray) -> np.ndarray:
        """The uint8 film ``[h, w]`` with this mark."""


@dataclass(frozen=True)
class Film:
    """A radiograph, its exact healthy twin, and where everything is (native pixels, half-open boxes)."""

    image: np.ndarray  # uint8 [416, 352], with findings and marks
    twin: np.ndarray  # uint8 [416, 352], same patient, pose, exposure and noise; no finding, no mark
    extents: dict[str, Box]  # visible finding -> tight box of what it changes noticeably
    lesions: dict[str, np.ndarray]  # the same as bool masks [416, 352]
    anatomy: dict[str, Box]  # concept on this film -> its box, with the findings
    masks: dict[str, np.ndarray]  # concept -> bool mask [416, 352]
    regions: dict[str, Box]  # visible finding -> the anatomical region that a report would name
    marks: Mapping[str, Mark]  # mark that can be seen -> what it lays over the film
    render: Callable[[Sequence[str]], np.ndarray]  # the same film with no findings and marks but these, uint8

    @property
    def parts(self) -> dict[str, list[Box]]:
        """The findings and marks that can be seen, and where each is: nowhere for what changes the whole film."""
        findings = {name: [box] for name, box in self.extents.items()}
        return findings | {name: list(mark.boxes) for name, mark in self.marks.items()}


#: lays marks over a film: the film with its findings, boxes of its concepts, extents and regions of its findings
Lay = Callable[[np.ndarray, dict[str, Box], dict[str, Box], dict[str, Box]], Mapping[str, Mark]]


def assemble(
    chest: Chest,
    develop: Callable[[np.ndarray], np.ndarray],
    wanted: Mapping[str, np.random.Generator],
    add: Callable[[Chest, str, np.random.Generator], tuple[Chest, np.ndarray | None]],
    region: Callable[[str, dict[str, Box], Box], Box],
    lay: Lay,
) -> Film:
    """The film of a healthy ``chest`` with findings and marks, and the means to take it apart again.

    Args:
        chest: the healthy chest on the film.
        develop: from a line integral in mm of water to a uint8 film.
        wanted: finding -> what its look is drawn from, in the order in which they are put in.
        add: puts a finding into a chest, as `Chest.with_finding` does; what is hidden stays out.
        region: the anatomical region that a report would name for a finding, from the boxes of concepts and its extent.
        lay: lays the marks over the film with its findings.
    """
    states = {name: rng.bit_generator.state for name, rng in wanted.items()}
    start, twin = chest, develop(chest.integral())
    lesions: dict[str, np.ndarray] = {}
    for name, rng in wanted.items():
        altered, mask = add(chest, name, rng)
        if mask is not None and mask.any():
            chest, lesions[name] = altered, mask
    plain = develop(chest.integral()) if lesions else twin
    extents = {name: tight(mask) for name, mask in lesions.items()}
    boxes = boxes_of(chest.masks)
    regions = {name: region(name, boxes, extents[name]) for name in extents}
    marks = lay(plain, boxes, extents, regions)

    def render(parts: Sequence[str]) -> np.ndarray:
        shown = [name for name in lesions if name in parts]
        film = plain if len(shown) == len(lesions) else twin
        if shown and len(shown) < len(lesions):
            partial = start
            for name in shown:
                again = np.random.default_rng()
                again.bit_generator.state = states[name]
                partial, _ = add(partial, name, again)
            film = develop(partial.integral())
        film = film.copy()
        # what changes the whole film lies below the others
        of = [mark for name, mark in marks.items() if name in parts]
        for mark in sorted(of, key=lambda mark: mark.mask is not None):
            film = mark.over(film)
        return film

    image = render((*extents, *marks))
    return Film(image, twin, extents, lesions, boxes, chest.masks, regions, marks, render)


def expose(patient: Patient, findings: Sequence[str], seed: np.random.SeedSequence, marks: Sequence[str]) -> Film:
    """Take the film that `Patient.film` describes."""
    if unknown := [name for name in (*findings, *marks) if name not in (*FINDINGS, *MARKS)]:
        known = ", ".join((*FINDINGS, *MARKS))
        raise MedgroundError(f"unknown finding or mark {unknown[0]!r}; the phantom has: {known}.")
    look, corner, *own = (np.random.default_rng(child) for child in seed.spawn(2 + len(FINDINGS)))
    pose = Pose(np.radians(look.normal(0, 0.9)), look.normal(0, 4), abs(look.normal(0, 2)), look.uniform(0.98, 1.03))
    maps = patient.maps(pose)
    chest = Chest(maps, concept_masks(maps), PITCH, healthy=maps)
    develop = developer(patient, maps["background"], chest.integral(), look)
    streams = dict(zip(FINDINGS, own, strict=True))

    def lay(film: np.ndarray, boxes: dict[str, Box], extents: dict[str, Box], regions: dict[str, Box]) -> dict:
        taken = [*extents.values(), *regions.values(), boxes["left lung"], boxes["right lung"]]
        return {name: _stamp(taken, corner) for name in MARKS if name in marks}

    wanted = {name: streams[name] for name in DRAWN if name in findings}
    return assemble(chest, develop, wanted, Chest.with_finding, region, lay)


def boxes_of(masks: Mapping[str, np.ndarray]) -> dict[str, Box]:
    """Tight boxes of the concepts that are on the film, from their masks ``[416, 352]``."""
    found = {name: box_of(masks[name]) for name in CONCEPTS}
    return {name: box for name, box in found.items() if box is not None}


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
    x1, _, x2, _ = (int(v) for v in tight(lung))
    size = int(0.36 * (x2 - x1))
    columns = slice(x2 - size, x2) if side == "left" else slice(x1, x1 + size)
    corner = np.zeros_like(lung)
    corner[:, columns] = lung[:, columns]
    bottom = int(tight(corner)[3])
    corner[: bottom - int(1.15 * size)] = False
    return corner


def developer(
    patient: Patient, background: np.ndarray, healthy: np.ndarray, rng: np.random.Generator
) -> Callable[[np.ndarray], np.ndarray]:
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

    boxes: tuple[Box]
    glyph: np.ndarray  # uint8

    @property
    def mask(self) -> np.ndarray:
        return fill(self.boxes, *SIZE[::-1])

    def over(self, film: np.ndarray) -> np.ndarray:
        x1, y1, x2, y2 = (int(v) for v in self.boxes[0])
        marked = film.copy()
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
    return _Stamp(((float(x1), float(top), float(x1 + width), float(top + height)),), glyph)


def _letter(letter: str) -> Image.Image:
    canvas = Image.new("L", (200, 200))
    font = ImageFont.load_default(120)
    ImageDraw.Draw(canvas).text((40, 20), letter, fill=255, font=font, stroke_width=6)
    return canvas.crop(canvas.getbbox())
