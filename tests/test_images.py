"""Films against what pydicom's own functions make of the same files."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid

from medground.errors import MedgroundError
from medground.images import film_size, read_film, write_film

SHARED = Path(__file__).parents[2] / "shared" / "cxr"


def dicom(path, stored, *, bits=12, photometric="MONOCHROME2", **elements):
    """Write stored values ``[h, w]`` as an uncompressed DICOM film."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = ComputedRadiographyImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid(entropy_srcs=["medground"])
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = photometric
    dataset.BitsAllocated = 8 * stored.dtype.itemsize
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    dataset.PixelData = stored.tobytes()
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


def by_pydicom(path):
    """Modality and VOI stage by pydicom, then to 0..255 over the output range of its window."""
    dataset = pydicom.dcmread(path)
    values = apply_modality_lut(dataset.pixel_array, dataset)
    shown = apply_voi_lut(values, dataset).astype(float)
    slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
    if dataset.PixelRepresentation:
        ends = -(2 ** (dataset.BitsStored - 1)), 2 ** (dataset.BitsStored - 1) - 1
    else:
        ends = 0, 2**dataset.BitsStored - 1
    low, high = (end * slope + intercept for end in ends)
    shown = (shown - low) / (high - low)
    return 255 * (1 - shown if dataset.PhotometricInterpretation == "MONOCHROME1" else shown)


def ramp(bits, dtype=np.uint16):
    low = -(2 ** (bits - 1)) if np.dtype(dtype).kind == "i" else 0
    return np.linspace(low, low + 2**bits - 1, 40 * 30).reshape(40, 30).astype(dtype)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 15, 16])
@pytest.mark.parametrize("rescale", [None, (1.0, 0.0), (2.5, -1024.0)])
def test_windowed_films_equal_pydicom(tmp_path, bits, photometric, rescale):
    slope, intercept = rescale or (1.0, 0.0)
    centre, width = 0.4 * 2**bits * slope + intercept, 0.5 * 2**bits * slope
    extra = {"RescaleSlope": slope, "RescaleIntercept": intercept} if rescale else {}
    path = dicom(
        tmp_path / "film.dcm", ramp(bits, np.uint8 if bits == 8 else np.uint16), bits=bits, photometric=photometric,
        WindowCenter=centre, WindowWidth=width, **extra,
    )  # fmt: skip
    np.testing.assert_allclose(read_film(path), by_pydicom(path), atol=0.5 + 1e-6)


@settings(max_examples=40, deadline=None)
@given(
    centre=st.integers(-2000, 6000),
    width=st.integers(1, 8000),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
    dtype=st.sampled_from([np.uint16, np.int16]),
)
@example(centre=5000, width=1, function="SIGMOID", dtype=np.int16)  # 0 up to rounding, but not exactly
@example(centre=2100, width=1, function="SIGMOID", dtype=np.int16)
def test_any_window_equals_pydicom_or_is_flat(tmp_path_factory, centre, width, function, dtype):
    path = tmp_path_factory.mktemp("window") / "film.dicom"
    dicom(path, ramp(12, dtype), WindowCenter=centre, WindowWidth=width, VOILUTFunction=function)
    expected = by_pydicom(path)
    if np.ptp(expected) > 1 + 1e-6:
        np.testing.assert_allclose(read_film(path), expected, atol=0.5 + 1e-6)
    elif np.ptp(expected) < 1 - 1e-6:  # nothing of the film would be left: its own range is shown
        assert np.ptp(read_film(path)) == 255


@pytest.mark.parametrize("depth", [8, 12, 16])
@pytest.mark.parametrize("first", [0, 100, -50])
def test_a_lookup_table_equals_pydicom(tmp_path, depth, first):
    curve = np.rint((2**depth - 1) * np.linspace(0, 1, 3000) ** 2).astype(np.uint16)
    lut = Dataset()
    lut.LUTDescriptor = [len(curve), first % 65536, depth]
    lut["LUTDescriptor"].VR = "US"
    lut.add_new("LUTData", "OW", curve.tobytes())
    dtype = np.int16 if first < 0 else np.uint16
    path = dicom(tmp_path / "film.dcm", ramp(12, dtype), VOILUTSequence=[lut], WindowCenter=9, WindowWidth=5)
    dataset = pydicom.dcmread(path)
    place = np.clip(dataset.pixel_array.astype(int) - first, 0, len(curve) - 1)
    expected = curve[place] / (2**depth - 1) * 255
    np.testing.assert_allclose(read_film(path), expected, atol=0.5 + 1e-6)
    if depth != 8 and first >= 0:  # pydicom wraps the index of 8-bit tables, and does not know a signed first value
        shown = apply_voi_lut(dataset.pixel_array, dataset) / (2**depth - 1) * 255
        np.testing.assert_allclose(read_film(path), shown, atol=0.5 + 1e-6)


