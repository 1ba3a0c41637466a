"""From one contrast CT to a healthy chest in separate layers, ready to be deformed and projected.

What a radiograph shows is a sum of thicknesses along each ray, so each layer is a density relative to water that can
be projected on its own: the body with its lungs filled in, the excess of bone, and per lung its volume and the tissue
(vessels, parenchyma) in it. Air, the difference of the last two, draws every contour of heart, mediastinum and
diaphragm; findings change it and leave the rest alone.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..errors import MedgroundError

#: millimetres per voxel of the layers: z (downwards), y (back to front), x (patient's right to left)
SPACING = (2.5, 5.625, 1.40625)
LAYERS = ("body", "bone", "left lung", "right lung", "left tissue", "right tissue")
MARKS = ("heart", "mediastinum", "upper mediastinum", "clavicles", "hila")  # pairs are signed: left -, right +

_ABOVE, _BELOW = 30, 16  # slices added above and below the scan
_BACK, _FRONT = 40, 440  # rows of the scan that hold the body
_LEFT_LUNG, _RIGHT_LUNG = (
    ("lung_upper_lobe_left", "lung_lower_lobe_left"),
    ("lung_upper_lobe_right", "lung_middle_lobe_right", "lung_lower_lobe_right"),
)
_HEART = ("heart", "atrial_appendage_left")
_MEDIASTINUM = (
    *_HEART,
    "aorta",
    "superior_vena_cava",
    "inferior_vena_cava",
    "pulmonary_vein",
    "brachiocephalic_trunk",
    "trachea",
    "esophagus",
    "brachiocephalic_vein_left",
    "brachiocephalic_vein_right",
    "common_carotid_artery_left",
    "common_carotid_artery_right",
)
#: the scanned patient's mass at the left hilum's height: centre and radii in voxels (x, y, z) of the scan
_MASS, _MASS_RADII = (193, 146, 90), (34, 34, 8.5)
_HILA = {"left": (208, 232, 84), "right": (322, 246, 82)}  # centres in voxels of the scan
_HILUM_RADII = (36, 70, 13)


def layers(hounsfield: np.ndarray, labels: np.ndarray, names: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Layers ``[6, z, y, x]`` and marks ``[5, z, y, x]``, float16, of the healthy chest on a grid of `SPACING`.

    Contrast medium and the patient's lung mass are removed; raises MedgroundError if a mass is still found.
    """

    def structure(*wanted: str) -> np.ndarray:
        return np.isin(labels, [names[name] for name in wanted])

    left, right = structure(*_LEFT_LUNG), structure(*_RIGHT_LUNG)
    lung = left | right
    hounsfield = without_mass(hounsfield, left)
    if (size := largest_nodule(hounsfield, lung)) > 0:
        raise MedgroundError(
            f"the healthy chest still holds a lung nodule of {size} voxels after cleaning: "
            "the CT is not the expected one; fetch it again."
        )
    bone = _bones(labels, names)
    spine = structure(*(name for name in names if name.startswith("vertebrae")))
    air = structure("trachea")

    density = (np.clip(hounsfield, -1000, 55) + 1000) / np.float32(1000)
    body = _body(hounsfield)
    streaks = body & ~lung & ~air & (density < 0.85)
    streaks[:, :, :100] = False  # beam hardening by contrast in the shoulder's veins; gas is only found lower down
    density[streaks] = 1.0
    filled = np.where(lung, np.float32(1), density * body)
    excess = np.where(bone, np.clip(hounsfield, 55, 900) - 55, 0) / np.float32(1000)
    depth = np.arange(labels.shape[2])
    mediastinum = structure(*_MEDIASTINUM) & (depth >= 50)
    vessels = (hounsfield > -450) & ~structure(*_HEART, "aorta") & ~bone
    hila = (vessels & _ellipsoid(labels.shape, _HILA["right"], _HILUM_RADII)).astype(np.float32)
    hila -= vessels & _ellipsoid(labels.shape, _HILA["left"], _HILUM_RADII)
    clavicles = structure("clavicula_right").astype(np.float32) - structure("clavicula_left")

    columns = _straight_columns(spine)
    fine = [_regrid(layer, columns) for layer in (filled, excess, left, right, left * density, right * density)]
    spine = _regrid(spine, columns)
    marks = [
        _regrid(mark, columns)
        for mark in (structure(*_HEART), mediastinum, mediastinum & (depth >= 90), clavicles, hila)
    ]
    fine[0], fine[1] = _with_neck(fine[0], fine[1], spine)
    pad = ((_ABOVE, _BELOW), (0, 0), (0, 0))
    fine[2:] = [np.pad(layer, pad) for layer in fine[2:]]
    marks = [np.pad(mark, pad) for mark in marks]
    return np.stack(fine).astype(np.float16), np.stack(marks).astype(np.float16)


