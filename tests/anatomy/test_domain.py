"""What is said of films that are not what this is made for, and that nothing is said of those that are."""

from __future__ import annotations

from pathlib import Path

import matplotlib.cbook
import numpy as np
import pytest
from PIL import Image, ImageDraw
from pydicom.data import get_testdata_file

from medground.anatomy import domain
from medground.images import read_film, write_film

CXR = Path(__file__).parents[3] / "shared" / "cxr"
REAL = sorted(CXR.glob("*.png"))
rng = np.random.default_rng(0)
needs_real_films = pytest.mark.skipif(not REAL, reason=f"no chest films at {CXR}")


def told(path) -> str:
    return "; ".join(doubt.text for doubt in domain.doubts(path))


def refused(path) -> bool:
    return any(doubt.refuses for doubt in domain.doubts(path))


@needs_real_films
@pytest.mark.parametrize("film", REAL, ids=lambda path: path.name)
def test_nothing_is_said_of_frontal_chest_films(film):
    assert domain.doubts(film) == []


def test_nothing_is_said_of_a_chest_film_in_dicom():
    assert domain.doubts(get_testdata_file("RG1_UNCR.dcm", download=False)) == []


@needs_real_films
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda film: np.rot90(film), "turned to its left"),
        (lambda film: np.rot90(film, 3), "turned to its right"),
        (lambda film: np.rot90(film, 2), "upside down"),
        (lambda film: 255 - film, "inverted"),
        (lambda film: film // 64 * 0 + 90, "blank"),
        (lambda film: film[:40, :40], "too few"),
    ],
)
def test_a_chest_film_that_was_changed_is_refused_with_the_change(change, said, tmp_path):
    for film in REAL:
        write_film(tmp_path / "film.png", np.ascontiguousarray(change(read_film(film))))
        assert said in told(tmp_path / "film.png") and refused(tmp_path / "film.png")


@needs_real_films
@pytest.mark.parametrize(
    "change", [lambda f: f[:, ::-1], lambda f: f // 3, lambda f: f[::3, ::3], lambda f: np.pad(f, 60)]
)
def test_exposure_size_padding_and_side_do_not_matter(change, tmp_path):
    for film in REAL:
        write_film(tmp_path / "film.png", np.ascontiguousarray(change(read_film(film))))
        assert told(tmp_path / "film.png") == ""


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("US1_UNCR.dcm", "modality is US"),
        ("CT_small.dcm", "modality is CT"),
        ("MR_small.dcm", "modality is MR"),
        ("RG3_UNCR.dcm", "body part EXTREMITY"),
    ],
)
def test_other_pictures_in_dicom_are_refused_by_what_they_say(name, said):
    path = get_testdata_file(name, download=False)
    assert said in told(path) and refused(path)


def test_a_view_that_is_not_frontal_is_refused(tmp_path):
    import pydicom

    header = pydicom.dcmread(get_testdata_file("RG1_UNCR.dcm", download=False))
    header.ViewPosition = "LL"
    header.save_as(tmp_path / "lateral.dcm")
    assert "its view is LL, not frontal" in told(tmp_path / "lateral.dcm") and refused(tmp_path / "lateral.dcm")


def test_a_photo_is_refused_in_colour_and_in_gray(tmp_path):
    photo = Image.open(matplotlib.cbook.get_sample_data("grace_hopper.jpg"))
    photo.save(tmp_path / "photo.jpg")
    photo.convert("L").save(tmp_path / "gray.png")
    assert "in colour" in told(tmp_path / "photo.jpg") and refused(tmp_path / "photo.jpg")
    assert "does not look like" in told(tmp_path / "gray.png") and refused(tmp_path / "gray.png")


@pytest.mark.parametrize("kind", ["black", "white", "noise", "stripes"])
def test_what_shows_nothing_is_refused(kind, tmp_path):
    pixels = {
        "black": np.zeros((300, 250), np.uint8),
        "white": np.full((300, 250), 255, np.uint8),
        "noise": rng.integers(0, 256, (300, 250), dtype=np.uint8),
        "stripes": np.tile((np.arange(250) % 50 * 5).astype(np.uint8), (300, 1)),
    }[kind]
    write_film(tmp_path / "film.png", pixels)
    assert refused(tmp_path / "film.png")


def test_a_page_of_text_is_at_least_doubted(tmp_path):
    page = Image.new("L", (400, 500), 255)
    ImageDraw.Draw(page).multiline_text((20, 20), "\n".join(["Some words of a page"] * 30), fill=0)
    page.save(tmp_path / "page.png")
    assert "like a frontal chest film" in told(tmp_path / "page.png")


def test_models_of_the_phantom_say_that_they_know_rendered_films_alone():
    for name in ("phantom-gemma3-a", "models/phantom-gemma3-a", "org/medground-phantom-gemma3-a@0123"):
        assert "rendered films alone" in domain.trained(name)[0].text
    assert domain.trained("google/gemma-3-4b-it") == []
