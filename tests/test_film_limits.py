"""Films made to do harm: what their headers promise is refused before anything is decoded, in little memory."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)  # fmt: skip

from medground import images
from medground.errors import MedgroundError
from medground.images import MAX_PIXELS, film_size, read_film

SIDE = 20_000  # of a film of 400 million pixels
REPOSITORY = Path(__file__).parents[1]


def dicom(path: Path, syntax, data: bytes, rows: int = SIDE, columns: int = SIDE, **elements) -> Path:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = ComputedRadiographyImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid(entropy_srcs=["medground"])
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = rows, columns, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.PixelData = encapsulate([data]) if syntax.is_encapsulated else data
    dataset["PixelData"].VR = "OB" if syntax.is_encapsulated else "OW"
    dataset.save_as(path, enforce_file_format=True)
    return path


def png(path: Path, width: int, height: int, depth: int = 16) -> Path:
    """A gray PNG of zeros: its rows compress a thousand times."""
    row, engine = bytes(1 + width * depth // 8), zlib.compressobj(9)
    body = b"".join(engine.compress(row) for _ in range(height)) + engine.flush()
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)), (b"IDAT", body), (b"IEND", b"")]
    parts = [struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def jpeg_2000(width: int, height: int, components: int = 1) -> bytes:
    """The start of a codestream that promises so many pixels."""
    size = struct.pack(">HIIIIIIII", 0, width, height, 0, 0, width, height, 0, 0)
    size += struct.pack(">H", components) + b"\x0f\x01\x01" * components
    return b"\xff\x4f\xff\x51" + struct.pack(">H", len(size) + 2) + size + b"\xff\x93" + bytes(64)


def jpeg(width: int, height: int, marker: int) -> bytes:
    frame = struct.pack(">BHHB", 16, height, width, 1) + b"\x01\x11\x00"
    comment = b"\xff\xfe" + struct.pack(">H", 12) + b"0123456789"
    return b"\xff\xd8" + comment + b"\xff" + bytes([marker]) + struct.pack(">H", len(frame) + 2) + frame + bytes(64)


def deflated(path: Path, expanded: int) -> Path:
    """A DICOM file whose data set is compressed, and is that many zero bytes in a private element beside its image."""
    dicom(path, DeflatedExplicitVRLittleEndian, bytes(200), 10, 10)
    content = path.read_bytes()
    start = next(at for at in range(140, len(content)) if _inflates(content[at:]))
    plain = zlib.decompress(content[start:], -zlib.MAX_WBITS)
    engine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    head = struct.pack("<HH2sHI", 9, 1, b"OB", 0, expanded)
    with path.open("wb") as file:
        file.write(content[:start] + engine.compress(head))
        for _ in range(expanded >> 20):
            file.write(engine.compress(bytes(1 << 20)))
        file.write(engine.compress(plain) + engine.flush())
    return path


def _inflates(data: bytes) -> bool:
    try:
        return len(zlib.decompress(data, -zlib.MAX_WBITS)) > 200
    except zlib.error:
        return False


LARGE = "at most 40,000,000 are read; save it in its native size"
HARM = {
    "png-16.png": (lambda path: png(path, 13_000, 13_000), LARGE),
    "png-8.png": (lambda path: png(path, 9_000, 9_000, 8), LARGE),
    "png-bomb.png": (lambda path: png(path, 20_000, 20_000, 8), LARGE),
    "wide.png": (lambda path: png(path, MAX_PIXELS + 1, 1, 8), LARGE),
    "plain.dcm": (lambda path: dicom(path, ExplicitVRLittleEndian, bytes(100)), LARGE),
    "rle.dcm": (lambda path: dicom(path, RLELossless, b"\x02" + bytes(63) + b"\x81\x00" * 9000), LARGE),
    "j2k.dcm": (lambda path: dicom(path, JPEG2000Lossless, jpeg_2000(SIDE, SIDE)), LARGE),
    "j2k-hidden.dcm": (lambda path: dicom(path, JPEG2000Lossless, jpeg_2000(SIDE, SIDE), 64, 64), LARGE),
    "j2k-components.dcm": (lambda path: dicom(path, JPEG2000Lossless, jpeg_2000(64, 64, 16_000), 3000, 3000), None),
    "j2k-deep.dcm": (lambda path: dicom(path, JPEG2000Lossless, jpeg_2000(6000, 6000, 900), 64, 64), LARGE),
    "ls-hidden.dcm": (lambda path: dicom(path, JPEGLSLossless, jpeg(SIDE, SIDE, 0xF7), 64, 64), LARGE),
    "jpeg-hidden.dcm": (lambda path: dicom(path, JPEGLosslessSV1, jpeg(SIDE, SIDE, 0xC3), 64, 64), LARGE),
    "frames.dcm": (lambda path: dicom(path, ExplicitVRLittleEndian, bytes(99), 9, 9, NumberOfFrames=999), "999 frames"),
    "samples.dcm": (
        lambda path: dicom(path, ExplicitVRLittleEndian, bytes(99), 5000, 5000, SamplesPerPixel=60_000), LARGE
    ),
    "deflated.dcm": (lambda path: deflated(path, 1 << 30), "expands to more than"),
    "long.png": (lambda path: os.truncate(png(path, 9, 9), images.MAX_BYTES + 1), "bytes; at most"),
    "pipe.png": (os.mkfifo, "is no file but a folder, pipe or device"),
    "zero.png": (lambda path: path.symlink_to("/dev/zero"), "is no file but a folder, pipe or device"),
    "script.png": (lambda path: path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("name", HARM)
def test_harm_is_refused_with_a_message(tmp_path, name):
    make, message = HARM[name]
    make(tmp_path / name)
    with pytest.raises(MedgroundError, match=message) as refused:
        read_film(tmp_path / name)
    assert name in str(refused.value)


def test_the_header_alone_is_enough(tmp_path):
    for name in ("png-16.png", "plain.dcm", "deflated.dcm", "pipe.png"):
        HARM[name][0](tmp_path / name)
        with pytest.raises(MedgroundError, match=HARM[name][1]):
            film_size(tmp_path / name)


def peak(path: Path) -> float:
    """Megabytes that reading a film takes beyond what the reader itself does."""
    code = f"""
        import resource, pydicom.pixels
        from medground.errors import MedgroundError
        from medground.images import read_film
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            read_film({str(path)!r})
        except MedgroundError:
            pass
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
    """
    return float(subprocess.check_output([sys.executable, "-c", textwrap.dedent(code)], cwd=REPOSITORY))


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is in other units elsewhere")
def test_hostile_films_take_little_memory(tmp_path):
    for name in ("png-16.png", "rle.dcm", "j2k-hidden.dcm", "deflated.dcm"):
        HARM[name][0](tmp_path / name)
        assert peak(tmp_path / name) < 80, name


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is in other units elsewhere")
def test_the_largest_films_take_a_bounded_memory(tmp_path):
    rows, columns = 5000, 8000
    assert peak(png(tmp_path / "film.png", columns, rows)) < 700
    values = np.random.default_rng(0).integers(0, 4096, (rows, columns), dtype=np.uint16)
    assert peak(dicom(tmp_path / "film.dcm", ExplicitVRLittleEndian, values.tobytes(), rows, columns)) < 1300


@pytest.mark.parametrize(("mode", "top"), [("I;16", 65535), ("I;16", 300), ("I;16", 3), ("I;16", 0)])
def test_16_bit_values_scale_exactly(tmp_path, mode, top):
    values = np.random.default_rng(0).integers(0, top + 1, (40, 30), dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "film.png")
    depth = max(8, int(values.max()).bit_length())
    assert np.array_equal(read_film(tmp_path / "film.png"), np.rint(values / (2**depth - 1) * 255).astype(np.uint8))