def test_monochrome1_is_inverted_after_its_window(tmp_path):
    stored = ramp(12)
    window = {"WindowCenter": 3000, "WindowWidth": 1000}
    light = read_film(dicom(tmp_path / "a.dcm", stored, photometric="MONOCHROME1", **window))
    dark = read_film(dicom(tmp_path / "b.dcm", stored, photometric="MONOCHROME2", **window))
    np.testing.assert_allclose(light.astype(int), 255 - dark.astype(int), atol=1)
    assert light[0, 0] == 255 and light[-1, -1] == 0


def test_without_a_window_the_frame_and_padding_do_not_set_the_exposure(tmp_path):
    anatomy = np.random.default_rng(0).integers(1000, 2000, (300, 300)).astype(np.uint16)
    framed = np.full((400, 380), 4095, np.uint16)
    framed[60:360, 40:340] = anatomy
    film = read_film(dicom(tmp_path / "frame.dcm", framed))
    assert film.shape == framed.shape
    assert film[60:360, 40:340].std() > 60 and film[0, 0] == 255
    padded = anatomy.copy()
    padded[np.add.outer(np.arange(300), np.arange(300)) < 150] = 0  # a corner that no frame contains
    film = read_film(dicom(tmp_path / "padding.dcm", padded, PixelPaddingValue=0))
    assert film[150:, 150:].std() > 60


@pytest.mark.parametrize("window", [{"WindowCenter": 0, "WindowWidth": 0}, {"WindowCenter": "", "WindowWidth": ""}, {}])
def test_a_missing_or_impossible_window_shows_the_whole_range(tmp_path, window):
    film = read_film(dicom(tmp_path / "film.dcm", ramp(12), **window))
    assert (film.min(), film.max()) == (0, 255) and np.all(np.diff(film.ravel().astype(int)) >= 0)


def test_alternative_windows_take_the_first(tmp_path):
    one = dicom(tmp_path / "one.dcm", ramp(12), WindowCenter=1000, WindowWidth=500)
    two = dicom(tmp_path / "two.dcm", ramp(12), WindowCenter=[1000, 3000], WindowWidth=[500, 900])
    assert np.array_equal(read_film(one), read_film(two))


def test_a_constant_film_is_read(tmp_path):
    assert np.ptp(read_film(dicom(tmp_path / "film.dcm", np.full((5, 6), 700, np.uint16)))) == 0


@pytest.mark.parametrize("name", ["MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm"])
def test_lossless_encodings_equal_the_uncompressed_film(name):
    assert np.array_equal(read_film(get_testdata_file(name)), read_film(get_testdata_file("MR_small.dcm")))


def test_near_lossless_jpeg_ls_of_8_and_16_bit_reads():
    for name in ("JPEGLSNearLossless_08.dcm", "JPEGLSNearLossless_16.dcm"):
        film = read_film(get_testdata_file(name))
        assert film.dtype == np.uint8 and np.ptp(film) > 200


def test_the_files_of_pydicom_read_or_say_why():
    folder = Path(get_testdata_file("MR_small.dcm")).parent
    read = 0
    for path in sorted(folder.glob("*.dcm")):
        try:
            film = read_film(path)
        except MedgroundError as error:
            assert str(path) in str(error)
        else:
            read += 1
            assert film.dtype == np.uint8 and film.shape == film_size(path)[::-1]
    assert read >= 40


@pytest.fixture(scope="module")
def chest():
    """The chest film of pydicom-data: uncompressed, JPEG 2000 lossless, JPEG 2000 lossy."""
    pytest.importorskip("data_store", reason="pydicom-data is not installed (pip install .[dev])")
    return [get_testdata_file(f"RG1_{kind}.dcm", download=False) for kind in ("UNCR", "J2KR", "J2KI")]


