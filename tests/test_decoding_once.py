"""Films are decoded once: what is kept is what would be read again, and no more of it than was said."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from medground import films, images
from medground.errors import MedgroundError

RNG = np.random.default_rng(0)


def film(height=40, width=30):
    return RNG.integers(0, 255, (height, width), dtype=np.uint8)


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(films, "STORE", tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture
def reads(monkeypatch):
    """The paths that were decoded."""
    seen, read = [], images.read_film
    monkeypatch.setattr(images, "read_film", lambda path: seen.append(path) or read(path))
    return seen


def dicom(path):
    """A film of 12 bits, whose values need the pipeline of the standard."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPInstanceUID = ExplicitVRLittleEndian, "1.2.3"
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    pixels = RNG.integers(0, 4096, (40, 30), dtype=np.uint16)
    data.Rows, data.Columns, data.SamplesPerPixel, data.PixelRepresentation = 40, 30, 1, 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
    data.PhotometricInterpretation, data.PixelData = "MONOCHROME1", pixels.tobytes()
    data.save_as(path, enforce_file_format=True)


def test_a_film_is_decoded_once_until_it_changes(tmp_path, reads):
    held, first = films.Films(), film()
    images.write_film(tmp_path / "a.png", first)
    assert np.array_equal(held.read(tmp_path / "a.png"), first)
    assert held.read(str(tmp_path / "a.png")) is held.read(tmp_path / "a.png") and len(reads) == 1
    second = film(50)
    images.write_film(tmp_path / "a.png", second)
    assert np.array_equal(held.read(tmp_path / "a.png"), second) and len(reads) == 2


def test_nobody_can_write_into_what_others_will_see(tmp_path):
    images.write_film(tmp_path / "a.png", film())
    held = films.Films()
    shared = held.read(tmp_path / "a.png")
    for image in (shared, held.drawn(shared, lambda film: film + 1)):
        with pytest.raises(ValueError, match="read-only"):
            image[0, 0] = 1


def test_the_films_used_last_stay_within_the_bytes(tmp_path, reads):
    held = films.Films(most_bytes=2 * 1200)
    for name in "abc":
        images.write_film(tmp_path / f"{name}.png", film())
    for name in "abacac":  # b is the one that was used least lately when c comes
        held.read(tmp_path / f"{name}.png")
    assert [path.stem for path in reads] == ["a", "b", "c"]
    held.read(tmp_path / "b.png")
    assert [path.stem for path in reads] == ["a", "b", "c", "b"]


def test_one_film_is_held_whatever_its_size(tmp_path, reads):
    held = films.Films(most_bytes=1)
    images.write_film(tmp_path / "a.png", film())
    assert held.read(tmp_path / "a.png") is held.read(tmp_path / "a.png") and len(reads) == 1