def without_mass(hounsfield: np.ndarray, left_lung: np.ndarray) -> np.ndarray:
    """The scan with the mass in its left lower lobe replaced by the lung 40 mm below it."""
    healthy = hounsfield.copy()
    x, y, z = (slice(int(c - r), int(c + r) + 1) for c, r in zip(_MASS, _MASS_RADII, strict=True))
    inside = left_lung[x, y, z] & _ellipsoid(hounsfield.shape, _MASS, _MASS_RADII)[x, y, z]
    below = slice(z.start - 16, z.stop - 16)
    donor = np.where(left_lung[x, y, below], hounsfield[x, y, below], -850)
    healthy[x, y, z] = np.where(inside, donor, healthy[x, y, z])
    return healthy


def largest_nodule(hounsfield: np.ndarray, lung: np.ndarray) -> int:
    """Voxels in the core of the largest compact dense thing (over 6 mm in every direction) away from the hila."""
    hila = sum(_ellipsoid(lung.shape, centre, (55, 80, 20)) for centre in _HILA.values())
    core = ndimage.minimum_filter(lung & (hounsfield > -300) & (hila == 0), (9, 9, 3))
    found, count = ndimage.label(core)
    return int(np.bincount(found.ravel())[1:].max()) if count else 0


def _ellipsoid(shape: tuple[int, ...], centre: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
    axes = np.ogrid[tuple(slice(0, n) for n in shape)]
    return np.asarray(sum(((axis - c) / r) ** 2 for axis, c, r in zip(axes, centre, radii, strict=True)) < 1)


def _body(hounsfield: np.ndarray) -> np.ndarray:
    """The patient without table and clothes; gas and lungs inside count as body."""
    coarse = ndimage.binary_opening(hounsfield[::4, ::4] > -300, iterations=2)
    found, _ = ndimage.label(coarse)
    coarse = found == np.bincount(found.ravel())[1:].argmax() + 1
    for z in range(coarse.shape[2]):
        coarse[:, :, z] = ndimage.binary_fill_holes(ndimage.binary_dilation(coarse[:, :, z]))
    return coarse.repeat(4, 0).repeat(4, 1)[: hounsfield.shape[0], : hounsfield.shape[1]]


def _bones(labels: np.ndarray, names: dict[str, int]) -> np.ndarray:
    kinds = ("vertebrae", "humerus", "scapula", "clavicula", "rib_", "sternum", "costal_cartilages")
    return np.isin(labels, [label for name, label in names.items() if name.startswith(kinds)])


def _straight_columns(spine: np.ndarray) -> np.ndarray:
    """Source column ``[z, 512]`` of every voxel, such that spine and midline are straight and both sides equal.

    The scanned patient leans by 30 mm; without this every virtual patient would inherit the same scoliosis.
    """
    width = spine.shape[0]
    mass = spine.sum((0, 1))
    middle = np.arange(width) @ spine.sum(1) / np.maximum(mass, 1)
    middle = ndimage.gaussian_filter1d(np.where(mass > 0, middle, middle[mass > 0].mean()), 4, mode="nearest")
    offset = np.arange(width) - width / 2
    return np.clip(np.rint(middle[:, None] + offset - 0.0005 * offset**2), 0, width - 1).astype(int)


def _regrid(volume: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """A scan-shaped layer ``[x, y, z up]`` straightened, turned and averaged to ``[z down, y, x]`` of `SPACING`."""
    body = np.asarray(volume, np.float32)[:, _BACK:_FRONT]
    rows = (_FRONT - _BACK) // 8
    body = body.reshape(body.shape[0], rows, 8, -1).mean(2)
    straight = np.take_along_axis(body.transpose(2, 1, 0), columns[:, None, :], axis=2)
    return straight.reshape(straight.shape[0], rows, -1, 2).mean(3)[::-1, :, ::-1]


def _with_neck(body: np.ndarray, bone: np.ndarray, spine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The scan ends at the shoulders: shoulders sloping into a neck are added above, mirrored slices below.

    Repeating the last slice instead would draw its bones as vertical streaks along the film's top edge.
    """
    height = SPACING[0] * np.arange(_ABOVE, 0, -1)[:, None, None]
    middle = body.shape[2] / 2
    across = np.abs(np.arange(body.shape[2]) + 0.5 - middle) * SPACING[2]
    along = (np.arange(body.shape[1]) + 0.5 - 0.55 * body.shape[1]) * SPACING[1]
    slope = np.clip(1 - height / 60, 0, 1) ** 1.3
    half_width, half_depth = 58 + 150 * slope, 60 + 60 * slope
    distance = np.sqrt((across / half_width) ** 2 + (along[:, None] / half_depth) ** 2)
    neck = body[:3].mean(0) / (1 + np.exp((distance - 1) * 18))
    period = 7  # one vertebra
    steps = np.arange(_ABOVE, 0, -1) % (2 * period)
    vertebrae = (bone * (spine > 0.2))[np.where(steps > period, 2 * period - steps, steps)]
    fading = ndimage.gaussian_filter(bone[:4].mean(0), 1.5) * np.exp(-((height / 12) ** 2))
    body = np.concatenate([neck, body, body[-1 : -_BELOW - 1 : -1]])
    return body, np.concatenate([np.maximum(vertebrae, fading), bone, bone[-1 : -_BELOW - 1 : -1]])