def test_a_real_chest_film_equals_pydicom(chest):
    dataset = pydicom.dcmread(chest[0])
    assert (dataset.PhotometricInterpretation, dataset.BitsStored) == ("MONOCHROME1", 15)
    film = read_film(chest[0])
    assert film.shape == (1955, 1841)
    np.testing.assert_allclose(film, by_pydicom(chest[0]), atol=0.5 + 1e-6)
    assert film[900:1000, 850:950].mean() > film[500:600, 480:580].mean()  # the spine is brighter than the lung


def test_a_real_chest_film_in_its_three_encodings(chest):
    plain, lossless, lossy = map(read_film, chest)
    assert pydicom.dcmread(chest[1], stop_before_pixels=True).file_meta.TransferSyntaxUID == JPEG2000Lossless
    assert np.array_equal(plain, lossless)
    assert np.abs(plain.astype(int) - lossy).mean() < 1.0
    assert film_size(chest[1]) == (1841, 1955)


@pytest.mark.skipif(not SHARED.is_dir(), reason="no NIH films beside the checkout")
def test_real_nih_films_are_taken_as_they_are():
    for path in sorted(SHARED.glob("*.png")):
        with Image.open(path) as image:
            assert np.array_equal(read_film(path), np.asarray(image.convert("L")))


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_16_bit_png_is_scaled_by_its_depth_and_not_stretched(tmp_path, bits):
    values = np.linspace(2**bits // 4, 2**bits - 1, 1200).reshape(30, 40).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "film.png")
    np.testing.assert_allclose(read_film(tmp_path / "film.png"), values / (2**bits - 1) * 255, atol=0.5 + 1e-6)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "1"])
def test_8_bit_png_of_any_mode(tmp_path, mode):
    values = np.repeat(np.array([[0, 255]], np.uint8), 4, 0)
    Image.fromarray(values).convert(mode).save(tmp_path / "film.png")
    assert np.array_equal(read_film(tmp_path / "film.png"), values)


def test_jpeg_equals_its_decoder(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (50, 40)).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "film.jpg")
    with Image.open(tmp_path / "film.jpg") as image:
        assert np.array_equal(read_film(tmp_path / "film.jpg"), np.asarray(image))


def test_written_films_read_back(tmp_path):
    film = np.random.default_rng(0).integers(0, 256, (21, 34)).astype(np.uint8)
    write_film(tmp_path / "deep" / "film.png", film)
    assert np.array_equal(read_film(tmp_path / "deep" / "film.png"), film)
    assert film_size(tmp_path / "deep" / "film.png") == (34, 21)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["film.png"]


def test_a_film_that_cannot_be_written_is_named_and_leaves_nothing(tmp_path):
    (tmp_path / "film.png").mkdir()
    with pytest.raises(MedgroundError, match=r"film\.png cannot be written"):
        write_film(tmp_path / "film.png", np.zeros((2, 2), np.uint8))
    assert [path.name for path in tmp_path.iterdir()] == ["film.png"]


def test_unreadable_files_name_themselves_and_a_remedy(tmp_path):
    film = dicom(tmp_path / "whole.dcm", ramp(12)).read_bytes()
    Image.fromarray(ramp(8).astype(np.uint8)).save(tmp_path / "whole.png")
    Image.fromarray(np.zeros((3, 3), np.float32)).save(tmp_path / "float.tiff")
    broken = {
        "cut.dcm": film[:-500], "no.dcm": b"", "text.dicom": b"not a film" * 30, "text.png": b"hello",
        "cut.png": (tmp_path / "whole.png").read_bytes()[:60], "float.png": (tmp_path / "float.tiff").read_bytes(),
    }  # fmt: skip
    for name, content in broken.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(MedgroundError, match=name):
            read_film(tmp_path / name)
    with pytest.raises(MedgroundError, match=r"absent.*fetch"):
        read_film(tmp_path / "absent.png")
    with pytest.raises(MedgroundError, match="is no file but a folder, pipe or device"):
        read_film(tmp_path)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_damage_crashes_the_reader(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damage")
    content = bytearray(dicom(folder / "film.dcm", ramp(12), WindowCenter=2000, WindowWidth=900).read_bytes())
    for _ in range(data.draw(st.integers(1, 12))):
        content[data.draw(st.integers(0, 700))] = data.draw(st.integers(0, 255))
    (folder / "film.dcm").write_bytes(content)
    try:
        assert read_film(folder / "film.dcm").dtype == np.uint8
    except MedgroundError as error:
        assert "film.dcm" in str(error)
