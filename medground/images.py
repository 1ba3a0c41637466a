"""Reading and writing films: whatever a provider ships becomes an 8-bit gray array ``[h, w]``.

A film comes out as a reader would hang it: air dark, bone bright, in its native size, nothing cropped.

- 8-bit PNG and JPEG are taken as they are; colour becomes luma.
- 16-bit PNG is scaled by the depth that its values need (the smallest number of bits that holds the maximum), not
  stretched from minimum to maximum, so that a burned-in letter or a dead pixel does not change the exposure.
- DICOM goes through the grayscale pipeline of the standard (PS3.3 C.11): modality LUT or rescale, then VOI LUT or
  window, and only then the inversion of MONOCHROME1.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from . import files
from .errors import MedgroundError

_REMEDY = "fetch the file again; if it stays unreadable, remove its rows from the source"


def read_film(path: Path | str) -> np.ndarray:
    """A radiograph as uint8 ``[h, w]``, dark air and bright bone, in its native size.

    Reads JPEG, PNG (8 and 16 bit) and DICOM (uncompressed, RLE, JPEG, JPEG-LS, JPEG 2000; 8 to 16 bit); what a file
    is, its content decides and not its name. Raises MedgroundError naming the file and the remedy when it is missing,
    damaged, no single film, or of a kind that is not supported.
    """
    path = Path(path)
    if not path.is_file():
        raise MedgroundError(f"the film {path} is missing; fetch it, or check MEDGROUND_DATA_ROOT")
    try:
        return _dicom(path) if _is_dicom(path) else _picture(path)
    except MedgroundError:
        raise
    except Exception as error:  # decoders raise whatever they like on damaged files
        raise MedgroundError(f"the film {path} cannot be read ({type(error).__name__}: {error}); {_REMEDY}") from None


def film_size(path: Path | str) -> tuple[int, int]:
    """Width and height of a film in pixels from its header alone; raises MedgroundError as `read_film` does."""
    path = Path(path)
    if not path.is_file():
        raise MedgroundError(f"the film {path} is missing; fetch it, or check MEDGROUND_DATA_ROOT")
    try:
        if _is_dicom(path):
            dataset = _open_dicom(path, stop_before_pixels=True)
            return int(dataset.Columns), int(dataset.Rows)
        with Image.open(path) as image:
            return image.size
    except Exception as error:
        raise MedgroundError(f"the film {path} cannot be read ({type(error).__name__}: {error}); {_REMEDY}") from None


def png(film: np.ndarray) -> bytes:
    """A uint8 film ``[h, w]`` as gray PNG."""
    buffer = io.BytesIO()
    Image.fromarray(film).save(buffer, "png")
    return buffer.getvalue()


def write_film(path: Path | str, film: np.ndarray) -> None:
    """Write a uint8 film ``[h, w]`` as gray PNG, atomically; makes the folder.

    Raises MedgroundError naming the file when it cannot be written; nothing half-written stays.
    """
    files.write(png(film), path)


def _picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        if getattr(image, "n_frames", 1) > 1:
            raise MedgroundError(f"{path} holds {image.n_frames} images; a film is one")
        if image.mode == "F":
            raise MedgroundError(f"{path} holds floating-point pixels, whose range nobody knows; save it as 16-bit PNG")
        if image.mode != "I" and not image.mode.startswith("I;16"):
            return np.asarray(image.convert("L"))
        values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise MedgroundError(f"{path} has values {values.min()}..{values.max()}; a film has 8 to 16 bits")
    depth = max(8, int(values.max()).bit_length())
    return _to_byte(values / (2**depth - 1))


def _is_dicom(path: Path) -> bool:
    with open(path, "rb") as file:
        start = file.read(132)
    return start[128:] == b"DICM" or path.suffix.lower() in (".dcm", ".dicom")


def _open_dicom(path: Path, **options):
    import pydicom  # slow to import, and only DICOM needs it

    return pydicom.dcmread(path, force=True, **options)  # force: some archives ship files without the preamble


def _dicom(path: Path) -> np.ndarray:
    from pydicom.pixels import apply_modality_lut

    dataset = _open_dicom(path)
    if "PixelData" not in dataset:
        raise MedgroundError(f"{path} is no DICOM image (no pixel data); {_REMEDY}")
    if int(dataset.get("NumberOfFrames") or 1) > 1:
        raise MedgroundError(f"{path} holds {dataset.NumberOfFrames} frames; a film is one")
    stored = dataset.pixel_array
    if dataset.PhotometricInterpretation not in ("MONOCHROME1", "MONOCHROME2"):
        return _colour(stored, dataset)
    shown = _shown(np.asarray(apply_modality_lut(stored, dataset), np.float64), stored, dataset)
    return _to_byte(1.0 - shown if dataset.PhotometricInterpretation == "MONOCHROME1" else shown)


def _colour(stored: np.ndarray, dataset) -> np.ndarray:
    """A film that was saved as a colour screenshot: its luma."""
    from pydicom.pixels import apply_color_lut

    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        stored = apply_color_lut(stored, dataset)
    depth = 8 * stored.dtype.itemsize if dataset.PhotometricInterpretation == "PALETTE COLOR" else dataset.BitsStored
    return np.asarray(Image.fromarray(_to_byte(stored[..., :3] / (2**depth - 1))).convert("L"))


def _shown(values: np.ndarray, stored: np.ndarray, dataset) -> np.ndarray:
    """What the VOI LUT, else the window, else the range of the film itself makes of the values: 0 to 1.

    A window that cannot be (no width), or that leaves less than one gray level of a film with contrast, was not meant
    for this film, and is passed over.
    """
    lut = next(iter(dataset.get("VOILUTSequence") or []), None)
    if lut is not None and lut.get("LUTData") and lut.get("LUTDescriptor"):
        return _looked_up(values, lut, dataset)
    centre, width = (_first(dataset.get(name)) for name in ("WindowCenter", "WindowWidth"))
    function = str(dataset.get("VOILUTFunction") or "LINEAR").upper()
    if centre is not None and width is not None and width >= (1 if function == "LINEAR" else 1e-9):
        shown = _windowed(values, centre, width, function)
        if np.ptp(shown) >= 1 / 255 or np.ptp(values) == 0:
            return shown
    low, high = _range(values, stored != dataset.get("PixelPaddingValue"))
    return np.clip((values - low) / max(high - low, 1e-9), 0.0, 1.0)


def _windowed(values: np.ndarray, centre: float, width: float, function: str) -> np.ndarray:
    """The window functions of PS3.3 C.11.2.1.2 and C.11.2.1.3, scaled to 0..1."""
    if function == "SIGMOID":
        return 1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - centre) / width, -700.0, 700.0)))
    if function == "LINEAR":  # the standard's half-pixel shift for integer values
        centre, width = centre - 0.5, width - 1.0
    if width == 0:
        return (values > centre).astype(np.float64)
    return np.clip((values - centre) / width + 0.5, 0.0, 1.0)


def _looked_up(values: np.ndarray, lut, dataset) -> np.ndarray:
    entries, first, depth = (int(number) for number in lut.LUTDescriptor)
    entries = entries or 65536
    if isinstance(lut.LUTData, bytes):
        order = "<" if dataset.original_encoding[1] else ">"
        table = np.frombuffer(lut.LUTData, f"{order}u2", entries)
    else:
        table = np.asarray(lut.LUTData)
    if dataset.PixelRepresentation == 1 and first > 32767:  # a signed number that was read as unsigned
        first -= 65536
    place = np.clip(np.rint(values) - first, 0, len(table) - 1).astype(int)
    return np.clip(table[place] / (2**depth - 1), 0.0, 1.0)


def _range(values: np.ndarray, anatomy: np.ndarray) -> tuple[float, float]:
    """The values between which a film without a window is shown: all but one in a thousand at either end.

    Padding and a frame of one value (rows and columns at the edge that do not vary) say nothing about the exposure.
    """
    rows, columns = np.flatnonzero(np.ptp(values, axis=1)), np.flatnonzero(np.ptp(values, axis=0))
    if rows.size:
        inner = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        values, anatomy = values[inner], anatomy[inner]
    seen = values[anatomy] if anatomy.any() else values
    low, high = np.quantile(seen, (0.001, 0.999))
    return (low, high) if low < high else (float(seen.min()), float(seen.max()))


def _first(value) -> float | None:
    """The first of one or several numbers; a film may come with alternative windows."""
    if value is None or value == "":
        return None
    return float(value[0] if not isinstance(value, str | float | int) else value)


def _to_byte(shown: np.ndarray) -> np.ndarray:
    if not np.isfinite(shown).all():
        raise ValueError("its rescale or window is not a finite number")
    return np.rint(shown * 255.0).astype(np.uint8)