def test_what_was_drawn_of_a_film_is_drawn_once_for_each_way_and_counts(tmp_path):
    images.write_film(tmp_path / "a.png", film())
    images.write_film(tmp_path / "b.png", film())
    held, calls = films.Films(most_bytes=3 * 1200), []

    def half(image):
        calls.append("half")
        return image // 2

    a = held.read(tmp_path / "a.png")
    assert held.drawn(a, half) is held.drawn(a, half) and calls == ["half"]
    assert held.drawn(a, lambda image: image // 4, "quarter") is held.drawn(a, half, "quarter")
    assert np.array_equal(held.drawn(a, half), a // 2)
    b = held.read(tmp_path / "b.png")  # no room for four: a goes with what was drawn of it
    held.drawn(b, half)
    held.drawn(a, half)
    assert calls == ["half"] * 3 and held.read(tmp_path / "a.png") is not a


def test_what_was_drawn_of_any_other_array_is_not_kept(tmp_path):
    calls, image = [], film()
    for _ in range(2):
        films.Films().drawn(image, lambda image: calls.append(1) or image)
    assert len(calls) == 2


def test_a_dicom_is_kept_as_a_picture_with_the_same_pixels(tmp_path, store, reads):
    dicom(tmp_path / "a.dicom")
    expected = images.read_film(tmp_path / "a.dicom")
    assert np.array_equal(films.Films().read(tmp_path / "a.dicom"), expected)
    (kept,) = store.iterdir()
    assert np.array_equal(np.asarray(Image.open(kept)), expected)
    reads.clear()
    assert np.array_equal(films.Films().read(tmp_path / "a.dicom"), expected)  # another process
    assert reads == [kept]


def test_jpeg_2000_is_kept_and_png_is_not(tmp_path, store):
    image = film(64, 64)
    images.write_film(tmp_path / "a.png", image)
    Image.fromarray(image).save(tmp_path / "b.jp2", irreversible=False)
    for name in ("a.png", "b.jp2"):
        assert np.array_equal(films.Films().read(tmp_path / name), image)
    assert len(list(store.iterdir())) == 1


def test_another_film_under_the_same_name_is_not_taken_for_the_kept_one(tmp_path, store):
    for _ in range(2):
        dicom(tmp_path / "a.dicom")
        assert np.array_equal(films.Films().read(tmp_path / "a.dicom"), images.read_film(tmp_path / "a.dicom"))
    assert len(list(store.iterdir())) == 2


def test_what_reads_films_otherwise_takes_nothing_of_before(tmp_path, store, monkeypatch):
    dicom(tmp_path / "a.dicom")
    films.Films().read(tmp_path / "a.dicom")
    monkeypatch.setattr(films, "_reader", lambda: "newer")
    films.Films().read(tmp_path / "a.dicom")
    assert len(list(store.iterdir())) == 2


def test_a_damaged_picture_is_named_with_its_remedy(tmp_path, store):
    dicom(tmp_path / "a.dicom")
    films.Films().read(tmp_path / "a.dicom")
    (kept,) = store.iterdir()
    kept.write_bytes(kept.read_bytes()[:200])
    with pytest.raises(MedgroundError, match=rf"{kept.stem}\.png is made from .*a\.dicom: delete it"):
        films.Films().read(tmp_path / "a.dicom")


def test_a_film_that_is_coming_is_waited_for_and_not_decoded_twice(tmp_path, monkeypatch):
    images.write_film(tmp_path / "a.png", film())
    held, begun, go, reads, read = films.Films(), Event(), Event(), [], images.read_film

    def slowly(path):
        reads.append(path)
        begun.set()
        assert go.wait(10)
        return read(path)

    monkeypatch.setattr(images, "read_film", slowly)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(held.read, tmp_path / "a.png")
        assert begun.wait(10)
        second = threads.submit(held.read, tmp_path / "a.png")
        go.set()
        assert first.result(10) is second.result(10) and len(reads) == 1


def test_films_are_read_ahead_and_what_is_wrong_with_one_is_said_to_who_reads_it(tmp_path, monkeypatch, reads):
    held, one = films.Films(), ThreadPoolExecutor(1)
    monkeypatch.setattr(films, "read", held.read)
    monkeypatch.setattr(films, "_threads", lambda: one)
    images.write_film(tmp_path / "a.png", film())
    (tmp_path / "b.png").write_bytes(b"no picture")
    films.ahead([tmp_path / "a.png", tmp_path / "b.png"])
    one.submit(int).result(10)  # behind both
    assert np.array_equal(held.read(tmp_path / "a.png"), np.asarray(Image.open(tmp_path / "a.png")))
    assert [path.name for path in reads] == ["a.png", "b.png"]
    with pytest.raises(MedgroundError, match=r"b\.png cannot be read"):
        held.read(tmp_path / "b.png")


def test_a_missing_film_is_named(tmp_path):
    with pytest.raises(MedgroundError, match=r"none\.png is missing"):
        films.Films().read(tmp_path / "none.png")
