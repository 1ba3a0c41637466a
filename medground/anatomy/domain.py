"""Is a film what models and methods here are made for: one frontal chest radiograph, upright, bone bright?

What a file says of itself (modality, view, body part) is believed; the pixels are held against a sketch of a chest in
four poses and two polarities. A `Doubt` that ``refuses`` means that nothing right can come of the film.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from ..images import read_film
from .transfer import Locator

RADIOGRAPHS = {"CR", "DX", "RG", "DR", "RF", "XA", "OT", ""}  # modalities; OT: a picture that was made DICOM
FRONTAL = {"PA", "AP", "AP_SUPINE", "AP_ERECT", "FRONTAL", ""}
CHESTS = {"CHEST", "THORAX", "LUNG", "PORT CHEST", "CHEST PA", "CHEST AP", ""}
SIDE = 32  # cells of the sketch, and of the film that is held against it
LIKE = 0.5  # correlation from which a film passes for a chest; most frontal films have .55 to .8
UNLIKE = 0.2  # below which it is none
CLEARLY = 0.1  # by which another pose has to be more like it
COST = 0.42  # of a registration, up to which anatomy fits; frontal films have .05 to .4
COLOURED = 8.0  # mean difference of the colour channels, in gray levels
CONTRAST = 2.0  # standard deviation below which there is nothing to see, in gray levels
SHAPES = (0.5, 2.0)  # width over height
SMALL = 64  # pixels
_POSES = {0: "upright", 1: "turned to its right", 2: "upside down", 3: "turned to its left"}  # quarters back


@dataclass(frozen=True)
class Doubt:
    """Why a film may not be what it should be."""

    text: str
    refuses: bool = True


def doubts(path: Path | str) -> list[Doubt]:
    """What speaks against the film in a file, the gravest first; empty where nothing does.

    Raises MedgroundError as `read_film` does.
    """
    film = read_film(path)
    found = [*_said(Path(path)), *_seen(film)]
    return sorted(found, key=lambda doubt: not doubt.refuses)


def fits(locator: Locator, film: np.ndarray) -> list[Doubt]:
    """What speaks against a film (uint8 ``[h, w]``) once its anatomy was registered: that it fits badly."""
    if locator.protocol != "medground":
        return []  # whose costs are of another kind
    costs = [cost for *_, cost in locator.transferred(film)]
    if costs and costs[0] <= COST:
        return []
    return [
        Doubt(
            "its anatomy does not register with that of normal films"
            + (f" (cost {costs[0]:.2f}; frontal films cost up to {COST:g})" if costs else "")
            + ": boxes of regions may lie anywhere",
            refuses=False,
        )
    ]


def trained(model: str) -> list[Doubt]:
    """What a model says of what it was trained on: the phantom's know rendered films alone."""
    if not re.search(r"(^|[/-])phantom-", model):
        return []
    return [
        Doubt("this model was trained on rendered films alone; what it says of a real one means nothing", refuses=False)
    ]


def chest(film: np.ndarray) -> dict[str, float]:
    """How like a chest a film (uint8 ``[h, w]``) is in each pose, and ``inverted``, bone dark: correlations."""
    cells = _ranks(film)
    likeness = {pose: _best(np.rot90(cells, turns)) for turns, pose in _POSES.items()}
    return likeness | {"inverted": _best(1 - cells)}


def _said(path: Path) -> list[Doubt]:
    """What the header of a DICOM file, or the colours of a picture, say."""
    from ..images import _is_dicom, _open_dicom

    if not _is_dicom(path):
        with Image.open(path) as image:
            return [Doubt("it is a picture in colour, and no radiograph")] if _coloured(image) else []
    header = _open_dicom(path, stop_before_pixels=True)

    def of(name: str) -> str:
        return str(header.get(name) or "").strip().upper()

    found = []
    if of("Modality") not in RADIOGRAPHS:
        found.append(Doubt(f"its modality is {of('Modality')}, which is no radiograph"))
    if of("ViewPosition") not in FRONTAL:
        found.append(Doubt(f"its view is {of('ViewPosition')}, not frontal"))
    if of("BodyPartExamined") not in CHESTS:
        found.append(Doubt(f"it shows the body part {of('BodyPartExamined')}, not the chest"))
    return found


