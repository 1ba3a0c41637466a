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
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from . import files
from .errors import MedgroundError

#: Pixels of the largest film that is read. The largest detectors in use have some 18 million; decoding one of this size
#: takes about a gigabyte at worst, whatever its format and depth. What a header promises is looked at before decoding.
MAX_PIXELS = 40_000_000
MAX_BYTES = 512 << 20  # of a file
_FORMATS = ("PNG", "JPEG", "JPEG2000", "TIFF", "BMP", "GIF", "PPM", "WEBP")  # none that starts another program
_DEFLATED = "1.2.840.10008.1.2.1.99"
_SMALLER = "save it in its native size, which no radiograph has above that"
_REMEDY = "fetch the file again; if it stays unreadable, remove its rows from the source"


def read_film(path: Path | str) -> np.ndarray:
    """A radiograph as uint8 ``[h, w]``, dark air and bright bone, in its native size.

    Reads JPEG, PNG (8 and 16 bit) and DICOM (uncompressed, RLE, JPEG, JPEG-LS, JPEG 2000; 8 to 16 bit); what a file
    is, its content decides and not its name. Raises MedgroundError naming the file and the remedy when it is missing,
    damaged, no single film, or of a kind that is not supported.
    """
    path = Path(path)
    _check_file(path)
    try:
        return _dicom(path) if _is_dicom(path) else _picture(path)
    except MedgroundError:
        raise
    except Exception as error:  # decoders raise whatever they like on damaged files
        raise _unreadable(path, error) from None


def film_size(path: Path | str) -> tuple[int, int]:
    """Width and height of a film in pixels from its header alone; raises MedgroundError as `read_film` does."""
    path = Path(path)
    _check_file(path)
    try:
        if _is_dicom(path):
            dataset = _open_dicom(path, stop_before_pixels=True)
            width, height = int(dataset.Columns), int(dataset.Rows)
        else:
            with Image.open(path, formats=_FORMATS) as image:
                width, height = image.size
    except MedgroundError:
        raise
    except Exception as error:
        raise _unreadable(path, error) from None
    _check_size(path, width, height)
    return width, height