def _coloured(image: Image.Image) -> bool:
    if image.mode not in ("RGB", "RGBA", "P", "CMYK", "YCbCr"):
        return False
    pixels = np.asarray(image.convert("RGB").resize((SIDE, SIDE)), float)
    return float(np.ptp(pixels, axis=-1).mean()) > COLOURED


def _seen(film: np.ndarray) -> list[Doubt]:
    """What the pixels say."""
    height, width = film.shape
    if film.std() < CONTRAST:
        return [Doubt("it is blank: there is nothing to see")]
    found = []
    if min(height, width) < SMALL:
        found.append(Doubt(f"it has {width} x {height} pixels, too few to see anything"))
    if not SHAPES[0] <= width / height <= SHAPES[1]:
        found.append(Doubt(f"it has {width} x {height} pixels, which no chest film has", refuses=False))
    likeness = chest(film)
    upright, inverted = likeness.pop("upright"), likeness.pop("inverted")
    pose = max(likeness, key=likeness.__getitem__)
    if inverted >= LIKE and inverted > max(upright + CLEARLY, likeness[pose] - CLEARLY):
        return [*found, Doubt("its brightness is inverted: bone is dark")]
    if likeness[pose] >= LIKE and likeness[pose] > upright + CLEARLY:
        return [*found, Doubt(f"it is {pose}")]
    if upright < LIKE:
        how = "does not look" if upright < UNLIKE else "looks little"
        text = f"it {how} like a frontal chest film (likeness {upright:.2f}; {LIKE:g} passes, {UNLIKE:g} is refused)"
        found.append(Doubt(text, refuses=upright < UNLIKE))
    return found


def _ranks(film: np.ndarray) -> np.ndarray:
    """The film as ``[SIDE, SIDE]`` ranks of brightness in 0..1, which no exposure changes, its black frame left out."""
    lit = film > 8
    rows, columns = np.flatnonzero(lit.any(1)), np.flatnonzero(lit.any(0))
    if rows.size and columns.size:
        film = film[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    cells = np.asarray(Image.fromarray(film).resize((SIDE, SIDE), Image.Resampling.BOX), float)
    _, place, count = np.unique(cells, return_inverse=True, return_counts=True)
    return ((np.cumsum(count) - count / 2) / cells.size)[place].reshape(SIDE, SIDE)


def _best(cells: np.ndarray) -> float:
    """The highest correlation with the sketch, over sizes and places."""
    spread = cells.std()
    return float((_sketches() @ (cells - cells.mean()).ravel()).max() / spread / cells.size) if spread else 0.0


@cache
def _sketches() -> np.ndarray:
    """Sketches ``[sizes and places, SIDE * SIDE]``, each with mean 0 and standard deviation 1."""
    drawn = [
        _sketch(scale, down, across).ravel()
        for scale in (0.75, 0.9, 1.05, 1.2)
        for down in (-0.15, 0.0, 0.15)
        for across in (-0.1, 0.0, 0.1)
    ]
    return np.stack([(one - one.mean()) / one.std() for one in drawn])


def _sketch(scale: float, down: float, across: float) -> np.ndarray:
    """A chest as brightness ``[SIDE, SIDE]``: a body with two dark lungs, between them the spine and the heart, and
    air beside the neck. ``scale`` is its size, ``down`` and ``across`` where its middle is, in halves of the film."""
    y, x = np.meshgrid(*[(np.arange(SIDE) + 0.5) * 2 / SIDE - 1] * 2, indexing="ij")
    y, x = (y - down) / scale, (x - across) / scale

    def ellipse(cx: float, cy: float, rx: float, ry: float) -> np.ndarray:
        return 1 / (1 + np.exp(6 * (((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 - 1)))

    lungs = ellipse(-0.46, -0.12, 0.3, 0.6) + ellipse(0.46, -0.12, 0.3, 0.6)
    heart = ellipse(0.14, 0.25, 0.32, 0.3)
    air = 1 / (1 + np.exp(-8 * (np.abs(x) - 1.0))) + (1 / (1 + np.exp(8 * (y + 0.85 - 0.35 * (np.abs(x) < 0.3)))))
    return (
        0.75 - 0.6 * np.clip(lungs - 0.9 * heart, 0, 1) + 0.15 * ellipse(0, 0.1, 0.16, 1.2) - 0.45 * np.clip(air, 0, 1)
    )