def takes_long(path: Path | str) -> bool:
    """Whether a film is DICOM or JPEG 2000, which take far longer to decode than a PNG of the same pixels.

    Raises MedgroundError as `read_film` does where there is no film.
    """
    path = Path(path)
    _check_file(path)
    if _is_dicom(path):
        return True
    with open(path, "rb") as file:
        start = file.read(12)
    return start.startswith((b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  "))


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


def _check_file(path: Path) -> None:
    try:
        status = path.stat()
    except FileNotFoundError:
        raise MedgroundError(f"the film {path} is missing; fetch it, or check MEDGROUND_DATA_ROOT") from None
    except OSError as error:
        raise MedgroundError(f"the film {path} cannot be read ({error.strerror}); {_REMEDY}") from None
    if not stat.S_ISREG(status.st_mode):
        raise MedgroundError(f"the film {path} is no file but a folder, pipe or device; name the film itself")
    if status.st_size > MAX_BYTES:
        raise MedgroundError(
            f"the film {path} has {status.st_size:,} bytes; at most {MAX_BYTES:,} are read; {_SMALLER}"
        )


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise MedgroundError(
            f"the film {path} has {width} x {height} pixels; at most {MAX_PIXELS:,} are read; {_SMALLER}"
        )


def _unreadable(path: Path, error: Exception) -> MedgroundError:
    if isinstance(error, Image.DecompressionBombError):
        return MedgroundError(f"the film {path} has too many pixels; at most {MAX_PIXELS:,} are read; {_SMALLER}")
    return MedgroundError(f"the film {path} cannot be read ({type(error).__name__}: {error}); {_REMEDY}")


def _picture(path: Path) -> np.ndarray:
    with Image.open(path, formats=_FORMATS) as image:
        _check_size(path, *image.size)
        if (frames := getattr(image, "n_frames", 1)) > 1:
            raise MedgroundError(f"{path} holds {frames} images; a film is one")
        if image.mode == "F":
            raise MedgroundError(f"{path} holds floating-point pixels, whose range nobody knows; save it as 16-bit PNG")
        if image.mode != "I" and not image.mode.startswith("I;16"):
            return np.asarray(image.convert("L"))
        values = np.asarray(image)  # uint16, or int32
    if values.min() < 0 or values.max() > 65535:
        raise MedgroundError(f"{path} has values {values.min()}..{values.max()}; a film has 8 to 16 bits")
    top = int(values.max())
    return _to_byte(np.arange(top + 1) / (2 ** max(8, top.bit_length()) - 1))[values]


def _is_dicom(path: Path) -> bool:
    with open(path, "rb") as file:
        start = file.read(132)
    return start[128:] == b"DICM" or path.suffix.lower() in (".dcm", ".dicom")


def _open_dicom(path: Path, **options):
    import pydicom  # slow to import, and only DICOM needs it
    from pydicom.filereader import read_file_meta_info

    try:
        deflated = read_file_meta_info(path).get("TransferSyntaxUID") == _DEFLATED
    except Exception:  # no preamble, and so no header that could say so
        deflated = False
    if deflated and _inflated(path) > MAX_BYTES:
        raise MedgroundError(f"the film {path} expands to more than {MAX_BYTES:,} bytes; {_SMALLER}")
    return pydicom.dcmread(path, force=True, **options)  # force: some archives ship files without the preamble


def _inflated(path: Path) -> int:
    """The bytes that a deflated DICOM file expands to, or more than `MAX_BYTES`; a mebibyte is held at once."""
    with open(path, "rb") as file:
        start = file.read(144)  # its last four bytes are the length of what is left of the header
        file.seek(144 + int.from_bytes(start[140:], "little"))
        engine, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while size <= MAX_BYTES and not engine.eof and (data := engine.unconsumed_tail or file.read(1 << 16)):
            size += len(engine.decompress(data, 1 << 20))
    return size


def _dicom(path: Path) -> np.ndarray:
    from pydicom.pixels import apply_modality_lut

    dataset = _open_dicom(path)
    if "PixelData" not in dataset:
        raise MedgroundError(f"{path} is no DICOM image (no pixel data); {_REMEDY}")
    if int(dataset.get("NumberOfFrames") or 1) > 1:
        raise MedgroundError(f"{path} holds {dataset.NumberOfFrames} frames; a film is one")
    _check_size(path, int(dataset.Columns) * -(-int(dataset.get("SamplesPerPixel") or 1) // 3), int(dataset.Rows))
    for width, height in _stream_sizes(dataset):
        _check_size(path, width, height)
    stored = dataset.pixel_array
    if dataset.PhotometricInterpretation not in ("MONOCHROME1", "MONOCHROME2"):
        return _colour(stored, dataset)
    inverted = dataset.PhotometricInterpretation == "MONOCHROME1"
    levels, place = _levels(stored)
    values = np.asarray(apply_modality_lut(levels, dataset), np.float64)
    shown = _shown(values, levels, place, dataset)
    film = _to_byte(1.0 - shown if inverted else shown)
    return film if place is None else film[place]


def _levels(stored: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """The values that occur in a film, and which of them each pixel has: what is done to a value is done once, not in
    every pixel, and takes no memory. Values of more than 16 bits stay as they are, one a pixel."""
    if stored.dtype.itemsize > 2 or stored.ndim != 2:
        return stored, None
    low = int(stored.min())
    offset = np.subtract(stored, low, dtype=np.int32)
    present = np.bincount(offset.ravel()) > 0
    place = (np.cumsum(present, dtype=np.int32) - 1).astype(np.uint16)
    return (np.flatnonzero(present) + low).astype(stored.dtype), place[offset]


def _stream_sizes(dataset) -> Iterator[tuple[int, int]]:
    """Width and height that compressed frames state themselves, in which their decoder would believe; components count
    as width beyond the three of a colour film."""
    if not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return
    from pydicom.encaps import generate_frames

    for frame in generate_frames(dataset.PixelData, number_of_frames=1):
        size = _jpeg_size(frame) or _jpeg_2000_size(frame)
        if size:
            width, height, components = size
            yield width * max(1, -(-components // 3)), height


def _jpeg_size(data: bytes) -> tuple[int, int, int] | None:
    """Width, height and components of a JPEG or JPEG-LS stream (ITU-T T.81 B.2.2, T.87 C.2.2)."""
    if data[:2] != b"\xff\xd8":
        return None
    place = 2
    while place + 9 < len(data):
        if data[place] != 0xFF:
            return None
        marker = data[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            height, width = (int.from_bytes(data[place + at : place + at + 2], "big") for at in (5, 7))
            return width, height, data[place + 9]
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return None


def _jpeg_2000_size(data: bytes) -> tuple[int, int, int] | None:
    """Width, height and components of a JPEG 2000 codestream, bare or in its file format (ITU-T T.800 A.5.1)."""
    start = data.find(b"\xff\x4f\xff\x51")
    if start < 0 or len(data) < start + 42:
        return None
    right, bottom, left, top = (int.from_bytes(data[start + at : start + at + 4], "big") for at in (8, 12, 16, 20))
    return max(0, right - left), max(0, bottom - top), int.from_bytes(data[start + 40 : start + 42], "big")


def _colour(stored: np.ndarray, dataset) -> np.ndarray:
    """A film that was saved as a colour screenshot: its luma."""
    from pydicom.pixels import apply_color_lut

    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        stored = apply_color_lut(stored, dataset)
    depth = 8 * stored.dtype.itemsize if dataset.PhotometricInterpretation == "PALETTE COLOR" else dataset.BitsStored
    return np.asarray(Image.fromarray(_to_byte(stored[..., :3] / (2**depth - 1))).convert("L"))


def _shown(values: np.ndarray, levels: np.ndarray, place: np.ndarray | None, dataset) -> np.ndarray:
    """What the VOI LUT, else the window, else the range of the film itself makes of the values: 0 to 1.

    ``values`` are those of the ``levels`` as they are stored, and ``place`` says which of them each pixel has. A window
    that cannot be (no width), or that leaves less than one gray level of a film with contrast, was not meant for this
    film, and is passed over.
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
    anatomy = levels != dataset.get("PixelPaddingValue")
    anatomy = np.broadcast_to(anatomy, levels.shape)
    low, high = _range(values, anatomy) if place is None else _range(values[place], anatomy[place])
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
